/**
 * Real threads are killed while they map and unmap in a container: after the recovery nothing is mapped, pinned or charged, no device reaches memory,
 * and the process has ended. The slow test runs few kills, the exhaustive test many.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { reclaimBusy } from "../pinned/reclaim.model.ts";
import { ContainerEnd } from "./container-end.ts";
import type { KilledWork } from "./killed.test.worker.ts";
import {
  deviceReads,
  MEMORY_BYTES,
  numberPages,
  PAGE,
  ProcessMemory,
  type Scene,
  sceneOf,
  WINDOW,
} from "./set-up.model.ts";

/** Defines the test for each kind of container, with this many kills. */
export function testKills(kills: number): void {
  for (const kind of ["type1", "iommufd"] as const) {
    const seed = Date.now() & 0x7fffffff;
    test(`${kind}: ${kills} threads killed in mid-map leave nothing mapped, pinned or charged, seed ${seed}`, async () => {
      const scene = sceneOf();
      numberPages(scene.machine);
      let pinsBefore = 0;
      for (let round = 0; round < kills; round++) pinsBefore += await kill(scene, kind, seed + round);
      assert.ok(pinsBefore > kills, `threads that had ${pinsBefore} pages pinned in all when they were killed`);
    });
  }
}

/** Starts a thread and kills it. Returns the number of pages that it had pinned. */
async function kill(scene: Scene, kind: KilledWork["kind"], seed: number): Promise<number> {
  const { machine, platform, pinned, domain } = scene;
  const owner = pinned.addOwner({ limitBytes: MEMORY_BYTES }, new ProcessMemory());
  assert.ok(typeof owner === "number");
  const end = ContainerEnd.offer(pinned, owner, [domain]);
  const seat = machine.crew.addThread();
  const handles = { machine: machine.handle, platform: platform.handle, pinned: pinned.handle, container: end.handle };
  const workerData: KilledWork = { ...handles, seat, owner, kind, seed };
  const worker = new Worker(new URL("./killed.test.worker.js", import.meta.url), { workerData });
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  await new Promise((resolve) => setTimeout(resolve, seed % 4));
  await worker.terminate();
  const { pins } = pinned;
  assert.equal(reclaimBusy(machine.crew, seat.thread), true);
  assert.equal(end.isEnded, true);
  end.close();
  assert.equal(pinned.pins, 0);
  assert.equal(pinned.hasOwner(owner), false);
  for (let entry = 0; entry < WINDOW.entries; entry += 3) {
    assert.equal(deviceReads(machine, WINDOW.base + BigInt(entry) * PAGE), undefined, `entry ${entry}`);
  }
  return pins;
}
