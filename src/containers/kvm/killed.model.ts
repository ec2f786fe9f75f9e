/**
 * Real vCPU threads, two at a time, are killed in the middle of their calls. After each recovery TCEs, hardware entries and counts agree, and no
 * lock is held. At the end nothing is pinned, charged or reachable. The slow test runs few kills, the exhaustive test many.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import type { KilledWork } from "./killed.test.worker.ts";
import { countsOf, deviceReads, ENTRIES, LIOBN, type Scene, sceneOf, USER_PAGE, Vcpu } from "./set-up.model.ts";

/** Defines the test, with this many kills. */
export function testKills(kills: number): void {
  const seed = Date.now() & 0x7fffffff;
  test(`${kills} vCPU threads killed in their calls leave tables and counts that agree, seed ${seed}`, async () => {
    const scene = sceneOf();
    const { tables, hardware, pinned, owner, memory } = scene;
    // The process lives on when its vCPU threads have died.
    assert.equal(pinned.join(owner, memory), undefined);
    assert.equal(tables.createTable(LIOBN, { pageShift: 12, offset: 0, size: ENTRIES }), undefined);
    for (const table of hardware) assert.equal(tables.attachHardware(LIOBN, table), undefined);
    let mapped = 0;
    for (let round = 0; round < kills / 2; round++) {
      await killTwo(scene, seed + 2 * round);
      mapped += assertAgreement(scene);
    }
    assert.ok(mapped > kills, `entries that were mapped after the kills: ${mapped}`);
    assert.equal(pinned.endOwner(owner), undefined);
    assert.deepEqual([pinned.pins, pinned.hasOwner(owner), hardware.map((table) => table.mapped)], [0, false, [0, 0]]);
    for (const device of ["nic", "disk"]) assert.equal(deviceReads(scene.machine, device, 3), undefined);
  });
}

/** Two threads call at once; one is killed and recovered while the other continues. */
async function killTwo(scene: Scene, seed: number): Promise<void> {
  const { crew } = scene.machine;
  const threads = await Promise.all([start(scene, seed), start(scene, seed + 1)]);
  for (const { worker, thread } of threads) {
    await new Promise((resolve) => setTimeout(resolve, seed % 3));
    await worker.terminate();
    assert.equal(crew.reclaim(thread, "everything").isFree, true);
  }
}

async function start({ machine, handle }: Scene, seed: number): Promise<{ worker: Worker; thread: number }> {
  const seat = machine.crew.addThread();
  const workerData: KilledWork = { seat, scene: handle, seed };
  const worker = new Worker(new URL("./killed.test.worker.js", import.meta.url), { workerData });
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  return { worker, thread: seat.thread };
}

/** Returns the number of mapped entries. The second hardware table may lack entries: it was detached at times. */
function assertAgreement(scene: Scene): number {
  const { tables, hardware, tces, pinned, owner, machine } = scene;
  // After a detachment in another thread, this one has no view of the new attachment.
  for (const table of hardware) assert.equal(tables.attachHardware(LIOBN, table), undefined);
  const vcpu = new Vcpu(scene);
  const counts = new Map<number, number>();
  const value = { page: 0, access: 0 as never };
  for (let entry = 0; entry < ENTRIES; entry++) {
    const tce = vcpu.get(entry);
    assert.equal(typeof tce, "bigint", `TCE ${entry}`);
    for (const [which, table] of hardware.entries()) {
      const found = table.get(entry);
      assert.ok(typeof found !== "string", "the lock of an entry is lost");
      tces[which]?.ops.get(entry, value);
      assert.equal(value.access === 0, found === undefined, `entry ${entry} of table ${which}`);
      if (found === undefined) {
        assert.ok(which === 1 || (Number(tce) & 3) === 0, `TCE ${entry} is ${tce}, and the hardware's entry is empty`);
        continue;
      }
      const page = found.userPage - USER_PAGE;
      assert.deepEqual([page, found.access], [Number(tce) >> 12, Number(tce) & 3], `entry ${entry} of table ${which}`);
      if ((found.access & 1) !== 0) assert.equal(deviceReads(machine, which === 0 ? "nic" : "disk", entry), page);
      const region = 16 * Math.floor(page / 16);
      counts.set(region, (counts.get(region) ?? 0) + 1);
    }
  }
  const found = countsOf(scene);
  for (const region of Object.keys(found)) assert.equal(found[Number(region)], counts.get(Number(region)) ?? 0);
  const regions = Object.keys(found).length;
  assert.ok(
    [...counts.keys()].every((region) => Object.hasOwn(found, region)),
    "an entry leads to a region that is gone",
  );
  const isOtherThere = tables.pagesOf(LIOBN + 1) !== undefined;
  assert.deepEqual([pinned.pins, pinned.chargedPages(owner)], [16 * regions, 16 * regions + (isOtherThere ? 3 : 1)]);
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}
