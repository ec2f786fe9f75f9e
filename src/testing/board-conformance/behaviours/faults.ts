/** Faults: a device that goes where nothing is mapped reaches nobody's memory, and the machine says so as the kind states. */
import { expect } from "../../expect.ts";
import type { Bench } from "../bench.ts";
import type { BoardCase } from "../case.ts";

const strayAccess: BoardCase = {
  behaviour: "faults",
  name: "a stray access before, beside and after a mapping is led nowhere, and the mapping is as it was",
  run(bench) {
    const address = bench.address(2);
    const bytes = bench.severalPages ? 2 * bench.pageBytes : 4096;
    // Their neighbours in memory are where an access by one page too far would go.
    for (const slot of [1, 4]) bench.fill(bench.address(slot), 64);
    const mapping = bench.map(address, bytes);
    const first = bench.entryAt(mapping.iova);
    const end = first + (bench.severalPages ? 2 : 1);
    for (const entry of freeEntriesAround(bench, first, end)) {
      const when = `at entry ${entry} beside the mapping [${first}, ${end})`;
      for (const slot of [1, 2, 4]) bench.expectNoRead(bench.iova(entry), bench.address(slot), "not-mapped", when);
      for (const slot of [1, 2, 4]) bench.expectNoWrite(bench.iova(entry), bench.address(slot), "not-mapped", when);
    }
    bench.expectReads(mapping.iova, address, bytes);
    bench.unmap(mapping);
  },
};

const nothingMapped: BoardCase = {
  behaviour: "faults",
  name: "in a fresh table every entry leads nowhere",
  run(bench) {
    const { entries } = bench.board.table.window;
    bench.fill(bench.address(0), 64);
    for (const entry of [0, 1, 2, entries >> 1, entries - 2, entries - 1]) {
      bench.expectNoRead(bench.iova(entry), bench.address(0), "not-mapped", `at entry ${entry} of a fresh table`);
      bench.expectNoWrite(bench.iova(entry), bench.address(0), "not-mapped", `at entry ${entry} of a fresh table`);
    }
  },
};

const overTheEnd: BoardCase = {
  behaviour: "faults",
  name: "a DMA that runs over the end of a mapping does not bring what lies behind it in memory",
  needs: ["several pages"],
  run(bench) {
    const address = bench.address(1);
    const behind = bench.address(2);
    bench.fill(behind, 64);
    const mapping = bench.map(address, bench.pageBytes);
    const end = bench.entryAt(mapping.iova) + 1;
    if (end < bench.board.table.window.entries && bench.get(end).access === 0) {
      const into = new Uint8Array(64);
      const granted = bench.master.dmaRead(mapping.iova + BigInt(bench.pageBytes - 32), into);
      const faults = bench.board.takeFaults();
      if (bench.kind.refusals === "fault" && bench.kind.strayAccess === "refused") {
        expect(!granted && faults.length === 1, () => `a read over the end of a mapping: ${faults.length} faults`);
      }
      bench.expectNoRead(bench.iova(end), behind, "not-mapped", "behind the end of a mapping");
      bench.expectNoWrite(bench.iova(end), behind, "not-mapped", "behind the end of a mapping");
    }
    bench.expectReads(mapping.iova, address, bench.pageBytes);
    bench.unmap(mapping);
  },
};

const outsideOfTheWindow: BoardCase = {
  behaviour: "faults",
  name: "right behind the window the device reaches nothing of memory",
  run(bench) {
    const { base, entries, pageShift } = bench.board.table.window;
    const end = base + (BigInt(entries) << BigInt(pageShift));
    if (end > 2n ** 64n - 64n) return;
    const address = bench.address(0);
    bench.fill(address, 64);
    // Whether this is recorded is a matter of the bus behind the window, which is another one on every machine.
    const into = new Uint8Array(32);
    bench.master.dmaRead(end, into);
    bench.master.dmaWrite(end, into.fill(1));
    bench.board.takeFaults();
    bench.expectUntouched(address, 64, "after a write of the device behind the window");
  },
};

const afterFaults: BoardCase = {
  behaviour: "faults",
  name: "after faults, once they are taken, the device reaches what is mapped as before",
  run(bench) {
    const address = bench.address(3, 12);
    const mapping = bench.map(address, 100);
    for (let i = 0; i < 5; i++) {
      const entry = freeEntriesAround(bench, bench.entryAt(mapping.iova), bench.entryAt(mapping.iova) + 1)[0] as number;
      bench.expectNoRead(bench.iova(entry), address, "not-mapped", `at entry ${entry}, fault ${i}`);
      bench.expectReads(mapping.iova, address, 100);
    }
    bench.unmap(mapping);
  },
};

const cutOffUntilTaken: BoardCase = {
  behaviour: "faults",
  name: "a fault cuts the device off until faults are taken where the kind says so, and nowhere else",
  needs: ["recorded faults"],
  run(bench) {
    const address = bench.address(3);
    bench.fill(address, 64);
    const mapping = bench.map(address, 64);
    const first = bench.entryAt(mapping.iova);
    const [entry] = freeEntriesAround(bench, first, first + 1) as [number];
    const into = new Uint8Array(16);
    bench.master.dmaRead(bench.iova(entry), into);
    const reaches = bench.master.dmaRead(mapping.iova, into);
    const freezes = bench.kind.faultsFreeze === true;
    expect(reaches !== freezes, () => {
      const found = reaches ? "reaches what is mapped" : "is cut off";
      return `after a fault at entry ${entry}, before it is taken, the device ${found}; the kind says otherwise`;
    });
    const faults = bench.board.takeFaults();
    expect(faults.length === 1, () => `a fault, and a DMA after it, are recorded as ${faults.length} faults`);
    bench.expectReads(mapping.iova, address, 64);
    bench.unmap(mapping);
  },
};

const faultsTellWhere: BoardCase = {
  behaviour: "faults",
  name: "faults come with the device, the address and the access, in the order in which they happened",
  needs: ["recorded faults"],
  run(bench) {
    const { entries } = bench.board.table.window;
    const into = new Uint8Array(4);
    for (const [entry, access] of [
      [entries - 1, 1],
      [entries - 3, 2],
      [entries - 2, 1],
    ] as const) {
      const iova = bench.iova(entry) + 8n;
      if (access === 1) bench.master.dmaRead(iova, into);
      else bench.master.dmaWrite(iova, into);
      const [fault, ...more] = bench.board.takeFaults();
      const lies =
        fault !== undefined &&
        fault.iova >> BigInt(bench.setting.pageShift) === iova >> BigInt(bench.setting.pageShift);
      const isIt = lies && fault.access === access && fault.device === bench.master.name && fault.reason !== "";
      const found = JSON.stringify(fault, (_, value) => (typeof value === "bigint" ? value.toString(16) : value));
      expect(isIt && more.length === 0, () => `a DMA of access ${access} at entry ${entry} is recorded as ${found}`);
    }
  },
};

/** Up to two entries on each side of [first, end) that are empty, and the ends of the table if they are. */
function freeEntriesAround(bench: Bench, first: number, end: number): number[] {
  const { entries } = bench.board.table.window;
  const wanted = [first - 2, first - 1, end, end + 1, 0, entries - 1];
  return wanted.filter((entry) => entry >= 0 && entry < entries && bench.get(entry).access === 0);
}

export const FAULTS: readonly BoardCase[] = [
  strayAccess,
  nothingMapped,
  overTheEnd,
  outsideOfTheWindow,
  afterFaults,
  cutOffUntilTaken,
  faultsTellWhere,
];
