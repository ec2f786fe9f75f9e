/**
 * The answer of `iova explain`, as `--json` prints it. Version 1; docs/explain.schema.json is the same as a JSON schema.
 *
 * Addresses and masks are strings `0x…`, lower case, without leading zeros. PCI devices are `0000:02:00.0`, other devices as printed. Times are
 * seconds as in the input.
 */
import type { Access, Clock, LineRef } from "../log/facts.ts";

export type { Access, Clock, LineRef };

/** Version of the answer. A new version changes the meaning of a field or removes one. */
export const VERSION = 1 as const;

/** The answer for all inputs together. */
export interface Explanation {
  /** Version of the answer. */
  readonly version: typeof VERSION;
  /** The inputs, in the order in which they were given. */
  readonly inputs: readonly Input[];
  /** The machine that the inputs are of. */
  readonly host: Host;
  /** Messages and events that the input does not hold, and messages for which the analysis had no room. */
  readonly lost: readonly Loss[];
  /** The problems that were found, most important first. A cause stands before its consequences. */
  readonly findings: readonly Finding[];
}

/** Lines that look like messages of an IOMMU and could not be read. */
export interface UnreadLines {
  /** Number of these lines. */
  readonly count: number;
  /** The first of these lines. */
  readonly first: readonly LineRef[];
}

/** The reason of a fault, as the IOMMU's driver printed it. */
export interface ReportedReason {
  /** Its code: `0x05`. */
  readonly code: string;
  /** Its text: `PTE Write access is not set`. */
  readonly text: string;
}

/** One input, and how it was read. */
export interface Input {
  /** Name of the file, as given. */
  readonly file: string;
  /** Kinds of lines that the input has; empty if none was recognised. */
  readonly holds: readonly ("kernel-log" | "trace")[];
  /** Lines of the input. */
  readonly lines: number;
  /** Lines that look like messages of an IOMMU and could not be read. */
  readonly unread: UnreadLines;
}

/** The machine, as far as the inputs name its parts. */
export interface Host {
  /** Release of the kernel: `6.1.0-18-amd64`. Absent: the inputs do not name it. */
  readonly kernel?: string;
  /** IOMMUs that the inputs name, as printed. */
  readonly iommus: readonly string[];
  /** Mode of the IOMMU: strict or lazy invalidation, or no translation. Absent: the inputs do not name it. */
  readonly invalidation?: "strict" | "lazy" | "passthrough";
  /**
   * Clock of the log minus clock of the trace, in seconds: a time of the log less this number is a time of the trace. Absent: the relation is
   * unknown.
   */
  readonly clockOffsetSeconds?: number;
}

/** A gap in the inputs: messages or events that are missing, or for which the analysis had no room. */
export interface Loss {
  /** Kind of the lost data: faults, other messages, or events of a trace. */
  readonly what: "faults" | "messages" | "events";
  /** Number of lost messages or events. Absent: the number is unknown. */
  readonly count?: number;
  /** Lines that show the loss. */
  readonly proof: readonly LineRef[];
  /** The effect of the loss on the answer: one or two sentences. */
  readonly effect: string;
}

/** A sentence that follows from lines of the inputs. */
export interface Statement {
  /** The sentence. */
  readonly text: string;
  /** Lines from which it follows. */
  readonly proof: readonly LineRef[];
}

/**
 * Certainty of a verdict. `certain`: it follows from the lines. `strong`: it explains the lines best, and the other candidates are named.
 * `undecided`: the lines do not decide.
 */
export type Certainty = "certain" | "strong" | "undecided";

/** A possible verdict of a finding that is not certain. */
export interface Candidate {
  /** A verdict of `VERDICTS[kind]`. */
  readonly verdict: string;
  /** `strong`: evidence that other verdicts explain badly. `hint`: weak evidence, or only the verdict's frequency. */
  readonly weight: "strong" | "hint";
  /** The evidence. */
  readonly because: readonly Statement[];
}

/** A verdict that the lines rule out. */
export interface Exclusion {
  /** A verdict of `VERDICTS[kind]`. */
  readonly verdict: string;
  /** Why it is ruled out. */
  readonly because: readonly Statement[];
}

/** One problem: messages or events of one requester and one class of reason. */
export interface Finding {
  /** The kind of problem. */
  readonly kind: Kind;
  /** The cause: a verdict of `VERDICTS[kind]`, or `undecided`. */
  readonly verdict: string;
  /** How far the lines decide the verdict. */
  readonly certainty: Certainty;
  /** The device: `0000:02:00.0`, or as printed. */
  readonly device?: string;
  /** Driver of the device, if the lines name it. */
  readonly driver?: string;
  /** Stream ID of an Arm SMMU. */
  readonly streamId?: string;
  /** The IOMMU that reports, as printed: `dmar2`, `arm-smmu-v3.0.auto`. */
  readonly iommu?: string;
  /** Domain of the IOMMU, as printed. */
  readonly domain?: string;
  /** Process address space ID. */
  readonly pasid?: string;
  /** Bus address of the access, `0x…`. */
  readonly iova?: string;
  /** The access of the device. */
  readonly access?: Access;
  /** Resolution of `iova` in bytes: 1 for an address, 4096 if the lines name only the page. */
  readonly granule?: 1 | 4096;
  /** Further addresses, at most 64, in the order in which they were seen. */
  readonly otherAddresses?: readonly string[];
  /** The IOMMU's code and its text. */
  readonly reason?: ReportedReason;
  /** Events that were printed. The raw and the decoded form of one event count once. */
  readonly count: number;
  /** Time of the first event, in seconds of `clock`. */
  readonly firstTime?: number;
  /** Time of the last event, in seconds of `clock`. */
  readonly lastTime?: number;
  /** The clock of both times: `uptime` counts from the boot; `wall` from 1970, or from the beginning of the year if the log names none. */
  readonly clock?: Clock;
  /** Consequences of the lines, whatever the cause. */
  readonly follows: readonly Statement[];
  /** Possible verdicts, best first. `verdict` is among them unless it is certain. */
  readonly candidates: readonly Candidate[];
  /** Verdicts that the lines rule out. */
  readonly excluded: readonly Exclusion[];
  /** An earlier reset, crash, time-out or power change of the same device. */
  readonly consequenceOf?: Statement;
  /** The mapping at the address, from a trace. */
  readonly mapping?: MappingLife;
  /** Lines of the messages or events. */
  readonly proof: readonly LineRef[];
  /** Commands that decide between the candidates, most useful first. */
  readonly record: readonly string[];
}

/** The mapping that a fault is about. */
export interface MappingLife {
  /** Bus address of the mapping's first byte. */
  readonly iova: string;
  /** Length in bytes. */
  readonly bytes: number;
  /** Allowed accesses of the device. */
  readonly access: string;
  /** Time of the map, in seconds of the trace's clock. */
  readonly mappedAt?: number;
  /** Time of the unmap, in seconds of the trace's clock. */
  readonly unmappedAt?: number;
  /** Time from the unmap to the report of the fault, in microseconds. */
  readonly afterUnmapMicroseconds?: number;
  /** The device that got the address next. */
  readonly reusedBy?: string;
  /** The task that mapped it. */
  readonly by?: string;
}

/** Kinds of findings. docs/explain.md describes each, and its verdicts. */
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

/** Verdicts of each kind of finding, besides `undecided`. */
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

/** Verdict of a finding whose lines do not decide. */
export const UNDECIDED = "undecided";
