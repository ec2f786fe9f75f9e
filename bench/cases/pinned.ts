/** The cost of pinned memory in a map: its region is found, its mappings are counted, and the page is translated. */
import { PinnedMemory } from "../../src/pinned/pinned-memory.ts";
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { FNV_BASIS, fold, measureSlices, warmUp } from "../measure.ts";
import type { Scale } from "../scale.ts";

export const MAP = "map";
const LOOKUP = "lookup";
const ROWS = [MAP, LOOKUP] as const;

/** Columns: registered regions, of 2 MiB each. */
export const ONE_REGION = "1 region";
const REGIONS = { [ONE_REGION]: 1, "8 regions": 8, "64 regions": 64 } as const;
const REGION_PAGES = 512;
/** Pages of a range. */
const RANGE_PAGES = 16;
const FIRST_USER_PAGE = 1024;

export const pinned: BenchCase = {
  name: "pinned",
  about:
    `The part of registered memory in a map of ${RANGE_PAGES} pages, from all regions in turn: the region is found, its mappings are counted by ` +
    "one addition, the first page is translated, and the count is kept (map) or undone (lookup).",
  metrics: [NANOSECONDS],
  operation: "range",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return Object.entries(REGIONS).flatMap(([at, amount]) =>
      ROWS.map((row) => ({
        case: "pinned",
        row,
        at,
        threads: 1,
        work: {
          subject: "nothing",
          entries: 0,
          pools: 0,
          arena: 0,
          fillPercent: 0,
          slices: scale.slices,
          operations: scale.quick ? 64 : 4096,
          seed,
          amount,
          variant: row,
        },
      })),
    );
  },
  async play(work: Work) {
    const mapper = new Mapper(work.amount ?? 1);
    const play = work.variant === MAP ? () => mapper.map(work.operations) : () => mapper.lookUp(work.operations);
    warmUp(work.slices, play);
    const slices = measureSlices(work.slices, play);
    return { slices, operations: work.operations, hash: mapper.hash };
  },
};

class Mapper {
  /** Digest of all physical pages. */
  hash = FNV_BASIS;
  readonly #pinned: PinnedMemory;
  readonly #owner: number;
  readonly #ranges: number;
  #next = 0;

  constructor(regions: number) {
    this.#ranges = (regions * REGION_PAGES) / RANGE_PAGES;
    this.#pinned = PinnedMemory.create({ memoryBytes: regions * REGION_PAGES * 4096, regions });
    const memory = { pageOf: (page: number) => page - FIRST_USER_PAGE, backingShift: () => 12 };
    this.#owner = this.#pinned.addOwner({ limitBytes: Number.POSITIVE_INFINITY }, memory) as number;
    for (let i = 0; i < regions; i++) {
      const region = this.#pinned.register(this.#owner, FIRST_USER_PAGE + i * REGION_PAGES, REGION_PAGES);
      if (typeof region === "string") throw new Error(region);
    }
  }

  map(count: number): void {
    for (let i = 0; i < count; i++) {
      this.#take();
      this.#pinned.keep();
    }
  }

  lookUp(count: number): void {
    for (let i = 0; i < count; i++) {
      this.#take();
      this.#pinned.drop();
    }
  }

  #take(): void {
    // The step is odd and not a multiple of the ranges of a region: consecutive maps are of different regions.
    this.#next = (this.#next + 37) % this.#ranges;
    const page = FIRST_USER_PAGE + this.#next * RANGE_PAGES;
    const region = this.#pinned.take(this.#owner, page, RANGE_PAGES, RANGE_PAGES);
    if (region < 0) throw new Error(`errno ${region}`);
    this.hash = fold(this.hash, this.#pinned.physicalPage(region, page, 12));
  }
}
