/** Rollback: a map that fails at whatever step leaves the table as it was, to the CPU that reads the entries and to the device. */
import { ScatterList } from "../../../dma/scatter-list.ts";
import { expect } from "../../expect.ts";
import { type Bench, expectDone } from "../bench.ts";
import type { BoardCase } from "../case.ts";
import { EACH_STEP, expectNoTrace, type Stumble, stumbling } from "../stumbling-table.ts";

/** No memory has it: its address lies beyond 64 bits for every page size. */
const NO_PAGE = 2 ** 52;

const failedMap: BoardCase = {
  behaviour: "rollback",
  name: "a map that fails at any step leaves every entry as it was, and the device reaches nothing of it",
  run(bench) {
    const bystander = bench.map(bench.address(0), 64);
    const before = bench.entries();
    for (const stumble of EACH_STEP) {
      const table = stumbling(bench, stumble);
      const bytes = bench.severalPages ? 2 * bench.pageBytes : 100;
      bench.fill(bench.address(1), bytes);
      const failure = bench.device(table).map(BigInt(bench.address(1)), bytes, 3);
      const step = Object.keys(stumble)[0];
      expect(typeof failure === "string", () => `a map whose ${step} fails is granted`);
      expectNoTrace(bench, before, table, `after a map whose ${step} failed`);
    }
    bench.expectReads(bystander.iova, bench.address(0), 64);
    bench.unmap(bystander);
  },
};

const failedMapSg: BoardCase = {
  behaviour: "rollback",
  name: "a mapSg that fails at any step leaves every entry as it was, and the device reaches nothing of it",
  run(bench) {
    const bystander = bench.map(bench.address(0), 64);
    const before = bench.entries();
    let failed = 0;
    for (const [stumble, when] of everyStep(4)) {
      const table = stumbling(bench, stumble);
      const list = fourElements(bench);
      const device = bench.device(table);
      const failure = device.mapSg(list, 3);
      if (failure === undefined) {
        expectDone(device.unmapSg(list), "unmapSg");
        bench.settle();
      } else {
        failed++;
        expect(list.segments === 0, () => `${when}, the list has ${list.segments} segments`);
      }
      expectNoTrace(bench, before, table, when);
    }
    expect(failed >= 10, () => `only ${failed} steps of a mapSg failed: the case shows too little`);
    bench.expectReads(bystander.iova, bench.address(0), 64);
    bench.unmap(bystander);
  },
};

const refusedSet: BoardCase = {
  behaviour: "rollback",
  name: "a set that the platform refuses leaves no entry of it, wherever in the run the refused page is",
  run(bench) {
    const { table } = bench.board;
    const before = bench.entries();
    for (const count of [1, 2, 5, Math.min(64, table.statistics().largestHole)]) {
      const first = table.allocate(count);
      expect(first >= 0, () => `${count} entries of an empty table can't be had: ${first}`);
      for (const page of [NO_PAGE, NO_PAGE - count + 1]) {
        const failure = table.set(first, count, page, 3);
        const what = `a set of ${count} entries from ${first} on for pages from ${page} on`;
        expect(failure !== undefined, () => `${what} is granted: there is no page ${NO_PAGE}`);
        bench.expectEntries(before, `after ${what}, ${failure}`);
      }
      table.abandon(first, count);
    }
    bench.drain();
    expect(bench.taken === 0, () => `${bench.taken} entries are still taken after refused sets`);
  },
};

const abandoned: BoardCase = {
  behaviour: "rollback",
  name: "what was set and is abandoned is forgotten by the IOTLB too",
  run(bench) {
    const { table } = bench.board;
    const address = bench.address(1);
    bench.fill(address, 64);
    const count = bench.severalPages ? 3 : 1;
    const first = table.allocate(count);
    expectDone(table.set(first, count, bench.pageOf(address), 3), "set");
    table.publish();
    const offset = BigInt(address % bench.pageBytes);
    bench.expectReads(bench.iova(first) + offset, address, 64);
    table.abandon(first, count);
    bench.expectNoRead(bench.iova(first) + offset, address, "not-mapped", "after abandon");
    bench.expectEntries(new Map(), `after abandon of ${count} entries`);
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

function fourElements(bench: Bench): ScatterList {
  const list = new ScatterList(4, 1024);
  for (const slot of [3, 1, 4, 2]) {
    bench.fill(bench.address(slot), 64);
    list.addNumber(bench.address(slot), bench.severalPages && slot % 2 === 0 ? bench.pageBytes : 64);
  }
  return list;
}

export const ROLLBACK: readonly BoardCase[] = [failedMap, failedMapSg, refusedSet, abandoned];
