/** The platform's interface besides its table (platforms/platform.ts): windows, reset, and a `close` that may be repeated. */
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import type { Rig } from "../rig.ts";

const tableAmongWindows: BoardCase = {
  behaviour: "platform",
  name: "the generic table is one of the platform's windows",
  run(rig) {
    const { generic, windows } = rig.board.platform;
    const found = windows.filter((window) => window.kind === "translated" && window.table === generic);
    expect(found.length === 1, () => `the generic table is ${found.length} of the ${windows.length} windows`);
  },
};

const resetForgets: BoardCase = {
  behaviour: "platform",
  name: "after a reset what is mapped works, and what the IOTLB alone still knew does not; a device that a fault cut off works again",
  run(rig) {
    const kept = { address: rig.address(1), mapping: rig.map(rig.address(1), 32) };
    const address = rig.address(2);
    const emptied = rig.map(address, 32);
    for (const { iova } of [kept.mapping, emptied])
      rig.expectReads(iova, iova === emptied.iova ? address : kept.address, 32);
    const { ops } = rig.board.table;
    ops.clear(rig.entryAt(emptied.iova), 1);
    expect(ops.publish() === undefined, () => "an entry can't be emptied");
    expectReset(rig);
    rig.expectNoRead(emptied.iova, address, "not-mapped", "after a reset");
    // If faults freeze devices, this one does.
    rig.master.dmaRead(emptied.iova, new Uint8Array(8));
    expectReset(rig);
    const isReached = rig.master.dmaRead(kept.mapping.iova, new Uint8Array(8));
    expect(isReached, () => "after a stray access and a reset, the device does not reach what is mapped");
    rig.board.takeFaults();
    rig.expectReads(kept.mapping.iova, kept.address, 32);
    rig.unmap(kept.mapping);
    rig.unmap(emptied);
  },
};

function expectReset(rig: Rig): void {
  const failure = rig.board.platform.reset();
  expect(failure === undefined, () => `a reset: ${failure}`);
}

const closedTwice: BoardCase = {
  behaviour: "platform",
  name: "a platform's and a board's second close do nothing, and leave other views alone",
  needs: ["two threads", "three threads"],
  run(rig) {
    const mapping = rig.map(rig.address(1), 32);
    const view = rig.kind.attach(rig.board.handle);
    for (const closing of [view.platform, view.platform, view, view]) closing.close();
    rig.expectReads(mapping.iova, rig.address(1), 32);
    rig.unmap(mapping);
  },
};

export const PLATFORM: readonly BoardCase[] = [tableAmongWindows, resetForgets, closedTwice];
