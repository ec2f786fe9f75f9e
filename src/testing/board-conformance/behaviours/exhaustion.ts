/** Exhaustion: every entry can be allocated once, further requests fail with the right failure, and all entries become free again. */

import type { DmaDevice } from "../../../dma/device.ts";
import { iovaOf } from "../../../table/iommu-table.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import { content, type Rig } from "../rig.ts";
import { deviceLimits } from "../setting.ts";

/** Most entries that are checked by DMA, spread over the table. */
const LOOKED_AT = 512;

const everyEntryOnce: BoardCase = {
  behaviour: "exhaustion",
  name: "every entry can be had once, then the table is full by that name; all come back, twice",
  run(rig) {
    const { free } = rig;
    const hole = rig.board.table.statistics().largestHole;
    const device = rig.plainDevice();
    for (let round = 1; round <= 2; round++) {
      const entries = fill(rig, device);
      expect(entries.length === free, () => `round ${round}: ${entries.length} entries could be had; ${free} are free`);
      expectAllReach(rig, entries);
      expectFull(rig, device);
      giveBack(rig, entries);
      expect(rig.taken === 0, () => `round ${round}: ${rig.taken} entries are still taken when all are unmapped`);
      const found = rig.board.table.statistics().largestHole;
      expect(found === hole, () => `round ${round}: the largest hole has ${found} entries; it had ${hole}`);
    }
  },
};

const fullOfHoles: BoardCase = {
  behaviour: "exhaustion",
  name: "with every second entry free a pair of pages can't be had, a single one can",
  needs: ["several pages"],
  run(rig) {
    const device = rig.plainDevice();
    const entries = fill(rig, device);
    const even = entries.filter((entry) => entry % 2 === 0);
    giveBack(rig, even);
    const pair = device.map(BigInt(rig.address(0)), 2 * rig.pageBytes, 3);
    expect(pair === "table-full", () => `a pair of pages in single holes: ${answerText(pair)}`);
    const single = rig.map(rig.address(0), 16, 3, device);
    rig.expectReads(single.iova, rig.address(0), 16);
    rig.unmap(single);
    giveBack(
      rig,
      entries.filter((entry) => entry % 2 === 1),
    );
  },
};

const limitsWhenFull: BoardCase = {
  behaviour: "exhaustion",
  name: "a device with limits gets what lies inside of them until nothing is left there, and never what lies outside",
  run(rig) {
    const device = rig.device();
    const { mask, alignment = 1 } = deviceLimits(rig.setting, rig.board.table.window);
    const entries = fill(rig, device);
    expect(entries.length > 0, () => "not one entry could be had");
    for (const entry of entries) {
      const iova = rig.iova(entry);
      const aligned = iova % BigInt(Math.max(alignment, 1)) === 0n;
      expect(aligned, () => `entry ${entry} is at ${hexadecimal(iova)}, which is no multiple of ${alignment}`);
      expect(
        mask === undefined || iova <= mask,
        () => `entry ${entry} is at ${hexadecimal(iova)}, beyond the mask ${hexadecimal(mask ?? 0n)}`,
      );
    }
    giveBack(rig, entries);
  },
};

const neverPossible: BoardCase = {
  behaviour: "exhaustion",
  name: "what can never be had is refused at once, by why: longer than the table, a mask below the window",
  run(rig) {
    const { window } = rig.board.table;
    const pages = window.entries + 1;
    if (Number.isSafeInteger(pages * rig.pageBytes)) {
      const boundless = rig.plainDevice(rig.board.table, { boundaryMask: 2n ** 64n - 1n });
      const tooLong = boundless.map(0n, pages * rig.pageBytes, 3);
      expect(tooLong === "longer-than-table", () => `a map of ${pages} pages: ${answerText(tooLong)}`);
    }
    if (window.base > 0n) {
      const blind = rig.plainDevice(rig.board.table, { mask: window.base - 1n });
      const masked = blind.map(BigInt(rig.address(0)), 16, 3);
      expect(
        masked === "mask-too-low",
        () => `a map under the mask ${hexadecimal(window.base - 1n)}: ${answerText(masked)}`,
      );
    }
    rig.expectEntries(new Map(), "after maps that can never be had");
  },
};

const wholeInOnePiece: BoardCase = {
  behaviour: "exhaustion",
  name: "the largest hole can be had in one piece, which the device reaches from its first page to its last",
  run(rig) {
    const { table } = rig.board;
    const pages = table.statistics().largestHole;
    const first = table.allocate(pages);
    expect(first >= 0, () => `the largest hole of ${pages} entries can't be had: ${first}`);
    // The mapping is longer than memory, so pages are used repeatedly.
    const { addressCount } = rig;
    const step = rig.severalPages ? Math.min(addressCount, pages) : 1;
    const page = rig.pageOf(rig.address(0));
    for (let done = 0; done < pages; done += step) {
      const failure = table.set(first + done, Math.min(step, pages - done), page, 3);
      expect(failure === undefined, () => `set of ${step} entries from ${first + done} on: ${failure}`);
    }
    table.publish();
    table.commit(first, pages);
    for (const done of new Set([0, 1, Math.floor(pages / 2), pages - 1].filter((at) => at < pages))) {
      const address = rig.address(rig.severalPages ? done % step : 0);
      rig.fill(address, 16);
      rig.expectReads(rig.iova(first + done) + BigInt(address % rig.pageBytes), address, 16);
    }
    const failure = rig.other.table.unmap(first, pages);
    expect(failure === undefined, () => `unmap of ${pages} entries: ${failure}`);
    rig.expectEntries(new Map(), `after unmap of ${pages} entries`);
  },
};

/** Maps a page through each free entry. Returns the entries in the order of their allocation. */
function fill(rig: Rig, device: DmaDevice): number[] {
  const entries: number[] = [];
  const seen = new Set<number>();
  const { window } = rig.board.table;
  for (let i = 0; i < Math.min(rig.addressCount, LOOKED_AT); i++) rig.fill(rig.address(i), 16);
  while (entries.length <= window.entries) {
    const entry = device.mapPages(addressAt(rig, entries.length), 16, 3);
    if (entry < 0) break;
    expect(entry < window.entries, () => `entry ${entry} was handed out; the table has ${window.entries}`);
    expect(!seen.has(entry), () => `entry ${entry} was handed out twice`);
    seen.add(entry);
    entries.push(entry);
  }
  return entries;
}

/** The address of the memory of the mapping with this index. */
function addressAt(rig: Rig, index: number): number {
  return rig.address(index % Math.min(rig.addressCount, LOOKED_AT));
}

function expectAllReach(rig: Rig, entries: readonly number[]): void {
  const step = Math.max(1, Math.floor(entries.length / LOOKED_AT));
  for (let i = 0; i < entries.length; i += step) {
    const address = addressAt(rig, i);
    const iova = iovaOf(rig.board.table.window, entries[i] as number) + BigInt(address % rig.pageBytes);
    rig.expectRead(iova, content(address, 16));
  }
}

function expectFull(rig: Rig, device: DmaDevice): void {
  const before = rig.entries();
  const failure = device.map(BigInt(rig.address(0)), 16, 3);
  expect(failure === "table-full", () => `a map when all is taken: ${answerText(failure)}`);
  rig.expectEntries(before, "after a map that found no space");
}

function giveBack(rig: Rig, entries: readonly number[]): void {
  const { table } = rig.other;
  for (const entry of entries) {
    const failure = table.unmap(entry, 1);
    expect(failure === undefined, () => `unmap of entry ${entry}: ${failure}`);
  }
  rig.drain();
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
