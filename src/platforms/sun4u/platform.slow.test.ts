/**
 * The whole way with real threads on sun4u: drivers that map and unmap, a wild device beside them. No device sees a page after
 * `unmap` has returned. Unmapped entries lead to the dummy page, so a DMA is refused only in the moment in which an entry changes. A killed driver's entries lead there
 * again once its table is reclaimed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { WildDevice } from "../../machines/software/wild-device.model.ts";
import { iovaOf } from "../../table/iommu-table.ts";
import type { MapperData } from "../linear/mapper.test.worker.ts";
import { Sun4uPlatform } from "./platform.ts";

const DRIVERS = 2;
const PAGES = 40;
const SECRET = 200;
const ENTRIES = 1024;
const ROUNDS = 10_000;

interface Rig {
  readonly machine: SoftwareMachine;
  readonly platform: Sun4uPlatform;
}

function rigOf(streaming = false): Rig {
  const machine = SoftwareMachine.create({
    memoryBytes: 2 ** 21,
    iommu: streaming ? "psycho" : "sabre",
    devices: ["a", "b", "c", "d"],
    threads: 8,
    // It forgets nothing by itself.
    iotlb: { entries: ENTRIES, ways: 4 },
  });
  return { machine, platform: Sun4uPlatform.create(machine, { entries: ENTRIES, streaming, table: { threads: 8 } }) };
}

function startDriver({ machine, platform }: Rig, driver: number, rounds: number, forgets: boolean) {
  const workerData: MapperData = {
    board: { kind: "sun4u", machine: machine.handle, platform: platform.handle },
    devices: machine.handle.devices.length,
    report: new SharedArrayBuffer(16),
    rounds,
    firstPage: 1 + driver * PAGES,
    pages: PAGES,
    secret: SECRET,
    forgetsToInvalidate: forgets,
  };
  const worker = new Worker(new URL("../linear/mapper.test.worker.js", import.meta.url), { workerData });
  const ended = new Promise<unknown>((resolve, reject) => {
    worker.once("exit", resolve);
    worker.once("error", reject);
  });
  return { worker, ended, report: new Int32Array(workerData.report) };
}

async function run(rig: Rig, forgets: boolean) {
  const { window } = rig.platform.generic;
  const wild = new WildDevice({
    handle: rig.machine.handle,
    windowBase: window.base,
    pageShift: window.pageShift,
    entries: ENTRIES,
    bytes: 64,
    secret: SECRET,
    mark: 0,
  });
  const drivers = Array.from({ length: DRIVERS }, (_, driver) => startDriver(rig, driver, ROUNDS, forgets));
  await Promise.all(drivers.map(({ ended }) => ended));
  await wild.untilGranted(0);
  await wild.stop();
  const sum = (word: number): number => drivers.reduce((total, { report }) => total + (report[word] as number), 0);
  const { secretsSeen, granted } = wild;
  return { mapped: sum(0), wrong: sum(1), failures: sum(2) + sum(3), secretsSeen, granted };
}

test("several drivers map and unmap, every device sees its own data only, and the wild device is hardly ever refused", async (t) => {
  const rig = rigOf();
  const outcome = await run(rig, false);
  t.diagnostic(JSON.stringify(outcome));
  assert.ok(outcome.mapped > ROUNDS / 2);
  const { granted, mapped: _, ...harm } = outcome;
  assert.deepEqual(harm, { wrong: 0, failures: 0, secretsSeen: 0 });
  // An entry is invalid for a moment while it changes (break-before-make, entry-memory.ts): only then is a DMA refused.
  const faults = rig.machine.faults();
  assert.deepEqual(
    faults.filter(({ reason }) => reason !== "not-mapped"),
    [],
  );
  assert.ok(faults.length <= granted / 100, `${faults.length} of ${granted} DMAs were refused`);
  assert.deepEqual([...rig.platform.generic.leaks()], []);
});

test("with the flushes left out, the wild device sees freed pages", async (t) => {
  const outcome = await run(rigOf(), true);
  t.diagnostic(JSON.stringify(outcome));
  assert.ok(outcome.secretsSeen > 0, "no freed page was seen: the test shows nothing");
});

test("entries of killed drivers lead to the dummy page once they are reclaimed", async () => {
  const rig = rigOf();
  const { machine, platform } = rig;
  for (let death = 0; death < 4; death++) {
    const driver = startDriver(rig, death % DRIVERS, 2 ** 30, false);
    await untilMapped(driver.report, 100);
    await driver.worker.terminate();
    await driver.ended;
    // This thread has the first number; the dead one had the next.
    platform.generic.reclaim(1, "everything");
    assert.deepEqual([...platform.generic.leaks()], []);
    const value = { page: 1, access: 3 as 0 | 1 | 2 | 3 };
    for (let entry = 0; entry < ENTRIES; entry++) {
      platform.ops.get(entry, value);
      assert.deepEqual(value, { page: 0, access: 0 });
      const byte = Uint8Array.of(1);
      assert.ok(machine.device(0).dmaRead(iovaOf(platform.generic.window, entry), byte));
      assert.equal(byte[0], 0);
    }
  }
});

const KILLS = 12;

test("contexts of killed drivers are not left taken once they are reclaimed, beside one that goes on", async (t) => {
  const rig = rigOf(true);
  const { platform } = rig;
  // It has the next number, for as long as the test runs.
  const steady = startDriver(rig, 0, 2 ** 30, false);
  await untilMapped(steady.report, 1);
  let left = 0;
  for (let death = 0; death < KILLS; death++) {
    const driver = startDriver(rig, 1, 2 ** 30, false);
    await untilMapped(driver.report, 50 + 37 * death);
    await driver.worker.terminate();
    await driver.ended;
    left += platform.resources.streamingContexts;
    // This thread has the first number, the steady driver the second.
    platform.generic.reclaim(2, "everything");
  }
  await steady.worker.terminate();
  await steady.ended;
  platform.generic.reclaim(1, "everything");
  t.diagnostic(`${KILLS} kills, after which ${left} contexts were taken in all`);
  assert.ok(left > 0, "no context was ever taken: the test shows nothing");
  assert.equal(platform.resources.streamingContexts, 0);
  assert.deepEqual([...platform.generic.leaks()], []);
  assert.equal(steady.report[1], 0, "the steady driver's device saw foreign data");
  assert.deepEqual(steady.report.slice(2), new Int32Array(2), "the steady driver's maps or unmaps failed");
});

test("contexts that only a killed driver had are free afterwards, wherever it was killed", async () => {
  const rig = rigOf(true);
  const { platform } = rig;
  for (let death = 0; death < KILLS; death++) {
    const driver = startDriver(rig, death % DRIVERS, 2 ** 30, false);
    await untilMapped(driver.report, 1 + 61 * death);
    await driver.worker.terminate();
    await driver.ended;
    platform.generic.reclaim(1, "everything");
    assert.equal(platform.resources.streamingContexts, 0, `after death ${death}`);
  }
});

async function untilMapped(report: Int32Array, mappings: number): Promise<void> {
  while (Atomics.load(report, 0) < mappings) await new Promise((resolve) => setTimeout(resolve, 1));
}
