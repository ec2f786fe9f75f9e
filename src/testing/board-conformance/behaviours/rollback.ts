/** Rollback: a map that fails at any step leaves no change that the CPU (reading entries) or the device can see. */
import { ScatterList } from "../../../dma/scatter-list.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import { expectDone, type Rig } from "../rig.ts";
import { EACH_STEP, expectNoTrace, type Stumble, stumbling } from "../stumbling-table.ts";

/** An invalid page: its address exceeds 64 bits for every page size. */
const NO_PAGE = 2 ** 52;

const failedMap: BoardCase = {
  behaviour: "rollback",
  name: "a map that fails at any step leaves every entry as it was, and the device reaches nothing of it",
  run(rig) {
    const bystander = rig.map(rig.address(0), 64);
    const before = rig.entries();
    for (const stumble of EACH_STEP) {
      const table = stumbling(rig, stumble);
      const bytes = rig.severalPages ? 2 * rig.pageBytes : 100;
      rig.fill(rig.address(1), bytes);
      const failure = rig.device(table).map(BigInt(rig.address(1)), bytes, 3);
      const step = Object.keys(stumble)[0];
      expect(typeof failure === "string", () => `a map whose ${step} fails is granted`);
      expectNoTrace(rig, before, table, `after a map whose ${step} failed`);
    }
    rig.expectReads(bystander.iova, rig.address(0), 64);
    rig.unmap(bystander);
  },
};

const failedMapSg: BoardCase = {
  behaviour: "rollback",
  name: "a mapSg that fails at any step leaves every entry as it was, and the device reaches nothing of it",
  run(rig) {
    const bystander = rig.map(rig.address(0), 64);
    const before = rig.entries();
    let failed = 0;
    for (const [stumble, when] of everyStep(4)) {
      const table = stumbling(rig, stumble);
      const list = fourElements(rig);
      const device = rig.device(table);
      const failure = device.mapSg(list, 3);
      if (failure === undefined) {
        expectDone(device.unmapSg(list), "unmapSg");
        rig.settle();
      } else {
        failed++;
        expect(list.segments === 0, () => `${when}, the list has ${list.segments} segments`);
      }
      expectNoTrace(rig, before, table, when);
    }
    expect(failed >= 10, () => `only ${failed} steps of a mapSg failed: the case shows too little`);
    rig.expectReads(bystander.iova, rig.address(0), 64);
    rig.unmap(bystander);
  },
};

const refusedSet: BoardCase = {
  behaviour: "rollback",
  name: "a set that the platform refuses leaves no entry of it, wherever in the run the refused page is",
  run(rig) {
    const { table } = rig.board;
    const before = rig.entries();
    for (const count of [1, 2, 5, Math.min(64, table.statistics().largestHole)]) {
      const first = table.allocate(count);
      expect(first >= 0, () => `${count} entries of an empty table can't be had: ${first}`);
      for (const page of [NO_PAGE, NO_PAGE - count + 1]) {
        const failure = table.set(first, count, page, 3);
        const what = `a set of ${count} entries from ${first} on for pages from ${page} on`;
        expect(failure !== undefined, () => `${what} is granted: there is no page ${NO_PAGE}`);
        rig.expectEntries(before, `after ${what}, ${failure}`);
      }
      table.abandon(first, count);
    }
    rig.drain();
    expect(rig.taken === 0, () => `${rig.taken} entries are still taken after refused sets`);
  },
};

const abandoned: BoardCase = {
  behaviour: "rollback",
  name: "what was set and is abandoned is forgotten by the IOTLB too",
  run(rig) {
    const { table } = rig.board;
    const address = rig.address(1);
    rig.fill(address, 64);
    const count = rig.severalPages ? 3 : 1;
    const first = table.allocate(count);
    expectDone(table.set(first, count, rig.pageOf(address), 3), "set");
    table.publish();
    const offset = BigInt(address % rig.pageBytes);
    rig.expectReads(rig.iova(first) + offset, address, 64);
    table.abandon(first, count);
    rig.expectNoRead(rig.iova(first) + offset, address, "not-mapped", "after abandon");
    rig.expectEntries(new Map(), `after abandon of ${count} entries`);
  },
};

function* everyStep(elements: number): Generator<[Stumble, string]> {
  for (let set = 1; set <= elements; set++) {
    yield [{ set }, `after a mapSg in one area whose set ${set} failed`];
    yield [{ allocate: [1], set }, `after a mapSg of chained areas whose set ${set} failed`];
  }
  yield [{ publish: 1 }, "after a mapSg in one area whose `publish` failed"];
  yield [{ allocate: [1], publish: 1 }, "after a mapSg of chained areas whose `publish` failed"];
  for (let element = 1; element <= elements; element++) {
    yield [{ allocate: [1, 1 + element] }, `after a mapSg of chained areas whose element ${element} found no space`];
  }
  yield [{}, "after mapSg and unmapSg"];
}

function fourElements(rig: Rig): ScatterList {
  const list = new ScatterList(4, 1024);
  for (const index of [3, 1, 4, 2]) {
    rig.fill(rig.address(index), 64);
    list.addNumber(rig.address(index), rig.severalPages && index % 2 === 0 ? rig.pageBytes : 64);
  }
  return list;
}

export const ROLLBACK: readonly BoardCase[] = [failedMap, failedMapSg, refusedSet, abandoned];
