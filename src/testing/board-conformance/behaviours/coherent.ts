/** Coherent memory: zeroed, in one aligned piece, seen by CPU and device at once, and gone when it is freed. */

import type { CoherentMemory, DmaOperations } from "../../../dma/contract.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { IovaError } from "../../../units/errors.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import { expectCoherent, expectDone, type Rig } from "../rig.ts";
import { EACH_STEP, expectNoTrace, stumbling } from "../stumbling-table.ts";

const SIZES: readonly number[] = [1, 64, 4096, 5000, 12288];

const zeroed: BoardCase = {
  behaviour: "coherent",
  name: "it is zeroed, also where it held something before",
  needs: ["several pages"],
  run(rig) {
    const device = operations(rig);
    for (let round = 0; round < 12; round++) {
      const memory = allocate(device, 5000);
      const found = new Uint8Array(5000);
      rig.board.machine.memory.read(memory.address, found);
      const at = found.findIndex((byte) => byte !== 0);
      expect(
        at < 0,
        () => `round ${round}: byte ${at} at ${hexadecimal(memory.address + at)} is ${found[at]}, not zero`,
      );
      rig.board.machine.memory.write(memory.address, found.fill(0xee));
      expectDone(device.freeCoherent(memory), "freeCoherent");
    }
  },
};

const aligned: BoardCase = {
  behaviour: "coherent",
  name: "it is aligned to the power of two that holds it, on the bus and in memory, and no two pieces overlap",
  needs: ["several pages"],
  run(rig) {
    const device = operations(rig);
    const all = SIZES.map((bytes) => allocate(device, bytes));
    for (const memory of all) {
      const unit = 2 ** Math.ceil(Math.log2(memory.bytes));
      const isAligned = memory.iova % BigInt(unit) === 0n && memory.address % unit === 0;
      expect(
        isAligned,
        () => `${memory.bytes} bytes are at ${hexadecimal(memory.iova)}, in memory at ${hexadecimal(memory.address)}`,
      );
      expect(memory.access === 3, () => `coherent memory has access ${memory.access}; expected 3`);
    }
    const sorted = [...all].sort((a, b) => a.address - b.address);
    sorted.forEach((memory, i) => {
      const next = sorted[i + 1];
      const apart = next === undefined || memory.address + memory.bytes <= next.address;
      expect(
        apart,
        () =>
          `${memory.bytes} bytes at ${hexadecimal(memory.address)} reach into those at ${hexadecimal(next?.address ?? 0)}`,
      );
    });
    for (const memory of all) expectDone(device.freeCoherent(memory), "freeCoherent");
  },
};

const seenAtOnce: BoardCase = {
  behaviour: "coherent",
  name: "what the CPU writes the device reads at once, and the other way round, without a sync",
  needs: ["several pages"],
  run(rig) {
    const device = operations(rig);
    const memory = allocate(device, 12288);
    for (const offset of [0, 4090, 12288 - 16]) {
      for (let round = 1; round < 4; round++) {
        const wanted = new Uint8Array(16).fill(16 * round + (offset % 7));
        rig.board.machine.memory.write(memory.address + offset, wanted);
        rig.expectRead(memory.iova + BigInt(offset), wanted);
        wanted.fill(255 - round);
        rig.write(memory.iova + BigInt(offset), wanted);
        const found = new Uint8Array(16);
        rig.board.machine.memory.read(memory.address + offset, found);
        const same = found.every((byte) => byte === 255 - round);
        expect(same, () => `the device wrote ${255 - round} at ${offset}; the CPU reads ${found[0]}`);
      }
    }
    expectDone(device.freeCoherent(memory), "freeCoherent");
  },
};

const gone: BoardCase = {
  behaviour: "coherent",
  name: "freed, it is out of the device's reach, and a second free is an error that changes nothing",
  needs: ["several pages"],
  run(rig) {
    const device = operations(rig);
    const memory = allocate(device, 4096);
    rig.fill(memory.address, 64);
    rig.expectReads(memory.iova, memory.address, 64);
    expectDone(device.freeCoherent(memory), "freeCoherent");
    rig.settle();
    rig.expectNoRead(memory.iova, memory.address, "not-mapped", "after freeCoherent");
    let thrown: unknown;
    try {
      device.freeCoherent(memory);
    } catch (error) {
      thrown = error;
    }
    expect(
      thrown instanceof IovaError,
      () => `the second freeCoherent: ${thrown ?? "is taken"}; expected a typed error`,
    );
  },
};

const allComesBack: BoardCase = {
  behaviour: "coherent",
  name: "when nothing is left the failure is a value; all freed, as much can be had again",
  needs: ["several pages"],
  run(rig) {
    const device = operations(rig);
    const counts = [1, 2].map(() => {
      const all: CoherentMemory[] = [];
      for (;;) {
        const memory = device.allocateCoherent(8192);
        if (typeof memory === "string") break;
        all.push(memory);
      }
      for (const memory of all) expectDone(device.freeCoherent(memory), "freeCoherent");
      rig.drain();
      return all.length;
    });
    const [first = 0, second = 0] = counts;
    expect(first > 0 && first === second, () => `${first} pieces of 8192 bytes could be had, then ${second}`);
  },
};

const failedCoherent: BoardCase = {
  behaviour: "coherent",
  name: "coherent memory that fails at any step leaves every entry as it was; asked for again it is had, and is coherent",
  needs: ["several pages"],
  run(rig) {
    const before = rig.entries();
    for (const stumble of EACH_STEP) {
      const table = stumbling(rig, stumble);
      const device = rig.operations(rig.board, table);
      const when = `after an allocateCoherent whose ${Object.keys(stumble)[0]} failed`;
      const failure = device.allocateCoherent(5000);
      expect(typeof failure === "string", () => `${when}, it is granted`);
      expectNoTrace(rig, before, table, when);
      const memory = expectCoherent(device.allocateCoherent(5000), 5000);
      rig.fill(memory.address, 64);
      rig.expectReads(memory.iova, memory.address, 64);
      rig.writeMarks(memory.iova, memory.address, 64);
      rig.expectMarks(memory.address, 64);
      expectDone(device.freeCoherent(memory), "freeCoherent");
      rig.settle();
      rig.fill(memory.address, 64);
      for (const entry of table.written)
        rig.expectNoRead(rig.iova(entry), memory.address, "not-mapped", `${when}, at entry ${entry}`);
    }
  },
};

function operations(rig: Rig): DmaOperations {
  return rig.operations(rig.board, rig.board.table);
}

function allocate(device: DmaOperations, bytes: number): CoherentMemory {
  return expectCoherent(device.allocateCoherent(bytes), bytes);
}

export const COHERENT: readonly BoardCase[] = [zeroed, aligned, seenAtOnce, gone, allComesBack, failedCoherent];
