/**
 * Finds the dma event that caused an `iommu` line. The lines name no device; a dma event does, and says where a request
 * begins and ends. In one pass over the columns:
 *
 * - `map`: claimed by the dma event that follows on the same CPU and whose addresses it lies inside.
 * - `unmap`: `dma_unmap_page/phys` is logged after it (another CPU may have mapped the same address meanwhile),
 *   `dma_unmap_sg` and `dma_free` before it. A `dma_unmap_sg` names no DMA address: it is matched by device and list.
 *
 * Recordings without dma events, and paths that emit none, leave everything unclaimed: that is no error.
 */
import {
  DMA_ALLOC,
  DMA_ALLOC_ERROR,
  DMA_FREE,
  DMA_MAP,
  DMA_MAP_RESOURCE,
  DMA_MAP_SG,
  DMA_MAP_SG_ERROR,
  DMA_UNMAP,
  DMA_UNMAP_RESOURCE,
  DMA_UNMAP_SG,
  MAP,
  type TraceEvents,
  UNMAP,
} from "./events.ts";

/** No dma event is known. */
export const UNCLAIMED = -1;

/** IOMMUs of today have no smaller page; bus addresses count in these, so that 64 bits stay exact in a plain number. */
export const TRACE_PAGE_BYTES = 4096;

export interface DeviceJoin {
  /** For each row: the row of the dma event that mapped it (`map`), or whose mapping it ends (`unmap`); else UNCLAIMED. */
  readonly claim: Int32Array;
  /** Mappings that failed in the recording. */
  readonly failedMaps: number;
  /** dma events that map, of devices that no `map` line belongs to: no IOMMU translates for them. */
  readonly untranslated: number;
}

/** Number of lines that are kept for a CPU: enough for the chunks of the longest request and the unmaps of a burst. */
const CHUNKS_REMEMBERED = 16384;
const UNMAPS_REMEMBERED = 64;
/** Largest number of other lines (nested interrupts, paths without dma events) between two lines of one request. */
const STRANGERS = 256;

/** Page number of a row's IOVA. */
export function pageOf(events: TraceEvents, row: number): number {
  return pageNumber(events.iovaLow[row] as number, events.iovaHigh[row] as number);
}

/** Number of pages that a `map` or `unmap` row covers. */
export function pagesOf(events: TraceEvents, row: number): number {
  return Math.ceil((events.bytes[row] as number) / TRACE_PAGE_BYTES);
}

export function pageNumber(low: number, high: number): number {
  return (high >>> 0) * 1048576 + (low >>> 12);
}

/** Lines of one CPU that wait for their continuation. */
class Cpu {
  /** `map` rows that no dma event has claimed. */
  readonly maps: number[] = [];
  /** `unmap` rows whose dma event may follow. */
  readonly unmaps: number[] = [];
  /** dma events that mapped what the next `unmap` lines will end. */
  readonly ending: number[] = [];
}

/** dma mappings that are live, by device and by a number that identifies them: first page, or first physical address. */
class LiveMappings {
  readonly #rows: Map<number, Map<number, number[]>> = new Map();

  add(device: number, key: number, row: number): void {
    const ofDevice = this.#rows.get(device) ?? new Map<number, number[]>();
    this.#rows.set(device, ofDevice);
    const rows = ofDevice.get(key);
    if (rows === undefined) ofDevice.set(key, [row]);
    else rows.push(row);
  }

  /** Takes the oldest that `fits`: after an unmap whose dma event comes late, a newer one may have the same address. */
  take(device: number, key: number, fits: (row: number) => boolean): number {
    const rows = this.#rows.get(device)?.get(key);
    const at = rows?.findIndex(fits) ?? -1;
    if (rows === undefined || at < 0) return UNCLAIMED;
    const row = rows[at] as number;
    rows.splice(at, 1);
    if (rows.length === 0) this.#rows.get(device)?.delete(key);
    return row;
  }
}

class Joiner {
  readonly claim: Int32Array;
  failedMaps = 0;
  untranslated = 0;
  readonly #events: TraceEvents;
  readonly #cpus: Map<number, Cpu> = new Map();
  readonly #byAddress = new LiveMappings();
  readonly #byList = new LiveMappings();

  constructor(events: TraceEvents) {
    this.#events = events;
    this.claim = new Int32Array(events.length).fill(UNCLAIMED);
  }

  read(row: number): void {
    const cpu = this.#cpu(this.#events.cpu[row] as number);
    switch (this.#events.kind[row]) {
      case MAP:
        remember(cpu.maps, row, CHUNKS_REMEMBERED);
        return;
      case UNMAP:
        this.#unmap(cpu, row);
        return;
      case DMA_MAP:
      case DMA_MAP_RESOURCE:
      case DMA_MAP_SG:
      case DMA_ALLOC:
        this.#dmaMap(cpu, row);
        return;
      case DMA_MAP_SG_ERROR:
      case DMA_ALLOC_ERROR:
        this.failedMaps++;
        return;
      case DMA_UNMAP:
      case DMA_UNMAP_RESOURCE:
        this.#dmaUnmap(cpu, row);
        return;
      case DMA_FREE:
        remember(cpu.ending, this.#takeByAddress(row), UNMAPS_REMEMBERED);
        return;
      case DMA_UNMAP_SG:
        remember(cpu.ending, this.#takeByList(row), UNMAPS_REMEMBERED);
        return;
    }
  }

  #cpu(number: number): Cpu {
    let cpu = this.#cpus.get(number);
    if (cpu === undefined) {
      cpu = new Cpu();
      this.#cpus.set(number, cpu);
    }
    return cpu;
  }

  #dmaMap(cpu: Cpu, row: number): void {
    const events = this.#events;
    if (events.iovaLow[row] === -1 && events.iovaHigh[row] === -1) {
      this.failedMaps++;
      return;
    }
    if (!this.#claimMaps(cpu, row)) {
      this.untranslated++;
      return;
    }
    const device = events.device[row] as number;
    if (events.kind[row] === DMA_MAP_SG) this.#byList.add(device, this.#listKey(row), row);
    else this.#byAddress.add(device, pageOf(events, row), row);
  }

  /** Claims the CPU's latest `map` lines inside the event's addresses; false when there is none. */
  #claimMaps(cpu: Cpu, row: number): boolean {
    const maps = cpu.maps;
    const wanted = this.#coveredPages(row);
    let claimed = 0;
    let strangers = 0;
    for (let at = maps.length - 1; at >= 0 && claimed < wanted && strangers < STRANGERS; at--) {
      const map = maps[at] as number;
      if (!this.#covers(row, pageOf(this.#events, map))) {
        strangers++;
        continue;
      }
      this.claim[map] = row;
      claimed += pagesOf(this.#events, map);
      maps.splice(at, 1);
    }
    return claimed > 0;
  }

  #coveredPages(row: number): number {
    const { segments, lists, list } = this.#events;
    const own = list[row] as number;
    const count = lists.segmentCount[own] as number;
    if (count === 0) return this.#pagesFrom(this.#events.iovaLow[row] as number, this.#events.bytes[row] as number);
    let pages = 0;
    for (let i = lists.segmentFirst[own] as number, end = i + count; i < end; i++) {
      pages += this.#pagesFrom(segments.low[i] as number, segments.bytes[i] as number);
    }
    return pages;
  }

  #pagesFrom(low: number, bytes: number): number {
    return Math.ceil(((low & (TRACE_PAGE_BYTES - 1)) + bytes) / TRACE_PAGE_BYTES);
  }

  /** True if the page lies in a mapping of the dma event. */
  #covers(row: number, page: number): boolean {
    const { segments, lists, list, iovaLow, iovaHigh, bytes } = this.#events;
    const own = list[row] as number;
    const count = lists.segmentCount[own] as number;
    if (count === 0) {
      return this.#inside(page, iovaLow[row] as number, iovaHigh[row] as number, bytes[row] as number);
    }
    for (let i = lists.segmentFirst[own] as number, end = i + count; i < end; i++) {
      const [low, high] = [segments.low[i] as number, segments.high[i] as number];
      if (this.#inside(page, low, high, segments.bytes[i] as number)) return true;
    }
    return false;
  }

  #inside(page: number, low: number, high: number, bytes: number): boolean {
    const first = pageNumber(low, high);
    return page >= first && page < first + this.#pagesFrom(low, bytes);
  }

  #unmap(cpu: Cpu, row: number): void {
    const first = pageOf(this.#events, row);
    for (let at = cpu.ending.length - 1; at >= 0; at--) {
      const mapped = cpu.ending[at] as number;
      if (mapped === UNCLAIMED || !this.#covers(mapped, first)) continue;
      this.claim[row] = mapped;
      cpu.ending.splice(at, 1);
      return;
    }
    remember(cpu.unmaps, row, UNMAPS_REMEMBERED);
  }

  #dmaUnmap(cpu: Cpu, row: number): void {
    const mapped = this.#takeByAddress(row);
    if (mapped === UNCLAIMED) return;
    const page = pageOf(this.#events, row);
    for (let at = cpu.unmaps.length - 1; at >= 0; at--) {
      const unmap = cpu.unmaps[at] as number;
      const first = pageOf(this.#events, unmap);
      if (page < first || page >= first + pagesOf(this.#events, unmap)) continue;
      this.claim[unmap] = mapped;
      cpu.unmaps.splice(at, 1);
      return;
    }
  }

  #takeByAddress(row: number): number {
    return this.#byAddress.take(this.#events.device[row] as number, pageOf(this.#events, row), () => true);
  }

  #takeByList(row: number): number {
    const events = this.#events;
    return this.#byList.take(events.device[row] as number, this.#listKey(row), (mapped) => this.#sameList(mapped, row));
  }

  #listKey(row: number): number {
    const { elements, lists, list } = this.#events;
    const first = lists.elementFirst[list[row] as number] as number;
    return pageNumber(elements.low[first] as number, elements.high[first] as number);
  }

  #sameList(mapped: number, row: number): boolean {
    const { elements, lists, list } = this.#events;
    const [one, other] = [list[mapped] as number, list[row] as number];
    const count = lists.elementCount[other] as number;
    if (lists.elementCount[one] !== count) return false;
    const [a, b] = [lists.elementFirst[one] as number, lists.elementFirst[other] as number];
    for (let i = 0; i < count; i++) {
      if (elements.low[a + i] !== elements.low[b + i] || elements.high[a + i] !== elements.high[b + i]) return false;
    }
    return true;
  }
}

/** Appends, and now and then forgets the oldest half. */
function remember(rows: number[], row: number, most: number): void {
  rows.push(row);
  if (rows.length > 2 * most) rows.splice(0, most);
}

/** Joins the `iommu` lines of a trace with its dma events. */
export function joinDevices(events: TraceEvents): DeviceJoin {
  const joiner = new Joiner(events);
  for (let row = 0; row < events.length; row++) joiner.read(row);
  return joiner;
}
