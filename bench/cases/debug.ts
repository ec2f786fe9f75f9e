/** The cost of the debug mode: switched off, where it should be zero, and on. */
import type { DmaOperations, Mapping } from "../../src/dma/contract.ts";
import { DebuggedDevice, debugged } from "../../src/dma/debug/debugged-device.ts";
import { DmaDevice } from "../../src/dma/device.ts";
import { DEVICE_READS_AND_WRITES } from "../../src/units/numbers.ts";
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { FNV_BASIS, fold, measureSlices, warmUp } from "../measure.ts";
import type { Scale } from "../scale.ts";
import { tableOf } from "./map-sg.ts";

export const UNDECORATED = "undecorated";
export const OFF = "off";
const ON_WITHOUT_STACKS = "on, owners only";
const ON = "on";
const ROWS = [UNDECORATED, OFF, ON_WITHOUT_STACKS, ON] as const;
type Row = (typeof ROWS)[number];

/** Columns: the table below the device. */
export const ON_NOTHING = "no table";
export const ON_TABLE = "table";

const PAGE_BYTES = 4096;
/** Live mappings at a time, and pages that are mapped in turn. */
const LIVE = 64;
const PAGES = 1024;

export const debug: BenchCase = {
  name: "debug",
  about:
    "A pair of map and unmap of one page, 64 of them mapped at a time: the device itself, the device as `debugged` returns it when " +
    'switched off, and under debug without and with call stacks. "No table" is a device over a table that does nothing, where a ' +
    'difference shows most; "table" writes and invalidates TCEs on the software machine (no cache, strict).',
  metrics: [NANOSECONDS],
  operation: "pair",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [ON_NOTHING, ON_TABLE].flatMap((at) =>
      ROWS.map((row) => ({
        case: "debug",
        row,
        at,
        threads: 1,
        work: {
          subject: at === ON_TABLE ? "pooled" : "nothing",
          entries: 65_536,
          pools: 16,
          arena: 65_536,
          fillPercent: 0,
          slices: scale.slices,
          operations: pairsOf(row, at, scale),
          seed,
          variant: row,
        },
      })),
    );
  },
  async play(work: Work) {
    const device = deviceOf(work);
    const driver = new Driver(device);
    const play = () => driver.pairs(work.operations);
    warmUp(work.slices, play);
    const slices = measureSlices(work.slices, play);
    if (device instanceof DebuggedDevice && Object.values(device.counts).some((count) => count !== 0)) {
      throw new Error("correct use was reported");
    }
    return { slices, operations: work.operations, hash: driver.hash, openingHash: driver.openingHash };
  },
};

/** The same device in all rows; only its `debugged` wrapper differs. */
function deviceOf(work: Work): DmaOperations {
  const device = new DmaDevice(tableOf(work));
  switch (work.variant as Row) {
    case UNDECORATED:
      return device;
    case OFF:
      return debugged(device, false);
    case ON_WITHOUT_STACKS:
      return debugged(device, { owner: "bench", stackFrames: 0 });
    case ON:
      return debugged(device, { owner: "bench" });
  }
}

/** About a third of a millisecond at full scale. */
function pairsOf(row: Row, at: string, scale: Scale): number {
  if (scale.quick) return LIVE;
  if (row === ON) return LIVE;
  return at === ON_NOTHING && row !== ON_WITHOUT_STACKS ? 2048 : 512;
}

/** Unmaps the oldest mapping and maps the next page, again and again. */
class Driver {
  /** Digest of all bus addresses, and of those of the first mappings. */
  hash = FNV_BASIS;
  readonly openingHash: number;
  readonly #device: DmaOperations;
  readonly #addresses: readonly bigint[];
  readonly #live: Mapping[] = [];
  #next = 0;

  constructor(device: DmaOperations) {
    this.#device = device;
    this.#addresses = Array.from({ length: PAGES }, (_, page) => BigInt(2 * page * PAGE_BYTES));
    for (let i = 0; i < LIVE; i++) this.#live.push(this.#map(i));
    this.openingHash = this.hash;
  }

  pairs(count: number): void {
    for (let i = 0; i < count; i++) {
      const at = this.#next % LIVE;
      if (this.#device.unmap(this.#live[at] as Mapping) !== undefined) throw new Error("unmap failed");
      this.#live[at] = this.#map(this.#next % PAGES);
    }
  }

  #map(page: number): Mapping {
    const mapping = this.#device.map(this.#addresses[page] as bigint, PAGE_BYTES, DEVICE_READS_AND_WRITES);
    if (typeof mapping === "string") throw new Error(mapping);
    this.hash = fold(this.hash, Number(mapping.iova >> 12n));
    this.#next++;
    return mapping;
  }
}
