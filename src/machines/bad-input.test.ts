/**
 * Input that every platform refuses: entries beyond the table, invalid pages, unsupported page sizes and tables,
 * and the use of a table that is gone, or of a view that is closed. Each is refused with the numbers, and nothing has changed. What each
 * platform has in a way of its own (an unknown liobn, a window of a size that is no power of two) is tried in src/platforms: linear,
 * sun4u, sun4v and ldc in platform.test.ts, powernv in group.test.ts and geometry.test.ts, pseries in ops.test.ts and
 * dynamic-windows.test.ts.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../dma/device.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import { LdcPlatform } from "../platforms/ldc/platform.ts";
import { PowernvPlatform } from "../platforms/powernv/platform.ts";
import { Sun4vPlatform } from "../platforms/sun4v/platform.ts";
import type { EntryValue } from "../table/contract.ts";
import type { IommuTable } from "../table/iommu-table.ts";
import { FreeError, InvalidArgumentError, IovaError } from "../units/errors.ts";
import type { EntryRange } from "../units/numbers.ts";
import type { Board } from "./board.ts";
import { BOARD_KINDS } from "./boards.ts";

const MEMORY_BYTES = 2 ** 24;

/** Everything that a refusal could have changed: each entry, and what the allocator says is taken. */
function stateOf({ table }: Board): unknown {
  const entries = Array.from({ length: table.window.entries }, (_, entry) => {
    const value: EntryValue = { page: 0, access: 0 };
    table.ops.get(entry, value);
    return value;
  });
  const { taken, quarantined } = table.statistics();
  return { entries, taken, quarantined };
}

/** Calls of the ops on the range [first, first + count). */
const CALLS: Readonly<Record<string, (table: IommuTable, first: number, count: number) => unknown>> = {
  set: ({ ops }, first, count) => ops.set(first, count, 5, 3),
  clear: ({ ops }, first, count) => ops.clear(first, count),
  get: ({ ops }, first) => ops.get(first, { page: 0, access: 0 }),
  exchange: ({ ops }, first) => ops.exchange(first, 5, 3, { page: 0, access: 0 }),
};

/** Where a table can be taken away while its machine goes on; the other platforms' tables last as long as theirs. */
function takeAway({ platform }: Board): boolean {
  if (platform instanceof PowernvPlatform) {
    assert.equal(platform.table.release(), undefined);
    assert.equal(platform.group.unsetWindow(platform.table), undefined);
    return true;
  }
  if (!(platform instanceof Sun4vPlatform || platform instanceof LdcPlatform)) return false;
  platform.remove();
  return true;
}

for (const kind of BOARD_KINDS) {
  const boardOf = (): Board => kind.create({ memoryBytes: MEMORY_BYTES, entries: 1024 });

  test(`${kind.name}: entries beyond the table are refused by every call with the range and the table's size, and nothing changes`, () => {
    const board = boardOf();
    const { table } = board;
    const { entries, base, pageShift } = table.window;
    const device = new DmaDevice(table);
    const mapped = device.mapPages(0, 1, 3);
    assert.ok(mapped >= 0);
    const before = stateOf(board);
    for (const [first, count] of [
      [-1, 1],
      [-1, 2],
      [entries - 1, 2],
      [entries, 1],
      [2 ** 31, 1],
      [0, 0],
      [0, -1],
      [Number.NaN, 1],
    ] as const) {
      for (const [name, call] of Object.entries(CALLS)) {
        const isOneEntry = name === "get" || name === "exchange";
        if (isOneEntry && first >= 0 && first < entries) continue;
        const end = isOneEntry ? first + 1 : first + count;
        assert.throws(
          () => call(table, first, count),
          (error) => {
            assert.ok(error instanceof InvalidArgumentError, `${name} of ${first}, ${count}: ${error}`);
            assert.ok(error.message.includes(`[${first}, ${end})`), error.message);
            assert.ok(error.message.includes(`[0, ${entries})`), error.message);
            return true;
          },
        );
      }
    }
    const end = base + (BigInt(entries) << BigInt(pageShift));
    const outOfRange = { name: "FreeError", code: "out-of-range" };
    assert.throws(() => table.unmap(entries, 1), outOfRange);
    assert.throws(() => table.unmap(entries - 1, 2), outOfRange);
    assert.throws(() => device.unmap({ iova: end as never, bytes: 1, access: 3 }), outOfRange);
    assert.throws(() => table.reserve({ first: entries - 1, end: entries + 1 } as EntryRange), InvalidArgumentError);
    assert.deepEqual(stateOf(board), before);
    assert.equal(device.unmapPages(mapped, 1), undefined);
    board.close();
  });

  test(`${kind.name}: a page that is misaligned, negative or wider than an entry is refused, alone and in a range, and nothing changes`, () => {
    const board = boardOf();
    const { ops } = board.table;
    const first = board.table.window.entries - 8;
    const before = stateOf(board);
    for (const page of [-1, 0.5, 1 / 8192, 2 ** 52, Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const count of [1, 7]) {
        assert.equal(ops.set(first, count, page, 3), "platform-refused", `page ${page}`);
        assert.equal(ops.publish(), undefined);
      }
      assert.equal(ops.exchange(first, page, 3, { page: 0, access: 0 }), "platform-refused", `page ${page}`);
    }
    assert.deepEqual(stateOf(board), before);
    board.close();
  });

  test(`${kind.name}: a page size that the platform lacks is refused with the sizes that it has`, () => {
    const lacking = Array.from({ length: 64 }, (_, shift) => shift).filter((shift) => !kind.pageShifts.includes(shift));
    for (const pageShift of [...lacking, -1, 12.5, Number.NaN]) {
      assert.throws(
        () => kind.create({ memoryBytes: MEMORY_BYTES, entries: 1024, pageShift }),
        (error) =>
          error instanceof InvalidArgumentError &&
          error.message.includes(`page shift of ${kind.name} is ${pageShift}; expected one of ${kind.pageShifts[0]}`),
      );
    }
  });

  test(`${kind.name}: a table that is gone refuses every call, maps nothing, and frees nothing twice`, (t) => {
    const board = boardOf();
    const { table } = board;
    const device = new DmaDevice(table);
    const mapping = device.map(0n, 1, 3);
    assert.ok(typeof mapping !== "string");
    assert.equal(device.unmap(mapping), undefined);
    if (!takeAway(board)) {
      t.diagnostic("its table lasts as long as its machine");
      return board.close();
    }
    for (const [name, call] of Object.entries(CALLS)) {
      assert.throws(() => call(table, 1, 1), { name: "IovaError", code: "table-gone" }, name);
    }
    assert.throws(() => device.unmap(mapping), FreeError);
    // If the removing thread has claimed the entries, the table is full; else the ops throw table-gone.
    if (board.platform instanceof PowernvPlatform) assert.equal(device.map(0n, 1, 3), "table-full");
    else assert.throws(() => device.map(0n, 1, 3), { name: "IovaError", code: "table-gone" });
  });

  test(`${kind.name}: a view that is closed maps nothing and frees nothing, and what it had mapped stays`, () => {
    const board = boardOf();
    const other = kind.attach(board.handle);
    const device = new DmaDevice(other.table);
    const mapping = device.map(0n, 1, 3);
    assert.ok(typeof mapping !== "string");
    const list = new ScatterList(1);
    list.add(0n, 1);
    assert.equal(device.mapSg(list, 3), undefined);
    other.table.close();
    const before = stateOf(board);
    const closed = { name: "IovaError", code: "view-closed" };
    assert.throws(() => device.map(0n, 1, 3), closed);
    assert.throws(() => device.unmap(mapping), closed);
    assert.throws(() => device.unmapSg(list), closed);
    assert.deepEqual(stateOf(board), before);
    assert.equal(new DmaDevice(board.table).unmap(mapping), undefined);
  });

  test(`${kind.name}: a handle with any invalid field is refused, and no thread's number is lost by it`, () => {
    const board = boardOf();
    const before = board.table.allocator.threadsInUse();
    const { handle } = board;
    for (const part of ["machine", "platform"] as const) {
      for (const field of Object.keys(handle[part] as object)) {
        const broken = { ...handle, [part]: { ...(handle[part] as object), [field]: null } };
        assert.throws(() => kind.attach(broken), IovaError, `${part}.${field}`);
      }
      assert.throws(() => kind.attach({ ...handle, [part]: null }), IovaError, part);
    }
    assert.deepEqual(board.table.allocator.threadsInUse(), before);
    kind.attach(handle).table.close();
  });
}
