/** A shadow that three threads keep by listeners, while one after the other is killed: after each recovery it is the table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { randomFrom } from "../allocator/random.model.ts";
import { reclaimOnExit } from "../crew/reclaim-on-exit.ts";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { LinearPlatform } from "../platforms/linear/platform.ts";
import { createShared, load, wordsOf } from "../shared/memory.ts";
import { listen } from "./listen.ts";
import {
  ENTRIES_AT,
  type ListeningPart,
  shadowIn,
  TOLD_MAPPED,
  TOLD_TWICE,
  TOLD_UNMAPPED,
} from "./listening.test.worker.ts";

const WORKER = new URL("./listening.test.worker.js", import.meta.url);
const ENTRIES = 256;
const KILLS = 10;

for (const invalidate of ["strict", "lazy"] as const) {
  test(`${KILLS} threads that keep a shadow are killed, three at a time run, ${invalidate}`, async (t) => {
    const seed = Date.now() & 0x7fffffff;
    t.diagnostic(`seed ${seed}`);
    const random = randomFrom(seed);
    const machine = SoftwareMachine.create({ memoryBytes: 2 ** 21, threads: 8 });
    const window = { base: 0x80000000n, pageShift: 12, entries: ENTRIES };
    const platform = LinearPlatform.create(machine, { format: "powernv-tce", window, table: { invalidate } });
    const table = platform.generic;
    const shadow = createShared((ENTRIES_AT + ENTRIES) * 4);
    const words = wordsOf(shadow);
    listen(table, shadowIn(shadow, window));
    const start = () => {
      const seat = machine.crew.addThread();
      const worker = new Worker(WORKER);
      const recovered = reclaimOnExit(worker, machine.crew, seat);
      const plays = new Promise((resolve) => worker.once("message", resolve));
      const part: ListeningPart = {
        machine: machine.handle,
        platform: platform.handle,
        shadow,
        seat,
        seed: random(2 ** 30),
      };
      worker.postMessage(part);
      return { worker, recovered, plays };
    };
    const workers = [start(), start(), start()];
    for (let kill = 0; kill < KILLS; kill++) {
      const victim = workers.shift() as ReturnType<typeof start>;
      await victim.plays;
      await sleep(random(60));
      await victim.worker.terminate();
      await victim.recovered;
      if (kill < KILLS - 3) workers.push(start());
    }
    for (const { worker } of workers) void worker.terminate();
    for (const { recovered } of workers) await recovered;
    assert.equal(load(words, TOLD_TWICE), 0, "a page was told as mapped while it was mapped");
    assert.ok(load(words, TOLD_MAPPED) > 100 && load(words, TOLD_UNMAPPED) > 100);
    t.diagnostic(`told ${load(words, TOLD_MAPPED)} times mapped, ${load(words, TOLD_UNMAPPED)} times unmapped`);
    assert.equal(table.allocator.drain(), undefined);
    assert.deepEqual([table.statistics().taken, [...table.mappings()]], [0, []]);
    for (let entry = 0; entry < ENTRIES; entry++) assert.equal(load(words, ENTRIES_AT + entry), 0, `entry ${entry}`);
  });
}
