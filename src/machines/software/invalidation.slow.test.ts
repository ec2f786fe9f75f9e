/**
 * What an IOTLB and a forgotten invalidation do, with real threads: a device that reads and writes all of the window, all the time,
 * while pages are taken from it and given to others.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EntryFormat } from "../../formats/contract.ts";
import { sun4uIopte } from "../../formats/sun4u-iopte.ts";
import { powernvTce } from "../../formats/tce.ts";
import { LinearOps } from "../../platforms/linear/ops.ts";
import { INVALIDATE_ALL, INVALIDATE_RESULT, RESULT_BUSY, RESULT_DONE } from "../../platforms/linear/registers.ts";
import { REPLACEMENTS, type Replacement } from "./iotlb.ts";
import type { SoftwareMachine } from "./machine.ts";
import { enable, IOPTE, start, TABLE_ADDRESS, TCE } from "./set-up.model.ts";
import { WildDevice } from "./wild-device.model.ts";

const ENTRIES = 8;
const PUBLIC = 1;
const MARK = 7;
/** Bytes from here on must never be seen by the device. */
const SECRET = 200;
const CANARY = 201;

interface Case {
  readonly format: EntryFormat;
  readonly replacement: Replacement;
  readonly ways: number;
}

interface Outcome {
  readonly remaps: number;
  readonly granted: number;
  readonly secretsSeen: number;
  /** Pages that the device had written after they were taken from it. */
  readonly spoilt: number;
}

/** A machine with entries 0 .. 7 mapped to the first of 16 pages, all public; pages 8 .. 15 are spare. */
class Remapper {
  readonly machine: SoftwareMachine;
  readonly pageShift: number;
  readonly #ops: LinearOps;
  readonly #pageBytes: number;
  readonly #pageOf: number[] = [];
  readonly #spare: number[] = [];
  readonly #bytes: Uint8Array;
  remaps = 0;
  spoilt = 0;

  constructor({ format, replacement, ways }: Case) {
    this.pageShift = format.pageShifts[0] as number;
    this.#pageBytes = 1 << this.pageShift;
    this.#bytes = new Uint8Array(this.#pageBytes);
    this.machine = start({ threads: 4, devices: ["a", "b", "c"], iotlb: { entries: 2 * ways, ways, replacement } });
    const entries = 256;
    enable(this.machine, { format: format === powernvTce ? TCE : IOPTE, pageShift: this.pageShift, entries });
    const { memory, registers } = this.machine;
    const { pageShift } = this;
    this.#ops = new LinearOps({ memory, registers, format, pageShift, entries, tableAddress: TABLE_ADDRESS });
    for (let i = 0; i < 2 * ENTRIES; i++) this.#spare.push(64 + i);
    for (let entry = 0; entry < ENTRIES; entry++) this.#map(entry);
  }

  /** Takes a page from the device and gives another: with the invalidation, or, as a bug would have it, without. */
  remap(entry: number, invalidate: boolean): void {
    const page = this.#pageOf[entry] as number;
    this.#ops.clear(entry, 1);
    if (invalidate) assert.equal(this.#ops.invalidate(entry, entry + 1), undefined);
    // From here on the page has another owner.
    this.machine.memory.write(page * this.#pageBytes, this.#bytes.fill(CANARY));
    this.#spare.push(page);
    this.#map(entry);
    this.remaps++;
  }

  #map(entry: number): void {
    const page = this.#spare.shift() as number;
    const at = page * this.#pageBytes;
    if (this.remaps > ENTRIES) {
      this.machine.memory.read(at, this.#bytes);
      if (this.#bytes.some((byte) => byte === MARK)) this.spoilt++;
    }
    this.machine.memory.write(at, this.#bytes.fill(PUBLIC));
    assert.equal(this.#ops.set(entry, 1, page, 3), undefined);
    this.#ops.publish();
    this.#pageOf[entry] = page;
  }
}

/** Remaps, with two wild devices about, until `enough`. */
async function run(which: Case, invalidate: boolean, enough: (outcome: Outcome) => boolean): Promise<Outcome> {
  const remapper = new Remapper(which);
  const { pageShift } = remapper;
  const settings = { handle: remapper.machine.handle, windowBase: 0x80000000n, pageShift, entries: ENTRIES };
  const devices = [1, 2].map(() => new WildDevice({ ...settings, bytes: 4096, secret: SECRET, mark: MARK }));
  for (const device of devices) await device.untilGranted(100);
  const sum = (of: (device: WildDevice) => number): number => devices.reduce((total, device) => total + of(device), 0);
  const outcome = (): Outcome => ({
    remaps: remapper.remaps,
    granted: sum(({ granted }) => granted),
    secretsSeen: sum(({ secretsSeen }) => secretsSeen),
    spoilt: remapper.spoilt,
  });
  do {
    for (let i = 0; i < 20; i++) remapper.remap(i % ENTRIES, invalidate);
  } while (!enough(outcome()));
  for (const device of devices) await device.stop();
  return outcome();
}

test("without the invalidation, a device reads and writes memory that is no longer its own", async (t) => {
  for (const format of [powernvTce, sun4uIopte]) {
    const outcome = await run(
      { format, replacement: "round-robin", ways: 4 },
      false,
      ({ secretsSeen, spoilt, remaps }) => {
        return (secretsSeen > 0 && spoilt > 0) || remaps > 50_000;
      },
    );
    t.diagnostic(`${format.name}: ${JSON.stringify(outcome)}`);
    assert.ok(outcome.secretsSeen > 0, "the device saw no secret: the test shows nothing");
    assert.ok(outcome.spoilt > 0, "the device wrote to no freed page: the test shows nothing");
  }
});

for (const format of [powernvTce, sun4uIopte]) {
  for (const replacement of REPLACEMENTS) {
    for (const ways of [1, 4]) {
      test(`clear, invalidate, reuse: a wild device never sees freed memory (${format.name}, ${replacement}, ${ways} ways)`, async (t) => {
        const outcome = await run({ format, replacement, ways }, true, ({ remaps, granted }) => {
          return remaps >= 500 && granted >= 5_000;
        });
        t.diagnostic(JSON.stringify(outcome));
        assert.equal(outcome.secretsSeen, 0);
        assert.equal(outcome.spoilt, 0);
      });
    }
  }
}

test("a device's thread killed in mid-DMA: invalidations report busy in bounded time until it is forgotten, then all is well", async (t) => {
  const machine = start(
    { memoryBytes: 2 ** 23, threads: 3, busyMilliseconds: 20, iotlb: { entries: 32, ways: 2 } },
    { entries: 1024 },
  );
  const ops = new LinearOps({
    memory: machine.memory,
    registers: machine.registers,
    format: powernvTce,
    pageShift: 12,
    entries: 1024,
    tableAddress: TABLE_ADDRESS,
  });
  ops.set(0, 1024, 1024, 3);
  const invalidateAll = (): number => {
    machine.registers.write32(INVALIDATE_ALL, 1);
    return machine.registers.read32(INVALIDATE_RESULT);
  };
  let busy = 0;
  let longest = 0;
  let slowest = 0;
  const KILLS = 30;
  for (let kill = 0; kill < KILLS; kill++) {
    // One DMA of a thousand pages: most of its time it is in the middle.
    const settings = { handle: machine.handle, windowBase: 0x80000000n, pageShift: 12, entries: 1, mark: 0 };
    const device = new WildDevice({ ...settings, bytes: 1000 * 4096, secret: 256 });
    await device.untilGranted(1 + (kill % 3));
    await device.kill();
    const before = performance.now();
    const result = invalidateAll();
    longest = Math.max(longest, performance.now() - before);
    if (result === RESULT_BUSY) busy++;
    else assert.equal(result, RESULT_DONE);
    machine.crew.reclaim(device.thread, "in-flight");
    const forgotten = performance.now();
    assert.equal(invalidateAll(), RESULT_DONE, `kill ${kill}`);
    slowest = Math.max(slowest, performance.now() - forgotten);
    assert.deepEqual(machine.iotlbEntries(), []);
  }
  t.diagnostic(`${busy} of ${KILLS} kills in mid-DMA; busy reported after at most ${longest.toFixed(1)} ms`);
  t.diagnostic(`once forgotten, an invalidation took at most ${slowest.toFixed(2)} ms`);
  assert.ok(busy > 0, "no kill landed in a DMA: the test shows nothing");
  const bytes = new Uint8Array(1000 * 4096);
  assert.ok(machine.device(0).dmaRead(0x80000000n, bytes));
});
