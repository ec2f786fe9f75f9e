/**
 * Drivers of one guest at once, each with its own list page, on a hypervisor that takes a few entries a call; some are killed in the
 * middle of a list. Their ranges come back, and the next thread with their list page maps only its own list.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Sun4vHypervisor } from "../../machines/hypervisors/sun4v/hypervisor.ts";
import type { Sun4vWindow } from "./calls.ts";
import { type GuestPart, REPORT } from "./guest.model.ts";
import { Sun4vPlatform } from "./platform.ts";

const PAGE = 8192;
const THREADS = 5;
/** Of a driver: at seven at a time at most, a list is more than twenty calls. */
const PAGES = 150;
const KILLS = 15;
const ENTRIES = 1024;
const PATIENCE_MS = 60_000;
const LISTS = 1024 * PAGE;
const IOTSB: number = LISTS + 64 * PAGE;

interface Guest {
  readonly machine: Sun4vHypervisor;
  readonly platform: Sun4vPlatform;
}

function startGuest(window: Sun4vWindow): Guest {
  const machine = Sun4vHypervisor.create({ memoryBytes: IOTSB + 64 * PAGE, legacyEntries: ENTRIES, threads: THREADS });
  const platform = Sun4vPlatform.create(machine, {
    window,
    entries: ENTRIES,
    listAddress: LISTS,
    iotsbAddress: IOTSB,
    table: { threads: THREADS },
  });
  machine.injection.set({ most: 7, random: true });
  return { machine, platform };
}

interface Driver {
  readonly worker: Worker;
  readonly report: Int32Array;
  readonly ended: Promise<unknown>;
}

function startDriver({ machine, platform }: Guest, place: number, tag: number): Driver {
  const report = new SharedArrayBuffer(REPORT.words * 4);
  const workerData: GuestPart = {
    hypervisor: machine.handle,
    platform: platform.handle,
    report,
    firstPage: 8 + place * PAGES,
    pages: PAGES,
    tag,
  };
  const worker = new Worker(new URL("./guest.test.worker.js", import.meta.url), { workerData });
  const ended = new Promise((resolve, reject) => {
    worker.once("exit", resolve);
    worker.once("error", reject);
  });
  return { worker, report: new Int32Array(report), ended };
}

async function untilLists({ report }: Driver, lists: number): Promise<void> {
  const began = performance.now();
  while (Atomics.load(report, REPORT.lists) < lists) {
    assert.ok(performance.now() - began < PATIENCE_MS, `a driver has not mapped ${lists} lists`);
    await sleep(1);
  }
}

function entriesIn({ machine, platform }: Guest): number {
  const words = new Uint8Array(ENTRIES * 8);
  machine.machine.memory.read(platform.window === "legacy" ? machine.guestBytes : IOTSB, words);
  let entries = 0;
  for (let entry = 0; entry < ENTRIES; entry++)
    if (words.subarray(entry * 8, entry * 8 + 8).some((byte) => byte !== 0)) entries++;
  return entries;
}

for (const window of ["legacy", "atu"] as const) {
  test(`${window}: drivers killed in the middle of their lists leave nothing once they are reclaimed; others see their own pages`, async (t) => {
    const guest = startGuest(window);
    const { platform } = guest;
    const survivor = startDriver(guest, 5, 200);
    await untilLists(survivor, 1);
    let left = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const victim = startDriver(guest, kill % 2, 1 + kill);
      await untilLists(victim, 1);
      await sleep(kill % 7);
      await victim.worker.terminate();
      await victim.ended;
      assert.equal(victim.report[REPORT.wrong], 0);
      // With the survivor's, which has at most PAGES.
      left = Math.max(left, entriesIn(guest));
      platform.generic.reclaim((victim.report[REPORT.thread] as number) - 1, "everything");
      assert.ok(entriesIn(guest) <= PAGES, "the dead driver's entries are left");
    }
    Atomics.store(survivor.report, REPORT.stop, 1);
    await survivor.ended;
    t.diagnostic(
      `${KILLS} kills, ${left} entries found at most; the survivor mapped ${survivor.report[REPORT.lists]} lists`,
    );
    assert.ok(left > 0);
    assert.equal(survivor.report[REPORT.wrong], 0);
    assert.deepEqual([...platform.generic.leaks()], []);
    assert.equal(platform.generic.statistics().taken, 0);
    assert.equal(entriesIn(guest), 0);
  });
}
