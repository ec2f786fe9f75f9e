/**
 * Kinds of misuse, as typed reports. A report says what was found, what was expected, where the mapping was made and where it was misused.
 * docs/dma-debug.md has a table of all kinds.
 */
import type { Access } from "../../units/numbers.ts";
import type { DmaOperations, MappingPart } from "../contract.ts";

/** Place of a call: the owner of the device at that time (option `owner`), and the call stack, innermost frame first. */
export interface Place {
  /** Option `owner` of the device at the time of the call. */
  readonly owner: string;
  /** The frames as the engine prints them, without those of the runtime and of the DMA API. Empty with `stackFrames: 0`. */
  readonly stack: readonly string[];
}

/** How a mapping was made: by `map`, `mapSg`, `mapResource`, `allocateCoherent`. */
export type MappingKind = "single" | "scatterlist" | "resource" | "coherent";

/** A mapping, as it was made (`expected`) or as a call describes it (`found`, which may hold nonsense). */
export interface MappingDescription {
  /** The call that makes such a mapping. */
  readonly kind: MappingKind;
  /** Bus address of the first byte; of a list: of its first segment. */
  readonly iova: bigint;
  /** For a list: the bytes of all its elements. */
  readonly bytes: number;
  /** Undefined if the call does not pass it, as calls with a list. */
  readonly access: Access | undefined;
  /** Elements of a list; 0 for other kinds. */
  readonly elements: number;
  /** Physical address of the first byte; undefined if the call does not pass it. */
  readonly address: bigint | undefined;
}

/** The method that was called. */
export type DebuggedCall = Exclude<keyof DmaOperations, "failureOf" | "holderOf" | "translate"> | "deviceRemoved";

interface Misuse<Kind extends string> {
  /** The kind of misuse. */
  readonly kind: Kind;
  /** Option `device`. */
  readonly device: string;
  /** The method that was called. */
  readonly call: DebuggedCall;
  /** Place of the wrong call. */
  readonly misused: Place;
}

/** A mapping, with the place of the call that made it. */
export interface KnownMapping {
  /** The mapping, as it was made. */
  readonly mapping: MappingDescription;
  /** The call that made it. */
  readonly mapped: Place;
}

/** A mapping that was unmapped, with the places of both calls. */
export interface FreedMapping extends KnownMapping {
  /** The call that unmapped it. */
  readonly freed: Place;
}

/** A failure (name or code), or another value that is not a mapping, was unmapped or synced. */
export interface ErrorValueMisuse extends Misuse<"free-error-value" | "sync-error-value"> {
  /** The value that was passed. */
  readonly found: unknown;
}

/** Nothing is mapped at the address of an unmap or sync. */
export interface UnmappedMisuse extends Misuse<"free-unmapped" | "sync-unmapped"> {
  /** The mapping, as the call describes it. */
  readonly found: MappingDescription;
  /** The mapping that contains the address, if there is one. */
  readonly inside: KnownMapping | undefined;
  /** The last mapping at this address, and the call that freed it, if its record still exists. */
  readonly before: FreedMapping | undefined;
}

/** The mapping at this address has other properties than the call says. */
export interface MismatchMisuse
  extends Misuse<
    | "free-wrong-size"
    | "free-wrong-kind"
    | "free-wrong-cpu-address"
    | "free-wrong-element-count"
    | "free-wrong-direction"
    | "sync-wrong-direction"
    | "sync-wrong-element-count"
    | "sync-for-cpu-to-device"
    | "sync-for-device-from-device"
  > {
  /** The mapping, as the call describes it. */
  readonly found: MappingDescription;
  /** The mapping, as it was made. */
  readonly expected: MappingDescription;
  /** The call that made it. */
  readonly mapped: Place;
}

/** A result was used without a call of `failureOf`. Only with `checkResults`. */
export interface UncheckedMisuse extends Misuse<"result-not-checked"> {
  /** The mapping, as it was made. */
  readonly expected: MappingDescription;
  /** The call that made it. */
  readonly mapped: Place;
}

/** A sync goes beyond the mapping. */
export interface SyncRangeMisuse extends Misuse<"sync-out-of-range"> {
  /** The part that the sync names. */
  readonly found: MappingPart;
  /** The mapping, as it was made. */
  readonly expected: MappingDescription;
  /** The call that made it. */
  readonly mapped: Place;
}

/** The memory to map is not reachable by devices (option `dmaAble`). */
export interface NotDmaAbleMisuse extends Misuse<"map-not-dma-able"> {
  /** Physical address of the memory. */
  readonly address: bigint;
  /** Length in bytes. */
  readonly bytes: number;
  /** Index of the element in the list; undefined for `map`. */
  readonly element: number | undefined;
}

/** A segment of a mapped list exceeds the device's limits (option `limits`). */
export interface SegmentMisuse extends Misuse<"map-segment-too-long" | "map-segment-across-boundary"> {
  /** Index in the list's output. */
  readonly segment: number;
  /** Bus address of the segment. */
  readonly iova: bigint;
  /** Length of the segment in bytes. */
  readonly bytes: number;
  /** The device's longest segment in bytes. */
  readonly maxSegmentBytes: number;
  /** No segment crosses a multiple of this mask + 1. */
  readonly boundaryMask: bigint;
}

/** Two live mappings let a device write the same cache line: a sync of one loses the data of the other. */
export interface OverlapMisuse extends Misuse<"map-overlapping-lines"> {
  /** The new mapping. */
  readonly found: MappingDescription;
  /** Physical address of the first cache line that both have. */
  readonly cacheLine: bigint;
  /** The earlier mapping. */
  readonly other: KnownMapping;
}

/** More mappings of a cache line are live than `maxOverlaps`: probably a leak. */
export interface OverlapCountMisuse extends Misuse<"map-too-many-overlaps"> {
  /** The new mapping. */
  readonly found: MappingDescription;
  /** Physical address of the cache line. */
  readonly cacheLine: bigint;
  /** Number of other mappings that have the line. */
  readonly overlaps: number;
  /** The limit of live mappings of one cache line. */
  readonly maxOverlaps: number;
  /** One of the other mappings. */
  readonly other: KnownMapping;
}

/** A device was removed while it had live mappings. */
export interface RemovedMisuse extends Misuse<"removed-with-live-mappings"> {
  /** Number of its live mappings. */
  readonly count: number;
  /** The oldest of them. */
  readonly example: KnownMapping;
}

/** The debug mode has run out of records and has switched itself off. */
export interface OutOfRecordsMisuse extends Misuse<"out-of-records"> {
  /** Number of records: option `capacity`. */
  readonly capacity: number;
}

/** A report of misuse. Its `kind` decides its other fields. */
export type MisuseReport =
  | ErrorValueMisuse
  | UnmappedMisuse
  | MismatchMisuse
  | UncheckedMisuse
  | SyncRangeMisuse
  | NotDmaAbleMisuse
  | SegmentMisuse
  | OverlapMisuse
  | OverlapCountMisuse
  | RemovedMisuse
  | OutOfRecordsMisuse;

/** Kinds of misuse that the debug mode reports. */
export type MisuseKind = MisuseReport["kind"];

/** All kinds, in the order of docs/dma-debug.md. */
export const MISUSE_KINDS: readonly MisuseKind[] = [
  "free-error-value",
  "free-unmapped",
  "free-wrong-size",
  "free-wrong-kind",
  "free-wrong-cpu-address",
  "free-wrong-element-count",
  "free-wrong-direction",
  "result-not-checked",
  "sync-error-value",
  "sync-unmapped",
  "sync-out-of-range",
  "sync-wrong-direction",
  "sync-for-cpu-to-device",
  "sync-for-device-from-device",
  "sync-wrong-element-count",
  "map-not-dma-able",
  "map-segment-too-long",
  "map-segment-across-boundary",
  "map-overlapping-lines",
  "map-too-many-overlaps",
  "removed-with-live-mappings",
  "out-of-records",
];
