/**
 * Several threads of one guest at once, each with its own list page, on a hypervisor that is busy, fails, and stops in the middle of
 * calls; some are killed, with entries gathered and not handed over, or half of a call made. Nobody sees another's page, and
 * what the dead held comes back.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import type { InjectedAnswer } from "../../machines/hypervisors/papr/injection.ts";
import type { PersonalityName } from "../../machines/hypervisors/papr/personalities.ts";
import { type Guest, type GuestWorkerData, guestOf, MEMORY_BYTES, PAGES, REPORT, tableOf } from "./guest.model.ts";

const DRIVERS = 3;
const THREADS = 8;
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

function start(guest: Guest, place: number, seed: number): Driver {
  const workerData: GuestWorkerData = {
    hypervisor: guest.hypervisor.handle,
    platform: guest.platform.handle,
    report: new SharedArrayBuffer(REPORT.words * 4),
    firstPage: 16 + place * PAGES,
    tag: 1 + place,
    seed,
  };
  const worker = new Worker(new URL("./guest.test.worker.js", import.meta.url), { workerData });
  const ended = new Promise<void>((resolve, reject) => {
    worker.once("exit", () => resolve());
    worker.once("error", reject);
  });
  return { worker, report: new Int32Array(workerData.report), ended };
}

async function untilRunning({ report }: Driver): Promise<void> {
  while (Atomics.load(report, REPORT.running) === 0) await new Promise((resolve) => setTimeout(resolve, 2));
}

function guestWithThreads(personality: PersonalityName, inject: readonly InjectedAnswer[]): Guest {
  const region = { address: MEMORY_BYTES - 32 * 4096, bytes: 32 * 4096 };
  // The creator's own view is not disturbed: it does the reclaiming, of which failures would be another test.
  const guest = guestOf({ personality, threads: THREADS }, { region, table: { threads: THREADS } });
  Object.assign(guest.hypervisor.handle.setup, { inject });
  return guest;
}

for (const personality of ["papr", "kvm", "qemu"] as const) {
  test(`${personality}: threads at once on a hypervisor that fails see their own pages only, and leave an empty table`, async (t) => {
    const guest = guestWithThreads(personality, FAILURES);
    const drivers = Array.from({ length: DRIVERS }, (_, place) => start(guest, place, 1 + place));
    await Promise.all(drivers.map(untilRunning));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    for (const { report } of drivers) Atomics.store(report, REPORT.stop, 1);
    await Promise.all(drivers.map(({ ended }) => ended));
    const sum = (word: number) => drivers.reduce((total, { report }) => total + (report[word] as number), 0);
    t.diagnostic(`${sum(REPORT.maps)} maps, ${sum(REPORT.failures)} failures`);
    assert.equal(sum(REPORT.wrong), 0);
    assert.ok(sum(REPORT.maps) > 50 && sum(REPORT.failures) > 5);
    assert.deepEqual([...guest.platform.generic.leaks()], []);
    assert.ok(tableOf(guest).every((byte) => byte === 0));
  });
}

test("killed threads, and what they had gathered or half written, come back; their list page serves the next one", async (t) => {
  const guest = guestWithThreads("qemu", FAILURES);
  const { generic } = guest.platform;
  const survivor = start(guest, 2, 7);
  await untilRunning(survivor);
  const kills = 40;
  for (let kill = 0; kill < kills; kill++) {
    const victim = start(guest, kill % 2, 100 + kill);
    await untilRunning(victim);
    await new Promise((resolve) => setTimeout(resolve, kill % 9));
    await victim.worker.terminate();
    assert.equal(victim.report[REPORT.wrong], 0);
    guest.hypervisor.forgetThread(victim.report[REPORT.machineThread] as number);
    generic.reclaim(victim.report[REPORT.thread] as number, "everything");
  }
  Atomics.store(survivor.report, REPORT.stop, 1);
  await survivor.ended;
  t.diagnostic(`${kills} kills; the survivor made ${survivor.report[REPORT.maps]} maps`);
  assert.equal(survivor.report[REPORT.wrong], 0);
  assert.deepEqual([...generic.leaks()], []);
  assert.equal(generic.statistics().taken, 0, `taken: ${JSON.stringify(generic.statistics())}`);
  assert.ok(tableOf(guest).every((byte) => byte === 0));
});
