import assert from "node:assert/strict";
import { test } from "node:test";
import { DebuggedDevice, debugged } from "../dma/debug/debugged-device.ts";
import { DmaDevice } from "../dma/device.ts";
import type { DmaDeviceOptions } from "../dma/device-options.ts";
import { FaultInjectingTable, type FaultInjectionOptions } from "../dma/fault-injection.ts";
import type { Board, BoardKind } from "../machines/board.ts";
import { BOARD_KINDS, boardNamed } from "../machines/boards.ts";
import { PhysicalPages } from "../memory/physical-pages.ts";
import { IovaError } from "../units/errors.ts";
import { BLOCK_BYTES, NvmeController } from "./nvme-controller.ts";
import { NvmeDriver } from "./nvme-driver.ts";
import { RingDriver } from "./ring-driver.ts";
import { RingNic } from "./ring-nic.ts";

const MEMORY_BYTES = 2 ** 24;
const BUFFERS = 2 ** 21;

/** `pages`: of memory for rings and buffers. */
function stage(
  kind: BoardKind,
  { pages: count, faults = {}, ...options }: DmaDeviceOptions & { pages?: number; faults?: FaultInjectionOptions } = {},
) {
  const board = kind.create({ memoryBytes: MEMORY_BYTES, entries: 1024 });
  const { memory } = board.machine;
  const pages = PhysicalPages.create({
    address: BUFFERS,
    bytes: count === undefined ? board.usableBytes - BUFFERS : count * 4096,
  });
  const dma = debugged(
    new DmaDevice(new FaultInjectingTable(board.table, faults), {}, { memory, coherentPages: pages, ...options }),
  );
  const taken = board.table.statistics().taken;
  const empty = (): void => {
    assert.equal(board.table.statistics().taken, taken, "entries are lost");
    assert.equal(pages.takenPages, 0, "pages are lost");
    assert.deepEqual(dma.reports, []);
  };
  return { board, memory, pages, dma, empty };
}

function nicOn(board: Board): RingNic {
  const nic: RingNic = new RingNic(board.machine.device(0), (frame) => nic.deliver(frame));
  return nic;
}

const bytes = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 255);

for (const kind of BOARD_KINDS) {
  test(`${kind.name}: frames in pieces go out, come back whole and in order, and nothing stays mapped`, () => {
    const { board, memory, pages, dma, empty } = stage(kind);
    const driver = new RingDriver({ dma, memory, pages, device: nicOn(board) }, 8);
    for (let round = 0; round < 50; round++) {
      const pieces = [
        { address: 0x1003, bytes: 14 },
        { address: 0x20f0, bytes: 1 + round * 20 },
        { address: 0x9000, bytes: 300 },
      ];
      const sent = pieces.map(({ bytes: length }, i) => bytes(length, round + i));
      for (const [i, { address }] of pieces.entries()) memory.write(address, sent[i] as Uint8Array);
      assert.equal(driver.send(pieces), undefined);
      const received: Uint8Array[] = [];
      assert.equal(
        driver.poll((frame) => received.push(frame)),
        1,
      );
      assert.deepEqual(received[0], Uint8Array.from(sent.flatMap((piece) => [...piece])));
    }
    assert.equal(driver.errors, 0);
    driver.close();
    assert.deepEqual(board.takeFaults(), []);
    empty();
    board.close();
  });

  test(`${kind.name}: blocks are written from memory, and read back into other memory`, () => {
    const { board, memory, dma, empty } = stage(kind);
    const disk = new Uint8Array(2 ** 21);
    const controller = new NvmeController(board.machine.device(0), disk);
    const driver = new NvmeDriver({ dma, memory, device: controller }, 4);
    for (const [first, blocks, address] of [
      [0, 1, 0x4000],
      [7, 8, 0x4204],
      [100, 300, 0x4000],
      [3000, 1024, 0x4ffc],
    ] as const) {
      const data = bytes(blocks * BLOCK_BYTES, first + 1);
      memory.write(address, data);
      assert.equal(driver.write(first, blocks, address), 0);
      assert.deepEqual(disk.subarray(first * BLOCK_BYTES, (first + blocks) * BLOCK_BYTES), data);
      assert.equal(driver.read(first, blocks, 0x100104), 0);
      const back = new Uint8Array(data.length);
      memory.read(0x100104, back);
      assert.deepEqual(back, data);
    }
    driver.close();
    assert.deepEqual(board.takeFaults(), []);
    empty();
    board.close();
  });
}

const tce = boardNamed("linear-tce");

test("a frame that does not fit the ring, or a descriptor, is not sent, and leaves nothing mapped", () => {
  const { board, memory, pages, dma, empty } = stage(tce, { merge: false });
  const silent = new RingNic(board.machine.device(0), () => {});
  const driver = new RingDriver({ dma, memory, pages, device: silent }, 2);
  const piece = (at: number) => ({ address: at * 0x3000, bytes: 60 });
  assert.equal(driver.send([piece(1), piece(2), piece(3)]), "in-use");
  assert.throws(() => driver.send([{ address: 0, bytes: 2 ** 23 }]), /segment capacity of a list/);
  assert.throws(() => driver.send([{ address: 0, bytes: 0 }]), /bytes of a frame is 0; expected at least 1/);
  assert.equal(driver.send([piece(1), piece(2)]), undefined);
  driver.close();
  empty();
});

test("a second close of a driver does nothing: its device, and its memory, may be another driver's", () => {
  const { board, memory, pages, dma, empty } = stage(tce);
  const nic = nicOn(board);
  const controller = new NvmeController(board.machine.device(0), new Uint8Array(2 ** 16));
  const drivers = [
    new RingDriver({ dma, memory, pages, device: nic }, 2),
    new NvmeDriver({ dma, memory, device: controller }, 4),
  ];
  for (const driver of drivers) driver.close();
  const reset = () => assert.fail("the device is reset");
  Object.assign(nic, { reset });
  Object.assign(controller, { reset });
  for (const driver of drivers) driver.close();
  empty();
});

test("a frame longer than a receive buffer is dropped, and the ring goes on", () => {
  const { board, memory, pages, dma, empty } = stage(tce);
  const nic = nicOn(board);
  const driver = new RingDriver({ dma, memory, pages, device: nic }, 4);
  assert.equal(driver.send([{ address: 0x1000, bytes: 3000 }]), undefined);
  assert.equal(
    driver.poll(() => assert.fail("nothing whole has arrived")),
    1,
  );
  assert.deepEqual([nic.dropped, driver.errors], [1, 1]);
  assert.equal(driver.send([{ address: 0x1000, bytes: 100 }]), undefined);
  assert.equal(
    driver.poll(() => {}),
    1,
  );
  driver.close();
  empty();
});

test("a device whose rings are unmapped under it stops, and says so", () => {
  const { board, memory, pages, dma } = stage(tce);
  const nic = nicOn(board);
  const driver = new RingDriver({ dma, memory, pages, device: nic }, 4);
  nic.setRings(0x1234_5000n, 0x1234_6000n, 4);
  assert.equal(driver.send([{ address: 0x1000, bytes: 100 }]), undefined);
  assert.ok(nic.stopped);
  assert.equal(board.takeFaults().length, 1);
});

test("blocks beyond the disk, and commands that can't be mapped, are failures; the queue goes on", () => {
  const { board, memory, dma, empty } = stage(tce);
  const disk = new Uint8Array(64 * BLOCK_BYTES);
  const driver = new NvmeDriver({ dma, memory, device: new NvmeController(board.machine.device(0), disk) }, 2);
  assert.equal(driver.read(60, 8, 0x4000), 0x80);
  assert.equal(driver.read(0, 64, 0x4000), 0);
  assert.throws(() => driver.read(0, 2000, 0x4000), /blocks of a command is 2000; expected an integer from 1 to 1024/);
  assert.throws(() => driver.read(0, 1, 0x4001), /address of the data is 16385/);
  driver.close();
  empty();
});

test("a driver that can't have its rings says which, and why", () => {
  const { board, memory, pages, dma, empty } = stage(tce, { faults: { allocate: { times: 1 } } });
  const build = () => new RingDriver({ dma, memory, pages, device: nicOn(board) }, 4);
  assert.throws(
    build,
    (error) => error instanceof IovaError && /the transmit ring can't be mapped: table-full/.test(error.message),
  );
  empty();
});

/** Makes the n-th of all entry writes, allocations or calls of `publish` fail while a driver starts, for each n, and looks what is left. */
function failEachStep(start: (staged: ReturnType<typeof stage>) => { close(): void }, steps: number): void {
  for (const call of ["allocate", "set", "publish"] as const) {
    for (let interval = 1; interval <= steps; interval++) {
      const staged = stage(tce, { faults: { [call]: { interval, times: 1 } } });
      assert.throws(() => start(staged), IovaError, `${call} ${interval}`);
      staged.empty();
      start(staged).close();
      staged.empty();
      staged.board.close();
    }
    const staged = stage(tce, { faults: { [call]: { interval: steps + 1, times: 1 } } });
    start(staged).close();
    staged.board.close();
  }
}

test("a network driver whose start fails at any step leaves nothing mapped and no page taken, and can be started again", () => {
  const start = ({ board, memory, pages, dma }: ReturnType<typeof stage>) =>
    new RingDriver({ dma, memory, pages, device: nicOn(board) }, 4);
  failEachStep(start, 2 + 4);
  const refused = stage(tce);
  const device = nicOn(refused.board);
  device.setRings = () => {
    throw new IovaError("device", "no rings");
  };
  const { memory, pages, dma } = refused;
  assert.throws(() => new RingDriver({ dma, memory, pages, device }, 4), /no rings/);
  refused.empty();
  // The pages run out after so many of two rings and four buffers.
  for (let free = 1; free < 6; free++) {
    const { board, ...parts } = stage(tce, { pages: free });
    assert.throws(() => new RingDriver({ ...parts, device: nicOn(board) }, 4), IovaError, `${free} pages`);
    parts.empty();
  }
});

test("a disk driver whose start fails at any step leaves nothing mapped and no page taken, and can be started again", () => {
  const controllerOn = (board: Board) => new NvmeController(board.machine.device(0), new Uint8Array(2 ** 16));
  const start = ({ board, memory, dma }: ReturnType<typeof stage>) =>
    new NvmeDriver({ dma, memory, device: controllerOn(board) }, 4);
  failEachStep(start, 2 + 3);
  const { board, memory, dma, empty } = stage(tce);
  const device = controllerOn(board);
  device.setQueues = () => {
    throw new IovaError("device", "no queues");
  };
  assert.throws(() => new NvmeDriver({ dma, memory, device }, 4), /no queues/);
  empty();
});

test("a disk driver whose controller stopped says so, and gives the data of its command back when it is closed", () => {
  const { board, memory, dma, empty } = stage(tce);
  const controller = new NvmeController(board.machine.device(0), new Uint8Array(2 ** 16));
  const driver = new NvmeDriver({ dma, memory, device: controller }, 4);
  controller.setQueues(0x1234_5000n, 0x1234_6000n, 4);
  assert.throws(() => driver.read(0, 8, 0x4000), /the controller stopped/);
  driver.close();
  empty();
});

test("memory that could not be unmapped stays taken: a receive buffer, and a read that is no success", () => {
  const { board, memory, pages, dma } = stage(tce);
  const driver = new RingDriver({ dma, memory, pages, device: nicOn(board) }, 2);
  const taken = pages.takenPages;
  dma.unmap = () => "platform-busy";
  driver.close();
  assert.equal(pages.takenPages, taken - 2, "the rings are back, the buffers are not");

  const other = stage(tce);
  const controller = new NvmeController(other.board.machine.device(0), new Uint8Array(2 ** 16));
  const disk = new NvmeDriver({ dma: other.dma, memory: other.memory, device: controller }, 2);
  other.dma.unmapSg = (list) => DebuggedDevice.prototype.unmapSg.call(other.dma, list) ?? "platform-busy";
  assert.equal(disk.read(0, 8, 0x4000), "platform-busy");
});
