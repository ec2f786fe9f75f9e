/**
 * Several threads of one guest at once, each with its own list page, on a hypervisor that is busy, fails, and stops in the middle of
 * calls; some are killed, with entries gathered and not handed over, or half of a call made; the device's PE is frozen and reset. No thread
 * sees a page of another one, and the ranges of dead threads come back.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { DmaDevice } from "../../dma/device.ts";
import type { InjectedAnswer } from "../../machines/hypervisors/papr/injection.ts";
import type { PersonalityName } from "../../machines/hypervisors/papr/personalities.ts";
import { type Guest, type GuestWorkerData, guestOf, MEMORY_BYTES, PAGES, REPORT, tableOf } from "./guest.model.ts";

const DRIVERS = 3;
const THREADS = 8;
/** The longest that a thread may take to begin or to end: far beyond what any machine needs. */
const PATIENCE_MS = 60_000;
const FAILURES: readonly InjectedAnswer[] = [
  { answer: 9900, interval: 5, written: 2 },
  { answer: -16, interval: 37, written: 3 },
  { answer: -1, interval: 61, written: 0 },
];

interface Driver {
  readonly worker: Worker;
  readonly report: Int32Array;
  readonly ended: Promise<void>;
}

function start(guest: Guest, place: number, seed: number, freezes = false): Driver {
  const workerData: GuestWorkerData = {
    hypervisor: guest.hypervisor.handle,
    platform: guest.platform.handle,
    report: new SharedArrayBuffer(REPORT.words * 4),
    firstPage: 16 + place * PAGES,
    tag: 1 + place,
    seed,
    freezes,
  };
  const worker = new Worker(new URL("./guest.test.worker.js", import.meta.url), { workerData });
  const ended = new Promise<void>((resolve, reject) => {
    worker.once("exit", () => resolve());
    worker.once("error", reject);
  });
  return { worker, report: new Int32Array(workerData.report), ended };
}

const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** Fails when the thread ends before it has begun, or doesn't begin at all. */
async function untilRunning({ report, ended }: Driver): Promise<void> {
  const began = performance.now();
  let isOver = false;
  const noteEnd = (): boolean => (isOver = true);
  ended.then(noteEnd, noteEnd);
  while (Atomics.load(report, REPORT.running) === 0) {
    assert.ok(!isOver, "a driver thread has ended before it mapped anything");
    assert.ok(performance.now() - began < PATIENCE_MS, `a driver thread has not begun within ${PATIENCE_MS} ms`);
    await Promise.race([ended, sleep(2)]);
  }
}

async function untilEnded(drivers: readonly Driver[]): Promise<void> {
  for (const { report } of drivers) Atomics.store(report, REPORT.stop, 1);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`driver threads that were told to stop still run after ${PATIENCE_MS} ms`);
    timer = setTimeout(reject, PATIENCE_MS, error);
  });
  await Promise.race([Promise.all(drivers.map(({ ended }) => ended)), late]);
  clearTimeout(timer);
}

function sumOf(drivers: readonly Driver[], word: number): number {
  return drivers.reduce((total, { report }) => total + (report[word] as number), 0);
}

function guestWithThreads(personality: PersonalityName, inject: readonly InjectedAnswer[], eeh = false): Guest {
  const region = { address: MEMORY_BYTES - 32 * 4096, bytes: 32 * 4096 };
  // The creator's own view is not disturbed: it does the reclaiming, of which failures would be another test.
  const guest = guestOf({ personality, threads: THREADS, eeh }, { region, table: { threads: THREADS } });
  Object.assign(guest.hypervisor.handle.setup, { inject });
  return guest;
}

for (const personality of ["papr", "kvm", "qemu"] as const) {
  test(`${personality}: threads at once on a hypervisor that fails see their own pages only, and leave an empty table`, async (t) => {
    const guest = guestWithThreads(personality, FAILURES);
    const drivers = Array.from({ length: DRIVERS }, (_, place) => start(guest, place, 1 + place));
    await Promise.all(drivers.map(untilRunning));
    const sum = (word: number) => sumOf(drivers, word);
    for (const began = performance.now(); sum(REPORT.maps) < 500 || sum(REPORT.failures) < 20; await sleep(20)) {
      assert.ok(performance.now() - began < PATIENCE_MS, `${sum(REPORT.maps)} maps in ${PATIENCE_MS} ms`);
    }
    await untilEnded(drivers);
    t.diagnostic(`${sum(REPORT.maps)} maps, ${sum(REPORT.failures)} failures`);
    assert.equal(sum(REPORT.wrong), 0);
    assert.deepEqual([...guest.platform.generic.leaks()], []);
    assert.ok(tableOf(guest).every((byte) => byte === 0));
  });
}

test("the entries that killed threads had gathered or half written come back, and the next thread uses their list page", async (t) => {
  const guest = guestWithThreads("qemu", FAILURES);
  const { generic } = guest.platform;
  const survivor = start(guest, 2, 7);
  await untilRunning(survivor);
  const kills = 40;
  for (let kill = 0; kill < kills; kill++) {
    const victim = start(guest, kill % 2, 100 + kill);
    await untilRunning(victim);
    await sleep(kill % 9);
    await victim.worker.terminate();
    assert.equal(victim.report[REPORT.wrong], 0);
    generic.reclaim(victim.report[REPORT.thread] as number, "everything");
  }
  await untilEnded([survivor]);
  t.diagnostic(`${kills} kills; the survivor made ${survivor.report[REPORT.maps]} maps`);
  assert.equal(survivor.report[REPORT.wrong], 0);
  assert.deepEqual([...generic.leaks()], []);
  assert.equal(generic.statistics().taken, 0, `taken: ${JSON.stringify(generic.statistics())}`);
  assert.ok(tableOf(guest).every((byte) => byte === 0));
});

test("the device's PE is frozen and reset while threads map and do DMA: each freeze is reported, and no mapping is lost", async (t) => {
  const guest = guestWithThreads("papr", FAILURES, true);
  const { hypervisor, platform } = guest;
  const drivers = Array.from({ length: DRIVERS }, (_, place) => start(guest, place, 1 + place, true));
  const kept = new DmaDevice(platform.generic).map(0x2000n, 4096, 1);
  assert.ok(typeof kept !== "string");
  hypervisor.memory.write(0x2000, Uint8Array.of(77));
  await Promise.all(drivers.map(untilRunning));
  const freezes = 150;
  for (let freeze = 0; freeze < freezes; freeze++) {
    const seen = new Uint8Array(1);
    assert.ok(!hypervisor.device(0).dmaRead(0x5000n, seen));
    const { faults, events } = platform.takeEehReport();
    assert.deepEqual([faults.length, events.length, events[0]?.firstFault?.iova], [1, 1, 0x5000n], `freeze ${freeze}`);
    assert.ok(!hypervisor.device(0).dmaRead(kept.iova, seen));
    if (freeze % 5 === 0) await sleep(3);
    assert.equal(platform.reset(), undefined);
    assert.ok(hypervisor.device(0).dmaRead(kept.iova, seen) && seen[0] === 77);
    await sleep(freeze % 7);
  }
  await untilEnded(drivers);
  const [maps, dropped, wrong] = [REPORT.maps, REPORT.dropped, REPORT.wrong].map((word) => sumOf(drivers, word));
  t.diagnostic(`${maps} maps, ${freezes} freezes, ${dropped} reads dropped`);
  assert.equal(wrong, 0);
  assert.ok((maps ?? 0) > 50 && (dropped ?? 0) > 0);
  assert.equal(platform.generic.statistics().taken, 1);
});
