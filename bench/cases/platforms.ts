/** The cost of each platform in a mapping: the same work on every board, with its entries, registers and hypercalls. */
import { DmaDevice } from "../../src/dma/device.ts";
import { ScatterList } from "../../src/dma/scatter-list.ts";
import type { Board } from "../../src/machines/board.ts";
import { BOARD_KINDS, boardNamed } from "../../src/machines/boards.ts";
import { DEVICE_READS_AND_WRITES } from "../../src/units/numbers.ts";
import type { BenchCase, Cell, Work } from "../cell.ts";
import { nextRandom, seedOf } from "../churn.ts";
import { FNV_BASIS, fold, measureSlices, warmUp } from "../measure.ts";
import type { Scale } from "../scale.ts";

const ENTRIES = 8192;
/** Pages of memory that are mapped from. */
const PAGES = 1024;
/** Lists that are mapped at a time. */
const LISTS = 8;
const LIST_ELEMENTS = 256;

export const platforms: BenchCase = {
  name: "platforms",
  about:
    `map and unmap of one page, and mapSg and unmapSg of ${LIST_ELEMENTS} pages that lie apart, on every platform with its usual page, ` +
    `strict, without cache, one thread, in a table of ${ENTRIES} entries. A hypercall is a function call here: the number of ` +
    "hypercalls is measured, their cost in a guest is not.",
  metrics: [
    { key: "ns", title: "ns per page mapped and unmapped", digits: 0 },
    { key: "written", title: "million entries set per second, unmapping included", digits: 2 },
    { key: "calls", title: "hypercalls per entry set and cleared", digits: 4 },
  ],
  operation: "page mapped and unmapped",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [1, LIST_ELEMENTS].flatMap((elements) =>
      BOARD_KINDS.map(({ name }) => ({
        case: "platforms",
        row: name,
        at: elements === 1 ? "1 page" : `mapSg of ${elements}`,
        threads: 1,
        work: {
          subject: "pooled",
          entries: ENTRIES,
          pools: 1,
          arena: ENTRIES,
          fillPercent: 0,
          slices: scale.slices,
          operations: LISTS * LIST_ELEMENTS * (scale.quick ? 1 : 8),
          seed,
          amount: elements,
          variant: name,
        },
      })),
    );
  },
  async play(work: Work) {
    const board = boardOf(work);
    const play = work.amount === 1 ? pages(board, work) : lists(board, work);
    let hash = FNV_BASIS;
    warmUp(work.slices, () => {
      hash = play(hash);
    });
    const before = board.statistics().hypercalls;
    const slices = measureSlices(work.slices, () => {
      hash = play(hash);
    });
    const calls = (board.statistics().hypercalls - before) / (work.operations * work.slices);
    const seconds = slices.ends.map((end, i) => (end - (slices.begins[i] as number)) / 1e9).toSorted((a, b) => a - b);
    const written = work.operations / 1e6 / (seconds[seconds.length >>> 1] as number);
    board.close();
    return { slices, operations: work.operations, hash, values: { calls, written } };
  },
};

function boardOf(work: Work): Board {
  const kind = boardNamed(work.variant as string);
  const pageShift = kind.pageShifts[0] as number;
  const memoryBytes = PAGES * 2 * 2 ** pageShift + kind.platformBytes(work.entries, pageShift);
  return kind.create({
    memoryBytes: Math.ceil(memoryBytes / 4096) * 4096,
    entries: work.entries,
    threads: Math.min(2, kind.maxThreads ?? 2),
    table: { pools: work.pools },
  });
}

/** Maps and unmaps single pages; returns the digest of their entries. */
function pages(board: Board, work: Work): (hash: number) => number {
  const device = new DmaDevice(board.table);
  const pageBytes = 2 ** board.table.window.pageShift;
  let random = seedOf(work.seed, -1);
  return (hash) => {
    let digest = hash;
    for (let i = 0; i < work.operations; i++) {
      random = nextRandom(random);
      const address = (random & (PAGES - 1)) * 2 * pageBytes;
      const entry = device.mapPages(address, pageBytes, DEVICE_READS_AND_WRITES);
      if (entry < 0 || device.unmapPages(entry, 1) !== undefined) throw new Error(`a page failed: ${entry}`);
      digest = fold(digest, entry);
    }
    return digest;
  };
}

/** Maps all lists, and unmaps them; returns the digest of their bus addresses. */
function lists(board: Board, work: Work): (hash: number) => number {
  const device = new DmaDevice(board.table);
  const all = scatterLists(2 ** board.table.window.pageShift, work.seed);
  const rounds = work.operations / (LISTS * LIST_ELEMENTS);
  return (hash) => {
    let digest = hash;
    for (let i = 0; i < rounds; i++) {
      for (const list of all) {
        const failure = device.mapSg(list, DEVICE_READS_AND_WRITES);
        if (failure !== undefined) throw new Error(`mapSg failed: ${failure}`);
        digest = fold(digest, Number((list.iovas[0] as bigint) >> 12n));
      }
      for (const list of all) if (device.unmapSg(list) !== undefined) throw new Error("unmapSg failed");
    }
    return digest;
  };
}

/** Lists of pages, no two adjacent in memory. */
function scatterLists(pageBytes: number, seed: number): ScatterList[] {
  let random = seedOf(seed, -1);
  return Array.from({ length: LISTS }, () => {
    const list = new ScatterList(LIST_ELEMENTS);
    for (let i = 0; i < LIST_ELEMENTS; i++) {
      random = nextRandom(random);
      list.addNumber((random & (PAGES - 1)) * 2 * pageBytes, pageBytes);
    }
    return list;
  });
}
