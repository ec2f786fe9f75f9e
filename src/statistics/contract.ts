/**
 * What `iova stat` measures in a recording, as numbers for programs. Units stand in the names; pages are of 4 KiB. docs/stat.schema.json is
 * the answer of `--json` as a JSON schema.
 */

/** The answer of `iova stat --json`. */
export interface StatAnswer extends TraceStatistics {
  readonly trace: TraceReading;
}

/** What was read, before anything was measured. */
export interface TraceReading {
  /** As named on the command line; - is standard input. */
  readonly file: string;
  /** Of the text, unpacked. */
  readonly textBytes: number;
  readonly lines: number;
  readonly events: number;
  /** CPUs that have events. */
  readonly cpus: number;
  /** CPUs of the recorded machine, by the header; 0 when it doesn't say. */
  readonly machineCpus: number;
  readonly devices: readonly string[];
  /** Of the header, −1 when it doesn't say: events in the ring buffer, and events that were ever written to it. */
  readonly entriesInBuffer: number;
  readonly entriesWritten: number;
  /** Entries of the ring buffer that stand in the file. */
  readonly entriesRead: number;
  /** Events that `LOST` lines count. */
  readonly lostEvents: number;
  /** The file ends in the middle of a line. */
  readonly cutLastLine: boolean;
  /** Why the first malformed line can't be read; empty when there is none. */
  readonly malformedReason: string;
  /** Each line is in one class; the counts add up to `lines`. */
  readonly lineClasses: Readonly<Record<LineClass, LineClassReading>>;
}

export type LineClass = "events" | "otherEvents" | "malformed" | "lost" | "stacks" | "comments" | "blank" | "foreign";

export interface LineClassReading {
  readonly count: number;
  /** From 1; 0 when there is none. */
  readonly firstLine: number;
  /** Shortened, control characters escaped. */
  readonly firstText: string;
}

export interface TraceStatistics {
  /** Raised when a field changes its meaning or goes away. */
  readonly version: 1;
  /** From the first event to the last; null when the trace's clock counts without a unit. */
  readonly seconds: number | null;
  /** Most active first. */
  readonly devices: readonly DeviceStatistics[];
  /** What the numbers can't show in this recording, and what is assumed: whole sentences. */
  readonly limits: readonly string[];
}

export interface DeviceStatistics {
  /** As the trace names it, several when they share a table; `unknown` when no line names the device. */
  readonly device: string;
  /** Mappings made in the recording. The `map` lines of one request of the DMA API are one mapping. */
  readonly maps: number;
  /** Of these, those that the recording unmaps whole. */
  readonly unmaps: number;
  /** maps − unmaps. */
  readonly neverUnmapped: number;
  /** Requests that failed. */
  readonly failures: number;
  readonly mapLines: number;
  /** `unmap` lines; a line that ends mappings of several devices counts for one of them. */
  readonly unmapLines: number;
  /** Ranges that the recording unmaps, but does not map: older than it, or their map is lost. They count as live from its beginning. */
  readonly olderRanges: number;
  readonly olderBytes: number;
  /** Bytes and pages of all mappings made, whole pages. */
  readonly bytes: number;
  readonly pages: number;
  /** Mappings by size: above half of `atMostBytes`, up to `atMostBytes`. Classes without a mapping are left out. */
  readonly sizes: readonly { readonly atMostBytes: number; readonly maps: number }[];
  /** Of mappings whose map and unmap are recorded; null when there is none, or the clock has no unit. */
  readonly lifetimes: Lifetimes | null;
  readonly live: LiveNumbers;
  /** Null when the recording has no length. */
  readonly mapsPerSecond: MapRate | null;
  /** Null when no address of the device is known. */
  readonly hole: HoleNumbers | null;
  /** Equal parts of the recording, in order. */
  readonly overTime: readonly TimePart[];
}

export interface Lifetimes {
  readonly known: number;
  /** Of `maps`, 0 … 1. */
  readonly knownShare: number;
  /** Nearest-rank quantiles. */
  readonly p50Microseconds: number;
  readonly p90Microseconds: number;
  readonly p99Microseconds: number;
  readonly maxMicroseconds: number;
}

/** Means are weighted by time. */
export interface LiveNumbers {
  readonly peakBytes: number;
  readonly peakMappings: number;
  readonly meanBytes: number;
  readonly meanMappings: number;
}

export interface MapRate {
  readonly mean: number;
  /** Most maps within `peakWindowSeconds`, as a rate. */
  readonly peak: number;
  /** 0.1, or the length of a shorter recording. */
  readonly peakWindowSeconds: number;
}

/** Free of mappings that the recording shows, in [one page, limit). */
export interface HoleNumbers {
  /** Assumed: the smallest power of two above every address of the device. The trace does not name the mask. */
  readonly limitBytes: number;
  /** The largest hole when it was smallest. */
  readonly leastBytes: number;
  readonly atEndBytes: number;
}

export interface TimePart {
  /** Since the first event; null when the trace's clock counts without a unit. */
  readonly startSeconds: number | null;
  readonly maps: number;
  /** Most within the part. */
  readonly liveBytes: number;
  /** Smallest within the part; null when no address is known. */
  readonly largestHoleBytes: number | null;
}
