/**
 * The answer of `iova explain`, as `--json` prints it. Version 1; docs/explain.schema.json is the same as a JSON schema.
 *
 * Addresses and masks are strings `0x…`, lower case, without leading zeros. PCI devices are `0000:02:00.0`, other devices as printed. Times are
 * seconds as in the input.
 */
import type { Access, Clock, LineRef } from "../log/facts.ts";

export type { Access, Clock, LineRef };

export const VERSION = 1 as const;

export interface Explanation {
  readonly version: typeof VERSION;
  readonly inputs: readonly Input[];
  readonly host: Host;
  /** What the answer lacks: what the input would have held and does not, and messages that were read and for which no room was. */
  readonly lost: readonly Loss[];
  /** Most important first; a cause stands before its consequences. */
  readonly findings: readonly Finding[];
}

export interface Input {
  readonly file: string;
  readonly holds: readonly ("kernel-log" | "trace")[];
  readonly lines: number;
  /** Lines that look like messages of an IOMMU and could not be read. */
  readonly unread: { readonly count: number; readonly first: readonly LineRef[] };
}

export interface Host {
  readonly kernel?: string;
  readonly iommus: readonly string[];
  readonly invalidation?: "strict" | "lazy" | "passthrough";
  /** Take it from a time of the log to get a time of the trace. */
  readonly clockOffsetSeconds?: number;
}

export interface Loss {
  readonly what: "faults" | "messages" | "events";
  readonly count?: number;
  readonly proof: readonly LineRef[];
  /** What the loss means for the answer: one or two sentences. */
  readonly effect: string;
}

/** A sentence that follows from lines. */
export interface Statement {
  readonly text: string;
  readonly proof: readonly LineRef[];
}

/** `certain` follows from lines that are shown; `strong` has named rivals. */
export type Certainty = "certain" | "strong" | "undecided";

export interface Candidate {
  readonly verdict: string;
  readonly weight: "strong" | "hint";
  readonly because: readonly Statement[];
}

export interface Exclusion {
  readonly verdict: string;
  readonly because: readonly Statement[];
}

export interface Finding {
  readonly kind: Kind;
  /** One of `VERDICTS[kind]`, or `undecided`. */
  readonly verdict: string;
  readonly certainty: Certainty;
  readonly device?: string;
  readonly driver?: string;
  readonly streamId?: string;
  /** The IOMMU that reports, as printed: `dmar2`, `arm-smmu-v3.0.auto`. */
  readonly iommu?: string;
  readonly domain?: string;
  readonly pasid?: string;
  readonly iova?: string;
  readonly access?: Access;
  /** 4096: the lines name a page, not an address. */
  readonly granule?: 1 | 4096;
  /** Further addresses, at most 64, in the order in which they were seen. */
  readonly otherAddresses?: readonly string[];
  readonly reason?: { readonly code: string; readonly text: string };
  /** Events that were printed. The raw and the decoded form of one event count once. */
  readonly count: number;
  readonly firstTime?: number;
  readonly lastTime?: number;
  /** The clock of both times: `uptime` counts from the boot; `wall` from 1970, or from the beginning of the year if the log names none. */
  readonly clock?: Clock;
  readonly follows: readonly Statement[];
  /** Best first; `verdict` is among them unless it is certain. */
  readonly candidates: readonly Candidate[];
  readonly excluded: readonly Exclusion[];
  /** An earlier reset, crash, time-out or power change of the same device. */
  readonly consequenceOf?: Statement;
  readonly mapping?: MappingLife;
  readonly proof: readonly LineRef[];
  /** Commands that decide between the candidates, most useful first. */
  readonly record: readonly string[];
}

/** The mapping that a fault is about. */
export interface MappingLife {
  readonly iova: string;
  readonly bytes: number;
  readonly access: string;
  readonly mappedAt?: number;
  readonly unmappedAt?: number;
  readonly afterUnmapMicroseconds?: number;
  readonly reusedBy?: string;
  /** The task that mapped it. */
  readonly by?: string;
}

export type Kind =
  | "dma-fault"
  | "no-table"
  | "table-error"
  | "interrupt"
  | "invalidation-timeout"
  | "conflicting-entry"
  | "map-refused"
  | "assignment-refused"
  | "bounce-refused"
  | "exhausted"
  | "dma-api-misuse"
  | "frozen"
  | "leak"
  | "slow";

/** The kinds of findings, and the verdicts of each, beside `undecided`. */
export const VERDICTS: Readonly<Record<Kind, readonly string[]>> = {
  "dma-fault": [
    "not-mapped",
    "use-after-unmap",
    "permission",
    "past-end",
    "before-start",
    "beyond-mask",
    "truncated-address",
    "wrong-device",
    "physical-address",
    "null-address",
    "garbage-address",
    "msi-doorbell",
    "peer-bar",
    "handover",
    "mapped-but-faulted",
  ],
  "no-table": ["handover", "alias", "not-attached", "shutdown"],
  "table-error": ["reserved-bits", "hardware-error", "illegal-command"],
  interrupt: ["blocked", "not-remapped"],
  "invalidation-timeout": ["device-gone", "device-silent", "iommu-silent"],
  "conflicting-entry": ["same-page", "identity", "two-owners"],
  "map-refused": [
    "memlock-limit",
    "mapping-limit",
    "overlap",
    "cannot-pin",
    "beyond-aperture",
    "reserved-hole",
    "misaligned",
    "stale-mapping",
  ],
  "assignment-refused": ["group-not-viable", "reserved-region", "no-iommu", "no-physical-addresses"],
  "bounce-refused": ["too-large", "no-pool", "pool-full", "fragmented"],
  exhausted: ["full", "fragmented", "allocator-state", "table-too-small"],
  "dma-api-misuse": [
    "direction",
    "size",
    "not-allocated",
    "leak",
    "overlap",
    "bad-memory",
    "unchecked-error",
    "sync",
    "segment",
    "other",
  ],
  frozen: ["dma-error", "other"],
  leak: ["growing", "at-exit"],
  slow: ["slow-invalidation", "lock-contention", "uncached-size"],
};

export const UNDECIDED = "undecided";
