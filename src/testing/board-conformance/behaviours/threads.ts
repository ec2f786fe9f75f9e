/**
 * Threads, tested by several views on one thread: views share entries, never allocate the same entry, and a closed view leaves nothing
 * behind. (threads.exhaustive.test.ts has real threads.)
 */
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";

const oneTable: BoardCase = {
  behaviour: "threads",
  name: "two threads' views are one table: what one maps the other reads back, and neither gets the other's entries",
  needs: ["two threads"],
  run(rig) {
    const devices = rig.views.map(({ table }) => rig.plainDevice(table));
    const mapped = Array.from({ length: 40 }, (_, i) => {
      const address = rig.address(i % 6);
      return { address, mapping: rig.map(address, 32, 3, devices[i % 2]) };
    });
    const entries = new Set(mapped.map(({ mapping }) => rig.entryAt(mapping.iova)));
    expect(entries.size === mapped.length, () => `40 mappings of two threads lie at ${entries.size} different entries`);
    for (const { address, mapping } of mapped) {
      const value = { page: -1, access: 0 as 0 | 1 | 2 | 3 };
      rig.other.table.ops.get(rig.entryAt(mapping.iova), value);
      const wanted = rig.pageOf(address);
      expect(value.page === wanted, () => `the other view reads page ${value.page} back; page ${wanted} was mapped`);
      rig.expectReads(mapping.iova, address, 32);
    }
    mapped.forEach(({ mapping }, i) => {
      rig.unmap(mapping, devices[(i + 1) % 2]);
    });
    rig.expectEntries(new Map(), "after each thread has unmapped what the other mapped");
  },
};

const everyViewsDevices: BoardCase = {
  behaviour: "threads",
  name: "a device is the same whichever thread's view it is driven by",
  needs: ["two threads"],
  run(rig) {
    const address = rig.address(2, 100);
    const mapping = rig.map(address, 32);
    const wanted = new Uint8Array(32);
    rig.board.machine.memory.read(address, wanted);
    const seen = new Uint8Array(32);
    const granted = rig.other.machine.device(rig.master.name).dmaRead(mapping.iova, seen);
    const same = granted && seen.every((byte, i) => byte === wanted[i]);
    expect(same, () => `driven by the other thread, the device reads ${seen}; memory has ${wanted}`);
    rig.unmap(mapping);
  },
};

const closedViews: BoardCase = {
  behaviour: "threads",
  name: "a view that is closed gives back what it held, and another can take its place, again and again",
  needs: ["two threads", "three threads"],
  run(rig) {
    for (let round = 0; round < 5; round++) {
      const view = rig.kind.attach(rig.board.handle);
      const device = rig.plainDevice(view.table);
      const address = rig.address(round);
      const mapping = rig.map(address, 64, 3, device);
      const kept = rig.map(address, 64, 3, device);
      rig.unmap(mapping, device);
      view.close();
      rig.expectReads(kept.iova, address, 64);
      rig.unmap(kept);
    }
    rig.drain();
    expect(rig.taken === 0, () => `${rig.taken} entries are still taken after five views were closed`);
  },
};

export const THREADS: readonly BoardCase[] = [oneTable, everyViewsDevices, closedViews];
