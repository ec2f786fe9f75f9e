/** Ownership: who may give a range back, and that each of the four wrong ways is told apart and changes nothing. */
import { FreeError, type FreeMisuse } from "../../../units/errors.ts";
import { expect } from "../../expect.ts";
import type { Bench } from "../bench.ts";
import type { BoardCase } from "../case.ts";

const wrongFrees: BoardCase = {
  behaviour: "ownership",
  name: "frees out of range, of what is not mapped and of another length are three different errors, and change nothing",
  run(bench) {
    const address = bench.address(1);
    const bytes = bench.severalPages ? 3 * bench.pageBytes : 64;
    const pages = bench.severalPages ? 3 : 1;
    const mapping = bench.map(address, bytes);
    const first = bench.entryAt(mapping.iova);
    const { entries } = bench.board.table.window;
    const free = first > 0 && bench.get(first - 1).access === 0 ? first - 1 : first + pages;
    for (const [entry, count, misuse] of [
      [entries, 1, "out-of-range"],
      [entries - 1, 2, "out-of-range"],
      [-1, 1, "out-of-range"],
      [free, 1, undefined],
      [first, pages + 1, first + pages < entries ? "wrong-length" : "out-of-range"],
      ...(pages > 1 ? ([[first, pages - 1, "wrong-length"]] as const) : []),
      ...(pages > 1 ? ([[first + 1, 1, undefined]] as const) : []),
    ] as const) {
      expectRefusedFree(
        bench,
        () => bench.other.table.unmap(entry, count),
        misuse,
        `unmap of ${count} from ${entry} on`,
      );
    }
    const device = bench.plainDevice(bench.other.table);
    // A window that begins at 0 may have this mapping there.
    const elsewhere = (mapping.iova === 0n ? BigInt(free * bench.pageBytes) : 0n) as typeof mapping.iova;
    expectRefusedFree(
      bench,
      () => device.unmap({ ...mapping, iova: elsewhere, bytes }),
      undefined,
      `unmap at ${elsewhere}`,
    );
    bench.expectReads(mapping.iova, address, bytes);
    bench.unmap(mapping);
    expectRefusedFree(bench, () => bench.board.table.unmap(first, pages), "not-allocated", "the second unmap");
  },
};

const anyThreadFrees: BoardCase = {
  behaviour: "ownership",
  name: "what one thread has mapped another may unmap, once",
  needs: ["two threads"],
  run(bench) {
    const address = bench.address(1);
    const mapping = bench.map(address, 64);
    bench.expectReads(mapping.iova, address, 64);
    const first = bench.entryAt(mapping.iova);
    bench.unmap(mapping);
    bench.settle();
    bench.expectNoRead(mapping.iova, address, "not-mapped", "after another thread's unmap");
    expectRefusedFree(
      bench,
      () => bench.board.table.unmap(first, 1),
      "not-allocated",
      "unmap by the thread that mapped",
    );
  },
};

const ownerOnly: BoardCase = {
  behaviour: "ownership",
  name: "where only the owner may unmap, another thread's unmap is the error wrong-owner, and changes nothing",
  needs: ["two threads"],
  table: { frees: "owner-only" },
  run(bench) {
    const address = bench.address(1);
    const mapping = bench.map(address, 64);
    const first = bench.entryAt(mapping.iova);
    expectRefusedFree(bench, () => bench.other.table.unmap(first, 1), "wrong-owner", "another thread's unmap");
    bench.expectReads(mapping.iova, address, 64);
    bench.unmap(mapping, bench.plainDevice());
  },
};

/** `misuse`: which of the four it is; undefined where it may be one or another. */
function expectRefusedFree(bench: Bench, free: () => unknown, misuse: FreeMisuse | undefined, what: string): void {
  const before = bench.entries();
  const { taken } = bench.board.table.statistics();
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
  bench.expectEntries(before, `after ${what}, which was refused`);
  const after = bench.board.table.statistics().taken;
  expect(after === taken, () => `after ${what}, which was refused, ${after} entries are taken; ${taken} were before`);
}

export const OWNERSHIP: readonly BoardCase[] = [wrongFrees, anyThreadFrees, ownerOnly];
