/** Exhaustion: every entry can be had once, what can't be had is refused by its name, and all of it comes back. */

import type { DmaDevice } from "../../../dma/device.ts";
import { iovaOf } from "../../../table/iommu-table.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { expect } from "../../expect.ts";
import { type Bench, content } from "../bench.ts";
import type { BoardCase } from "../case.ts";
import { deviceLimits } from "../setting.ts";

/** Entries that are looked at by DMA at most, spread over the table. */
const LOOKED_AT = 512;

const everyEntryOnce: BoardCase = {
  behaviour: "exhaustion",
  name: "every entry can be had once, then the table is full by that name; all come back, twice",
  run(bench) {
    const { free } = bench;
    const hole = bench.board.table.statistics().largestHole;
    const device = bench.plainDevice();
    for (let round = 1; round <= 2; round++) {
      const entries = fill(bench, device);
      expect(entries.length === free, () => `round ${round}: ${entries.length} entries could be had; ${free} are free`);
      expectAllReach(bench, entries);
      expectFull(bench, device);
      giveBack(bench, entries);
      expect(bench.taken === 0, () => `round ${round}: ${bench.taken} entries are still taken when all are unmapped`);
      const found = bench.board.table.statistics().largestHole;
      expect(found === hole, () => `round ${round}: the largest hole has ${found} entries; it had ${hole}`);
    }
  },
};

const fullOfHoles: BoardCase = {
  behaviour: "exhaustion",
  name: "with every second entry free a pair of pages can't be had, a single one can",
  needs: ["several pages"],
  run(bench) {
    const device = bench.plainDevice();
    const entries = fill(bench, device);
    const even = entries.filter((entry) => entry % 2 === 0);
    giveBack(bench, even);
    const pair = device.map(BigInt(bench.address(0)), 2 * bench.pageBytes, 3);
    expect(pair === "table-full", () => `a pair of pages in single holes: ${answerText(pair)}`);
    const single = bench.map(bench.address(0), 16, 3, device);
    bench.expectReads(single.iova, bench.address(0), 16);
    bench.unmap(single);
    giveBack(
      bench,
      entries.filter((entry) => entry % 2 === 1),
    );
  },
};

const limitsWhenFull: BoardCase = {
  behaviour: "exhaustion",
  name: "a device with limits gets what lies inside of them until nothing is left there, and never what lies outside",
  run(bench) {
    const device = bench.device();
    const { mask, alignment = 1 } = deviceLimits(bench.setting, bench.board.table.window);
    const entries = fill(bench, device);
    expect(entries.length > 0, () => "not one entry could be had");
    for (const entry of entries) {
      const iova = bench.iova(entry);
      const aligned = iova % BigInt(Math.max(alignment, 1)) === 0n;
      expect(aligned, () => `entry ${entry} is at ${hexadecimal(iova)}, which is no multiple of ${alignment}`);
      expect(
        mask === undefined || iova <= mask,
        () => `entry ${entry} is at ${hexadecimal(iova)}, beyond the mask ${hexadecimal(mask ?? 0n)}`,
      );
    }
    giveBack(bench, entries);
  },
};

const neverPossible: BoardCase = {
  behaviour: "exhaustion",
  name: "what can never be had is refused at once, by why: longer than the table, a mask below the window",
  run(bench) {
    const { window } = bench.board.table;
    const pages = window.entries + 1;
    if (Number.isSafeInteger(pages * bench.pageBytes)) {
      const boundless = bench.plainDevice(bench.board.table, { boundaryMask: 2n ** 64n - 1n });
      const tooLong = boundless.map(0n, pages * bench.pageBytes, 3);
      expect(tooLong === "longer-than-table", () => `a map of ${pages} pages: ${answerText(tooLong)}`);
    }
    if (window.base > 0n) {
      const blind = bench.plainDevice(bench.board.table, { mask: window.base - 1n });
      const masked = blind.map(BigInt(bench.address(0)), 16, 3);
      expect(
        masked === "mask-too-low",
        () => `a map under the mask ${hexadecimal(window.base - 1n)}: ${answerText(masked)}`,
      );
    }
    bench.expectEntries(new Map(), "after maps that can never be had");
  },
};

const wholeInOnePiece: BoardCase = {
  behaviour: "exhaustion",
  name: "the largest hole can be had in one piece, which the device reaches from its first page to its last",
  run(bench) {
    const { table } = bench.board;
    const pages = table.statistics().largestHole;
    const first = table.allocate(pages);
    expect(first >= 0, () => `the largest hole of ${pages} entries can't be had: ${first}`);
    // Longer than any memory: the pages come round.
    const { slots } = bench;
    const step = bench.severalPages ? Math.min(slots, pages) : 1;
    const page = bench.pageOf(bench.address(0));
    for (let done = 0; done < pages; done += step) {
      const failure = table.set(first + done, Math.min(step, pages - done), page, 3);
      expect(failure === undefined, () => `set of ${step} entries from ${first + done} on: ${failure}`);
    }
    table.publish();
    table.commit(first, pages);
    for (const done of new Set([0, 1, Math.floor(pages / 2), pages - 1].filter((at) => at < pages))) {
      const address = bench.address(bench.severalPages ? done % step : 0);
      bench.fill(address, 16);
      bench.expectReads(bench.iova(first + done) + BigInt(address % bench.pageBytes), address, 16);
    }
    const failure = bench.other.table.unmap(first, pages);
    expect(failure === undefined, () => `unmap of ${pages} entries: ${failure}`);
    bench.expectEntries(new Map(), `after unmap of ${pages} entries`);
  },
};

/** Maps a page through each entry that can be had; their numbers, in the order in which they came. */
function fill(bench: Bench, device: DmaDevice): number[] {
  const entries: number[] = [];
  const seen = new Set<number>();
  const { window } = bench.board.table;
  for (let i = 0; i < Math.min(bench.slots, LOOKED_AT); i++) bench.fill(bench.address(i), 16);
  while (entries.length <= window.entries) {
    const entry = device.mapPages(slotAddress(bench, entries.length), 16, 3);
    if (entry < 0) break;
    expect(entry < window.entries, () => `entry ${entry} was handed out; the table has ${window.entries}`);
    expect(!seen.has(entry), () => `entry ${entry} was handed out twice`);
    seen.add(entry);
    entries.push(entry);
  }
  return entries;
}

/** Which memory the mapping of this number leads to. */
function slotAddress(bench: Bench, index: number): number {
  return bench.address(index % Math.min(bench.slots, LOOKED_AT));
}

function expectAllReach(bench: Bench, entries: readonly number[]): void {
  const step = Math.max(1, Math.floor(entries.length / LOOKED_AT));
  for (let i = 0; i < entries.length; i += step) {
    const address = slotAddress(bench, i);
    const iova = iovaOf(bench.board.table.window, entries[i] as number) + BigInt(address % bench.pageBytes);
    bench.expectRead(iova, content(address, 16));
  }
}

function expectFull(bench: Bench, device: DmaDevice): void {
  const before = bench.entries();
  const failure = device.map(BigInt(bench.address(0)), 16, 3);
  expect(failure === "table-full", () => `a map when all is taken: ${answerText(failure)}`);
  bench.expectEntries(before, "after a map that found no space");
}

function giveBack(bench: Bench, entries: readonly number[]): void {
  const { table } = bench.other;
  for (const entry of entries) {
    const failure = table.unmap(entry, 1);
    expect(failure === undefined, () => `unmap of entry ${entry}: ${failure}`);
  }
  bench.drain();
}

function answerText(answer: object | string): string {
  return typeof answer === "string" ? answer : "is granted";
}

export const EXHAUSTION: readonly BoardCase[] = [
  everyEntryOnce,
  fullOfHoles,
  limitsWhenFull,
  neverPossible,
  wholeInOnePiece,
];
