/**
 * The lives of mappings: which `map` line begins one, and which `unmap` line ends it. Lives of different devices have the same addresses, so an
 * unmap ends the life that fits it best: its device first, then its length. A part that is unmapped becomes a life of its own.
 */
import {
  ATTACH_DEVICE,
  DMA_UNMAP,
  DMA_UNMAP_RESOURCE,
  grown,
  MAP,
  TASK_CONTEXT,
  type Trace,
  type TraceEvents,
  UNKNOWN_DEVICE,
  UNMAP,
} from "../../trace/events.ts";
import { joinDevices, pageOf, pagesOf, UNCLAIMED } from "../../trace/join.ts";
import { Owners, UNKNOWN_OWNER } from "./owners.ts";
import { RangeIndex } from "./range-index.ts";

/** In place of a row: the mapping was made before the trace, or is live at its end. */
export const NO_ROW = -1;

/** The index of no life. */
const NO_LIFE = -1;

/** VFIO maps two pages at 0 to try a new domain, and takes them away at once. */
const TRIAL_PAGES = 2;
const TRIAL_NANOSECONDS = 20e6;

/** One row a life, in typed columns. */
export class Lives {
  length = 0;
  /** Pages of 4 KiB, [first, end). */
  first: Float64Array;
  end: Float64Array;
  mapRow: Int32Array;
  unmapRow: Int32Array;
  owner: Int32Array;

  /** @param capacity - lives for which there is room at first, 2 or more */
  constructor(capacity: number) {
    this.first = new Float64Array(capacity);
    this.end = new Float64Array(capacity);
    this.mapRow = new Int32Array(capacity);
    this.unmapRow = new Int32Array(capacity);
    this.owner = new Int32Array(capacity);
  }

  add(first: number, end: number, mapRow: number, unmapRow: number, owner: number): number {
    if (this.length === this.first.length) this.#grow();
    const life = this.length++;
    this.first[life] = first;
    this.end[life] = end;
    this.mapRow[life] = mapRow;
    this.unmapRow[life] = unmapRow;
    this.owner[life] = owner;
    return life;
  }

  #grow(): void {
    const capacity = this.first.length + (this.first.length >>> 1);
    this.first = grown(this.first, capacity);
    this.end = grown(this.end, capacity);
    this.mapRow = grown(this.mapRow, capacity);
    this.unmapRow = grown(this.unmapRow, capacity);
    this.owner = grown(this.owner, capacity);
  }
}

export interface LifeHistory {
  readonly lives: Lives;
  readonly owners: Owners;
  /** For each row: the dma event that mapped it, or UNCLAIMED. */
  readonly claim: Int32Array;
  /** Live ranges that could not be told apart when an unmap ended one of them. */
  readonly ambiguousUnmaps: number;
}

class Historian {
  readonly lives: Lives;
  readonly owners: Owners;
  readonly claim: Int32Array;
  ambiguousUnmaps = 0;
  readonly #events: TraceEvents;
  readonly #live: RangeIndex;
  /** For each `unmap` row: the device that the dma event after it names. */
  readonly #unmapDevice: Int32Array;

  constructor(trace: Trace) {
    this.#events = trace.events;
    // Mostly each map begins a life, and only unmaps of a part begin another one.
    this.lives = new Lives(256 + countOf(MAP, trace.events));
    this.#live = new RangeIndex(this.lives);
    this.owners = new Owners(trace);
    this.claim = joinDevices(trace.events).claim;
    this.#unmapDevice = unmapDevices(trace.events, this.claim);
  }

  read(row: number): void {
    switch (this.#events.kind[row]) {
      case MAP:
        this.#map(row);
        break;
      case UNMAP:
        this.#unmap(row);
        break;
      case ATTACH_DEVICE:
        this.owners.attach(row);
        break;
    }
  }

  #map(row: number): void {
    const first = pageOf(this.#events, row);
    const pages = pagesOf(this.#events, row);
    const owner = this.#ownerOf(row);
    const life = this.lives.add(first, first + pages, row, NO_ROW, owner);
    this.#live.add(life);
    if (first === 0 && pages === TRIAL_PAGES) this.owners.usesVfio(row);
  }

  #ownerOf(row: number): number {
    const events = this.#events;
    if (events.device[row] !== UNKNOWN_DEVICE) return this.owners.ofDevice(events.device[row] as number);
    const claim = this.claim[row] as number;
    if (claim !== UNCLAIMED) return this.owners.ofDevice(events.device[claim] as number);
    return this.owners.ofTask(row);
  }

  #unmap(row: number): void {
    const end = pageOf(this.#events, row) + pagesOf(this.#events, row);
    let page = pageOf(this.#events, row);
    let last = NO_LIFE;
    while (page < end) {
      const life = this.#pick(page, end, row, last);
      if (life !== NO_LIFE) {
        last = life;
        page = this.#cut(life, page, Math.min(end, this.lives.end[life] as number), row);
        continue;
      }
      // The mapping was made before the trace began, or its map line was lost.
      const next = this.#live.nextBegin(page + 1, end) ?? end;
      this.lives.add(page, next, NO_ROW, row, this.owners.ofDevice(this.#deviceOfUnmap(row)));
      page = next;
    }
  }

  #deviceOfUnmap(row: number): number {
    const own = this.#events.device[row] as number;
    return own === UNKNOWN_DEVICE ? (this.#unmapDevice[row] as number) : own;
  }

  /** The live life at `page` that the unmap fits best; NO_LIFE when every one there is of another device. `last` is the one that it ended before. */
  #pick(page: number, end: number, row: number, last: number): number {
    const { owner } = this.lives;
    const device = this.#deviceOfUnmap(row);
    let best = NO_LIFE;
    let bestScore = -1;
    let equals = 0;
    const count = this.#live.find(page);
    for (let at = 0; at < count; at++) {
      const life = this.#live.found[at] as number;
      const score = this.#score(life, page, end, row, device, last);
      if (score === bestScore && owner[best] !== owner[life]) equals++;
      if (score <= bestScore) continue;
      best = life;
      bestScore = score;
      equals = 0;
    }
    if (equals > 0) this.ambiguousUnmaps++;
    return best;
  }

  #score(life: number, page: number, end: number, row: number, device: number, last: number): number {
    const { task, cpu, context } = this.#events;
    const { lives, owners } = this;
    const owner = lives.owner[life] as number;
    const mapRow = lives.mapRow[life] as number;
    const lifeEnd = lives.end[life] as number;
    let score = 0;
    if (device !== UNKNOWN_DEVICE) {
      if (owners.has(owner, device)) score += 128;
      else if (owner !== UNKNOWN_OWNER) return -1;
    } else if (owners.isTask(owner)) {
      // A task's mapping for user space is not unmapped in an interrupt.
      if (context[row] !== TASK_CONTEXT) return -1;
      if (task[mapRow] === task[row]) score += 64;
    }
    if (last !== NO_LIFE && lives.owner[last] === owner) score += 32;
    if (lives.first[life] === page) score += 4;
    if (lifeEnd === end) score += 16;
    else if (lifeEnd < end) score += 8;
    if (task[mapRow] === task[row]) score += 2;
    if (cpu[mapRow] === cpu[row]) score += 1;
    return score;
  }

  /** Ends the life for its pages [first, end), which the others outlive; returns `end`. */
  #cut(life: number, first: number, end: number, row: number): number {
    const { lives } = this;
    this.#live.remove(life);
    const [wholeFirst, wholeEnd] = [lives.first[life] as number, lives.end[life] as number];
    lives.first[life] = first;
    lives.end[life] = end;
    lives.unmapRow[life] = row;
    if (wholeFirst < first) this.#leave(life, wholeFirst, first);
    if (end < wholeEnd) this.#leave(life, end, wholeEnd);
    return end;
  }

  /** The pages [first, end) of what became `life` live on. */
  #leave(life: number, first: number, end: number): void {
    const { mapRow, owner } = this.lives;
    this.#live.add(this.lives.add(first, end, mapRow[life] as number, NO_ROW, owner[life] as number));
  }
}

function countOf(wanted: number, { kind, length }: TraceEvents): number {
  let count = 0;
  for (let row = 0; row < length; row++) if (kind[row] === wanted) count++;
  return count;
}

/** `dma_unmap_page` and `dma_unmap_phys` stand behind their `unmap` line on the same CPU and name the device, even of a mapping older than the trace. */
function unmapDevices(events: TraceEvents, claim: Int32Array): Int32Array {
  const devices = new Int32Array(events.length).fill(UNKNOWN_DEVICE);
  const lastUnmap = new Map<number, number>();
  for (let row = 0; row < events.length; row++) {
    const kind = events.kind[row];
    const cpu = events.cpu[row] as number;
    if (kind === UNMAP) {
      lastUnmap.set(cpu, row);
      const mapped = claim[row] as number;
      if (mapped !== UNCLAIMED) devices[row] = events.device[mapped] as number;
    } else if (kind === DMA_UNMAP || kind === DMA_UNMAP_RESOURCE) {
      const unmap = lastUnmap.get(cpu);
      if (unmap === undefined || devices[unmap] !== UNKNOWN_DEVICE) continue;
      const first = pageOf(events, unmap);
      const page = pageOf(events, row);
      if (page >= first && page < first + pagesOf(events, unmap)) devices[unmap] = events.device[row] as number;
    }
  }
  return devices;
}

/** The lives of all mappings of a trace, whose rows are in the order of time. */
export function livesOf(trace: Trace): LifeHistory {
  const historian = new Historian(trace);
  for (let row = 0; row < trace.events.length; row++) historian.read(row);
  const { lives, owners, claim, ambiguousUnmaps } = historian;
  return { lives, owners, claim, ambiguousUnmaps };
}

/** True if this is the mapping with which VFIO tests a new domain. */
export function isTrial(lives: Lives, life: number, events: TraceEvents): boolean {
  const [map, unmap] = [lives.mapRow[life] as number, lives.unmapRow[life] as number];
  if (map === NO_ROW || unmap === NO_ROW || (lives.end[life] as number) > TRIAL_PAGES) return false;
  return (
    pageOf(events, map) === 0 &&
    pagesOf(events, map) === TRIAL_PAGES &&
    timeBetween(events, map, unmap) < TRIAL_NANOSECONDS
  );
}

function timeBetween(events: TraceEvents, from: number, to: number): number {
  return (events.time[to] as number) - (events.time[from] as number);
}
