import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../dma/device.ts";
import { FormatError, InvalidArgumentError } from "../units/errors.ts";
import { type BoardHandle, type BoardOptions, checkBoardOptions } from "./board.ts";
import { attachBoard, BOARD_KINDS, boardNamed } from "./boards.ts";

const MEMORY_BYTES = 2 ** 22;

for (const kind of BOARD_KINDS) {
  const alone = kind.maxThreads === 1;
  test(`${kind.name}: ${alone ? "its one thread's view maps" : "two threads' views of a board map"} for one device, which reads what was mapped`, () => {
    const board = kind.create({ memoryBytes: MEMORY_BYTES, entries: 256, threads: Math.min(3, kind.maxThreads ?? 3) });
    const other = alone ? board : attachBoard(structuredClone(board.handle));
    if (!alone) assert.notEqual(other.crew.thread, board.crew.thread);
    assert.ok(board.usableBytes > 2 ** 20 && board.usableBytes % 2 ** board.table.window.pageShift === 0);
    board.machine.memory.write(0x10123, Uint8Array.of(1, 2, 3));
    const device = new DmaDevice(other.table);
    const mapping = device.map(0x10123n, 3, 1);
    assert.ok(typeof mapping !== "string", `${mapping}`);
    const bytes = new Uint8Array(3);
    assert.ok(board.machine.device(0).dmaRead(mapping.iova, bytes));
    assert.deepEqual([...bytes], [1, 2, 3]);
    assert.equal(device.unmap(mapping), undefined);
    assert.deepEqual(board.takeFaults(), []);
    if (!alone) other.close();
    board.close();
  });
}

// Review of 2026-11-30, B20: a table that was reclaimed before the machine had forgotten the thread could find the platform busy.
for (const kind of BOARD_KINDS.filter(({ maxThreads }) => maxThreads === undefined || maxThreads > 1)) {
  test(`${kind.name}: a thread has one number, and one call recovers what it left in machine and table`, () => {
    const board = kind.create({ memoryBytes: MEMORY_BYTES, entries: 256, threads: 2 });
    const dead = attachBoard(structuredClone(board.handle));
    const mapping = new DmaDevice(dead.table).map(0x10123n, 3, 1);
    assert.ok(typeof mapping !== "string");
    const { table } = board;
    const numbers = [dead.crew.thread, dead.table.thread, dead.machine.crew?.thread];
    assert.deepEqual(new Set(numbers).size, 1, "one number everywhere");
    const ranges = table.reclaim(dead.crew.thread, "everything");
    assert.deepEqual([ranges.length, table.leaks().size], [1, 0]);
    attachBoard(structuredClone(board.handle)).close();
    board.close();
  });
}

test("after a reclaim that found the platform busy the number stays taken, until a repetition succeeds", () => {
  const board = boardNamed("linear-tce").create({ memoryBytes: MEMORY_BYTES, entries: 256, threads: 2 });
  const dead = attachBoard(structuredClone(board.handle));
  assert.ok(typeof new DmaDevice(dead.table).map(0x10123n, 3, 1) !== "string");
  const { ops } = board.table;
  const { invalidateAll } = ops;
  ops.invalidateAll = () => "platform-busy";
  for (let attempt = 0; attempt < 2; attempt++) {
    assert.throws(() => board.crew.reclaim(dead.crew.thread, "everything"), {
      code: "platform-busy",
      message: /reclaim of thread 1: platform-busy; its ranges are quarantined .* until it is reclaimed again/,
    });
    assert.throws(() => attachBoard(structuredClone(board.handle)), { code: "no-thread-slot" });
  }
  ops.invalidateAll = invalidateAll;
  assert.equal(board.crew.reclaim(dead.crew.thread, "everything").isFree, true);
  attachBoard(structuredClone(board.handle)).close();
});

// Review of 2026-11-30, platforms, defect 4.
for (const kind of BOARD_KINDS) {
  test(`${kind.name}: a second close does nothing; a table that was closed before leaves no machine open`, () => {
    const threads = Math.min(2, kind.maxThreads ?? 2);
    const board = kind.create({ memoryBytes: MEMORY_BYTES, entries: 256, threads });
    board.close();
    board.close();
    const other = kind.create({ memoryBytes: MEMORY_BYTES, entries: 256, threads });
    other.table.close();
    other.close();
    assert.throws(() => other.machine.device(0).dmaRead(0n, new Uint8Array(8)), { code: "closed" });
    other.close();
  });
}

for (const kind of BOARD_KINDS) {
  test(`${kind.name}: what the kind does not have is refused with the numbers`, () => {
    const [usual = 0] = kind.pageShifts;
    const wrong: readonly [Partial<BoardOptions>, RegExp][] = [
      [{ memoryBytes: 2 ** 22 + 1 }, /memory of the board in bytes is 4194305; expected a multiple of 4096/],
      [{ memoryBytes: Number.NaN }, /memory of the board in bytes is NaN/],
      [{ pageShift: 11 }, new RegExp(`page shift of ${kind.name} is 11; expected one of ${usual}`)],
      [{ levels: 9 }, new RegExp(`levels of ${kind.name} is 9; expected one of 1`)],
      [{ levels: 0 }, new RegExp(`levels of ${kind.name} is 0`)],
      [{ entries: 0 }, new RegExp(`entries of ${kind.name} is 0`)],
      [{ entries: 1.5 }, new RegExp(`entries of ${kind.name} is 1.5`)],
      [
        { entries: kind.largestTable(usual) + 1 },
        new RegExp(`entries of ${kind.name} is ${kind.largestTable(usual) + 1}`),
      ],
      [{ threads: 0 }, new RegExp(`threads of ${kind.name} is 0; expected 1`)],
      [{ threads: (kind.maxThreads ?? 0.5) + 1 }, new RegExp(`threads of ${kind.name} is `)],
      [{ devices: [] }, new RegExp(`devices of ${kind.name} is empty; expected `)],
      [{ devices: ["a", "a"] }, new RegExp(`devices of ${kind.name} is a, a; expected `)],
    ];
    for (const [options, message] of wrong) {
      assert.throws(
        () => kind.create({ memoryBytes: MEMORY_BYTES, entries: 256, ...options }),
        (error) => error instanceof InvalidArgumentError && message.test(error.message),
        JSON.stringify(options),
      );
    }
  });
}

test("a kind with devices and threads of its own refuses others, and takes a choice of its own", () => {
  const kind = { ...boardNamed("linear-tce"), name: "fixed", maxThreads: 2, deviceNames: ["disk", "nic"] };
  const check = (options: Partial<BoardOptions>) => checkBoardOptions(kind, { memoryBytes: MEMORY_BYTES, ...options });
  check({ threads: 2, devices: ["nic"] });
  assert.throws(() => check({ threads: 3 }), /threads of fixed is 3; expected 1 \.\. 2/);
  assert.throws(
    () => check({ devices: ["nic", "sound"] }),
    /devices of fixed is nic, sound; expected some of disk, nic/,
  );
});

test("an unknown board, memory without room for the table, and a foreign handle are refused", () => {
  assert.throws(() => boardNamed("vax"), /platform is "vax"; expected one of linear-tce/);
  const kind = boardNamed("linear-tce");
  assert.throws(() => kind.create({ memoryBytes: 4096, entries: 4096 }), /memory of the board in bytes is 4096/);
  assert.throws(() => attachBoard({} as BoardHandle), FormatError);
});
