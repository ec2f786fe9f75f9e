/**
 * The measurements of `iova stat` in a recording, as numbers for programs. Units stand in the names; pages are of 4 KiB. docs/stat.schema.json is
 * the answer of `--json` as a JSON schema.
 */

/** The answer of `statisticsOfText`, and of `iova stat --json`. */
export interface StatAnswer extends TraceStatistics {
  /** Lines and events that were read, and lines that could not be. */
  readonly trace: TraceReading;
}

/** The reading of the trace, before any measurement. */
export interface TraceReading {
  /** Name of the trace, as given. */
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
  /** Events in the ring buffer, from the header of the trace; −1 when the header has no such number. */
  readonly entriesInBuffer: number;
  /** Events that were ever written to the ring buffer, from the header of the trace; −1 when the header has no such number. */
  readonly entriesWritten: number;
  /** Entries of the ring buffer that the trace has. */
  readonly entriesRead: number;
  /** Events that were lost in recording, as the `LOST` lines count them. */
  readonly lostEvents: number;
  /** True if the trace ends inside a line. */
  readonly cutLastLine: boolean;
  /** Error in the first malformed line; empty if every line can be read. */
  readonly malformedReason: string;
  /** Lines by class. Each line is in one class, so the counts add up to `lines`. */
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
  /** Version of this answer. A new version changes the meaning of a field or removes one. */
  readonly version: 1;
  /** Time from the first event to the last, in seconds; null when the trace's clock has no unit. */
  readonly seconds: number | null;
  /** Devices in descending order of activity. */
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
  /** Mappings of these that were unmapped as a whole in the recording. */
  readonly unmaps: number;
  /** Mappings that were not unmapped as a whole in the recording: maps − unmaps. */
  readonly neverUnmapped: number;
  /** Requests for a mapping that failed. */
  readonly failures: number;
  /** `map` lines. */
  readonly mapLines: number;
  /** `unmap` lines; a line that ends mappings of several devices counts for one of them. */
  readonly unmapLines: number;
  /**
   * Ranges that were unmapped but not mapped in the recording: they were mapped earlier, or the `map` line is lost. They count as live from the
   * recording's beginning.
   */
  readonly olderRanges: number;
  /** Bytes of these older ranges. */
  readonly olderBytes: number;
  /** Bytes of all mappings made, in whole pages. */
  readonly bytes: number;
  /** Pages of 4 KiB of all mappings made. */
  readonly pages: number;
  /** Mappings by size, in ascending order of size. Classes without a mapping are left out. */
  readonly sizes: readonly SizeClass[];
  /** Lifetimes of mappings whose map and unmap are recorded; null when there are no such mappings, or when the clock has no unit. */
  readonly lifetimes: Lifetimes | null;
  /** Mappings that are live at a time. */
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
  /** Half of the mappings lived at most this long (nearest rank, as the other quantiles). */
  readonly p50Microseconds: number;
  /** Nine in ten mappings lived at most this long. */
  readonly p90Microseconds: number;
  /** 99 in 100 mappings lived at most this long. */
  readonly p99Microseconds: number;
  /** The longest lifetime. */
  readonly maxMicroseconds: number;
}

/** Live mappings over the recording. Means are weighted by time. */
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
  /** The highest rate in any window of `peakWindowSeconds`. */
  readonly peak: number;
  /** Length of the window of `peak` in seconds: 0.1, or the length of a shorter recording. */
  readonly peakWindowSeconds: number;
}

/** The largest range without a recorded mapping, in [4096, limitBytes). */
export interface HoleNumbers {
  /** Assumed end of the address space, in bytes: the smallest power of two above every address of the device. The trace does not name the mask. */
  readonly limitBytes: number;
  /** The size of the largest hole at the time when it was smallest. */
  readonly leastBytes: number;
  /** The size of the largest hole at the end of the recording. */
  readonly atEndBytes: number;
}

/** A time slice of a recording; all slices are equally long. */
export interface TimePart {
  /** Beginning of the part, in seconds since the first event; null when the trace's clock has no unit. */
  readonly startSeconds: number | null;
  /** Mappings made in the part. */
  readonly maps: number;
  /** The most bytes that were mapped at a time in the part. */
  readonly liveBytes: number;
  /** Size of the largest hole in bytes, at the time in the part when it was smallest; null when no address is known. */
  readonly largestHoleBytes: number | null;
}
