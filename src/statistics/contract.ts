/**
 * The measurements of `iova stat` in a recording, as numbers for programs. Units stand in the names; pages are of 4 KiB. docs/stat.schema.json is
 * the answer of `--json` as a JSON schema.
 */

/** The answer of `iova stat --json`. */
export interface StatAnswer extends TraceStatistics {
  /** How the trace was read. */
  readonly trace: TraceReading;
}

/** The reading of the trace, before any measurement. */
export interface TraceReading {
  /** The file as named on the command line; `-` is standard input. */
  readonly file: string;
  /** Bytes of the unpacked text. */
  readonly textBytes: number;
  /** Lines of the text. */
  readonly lines: number;
  /** Events that were read. */
  readonly events: number;
  /** CPUs that have events. */
  readonly cpus: number;
  /** CPUs of the recorded machine, from the header; 0 when the header has no such number. */
  readonly machineCpus: number;
  /** Devices that the events name. */
  readonly devices: readonly string[];
  /** From the header: events in the ring buffer, and events that were ever written to it. −1 when the header has no such number. */
  readonly entriesInBuffer: number;
  /** Events that were ever written to the ring buffer. −1 when the header has no such number. */
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

/**
 * Classes of lines: events of map, unmap and the DMA API; other events; unreadable events; lost-event marks; stacks;
 * comments; blank lines; lines of other text.
 */
export type LineClass = "events" | "otherEvents" | "malformed" | "lost" | "stacks" | "comments" | "blank" | "foreign";

/** The lines of one class. */
export interface LineClassReading {
  /** Number of lines. */
  readonly count: number;
  /** Number of the first line of the class, from 1; 0 when the class is empty. */
  readonly firstLine: number;
  /** Text of that line, shortened, with control characters escaped. */
  readonly firstText: string;
}

/** The numbers of a recording. */
export interface TraceStatistics {
  /** Version of this answer. It is raised when a field changes its meaning or is removed. */
  readonly version: 1;
  /** Time from the first event to the last; null when the trace's clock counts without a unit. */
  readonly seconds: number | null;
  /** In descending order of activity. */
  readonly devices: readonly DeviceStatistics[];
  /** Sentences about what this recording does not show, and about assumptions. */
  readonly limits: readonly string[];
}

/** The numbers of one device, or of devices that share a table. */
export interface DeviceStatistics {
  /** The device's name in the trace, or several names when devices share a table; `unknown` when no line names the device. */
  readonly device: string;
  /** Mappings made in the recording. The `map` lines of one request of the DMA API are one mapping. */
  readonly maps: number;
  /** Mappings of these that the recording unmaps whole. */
  readonly unmaps: number;
  /** maps − unmaps. */
  readonly neverUnmapped: number;
  /** Requests that failed. */
  readonly failures: number;
  /** `map` lines. */
  readonly mapLines: number;
  /** `unmap` lines; a line that ends mappings of several devices counts for one of them. */
  readonly unmapLines: number;
  /**
   * Ranges that the recording unmaps, but does not map: they were mapped earlier, or the `map` line is lost. They count as live from the
   * recording's beginning.
   */
  readonly olderRanges: number;
  /** Bytes of these ranges. */
  readonly olderBytes: number;
  /** Bytes and pages of all mappings made, whole pages. */
  readonly bytes: number;
  /** Pages of 4 KiB of all mappings made. */
  readonly pages: number;
  /** Mappings by size: above half of `atMostBytes`, up to `atMostBytes`. Classes without a mapping are left out. */
  readonly sizes: readonly SizeClass[];
  /** Lifetimes of mappings whose map and unmap are recorded; null when there are no such mappings, or when the clock has no unit. */
  readonly lifetimes: Lifetimes | null;
  /** What was mapped and not yet unmapped. */
  readonly live: LiveNumbers;
  /** Maps per second; null when the recording has no length. */
  readonly mapsPerSecond: MapRate | null;
  /** The largest hole; null when no address of the device is known. */
  readonly hole: HoleNumbers | null;
  /** The recording in equal parts, in order of time. */
  readonly overTime: readonly TimePart[];
}

/** Mappings of more than half of `atMostBytes`, and at most `atMostBytes`. */
export interface SizeClass {
  /** The largest size of the class, in bytes: a power of two. */
  readonly atMostBytes: number;
  /** Mappings of the class. */
  readonly maps: number;
}

/** Times from map to unmap, in microseconds. */
export interface Lifetimes {
  /** Mappings whose map and unmap are recorded. */
  readonly known: number;
  /** `known` as a share of `maps`, 0 … 1. */
  readonly knownShare: number;
  /** Nearest-rank quantiles. */
  readonly p50Microseconds: number;
  /** Nine in ten mappings lived at most this long. */
  readonly p90Microseconds: number;
  /** 99 in 100 mappings lived at most this long. */
  readonly p99Microseconds: number;
  /** The longest lifetime. */
  readonly maxMicroseconds: number;
}

/** Means are weighted by time. */
export interface LiveNumbers {
  /** The most bytes that were mapped at a time. */
  readonly peakBytes: number;
  /** The most mappings that were live at a time. */
  readonly peakMappings: number;
  /** Mapped bytes, averaged over time. */
  readonly meanBytes: number;
  /** Live mappings, averaged over time. */
  readonly meanMappings: number;
}

/** Maps per second. */
export interface MapRate {
  /** The rate over the whole recording. */
  readonly mean: number;
  /** The rate of the `peakWindowSeconds` with the most maps. */
  readonly peak: number;
  /** 0.1, or the length of a shorter recording. */
  readonly peakWindowSeconds: number;
}

/** The largest range without a recorded mapping, in [one page, limit). */
export interface HoleNumbers {
  /** Assumed: the smallest power of two above every address of the device. The trace does not name the mask. */
  readonly limitBytes: number;
  /** The size of the largest hole at the time when it was smallest. */
  readonly leastBytes: number;
  /** The size of the largest hole at the end of the recording. */
  readonly atEndBytes: number;
}

/** One of the equal parts of a recording. */
export interface TimePart {
  /** Time since the first event; null when the trace's clock counts without a unit. */
  readonly startSeconds: number | null;
  /** Mappings made in the part. */
  readonly maps: number;
  /** Maximum within the part. */
  readonly liveBytes: number;
  /** Minimum within the part; null when no address is known. */
  readonly largestHoleBytes: number | null;
}
