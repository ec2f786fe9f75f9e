/** The DMA layer with everything below it: what a device's DMA really moves, through a table that an IOMMU walks. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { LinearPlatform } from "../platforms/linear/platform.ts";
import type { DmaWindow } from "../units/numbers.ts";
import { DmaDevice } from "./device.ts";
import { ScatterList } from "./scatter-list.ts";

const MEMORY_BYTES = 2 ** 23;
const BASE = 0x80000000n;

function setUp(format: string, pageShift: number) {
  const machine = SoftwareMachine.create({ memoryBytes: MEMORY_BYTES, devices: ["disk"], threads: 2 });
  const window = { base: BASE, pageShift, entries: 64 } as unknown as DmaWindow;
  const platform = LinearPlatform.create(machine, { format, window, table: { threads: 2 } });
  return { machine, disk: machine.device("disk"), device: new DmaDevice(platform.generic) };
}

/** Bytes that tell their own place. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 24) & 255);
}

/** Pieces apart in memory, with offsets, lengths and an empty one. */
function pieces(pageSize: number): [address: number, bytes: number][] {
  return [
    [3 * pageSize, 2 * pageSize],
    [9 * pageSize + 123, 700],
    [7 * pageSize, 0],
    [12 * pageSize, pageSize],
    [16 * pageSize, pageSize],
    [20 * pageSize - 1, pageSize + 2],
  ];
}

for (const [format, pageShift] of [
  ["powernv-tce", 12],
  ["powernv-tce", 16],
  ["sun4u-iopte", 13],
  ["sun4u-iopte", 16],
] as const) {
  test(`a device reads and writes a scatterlist through ${format} with pages of 2^${pageShift} bytes, until it is unmapped`, () => {
    const { machine, disk, device } = setUp(format, pageShift);
    const list = new ScatterList(8);
    for (const [address, bytes] of pieces(2 ** pageShift)) {
      machine.memory.write(address, pattern(bytes, address));
      list.addNumber(address, bytes);
    }
    const wanted = Buffer.concat(pieces(2 ** pageShift).map(([address, bytes]) => pattern(bytes, address)));
    assert.equal(device.mapSg(list, 3), undefined);
    const segments = Array.from({ length: list.segments }, (_, i) => [list.iovas[i]!, list.segmentBytes[i]!] as const);

    const read = segments.map(([iova, bytes]) => {
      const into = new Uint8Array(bytes);
      assert.ok(disk.dmaRead(iova, into), `read of ${bytes} bytes at ${iova}`);
      return into;
    });
    assert.ok(Buffer.concat(read).equals(wanted), "the device reads the elements' bytes in order");

    let done = 0;
    const sent = pattern(wanted.length, 77);
    for (const [iova, bytes] of segments) {
      assert.ok(disk.dmaWrite(iova, sent.subarray(done, done + bytes)));
      done += bytes;
    }
    const received = pieces(2 ** pageShift).map(([address, bytes]) => {
      const into = new Uint8Array(bytes);
      machine.memory.read(address, into);
      return into;
    });
    assert.ok(Buffer.concat(received).equals(sent), "what the device writes lands in the elements, in order");

    assert.equal(device.unmapSg(list), undefined);
    for (const [iova] of segments) assert.equal(disk.dmaRead(iova, new Uint8Array(1)), false, `${iova} is gone`);
    machine.close();
  });
}

test("a device reads what was mapped without a list, at its offset in the page", () => {
  const { machine, disk, device } = setUp("powernv-tce", 16);
  machine.memory.write(0x31234, pattern(70000, 5));
  const mapping = device.map(0x31234n, 70000, 1);
  assert.ok(typeof mapping !== "string");
  const into = new Uint8Array(70000);
  assert.ok(disk.dmaRead(mapping.iova, into));
  assert.deepEqual(into, pattern(70000, 5));
  assert.equal(disk.dmaWrite(mapping.iova, into), false, "it was mapped for reading");
  assert.equal(device.unmap(mapping), undefined);
  assert.equal(disk.dmaRead(mapping.iova, into), false);
  machine.close();
});
