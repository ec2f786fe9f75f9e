/** Faults: a device's access to an unmapped address reaches no memory, and the machine reports it as the board's kind states. */
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import type { Rig } from "../rig.ts";

const strayAccess: BoardCase = {
  behaviour: "faults",
  name: "a stray access before, beside and after a mapping is led nowhere, and the mapping is as it was",
  run(rig) {
    const address = rig.address(2);
    const bytes = rig.severalPages ? 2 * rig.pageBytes : 4096;
    // An access one page too far would reach these adjacent pages.
    for (const index of [1, 4]) rig.fill(rig.address(index), 64);
    const mapping = rig.map(address, bytes);
    const first = rig.entryAt(mapping.iova);
    const end = first + (rig.severalPages ? 2 : 1);
    for (const entry of freeEntriesAround(rig, first, end)) {
      const when = `at entry ${entry} beside the mapping [${first}, ${end})`;
      for (const index of [1, 2, 4]) rig.expectNoRead(rig.iova(entry), rig.address(index), "not-mapped", when);
      for (const index of [1, 2, 4]) rig.expectNoWrite(rig.iova(entry), rig.address(index), "not-mapped", when);
    }
    rig.expectReads(mapping.iova, address, bytes);
    rig.unmap(mapping);
  },
};

const nothingMapped: BoardCase = {
  behaviour: "faults",
  name: "in a fresh table every entry leads nowhere",
  run(rig) {
    const { entries } = rig.board.table.window;
    rig.fill(rig.address(0), 64);
    for (const entry of [0, 1, 2, entries >> 1, entries - 2, entries - 1]) {
      rig.expectNoRead(rig.iova(entry), rig.address(0), "not-mapped", `at entry ${entry} of a fresh table`);
      rig.expectNoWrite(rig.iova(entry), rig.address(0), "not-mapped", `at entry ${entry} of a fresh table`);
    }
  },
};

const overTheEnd: BoardCase = {
  behaviour: "faults",
  name: "a DMA that runs over the end of a mapping does not bring what lies behind it in memory",
  needs: ["several pages"],
  run(rig) {
    const address = rig.address(1);
    const behind = rig.address(2);
    rig.fill(behind, 64);
    const mapping = rig.map(address, rig.pageBytes);
    const end = rig.entryAt(mapping.iova) + 1;
    if (end < rig.board.table.window.entries && rig.get(end).access === 0) {
      const into = new Uint8Array(64);
      const granted = rig.master.dmaRead(mapping.iova + BigInt(rig.pageBytes - 32), into);
      const faults = rig.board.takeFaults();
      if (rig.kind.refusals === "fault" && rig.kind.strayAccess === "refused") {
        expect(!granted && faults.length === 1, () => `a read over the end of a mapping: ${faults.length} faults`);
      }
      rig.expectNoRead(rig.iova(end), behind, "not-mapped", "behind the end of a mapping");
      rig.expectNoWrite(rig.iova(end), behind, "not-mapped", "behind the end of a mapping");
    }
    rig.expectReads(mapping.iova, address, rig.pageBytes);
    rig.unmap(mapping);
  },
};

const outsideOfTheWindow: BoardCase = {
  behaviour: "faults",
  name: "right behind the window the device reaches nothing of memory",
  run(rig) {
    const { base, entries, pageShift } = rig.board.table.window;
    const end = base + (BigInt(entries) << BigInt(pageShift));
    if (end > 2n ** 64n - 64n) return;
    const address = rig.address(0);
    rig.fill(address, 64);
    // Whether the access is recorded depends on the machine's bus beyond the window.
    const into = new Uint8Array(32);
    rig.master.dmaRead(end, into);
    rig.master.dmaWrite(end, into.fill(1));
    rig.board.takeFaults();
    rig.expectUntouched(address, 64, "after a write of the device behind the window");
  },
};

const afterFaults: BoardCase = {
  behaviour: "faults",
  name: "after faults, once they are taken, the device reaches what is mapped as before",
  run(rig) {
    const address = rig.address(3, 12);
    const mapping = rig.map(address, 100);
    for (let i = 0; i < 5; i++) {
      const entry = freeEntriesAround(rig, rig.entryAt(mapping.iova), rig.entryAt(mapping.iova) + 1)[0] as number;
      rig.expectNoRead(rig.iova(entry), address, "not-mapped", `at entry ${entry}, fault ${i}`);
      rig.expectReads(mapping.iova, address, 100);
    }
    rig.unmap(mapping);
  },
};

const cutOffUntilTaken: BoardCase = {
  behaviour: "faults",
  name: "a fault cuts the device off until faults are taken where the kind says so, and nowhere else",
  needs: ["recorded faults"],
  run(rig) {
    const address = rig.address(3);
    rig.fill(address, 64);
    const mapping = rig.map(address, 64);
    const first = rig.entryAt(mapping.iova);
    const [entry] = freeEntriesAround(rig, first, first + 1) as [number];
    const into = new Uint8Array(16);
    rig.master.dmaRead(rig.iova(entry), into);
    const reaches = rig.master.dmaRead(mapping.iova, into);
    const freezes = rig.kind.faultsFreeze === true;
    expect(reaches !== freezes, () => {
      const found = reaches ? "reaches what is mapped" : "is cut off";
      return `after a fault at entry ${entry}, before it is taken, the device ${found}; the kind says otherwise`;
    });
    const faults = rig.board.takeFaults();
    expect(faults.length === 1, () => `a fault, and a DMA after it, are recorded as ${faults.length} faults`);
    rig.expectReads(mapping.iova, address, 64);
    rig.unmap(mapping);
  },
};

const faultsTellWhere: BoardCase = {
  behaviour: "faults",
  name: "faults come with the device, the address and the access, in the order in which they happened",
  needs: ["recorded faults"],
  run(rig) {
    const { entries } = rig.board.table.window;
    const into = new Uint8Array(4);
    for (const [entry, access] of [
      [entries - 1, 1],
      [entries - 3, 2],
      [entries - 2, 1],
    ] as const) {
      const iova = rig.iova(entry) + 8n;
      if (access === 1) rig.master.dmaRead(iova, into);
      else rig.master.dmaWrite(iova, into);
      const [fault, ...more] = rig.board.takeFaults();
      const lies =
        fault !== undefined && fault.iova >> BigInt(rig.setting.pageShift) === iova >> BigInt(rig.setting.pageShift);
      const isIt = lies && fault.access === access && fault.device === rig.master.name && fault.reason !== "";
      const found = JSON.stringify(fault, (_, value) => (typeof value === "bigint" ? value.toString(16) : value));
      expect(isIt && more.length === 0, () => `a DMA of access ${access} at entry ${entry} is recorded as ${found}`);
    }
  },
};

/** Up to two empty entries on each side of [first, end), and the first and last entry of the table if they are empty. */
function freeEntriesAround(rig: Rig, first: number, end: number): number[] {
  const { entries } = rig.board.table.window;
  const wanted = [first - 2, first - 1, end, end + 1, 0, entries - 1];
  return wanted.filter((entry) => entry >= 0 && entry < entries && rig.get(entry).access === 0);
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
