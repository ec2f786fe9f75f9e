/**
 * Real threads are killed at random moments while they register, map, unmap and unregister, beside another thread that continues. After each kill
 * and its recovery, counts, pins and charges are those of the remaining entries and regions, and no device reaches a page that is not pinned.
 * One thread belongs to a process that lives on, the other to a process of its own, which ends with it. The slow test runs few kills, the exhaustive
 * test many.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { Crew } from "../crew/crew.ts";
import * as memory from "../shared/memory.ts";
import { isErrno } from "../units/errno.ts";
import { type KilledWork, memoryWith, PAGES } from "./killed.test.worker.ts";
import { opsWords, StaleOps } from "./ops.model.ts";
import { PinnedMemory } from "./pinned-memory.ts";
import { PinnedTable } from "./pinned-table.ts";
import { reclaimBusy } from "./reclaim.model.ts";

const ENTRIES = 32;

/** A process with a table, and its one working thread. */
interface Process {
  readonly owner: number;
  readonly table: PinnedTable;
  readonly ops: StaleOps;
  readonly opsBuffer: memory.SharedBuffer;
  thread: { readonly worker: Worker; readonly number: number } | undefined;
}

class Scene {
  readonly crew = Crew.create({ threads: 4 });
  readonly pinned = PinnedMemory.create({ memoryBytes: (PAGES + 2) * 4096, pages: 4 * PAGES, crew: this.crew });
  readonly controlBuffer = memory.createShared(16);
  readonly control = memory.wordsOf(this.controlBuffer);
  readonly found: string[] = [];
  /** The first process lives on. */
  readonly processes: [Process, Process] = [this.makeProcess(), this.makeProcess()];
  random: number;

  constructor(seed: number) {
    this.random = seed;
    assert.equal(this.pinned.join(this.processes[0].owner), undefined);
  }

  makeProcess(): Process {
    const owner = this.pinned.addOwner({ limitBytes: 30 * 4096 }, memoryWith());
    assert.ok(typeof owner === "number");
    const opsBuffer = memory.createShared(4 * opsWords(ENTRIES));
    const ops = new StaleOps(memory, memory.wordsOf(opsBuffer), ENTRIES);
    const window = { base: 0n, pageShift: 12, entries: ENTRIES };
    const table = PinnedTable.create(this.pinned, owner, window, ops);
    return { owner, table, ops, opsBuffer, thread: undefined };
  }

  async start(place: 0 | 1): Promise<void> {
    const process = this.processes[place];
    const seat = this.crew.addThread();
    this.random = (this.random * 69069 + 1) & 0x7fffffff;
    const workerData: KilledWork = {
      seat,
      pinned: this.pinned.handle,
      owner: process.owner,
      table: process.table.handle,
      ops: process.opsBuffer,
      control: this.controlBuffer,
      place,
      seed: this.random,
    };
    const worker = new Worker(new URL("./killed.test.worker.js", import.meta.url), { workerData });
    worker.on("error", (error) => this.found.push(String(error)));
    const begun = new Promise<void>((resolve, reject) => {
      worker.on("message", (message: string) => {
        if (message === "begun") resolve();
        else this.found.push(message);
      });
      worker.once("error", reject);
    });
    process.thread = { worker, number: seat.thread };
    await begun;
  }

  async kill(place: 0 | 1): Promise<void> {
    const process = this.processes[place];
    const { thread } = process;
    assert.ok(thread !== undefined);
    await thread.worker.terminate();
    assert.equal(reclaimBusy(this.crew, thread.number), true);
    process.thread = undefined;
    if (place === 0) return;
    assert.equal(this.pinned.hasOwner(process.owner), false);
    assert.deepEqual(process.ops.reachable(), []);
    assert.equal(process.table.remove(), undefined);
    this.processes[1] = this.makeProcess();
  }

  /** Kills and recovers one thread, checks everything, and starts another. Returns the number of pins at the kill. */
  async round(place: 0 | 1): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, this.random % 4));
    await this.kill(place);
    let pins = 0;
    await this.paused(place === 0 ? 1 : 0, async () => {
      this.check();
      pins = this.pinned.pins;
      await this.start(place);
    });
    return pins;
  }

  /** Runs a check while the thread stands between two calls. */
  async paused(place: 0 | 1, check: () => Promise<void>): Promise<void> {
    memory.store(this.control, 2 * place, 1);
    while (this.processes[place].thread !== undefined && memory.load(this.control, 2 * place + 1) === 0) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await check();
    memory.store(this.control, 2 * place, 0);
    memory.notify(this.control, 2 * place, 1);
  }

  check(): void {
    const pins = new Map<number, number>();
    for (const { owner, table, ops } of this.processes) this.#checkProcess(owner, table, ops, pins);
    for (let page = 0; page < PAGES + 2; page++) {
      assert.equal(this.pinned.pinsOf(page), pins.get(page) ?? 0, `pins of page ${page}`);
    }
    assert.deepEqual(this.found, []);
  }

  #checkProcess(owner: number, table: PinnedTable, ops: StaleOps, pins: Map<number, number>): void {
    const uses = this.pinned.regionsOf(owner);
    assert.ok(!isErrno(uses));
    let charged = 0;
    const counts = new Map([...new Set(uses)].map((region) => [region, 0]));
    for (const region of counts.keys()) {
      const { userPage, pages } = this.pinned.regionOf(region);
      charged += pages;
      for (let page = userPage + 2; page < userPage + pages + 2; page++) pins.set(page, (pins.get(page) ?? 0) + 1);
    }
    assert.equal(this.pinned.chargedPages(owner), charged);
    const reachable: number[] = [];
    for (let entry = 0; entry < ENTRIES; entry++) {
      const value = table.get(entry);
      assert.ok(!isErrno(value));
      if (value === undefined) continue;
      counts.set(value.region, (counts.get(value.region) ?? Number.NaN) + 1);
      reachable.push(value.userPage + 2);
    }
    for (const [region, count] of counts)
      assert.equal(this.pinned.mapped(region) - 1, count, `count of region ${region}`);
    assert.deepEqual(ops.reachable().toSorted(), reachable.toSorted());
  }
}

/** Defines the test, with this many kills. */
export function testKills(kills: number): void {
  const seed = Date.now() & 0x7fffffff;
  test(`${kills} threads killed at any moment leave counts, pins and charges exact, seed ${seed}`, async (t) => {
    const scene = new Scene(seed);
    let pinned = 0;
    try {
      await Promise.all([scene.start(0), scene.start(1)]);
      for (let round = 0; round < kills; round++) pinned += await scene.round((round & 1) as 0 | 1);
    } finally {
      // Also after a failed check: a running thread would keep the test from ending.
      for (const { thread } of scene.processes) await thread?.worker.terminate();
    }
    for (const place of [0, 1] as const) await scene.kill(place);
    assert.equal(scene.pinned.endOwner(scene.processes[0].owner), undefined);
    assert.equal(scene.pinned.pins, 0);
    t.diagnostic(`${pinned} pins seen after kills`);
    assert.ok(pinned > kills);
  });
}
