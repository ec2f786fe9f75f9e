/**
 * Lazy flush and invalidation: an entry is allocated again only after it was invalidated in the IOTLB. On machines with an IOTLB, the suite
 * first shows that a missing invalidation is visible: otherwise the other cases would prove nothing.
 */

import type { TableOps } from "../../../table/contract.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import { content, expectDone, type Rig } from "../rig.ts";

/** Number of entries that are reused. */
const FEW = 3;

const forgottenInvalidation: BoardCase = {
  behaviour: "invalidation",
  name: "with the platform's invalidations left out, the device still reaches what is unmapped: a forgotten one shows",
  needs: ["IOTLB"],
  run(rig) {
    const address = rig.address(1);
    const mapping = rig.map(address, 32);
    rig.expectReads(mapping.iova, address, 32);
    const restore = rig.views.map(({ table }) => withoutInvalidation(table.ops));
    rig.unmap(mapping);
    rig.settle();
    const seen = new Uint8Array(32);
    const granted = rig.master.dmaRead(mapping.iova, seen);
    rig.board.takeFaults();
    for (const undo of restore) undo();
    const failure = rig.board.table.ops.invalidateAll();
    expect(failure === undefined, () => `invalidateAll: ${failure}`);
    const wanted = content(address, 32);
    const stale = granted && seen.every((byte, i) => byte === wanted[i]);
    expect(
      stale,
      () => `without invalidation ${hexadecimal(mapping.iova)} is refused: ${rig.kind.name} has no IOTLB that shows it`,
    );
    rig.expectNoRead(mapping.iova, address, "not-mapped", "after invalidateAll");
  },
};

const invalidatedAtOnce: BoardCase = {
  behaviour: "invalidation",
  name: "strict: entries that come round show the device what is mapped there now",
  needs: ["strict"],
  run: (rig) => mapAgainAndAgain(rig),
};

const notBeforeTheFlush: BoardCase = {
  behaviour: "lazy flush",
  name: "an entry is not handed out again before a flush that began after it was unmapped",
  needs: ["lazy"],
  run(rig) {
    let flushes = 0;
    const restore = rig.views.map(({ table }) => beforeInvalidateAll(table.ops, () => flushes++));
    const unmappedAt = new Map<number, number>();
    const device = rig.plainDevice();
    for (let round = 0; round < 3 * rig.board.table.window.entries; round++) {
      const mapping = rig.map(rig.address(round % 5), 8, 3, device);
      const entry = rig.entryAt(mapping.iova);
      const then = unmappedAt.get(entry);
      expect(
        then === undefined || flushes > then,
        () => `round ${round}: entry ${entry} is handed out again, and since it was unmapped the IOTLB was not flushed`,
      );
      // A flush inside of unmap, after the entry was cleared, counts.
      unmappedAt.set(entry, flushes);
      rig.unmap(mapping);
    }
    for (const undo of restore) undo();
  },
};

const alwaysItsOwn: BoardCase = {
  behaviour: "lazy flush",
  name: "entries that come round show the device what is mapped there now",
  needs: ["lazy"],
  run: (rig) => mapAgainAndAgain(rig),
};

const nothingStale: BoardCase = {
  behaviour: "lazy flush",
  name: "without an IOTLB what is unmapped is out of reach at once, flushed or not",
  needs: ["no IOTLB", "lazy"],
  run(rig) {
    const address = rig.address(1);
    const mapping = rig.map(address, 32);
    rig.expectReads(mapping.iova, address, 32);
    rig.unmap(mapping);
    rig.expectNoRead(mapping.iova, address, "not-mapped", "after unmap, before a flush");
  },
};

const failedFlush: BoardCase = {
  behaviour: "invalidation",
  name: "when the IOTLB can't be invalidated unmap says so, and the entry is not handed out until it could",
  needs: ["strict"],
  run(rig) {
    const mapping = rig.map(rig.address(1), 32);
    const entry = rig.entryAt(mapping.iova);
    const { ops } = rig.other.table;
    const { invalidate, invalidateAll } = ops;
    ops.invalidate = () => "platform-busy";
    ops.invalidateAll = () => "platform-busy";
    const failure = rig.plainDevice(rig.other.table).unmap(mapping);
    expect(failure === "platform-busy", () => `unmap whose invalidation is busy: ${failure}`);
    expect(rig.get(entry).access === 0, () => `entry ${entry} is not empty after an unmap that could not invalidate`);
    const taken = rig.board.table.statistics();
    expect(taken.quarantined === 1, () => `${taken.quarantined} entries are quarantined; expected 1`);
    ops.invalidate = invalidate;
    ops.invalidateAll = invalidateAll;
    const flushed = rig.other.table.allocator.flushIotlb();
    expect(flushed === undefined, () => `flush: ${flushed}`);
    rig.expectNoRead(mapping.iova, rig.address(1), "not-mapped", "once it could be invalidated");
  },
};

/**
 * Maps repeatedly; each mapping leads to other memory than the previous one at its entry, and the device reads each. All but a few entries
 * are taken, so that these are reused while even a small IOTLB still has their old translations.
 */
function mapAgainAndAgain(rig: Rig): void {
  const device = rig.plainDevice();
  const others: number[] = [];
  for (;;) {
    const entry = device.mapPages(rig.address(5), 8, 3);
    if (entry < 0) break;
    others.push(entry);
  }
  for (let i = 0; i < FEW; i++) expectDone(device.unmapPages(others.pop() as number, 1), "unmap");
  for (let round = 0; round < 12 * FEW + 1; round++) {
    const address = rig.address(round % 5);
    const mapping = rig.map(address, 16, 3, device);
    rig.expectReads(mapping.iova, address, 16);
    // Unmapped by the thread that maps, which allocates the entry again at once.
    rig.unmap(mapping, device);
  }
  for (const entry of others) expectDone(device.unmapPages(entry, 1), "unmap");
}

/** Makes the invalidations of these ops do nothing. Returns a function that undoes that. */
function withoutInvalidation(ops: TableOps): () => void {
  const { invalidate, invalidateAll } = ops;
  ops.invalidate = () => undefined;
  ops.invalidateAll = () => undefined;
  return () => Object.assign(ops, { invalidate, invalidateAll });
}

function beforeInvalidateAll(ops: TableOps, begins: () => void): () => void {
  const { invalidateAll } = ops;
  ops.invalidateAll = () => {
    begins();
    return invalidateAll.call(ops);
  };
  return () => Object.assign(ops, { invalidateAll });
}

export const LAZY_FLUSH: readonly BoardCase[] = [notBeforeTheFlush, alwaysItsOwn, nothingStale];
export const INVALIDATION: readonly BoardCase[] = [forgottenInvalidation, invalidatedAtOnce, failedFlush];
