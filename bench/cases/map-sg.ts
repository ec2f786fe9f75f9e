/** mapSg and unmapSg on the software machine, entries and invalidations included. */
import { DmaDevice } from "../../src/dma/device.ts";
import { ScatterList } from "../../src/dma/scatter-list.ts";
import { SoftwareMachine } from "../../src/machines/software/machine.ts";
import { LinearPlatform } from "../../src/platforms/linear/platform.ts";
import { SingleLockTable } from "../../src/rivals/single-lock.ts";
import type { MappingTable } from "../../src/table/contract.ts";
import { DEVICE_READS_AND_WRITES, type DmaWindow } from "../../src/units/numbers.ts";
import type { BenchCase, Cell, Work } from "../cell.ts";
import { nextRandom, seedOf } from "../churn.ts";
import { FNV_BASIS, fold, measureSlices, warmUp } from "../measure.ts";
import type { Scale } from "../scale.ts";
import { windowOf } from "../subjects.ts";

/** Rows. */
const ROWS = ["pooled, strict", "cached, strict", "cached, lazy", "single lock", "nothing"] as const;
type Row = (typeof ROWS)[number];

const PAGE_BYTES = 4096;
/** Most elements and lists that are mapped at a time, like a queue of requests in flight. */
const ELEMENTS = 2048;
const LISTS = 128;

export const mapSg: BenchCase = {
  name: "map-sg",
  about:
    "mapSg and unmapSg of lists of n pages that lie apart in memory, on the software machine: TCEs are written, published, cleared " +
    `and invalidated. At most ${LISTS} lists and ${ELEMENTS} elements are mapped at a time. "nothing" is the code of mapSg over a ` +
    "table that does nothing. The table has 64 Ki entries.",
  metrics: [
    { key: "map+unmap", title: "mapSg and unmapSg [ns per element]", digits: 1 },
    { key: "map", title: "mapSg [ns per element]", digits: 1 },
    { key: "unmap", title: "unmapSg [ns per element]", digits: 1 },
  ],
  operation: "element mapped and unmapped",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [1, 16, 256].flatMap((elements) =>
      ROWS.map((row) => ({
        case: "map-sg",
        row,
        at: `${elements} ${elements === 1 ? "element" : "elements"}`,
        threads: 1,
        work: {
          subject: subjectOf(row),
          entries: 65_536,
          pools: 16,
          arena: 65_536,
          fillPercent: 0,
          slices: scale.slices,
          operations: atOnce(elements) * elements * (scale.quick ? 1 : 8),
          seed,
          amount: elements,
          variant: row,
        },
      })),
    );
  },
  async play(work: Work) {
    const device = new DmaDevice(tableOf(work));
    const lists = listsOf(work.amount ?? 1, work.seed);
    const times = new Times(work.slices);
    let hash = FNV_BASIS;
    const elements = work.amount ?? 1;
    const rounds = work.operations / (atOnce(elements) * elements);
    warmUp(work.slices, () => {
      for (let i = 0; i < rounds; i++) hash = round(device, lists, undefined, 0, hash);
    });
    const slices = measureSlices(work.slices, (slice) => {
      for (let i = 0; i < rounds; i++) hash = round(device, lists, times, slice, hash);
    });
    const operations = work.operations;
    return { slices, operations, hash, values: times.perElement(operations) };
  },
};

/** Lists of n elements that are mapped at a time. */
function atOnce(elements: number): number {
  return Math.min(LISTS, ELEMENTS / elements);
}

function subjectOf(row: Row): Work["subject"] {
  if (row === "single lock" || row === "nothing") return row;
  return row === "pooled, strict" ? "pooled" : "cached";
}

/** Milliseconds of each slice, halved into mapping and unmapping. */
class Times {
  readonly map: Float64Array;
  readonly unmap: Float64Array;
  constructor(slices: number) {
    this.map = new Float64Array(slices);
    this.unmap = new Float64Array(slices);
  }
  /** The median slice, in nanoseconds per element. */
  perElement(elements: number): { readonly map: number; readonly unmap: number } {
    const middle = (times: Float64Array) => ((times.slice().sort()[times.length >>> 1] as number) * 1e6) / elements;
    return { map: middle(this.map), unmap: middle(this.unmap) };
  }
}

/** Maps all lists, and unmaps them. The digest of their bus addresses. */
function round(
  device: DmaDevice,
  lists: readonly ScatterList[],
  times: Times | undefined,
  slice: number,
  hash: number,
): number {
  const began = performance.now();
  for (let i = 0; i < lists.length; i++) {
    if (device.mapSg(lists[i] as ScatterList, DEVICE_READS_AND_WRITES) !== undefined) throw new Error("mapSg failed");
  }
  const mapped = performance.now();
  const digest = digestOf(lists, hash);
  const digested = performance.now();
  for (let i = 0; i < lists.length; i++) {
    if (device.unmapSg(lists[i] as ScatterList) !== undefined) throw new Error("unmapSg failed");
  }
  const unmapped = performance.now();
  if (times !== undefined) {
    times.map[slice] = (times.map[slice] as number) + mapped - began;
    times.unmap[slice] = (times.unmap[slice] as number) + unmapped - digested;
  }
  return digest;
}

function digestOf(lists: readonly ScatterList[], hash: number): number {
  let digest = hash;
  for (const list of lists) {
    for (let i = 0; i < list.segments; i++) {
      // In pages: the digest would never see bits above those of a word whose low bits are always 0.
      const page = Number((list.iovas[i] as bigint) >> 12n);
      digest = fold(fold(digest, page), (list.segmentBytes[i] as number) / PAGE_BYTES);
    }
  }
  return digest;
}

/** Lists of pages at random places, no two adjacent. */
function listsOf(elements: number, seed: number): ScatterList[] {
  let random = seedOf(seed, -1);
  return Array.from({ length: atOnce(elements) }, () => {
    const list = new ScatterList(elements);
    for (let i = 0; i < elements; i++) {
      random = nextRandom(random);
      list.addNumber((random & 0xffff) * 2 * PAGE_BYTES, PAGE_BYTES);
    }
    return list;
  });
}

/** The table that a cell's device maps in. */
export function tableOf(work: Work): MappingTable {
  const window = windowOf(work.entries);
  if (work.subject === "nothing") return new NoTable(window);
  const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, threads: 4 });
  const platform = LinearPlatform.create(machine, {
    format: "powernv-tce",
    window,
    table: {
      pools: work.pools,
      cache: work.subject === "cached" ? "fifo" : "none",
      invalidate: work.variant === "cached, lazy" ? "lazy" : "strict",
    },
  });
  return work.subject === "single lock" ? SingleLockTable.create(window, platform.ops) : platform.generic;
}

/** Allocates the next entries, and writes none. */
export class NoTable implements MappingTable {
  readonly window: DmaWindow;
  #next = 0;
  constructor(window: DmaWindow) {
    this.window = window;
  }
  allocate(count: number): number {
    const first = this.#next;
    this.#next = first + 2 * count < this.window.entries ? first + count : 0;
    return first;
  }
  set(): undefined {}
  setPages(): undefined {}
  setCoherent(): undefined {}
  synchronize(): undefined {}
  publish(): undefined {}
  commit(): void {}
  abandon(): undefined {}
  abandonAll(): undefined {}
  unmap(): undefined {}
  unmapAll(): undefined {}
  checkUnmap(): void {}
  awaitInvalidation(): undefined {}
}
