import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../dma/device.ts";
import { FormatError, InvalidArgumentError } from "../units/errors.ts";
import type { BoardHandle } from "./board.ts";
import { attachBoard, BOARD_KINDS, boardNamed } from "./boards.ts";

const MEMORY_BYTES = 2 ** 22;

for (const kind of BOARD_KINDS) {
  test(`${kind.name}: two threads' views of a board map for one device, which reads what was mapped`, () => {
    const board = kind.create({ memoryBytes: MEMORY_BYTES, entries: 256, devices: ["nic"], threads: 3 });
    const other = attachBoard(structuredClone(board.handle));
    assert.notEqual(other.machineThread, board.machineThread);
    assert.ok(board.usableBytes > 2 ** 20 && board.usableBytes % 2 ** board.table.window.pageShift === 0);
    board.machine.memory.write(0x10123, Uint8Array.of(1, 2, 3));
    const device = new DmaDevice(other.table);
    const mapping = device.map(0x10123n, 3, 1);
    assert.ok(typeof mapping !== "string", `${mapping}`);
    const bytes = new Uint8Array(3);
    assert.ok(board.machine.device("nic").dmaRead(mapping.iova, bytes));
    assert.deepEqual([...bytes], [1, 2, 3]);
    assert.equal(device.unmap(mapping), undefined);
    assert.deepEqual(board.takeFaults(), []);
    other.close();
    board.close();
  });
}

test("an unknown board, levels that it lacks, memory without room for the table, and a foreign handle are refused", () => {
  assert.throws(() => boardNamed("vax"), /platform is vax; expected one of linear-tce/);
  const kind = boardNamed("linear-tce");
  assert.throws(() => kind.create({ memoryBytes: MEMORY_BYTES, levels: 2 }), /levels of linear-tce is 2/);
  assert.throws(() => kind.create({ memoryBytes: 4096, entries: 4096 }), /memory of the board in bytes is 4096/);
  assert.throws(() => kind.create({ memoryBytes: MEMORY_BYTES, pageShift: 11 }), InvalidArgumentError);
  assert.throws(() => attachBoard({} as BoardHandle), FormatError);
});
