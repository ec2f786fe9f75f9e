/**
 * Threads, as far as views of one table can show them without running at the same time: they share entries, never hand out the
 * same one, and a view that is closed leaves nothing behind. (Real threads: threads.exhaustive.test.ts.)
 */
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";

const oneTable: BoardCase = {
  behaviour: "threads",
  name: "two threads' views are one table: what one maps the other reads back, and neither gets the other's entries",
  needs: ["two threads"],
  run(bench) {
    const devices = bench.views.map(({ table }) => bench.plainDevice(table));
    const mapped = Array.from({ length: 40 }, (_, i) => {
      const address = bench.address(i % 6);
      return { address, mapping: bench.map(address, 32, 3, devices[i % 2]) };
    });
    const entries = new Set(mapped.map(({ mapping }) => bench.entryAt(mapping.iova)));
    expect(entries.size === mapped.length, () => `40 mappings of two threads lie at ${entries.size} different entries`);
    for (const { address, mapping } of mapped) {
      const value = { page: -1, access: 0 as 0 | 1 | 2 | 3 };
      bench.other.table.ops.get(bench.entryAt(mapping.iova), value);
      const wanted = bench.pageOf(address);
      expect(value.page === wanted, () => `the other view reads page ${value.page} back; page ${wanted} was mapped`);
      bench.expectReads(mapping.iova, address, 32);
    }
    mapped.forEach(({ mapping }, i) => {
      bench.unmap(mapping, devices[(i + 1) % 2]);
    });
    bench.expectEntries(new Map(), "after each thread has unmapped what the other mapped");
  },
};

const everyViewsDevices: BoardCase = {
  behaviour: "threads",
  name: "a device is the same whichever thread's view it is driven by",
  needs: ["two threads"],
  run(bench) {
    const address = bench.address(2, 100);
    const mapping = bench.map(address, 32);
    const wanted = new Uint8Array(32);
    bench.board.machine.memory.read(address, wanted);
    const seen = new Uint8Array(32);
    const granted = bench.other.machine.device(bench.master.name).dmaRead(mapping.iova, seen);
    const same = granted && seen.every((byte, i) => byte === wanted[i]);
    expect(same, () => `driven by the other thread, the device reads ${seen}; memory has ${wanted}`);
    bench.unmap(mapping);
  },
};

const closedViews: BoardCase = {
  behaviour: "threads",
  name: "a view that is closed gives back what it held, and another can take its place, again and again",
  needs: ["two threads", "three threads"],
  run(bench) {
    for (let round = 0; round < 5; round++) {
      const view = bench.kind.attach(bench.board.handle);
      const device = bench.plainDevice(view.table);
      const address = bench.address(round);
      const mapping = bench.map(address, 64, 3, device);
      const kept = bench.map(address, 64, 3, device);
      bench.unmap(mapping, device);
      view.close();
      bench.expectReads(kept.iova, address, 64);
      bench.unmap(kept);
    }
    bench.drain();
    expect(bench.taken === 0, () => `${bench.taken} entries are still taken after five views were closed`);
  },
};

export const THREADS: readonly BoardCase[] = [oneTable, everyViewsDevices, closedViews];
