/** Ownership: which thread may free a range, and that each of the four wrong frees is a different error and changes nothing. */
import { FreeError, type FreeMisuse } from "../../../units/errors.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import type { Rig } from "../rig.ts";

const wrongFrees: BoardCase = {
  behaviour: "ownership",
  name: "frees out of range, of unmapped entries and of another length are three different errors, and change nothing",
  run(rig) {
    const address = rig.address(1);
    const bytes = rig.severalPages ? 3 * rig.pageBytes : 64;
    const pages = rig.severalPages ? 3 : 1;
    const mapping = rig.map(address, bytes);
    const first = rig.entryAt(mapping.iova);
    const { entries } = rig.board.table.window;
    const free = first > 0 && rig.get(first - 1).access === 0 ? first - 1 : first + pages;
    for (const [entry, count, misuse] of [
      [entries, 1, "out-of-range"],
      [entries - 1, 2, "out-of-range"],
      [-1, 1, "out-of-range"],
      [free, 1, undefined],
      [first, pages + 1, first + pages < entries ? "wrong-length" : "out-of-range"],
      ...(pages > 1 ? ([[first, pages - 1, "wrong-length"]] as const) : []),
      ...(pages > 1 ? ([[first + 1, 1, undefined]] as const) : []),
    ] as const) {
      expectRefusedFree(rig, () => rig.other.table.unmap(entry, count), misuse, `unmap of ${count} from ${entry} on`);
    }
    const device = rig.plainDevice(rig.other.table);
    // In a window that begins at 0, this address may be mapped.
    const elsewhere = (mapping.iova === 0n ? BigInt(free * rig.pageBytes) : 0n) as typeof mapping.iova;
    expectRefusedFree(
      rig,
      () => device.unmap({ ...mapping, iova: elsewhere, bytes }),
      undefined,
      `unmap at ${elsewhere}`,
    );
    rig.expectReads(mapping.iova, address, bytes);
    rig.unmap(mapping);
    expectRefusedFree(rig, () => rig.board.table.unmap(first, pages), "not-allocated", "the second unmap");
  },
};

const anyThreadFrees: BoardCase = {
  behaviour: "ownership",
  name: "what one thread has mapped another may unmap, once",
  needs: ["two threads"],
  run(rig) {
    const address = rig.address(1);
    const mapping = rig.map(address, 64);
    rig.expectReads(mapping.iova, address, 64);
    const first = rig.entryAt(mapping.iova);
    rig.unmap(mapping);
    rig.settle();
    rig.expectNoRead(mapping.iova, address, "not-mapped", "after another thread's unmap");
    expectRefusedFree(rig, () => rig.board.table.unmap(first, 1), "not-allocated", "unmap by the thread that mapped");
  },
};

const ownerOnly: BoardCase = {
  behaviour: "ownership",
  name: "where only the owner may unmap, another thread's unmap is the error wrong-owner, and changes nothing",
  needs: ["two threads"],
  table: { frees: "owner-only" },
  run(rig) {
    const address = rig.address(1);
    const mapping = rig.map(address, 64);
    const first = rig.entryAt(mapping.iova);
    expectRefusedFree(rig, () => rig.other.table.unmap(first, 1), "wrong-owner", "another thread's unmap");
    rig.expectReads(mapping.iova, address, 64);
    rig.unmap(mapping, rig.plainDevice());
  },
};

/** `misuse`: the expected one of the four; undefined if several are possible. */
function expectRefusedFree(rig: Rig, free: () => unknown, misuse: FreeMisuse | undefined, what: string): void {
  const before = rig.entries();
  const { taken } = rig.board.table.statistics();
  let thrown: unknown;
  try {
    free();
  } catch (error) {
    thrown = error;
  }
  const isIt = thrown instanceof FreeError && (misuse === undefined || thrown.code === misuse);
  expect(
    isIt,
    () => `${what}: ${thrown ?? "is taken"}; expected a FreeError${misuse === undefined ? "" : ` ${misuse}`}`,
  );
  rig.expectEntries(before, `after ${what}, which was refused`);
  const after = rig.board.table.statistics().taken;
  expect(after === taken, () => `after ${what}, which was refused, ${after} entries are taken; ${taken} were before`);
}

export const OWNERSHIP: readonly BoardCase[] = [wrongFrees, anyThreadFrees, ownerOnly];
