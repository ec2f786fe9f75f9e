/** The account of one device while a trace is read in the order of time: its live mappings and their maximum. */
import { TRACE_PAGE_BYTES } from "../trace/join.ts";
import type { DeviceStatistics, HoleNumbers, Lifetimes, MapRate, TimePart } from "./contract.ts";
import { Borders, LargestHole } from "./largest-hole.ts";
import { NumberColumn } from "./number-column.ts";

/** Parts of the recording that `overTime` has. */
const TIME_PARTS = 100;
/** The length of time over which the peak rate of maps is measured. */
const PEAK_WINDOW_NS = 100e6;
/** The first page of the address space; page 0 is never allocated. */
const FIRST_PAGE = 1;

/** Time of the recording, in nanoseconds or counts. */
export interface Span {
  readonly first: number;
  readonly last: number;
  /** False: the clock counts without a unit. */
  readonly hasUnit: boolean;
}

export class Account {
  readonly device: string;
  mapLines = 0;
  unmapLines = 0;
  failures = 0;
  olderRanges = 0;
  olderPages = 0;
  /** First page and end of every range. All must be added before the first range becomes live. */
  readonly borders: Borders = new Borders();
  readonly #span: Span;
  readonly #sizes = new Map<number, number>();
  readonly #lifetimes = new NumberColumn();
  readonly #mapTimes = new NumberColumn();
  #pages = 0;
  #hole: LargestHole | undefined;
  #limitPages = 0;
  #now: number;
  #live = { pages: 0, mappings: 0 };
  #peak = { pages: 0, mappings: 0 };
  /** Live pages and mappings times time. */
  #area = { pages: 0, mappings: 0 };
  #leastHole = 0;
  #part = 0;
  readonly #partMaps = new Float64Array(TIME_PARTS);
  readonly #partPages = new Float64Array(TIME_PARTS);
  readonly #partHole = new Float64Array(TIME_PARTS);

  constructor(device: string, span: Span) {
    this.device = device;
    this.#span = span;
    this.#now = span.first;
  }

  /** All `borders` are known. */
  open(): void {
    const { top } = this.borders;
    if (top === 0) return;
    this.#limitPages = Math.max(2, 2 ** Math.ceil(Math.log2(top)));
    this.#hole = new LargestHole(FIRST_PAGE, this.#limitPages, this.borders.distinct());
    this.#leastHole = this.#hole.largest;
    this.#partHole[0] = this.#hole.largest;
  }

  /** Advances the time; the live mappings do not change until then. */
  moveTo(time: number): void {
    const elapsed = time - this.#now;
    this.#area.pages += this.#live.pages * elapsed;
    this.#area.mappings += this.#live.mappings * elapsed;
    this.#now = time;
    const { first, last } = this.#span;
    const part =
      last > first ? Math.min(TIME_PARTS - 1, Math.floor(((time - first) / (last - first)) * TIME_PARTS)) : 0;
    while (this.#part < part) {
      this.#part++;
      this.#partPages[this.#part] = this.#live.pages;
      this.#partHole[this.#part] = this.#hole?.largest ?? 0;
    }
  }

  /** Begins a request of `pages`; its ranges follow. */
  begin(pages: number): void {
    this.#pages += pages;
    const size = 2 ** Math.ceil(Math.log2(Math.max(1, pages)));
    this.#sizes.set(size, (this.#sizes.get(size) ?? 0) + 1);
    this.#mapTimes.push(this.#now);
    this.#partMaps[this.#part] = (this.#partMaps[this.#part] as number) + 1;
    this.addMapping();
  }

  addMapping(): void {
    this.#live.mappings++;
    this.#peak.mappings = Math.max(this.#peak.mappings, this.#live.mappings);
  }

  /** Ends a request that was made at `since`, after all of its ranges have ended. */
  end(since: number): void {
    this.#lifetimes.push(this.#now - since);
    this.removeMapping();
  }

  removeMapping(): void {
    this.#live.mappings--;
  }

  cover(first: number, end: number): void {
    this.#change(first, end, 1);
  }

  uncover(first: number, end: number): void {
    this.#change(first, end, -1);
  }

  #change(first: number, end: number, by: 1 | -1): void {
    this.#live.pages += (end - first) * by;
    this.#peak.pages = Math.max(this.#peak.pages, this.#live.pages);
    const part = this.#part;
    this.#partPages[part] = Math.max(this.#partPages[part] as number, this.#live.pages);
    if (this.#hole === undefined) return;
    this.#hole.change(first, end, by);
    this.#leastHole = Math.min(this.#leastHole, this.#hole.largest);
    this.#partHole[part] = Math.min(this.#partHole[part] as number, this.#hole.largest);
  }

  /** The account's numbers, at the end of the recording. */
  close(): DeviceStatistics {
    this.moveTo(this.#span.last);
    const maps = this.#mapTimes.length;
    const unmaps = this.#lifetimes.length;
    const length = this.#span.last - this.#span.first;
    const mean = (area: number, now: number): number => (length === 0 ? now : area / length);
    return {
      device: this.device,
      maps,
      unmaps,
      neverUnmapped: maps - unmaps,
      failures: this.failures,
      mapLines: this.mapLines,
      unmapLines: this.unmapLines,
      olderRanges: this.olderRanges,
      olderBytes: this.olderPages * TRACE_PAGE_BYTES,
      bytes: this.#pages * TRACE_PAGE_BYTES,
      pages: this.#pages,
      sizes: [...this.#sizes]
        .sort(([a], [b]) => a - b)
        .map(([pages, count]) => ({ atMostBytes: pages * TRACE_PAGE_BYTES, maps: count })),
      lifetimes: this.#span.hasUnit ? lifetimesOf(this.#lifetimes.values, maps) : null,
      live: {
        peakBytes: this.#peak.pages * TRACE_PAGE_BYTES,
        peakMappings: this.#peak.mappings,
        meanBytes: mean(this.#area.pages, this.#live.pages) * TRACE_PAGE_BYTES,
        meanMappings: mean(this.#area.mappings, this.#live.mappings),
      },
      mapsPerSecond: this.#span.hasUnit && length > 0 ? rateOf(this.#mapTimes.values, length) : null,
      hole: this.#holeNumbers(),
      overTime: this.#overTime(length),
    };
  }

  #holeNumbers(): HoleNumbers | null {
    if (this.#hole === undefined) return null;
    return {
      limitBytes: this.#limitPages * TRACE_PAGE_BYTES,
      leastBytes: this.#leastHole * TRACE_PAGE_BYTES,
      atEndBytes: this.#hole.largest * TRACE_PAGE_BYTES,
    };
  }

  #overTime(length: number): TimePart[] {
    return Array.from({ length: length > 0 ? TIME_PARTS : 1 }, (_, part) => ({
      startSeconds: this.#span.hasUnit ? (length * part) / TIME_PARTS / 1e9 : null,
      maps: this.#partMaps[part] as number,
      liveBytes: (this.#partPages[part] as number) * TRACE_PAGE_BYTES,
      largestHoleBytes: this.#hole === undefined ? null : (this.#partHole[part] as number) * TRACE_PAGE_BYTES,
    }));
  }
}

/** Sorts `nanoseconds`. */
function lifetimesOf(nanoseconds: Float64Array, maps: number): Lifetimes | null {
  const known = nanoseconds.length;
  if (known === 0) return null;
  const sorted = nanoseconds.sort();
  const quantile = (share: number): number => (sorted[Math.ceil(share * known) - 1] as number) / 1000;
  return {
    known,
    knownShare: known / maps,
    p50Microseconds: quantile(0.5),
    p90Microseconds: quantile(0.9),
    p99Microseconds: quantile(0.99),
    maxMicroseconds: quantile(1),
  };
}

function rateOf(times: Float64Array, length: number): MapRate {
  const window = Math.min(PEAK_WINDOW_NS, length);
  let most = 0;
  let oldest = 0;
  times.forEach((time, at) => {
    while ((times[oldest] as number) < time - window) oldest++;
    most = Math.max(most, at - oldest + 1);
  });
  return {
    mean: times.length / (length / 1e9),
    peak: most / (window / 1e9),
    peakWindowSeconds: window / 1e9,
  };
}
