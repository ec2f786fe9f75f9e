/**
 * Threads that are killed between the hypercalls of a change of the dynamic window: before each of them, and after the last, before
 * the thread has told others. After the recovery the window can be made, used and removed, and no mapping of another thread is lost.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { DmaDevice } from "../../dma/device.ts";
import { createDevice } from "../../dma/windows.ts";
import type { DeathAction, DeathMessage, DeathWorkerData } from "./deaths.test.worker.ts";
import { type Guest, guestOf, MEMORY_BYTES } from "./guest.model.ts";

const MASK_64 = 2n ** 64n - 1n;
const HALF = MEMORY_BYTES / 2;
/** Entries of a direct window of 4 KiB pages: some of them are mapped from the beginning. */
const ADDED = { address: HALF - 0x2000, bytes: 0x6000 };

interface Scene {
  readonly name: string;
  readonly action: DeathAction;
  /** Windows of the guest at a time: 1, then a dynamic one replaces the default one. */
  readonly slots: number;
  /** The window that is there before, which the dying thread and the recovering one know. */
  readonly before?: "direct" | "table";
  readonly lazy?: boolean;
}

const SCENES: readonly Scene[] = [
  { name: "a direct window is made beside the default one", action: { makes: "direct" }, slots: 2 },
  { name: "a direct window is made in place of the default one", action: { makes: "direct" }, slots: 1 },
  { name: "a table is made beside the default one", action: { makes: "table" }, slots: 2, lazy: true },
  { name: "a table is made in place of the default one", action: { makes: "table" }, slots: 1 },
  {
    name: "a direct window is removed, and the default one comes back",
    action: { removes: true },
    slots: 1,
    before: "direct",
  },
  { name: "a table is removed beside the default one", action: { removes: true }, slots: 2, before: "table" },
  {
    name: "a table is removed, and a direct window made, each in place of the default one",
    action: { removes: true, makes: "direct" },
    slots: 1,
    before: "table",
    lazy: true,
  },
  { name: "memory is added", action: { adds: ADDED }, slots: 2, before: "direct" },
  { name: "memory is taken away", action: { takes: ADDED }, slots: 2, before: "direct" },
];

/** Kills a thread that is about to make this hypercall, and recovers it. Its message. */
async function killAt({ hypervisor, platform }: Guest, action: DeathAction, call: number): Promise<DeathMessage> {
  const { crew } = hypervisor;
  const seat = crew.addThread();
  const workerData: DeathWorkerData = { hypervisor: hypervisor.handle, platform: platform.handle, seat, action, call };
  const worker = new Worker(new URL("./deaths.test.worker.js", import.meta.url), { workerData });
  const message = await new Promise<DeathMessage>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  await worker.terminate();
  assert.equal(crew.reclaim(seat.thread, "in-flight").isFree, true, "the number of the dead thread is free");
  return message;
}

function reaches({ hypervisor }: Guest, iova: bigint): boolean {
  return hypervisor.device(0).dmaRead(iova, new Uint8Array(1));
}

/** Makes a window if there is none, uses and removes it; then uses the default one. */
function assertUsable(guest: Guest, kind: "direct" | "table"): void {
  const { platform } = guest;
  const answers: unknown[] = [];
  try {
    answers.push(platform.removeDynamicWindow());
  } catch (error) {
    answers.push((error as { readonly code?: string }).code);
  }
  assert.ok(answers[0] === undefined || answers[0] === "window-gone", `the window's removal: ${answers[0]}`);
  const made = platform.makeDynamicWindow({ mask: MASK_64, direct: kind === "direct" });
  assert.ok(typeof made !== "string", `the next window: ${String(made)}`);
  for (const windows of [[made], undefined]) {
    if (windows === undefined) assert.equal(platform.removeDynamicWindow(), undefined);
    const device = windows === undefined ? new DmaDevice(platform.generic) : createDevice(windows, { mask: MASK_64 });
    const mapping = device.map(0x5000n, 4096, 3);
    assert.ok(typeof mapping !== "string", `a mapping: ${String(mapping)}`);
    assert.equal(reaches(guest, mapping.iova), true);
    assert.equal(device.unmap(mapping), undefined);
  }
}

/** A guest as the scene wants it, with a mapping of this thread in the default window if there is room for it to stay. */
function guestFor({ slots, before, lazy = false }: Scene): {
  readonly guest: Guest;
  readonly kept: bigint | undefined;
} {
  const dynamicWindows = { slots, pageShifts: [12], largestWindow: 1024 };
  const guest = guestOf({ dynamicWindows }, { table: { invalidate: lazy ? "lazy" : "strict", cache: "fifo" } });
  if (before !== undefined) {
    const memory = [
      { address: 0, bytes: HALF },
      { address: MEMORY_BYTES - 4096, bytes: 4096 },
    ];
    const made = guest.platform.makeDynamicWindow({ mask: MASK_64, direct: before === "direct", memory });
    assert.ok(typeof made !== "string", String(made));
  }
  if (slots === 1) return { guest, kept: undefined };
  const mapping = new DmaDevice(guest.platform.generic).map(0x3000n, 4096, 3);
  assert.ok(typeof mapping !== "string");
  return { guest, kept: mapping.iova };
}

for (const scene of SCENES) {
  test(`${scene.name}, by a thread that is killed between any two of its hypercalls`, async (t) => {
    let calls = 0;
    for (let message: DeathMessage = "call"; message === "call"; calls++) {
      const { guest, kept } = guestFor(scene);
      message = await killAt(guest, scene.action, calls);
      assert.ok(typeof message === "string", `the thread was told ${JSON.stringify(message)}`);
      const { adds, takes, makes } = scene.action;
      const window = guest.platform.windows[1]?.window;
      for (const range of [adds, takes]) {
        if (range === undefined || window === undefined) continue;
        const seen = [0, range.bytes - 1].map((at) => reaches(guest, window.base + BigInt(range.address + at)));
        const isReached = range === adds;
        assert.deepEqual(seen, [isReached, isReached], `call ${calls}: the memory of a change that was cut off`);
        assert.equal(reaches(guest, window.base), true, "other memory is mapped as before");
      }
      if (kept !== undefined) assert.equal(reaches(guest, kept), true, `call ${calls}: a mapping of another thread`);
      assertUsable(guest, makes ?? "direct");
      if (kept !== undefined) assert.equal(reaches(guest, kept), true);
    }
    t.diagnostic(`killed at ${calls} places`);
    assert.ok(calls > 1, "there are hypercalls to be killed at");
  });
}
