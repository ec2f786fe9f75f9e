/** Correct use, long and random, of every operation: the debug mode has nothing to say, and nothing is left in it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom } from "../../allocator/random.model.ts";
import { boardNamed } from "../../machines/boards.ts";
import { PhysicalPages } from "../../memory/physical-pages.ts";
import type { Access } from "../../units/numbers.ts";
import type { DmaOperations } from "../contract.ts";
import { DmaDevice } from "../device.ts";
import { FaultInjectingTable } from "../fault-injection.ts";
import { ScatterList } from "../scatter-list.ts";
import { createDevice } from "../windows.ts";
import { type DebuggedDevice, debugged } from "./debugged-device.ts";
import { ModelDevice } from "./device.model.ts";
import { MISUSE_KINDS } from "./misuse.ts";
import type { DebugOptions } from "./options.ts";

const seed = Date.now() & 0x7fffffff;
const CAPACITY = 96;
const BUFFERS = 64;
const BUFFER_BYTES = 8192;
const BASE = 0x100_0000;

interface Live {
  readonly access: Access;
  /** Syncs it rightly. */
  sync(): void;
  free(): void;
}

/** A driver that does everything right: a buffer that a device may write belongs to one mapping. */
class RightDriver {
  readonly live: Live[] = [];
  readonly #device: DebuggedDevice;
  readonly #failNext: () => void;
  readonly #random: (below: number) => number;
  readonly #written = new Set<number>();

  /** `failNext` makes the next mapping fail, if it can. */
  constructor(device: DebuggedDevice, failNext: () => void, random: (below: number) => number) {
    this.#device = device;
    this.#failNext = failNext;
    this.#random = random;
  }

  step(): void {
    const random = this.#random;
    if (random(20) === 0) this.#failNext();
    const choice = random(10);
    if (this.live.length >= CAPACITY / 4 || choice < 3) this.#free();
    else if (choice < 5) this.live[random(Math.max(1, this.live.length))]?.sync();
    else if (choice < 7) this.#map();
    else if (choice < 8) this.#mapList();
    else if (choice < 9) this.#mapResource();
    else this.#allocate();
  }

  #free(): void {
    this.live.splice(this.#random(Math.max(1, this.live.length)), 1)[0]?.free();
  }

  #map(): void {
    const { device, access, buffers } = this.#choose(1);
    const [buffer] = buffers;
    if (buffer === undefined) return;
    const { address, bytes } = this.#pieceOf(buffer);
    const result = device.map(BigInt(address), bytes, access, { weaklyOrdered: this.#random(2) === 0 });
    if (device.failureOf(result) !== undefined || typeof result === "string") return;
    const part = () => {
      const offset = this.#random(bytes);
      return { offset, bytes: 1 + this.#random(bytes - offset) };
    };
    this.#made(access, buffers, {
      sync: (forCpu) => (forCpu ? device.syncForCpu(result, part()) : device.syncForDevice(result)),
      free: () => device.unmap({ ...result }),
    });
  }

  #mapList(): void {
    const { device, access, buffers } = this.#choose(this.#random(6));
    const list = new ScatterList(8);
    for (const buffer of buffers) {
      const { address, bytes } = this.#pieceOf(buffer);
      list.addNumber(address, this.#random(8) === 0 ? 0 : bytes);
    }
    if (device.mapSg(list, access) !== undefined) return;
    this.#made(access, buffers, {
      sync: (forCpu) => (forCpu ? device.syncSgForCpu(list) : device.syncSgForDevice(list)),
      free: () => device.unmapSg(list),
    });
  }

  #mapResource(): void {
    const device = this.#device;
    const address = 0xf000_0000n + BigInt(this.#random(2 ** 20));
    const result = device.mapResource(address, 1 + this.#random(4096), 3);
    if (device.failureOf(result) !== undefined || typeof result === "string") return;
    this.#made(3, [], { sync: () => undefined, free: () => device.unmapResource(result) });
  }

  #allocate(): void {
    const device = this.#device;
    const result = device.allocateCoherent(1 + this.#random(20_000));
    if (device.failureOf(result) !== undefined || typeof result === "string") return;
    this.#made(3, [], { sync: () => undefined, free: () => device.freeCoherent(result) });
  }

  /** A direction, and so many buffers that may be mapped with it. */
  #choose(count: number): { device: DebuggedDevice; access: Access; buffers: number[] } {
    const access = (1 + this.#random(3)) as Access;
    const buffers = new Set<number>();
    for (let i = 0; i < count; i++) {
      const buffer = this.#random(BUFFERS);
      if (access === 1 || !this.#written.has(buffer)) buffers.add(buffer);
    }
    return { device: this.#device, access, buffers: [...buffers] };
  }

  #pieceOf(buffer: number): { address: number; bytes: number } {
    const offset = this.#random(BUFFER_BYTES);
    return { address: BASE + buffer * BUFFER_BYTES + offset, bytes: 1 + this.#random(BUFFER_BYTES - offset) };
  }

  #made(
    access: Access,
    buffers: readonly number[],
    { sync, free }: { sync(forCpu: boolean): void; free(): unknown },
  ): void {
    if (access !== 1) for (const buffer of buffers) this.#written.add(buffer);
    this.live.push({
      access,
      sync: () => sync(access === 2 || (access === 3 && this.#random(2) === 0)),
      free: () => {
        assert.equal(free(), undefined);
        if (access !== 1) for (const buffer of buffers) this.#written.delete(buffer);
      },
    });
  }
}

const OPTIONS: DebugOptions = {
  capacity: CAPACITY,
  checkResults: true,
  stackFrames: 1,
  limits: { maxSegmentBytes: BUFFER_BYTES },
  dmaAble: [{ address: BigInt(BASE), bytes: BUFFERS * BUFFER_BYTES }],
};

for (const direct of [false, true]) {
  test(`correct use is not reported, ${direct ? "bus addresses physical" : "translated"} (seed ${seed})`, () => {
    const model = new ModelDevice({ direct });
    const device = debugged(model, OPTIONS);
    const failNext = (): void => {
      model.nextFailure = "table-full";
    };
    const driver = new RightDriver(device, failNext, randomFrom(seed));
    for (let i = 0; i < 20_000; i++) driver.step();
    model.nextFailure = undefined;
    assert.ok(driver.live.length > 0);
    for (const mapping of driver.live) mapping.free();
    device.deviceRemoved();
    assert.deepEqual(device.reports, []);
    for (const kind of MISUSE_KINDS) assert.equal(device.counts[kind], 0, kind);
    assert.deepEqual([device.liveMappings, model.live, device.isSwitchedOff], [0, 0, false]);
    for (const call of new Set(model.calls)) assert.ok(model.calls.filter((name) => name === call).length > 100, call);
    assert.equal(new Set(model.calls).size, 12);
  });
}

for (const what of ["translated", "bounced", "direct"] as const) {
  test(`correct use of a real device is not reported, and it holds nothing afterwards: ${what} (seed ${seed})`, () => {
    const board = boardNamed("linear-tce").create({ memoryBytes: 2 ** 25, entries: 4096, table: { cache: "none" } });
    const { memory } = board.machine;
    const pages = PhysicalPages.create({ address: 0x180_0000, bytes: 2 ** 22 });
    const table = new FaultInjectingTable(board.table, { allocate: { interval: 17 }, set: { interval: 23 } });
    const parts = { memory, coherentPages: pages };
    const limits = { maxSegmentBytes: BUFFER_BYTES };
    const bounce = { pages, untrusted: true };
    const real: DmaOperations =
      what === "direct"
        ? createDevice([{ kind: "direct", base: 1n << 59n, address: 0, bytes: memory.bytes }], limits, parts)
        : new DmaDevice(table, limits, what === "bounced" ? { ...parts, bounce } : parts);
    const device = debugged(real, OPTIONS);
    const driver = new RightDriver(device, () => {}, randomFrom(seed));
    for (let i = 0; i < 5000; i++) driver.step();
    assert.ok(driver.live.length > 0);
    for (const mapping of driver.live) mapping.free();
    device.deviceRemoved();
    assert.deepEqual(device.reports, []);
    assert.equal(device.liveMappings, 0);
    assert.deepEqual([board.table.statistics().taken, pages.takenPages], [0, 0]);
  });
}
