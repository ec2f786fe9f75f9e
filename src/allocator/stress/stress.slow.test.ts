/**
 * The allocator under real threads, against a shadow map: no two threads hold one entry, no entry is handed out while a device may still
 * use it, and after all ranges are given back the whole table is free.
 *
 * Interleavings of real threads can't be repeated, and only likely ones occur; the explorer tries all interleavings of small cases. This
 * test is for size: many operations, all features at once, real memory.
 *
 *   IOVA_STRESS_SECONDS: how long all tables together are played on; default 10
 *   IOVA_STRESS_SEED: what the players do
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { randomFrom } from "../random.model.ts";
import { assertSound } from "../soundness.model.ts";
import { account } from "./accounts.model.ts";
import type { Crew } from "./crew.model.ts";
import { noTally, type Profile, type Tally } from "./player.model.ts";
import type { Played } from "./player.test.worker.ts";
import { checkAllIsThere, crewFor, giveBackMail, nameOf, type Scene, type Setting, setScene } from "./scene.model.ts";
import { seedFrom, seedOf } from "./seed.model.ts";
import { LEADER } from "./shadow-map.model.ts";

const SECONDS = Number(process.env["IOVA_STRESS_SECONDS"] ?? 10);
const SEED = seedFrom("IOVA_STRESS_SEED");
/** How often each run is looked at in between. */
const PAUSES = 3;
/** No holder has this number. */
const NOBODY = -1;

const SMALL = { entries: 1024, quota: 400 };
const LARGE = { entries: 2 ** 17, quota: 6000 };

const profileOf = (quota: number, span: number, asTable: boolean): Profile => ({
  quota,
  span,
  asTable,
  hands: true,
  reserves: true,
});

/** Tables of one kind: each number of pools, small and all but full, large and half empty, large and crowded. */
function settingsOf(kind: Pick<Setting["options"], "cache" | "invalidate">): Setting[] {
  const settings: Setting[] = [];
  for (const pools of [1, 3, 16]) {
    for (const { entries, quota } of [SMALL, LARGE]) {
      const players = 2 + ((settings.length + pools) % 3);
      const largePool = pools !== 3;
      const options = { ...kind, entries, pools, largePool, threads: 8 };
      const longest = Math.max(largePool ? entries / 4 : 0, ((largePool ? 0.75 : 1) * entries) / pools);
      const span = longest > entries * 0.6 ? 0 : Math.ceil(longest) + 40;
      const failing = kind.invalidate === "lazy" && pools === 3;
      const profile = profileOf(quota, span, pools !== 1);
      settings.push({ options, profile, players, flushFailsOnceIn: failing ? 8 : 0 });
    }
  }
  return settings;
}

/** Kept from table to table. */
const workers: Worker[] = [];
const totals: Tally = noTally();
let tables = 0;
let pauses = 0;
let flushes = 0;
let contended = 0;

after(async () => {
  await Promise.all(workers.map((worker) => worker.terminate()));
  const counts = Object.entries({ ...totals, flushes, contended }).map(([what, count]) => `${what} ${count}`);
  console.log(`seed ${SEED}: ${tables} tables, looked at ${pauses} times: ${counts.join(", ")}`);
});

describe("no double allocation, nothing lost, nothing handed out before its flush", () => {
  const kinds = (["none", "fifo"] as const).flatMap((cache) =>
    (["strict", "lazy"] as const).map((invalidate) => ({ cache, invalidate })),
  );
  for (const kind of kinds) {
    test(`threads that allocate and free at once, cache ${kind.cache}, ${kind.invalidate}`, async () => {
      const settings = settingsOf(kind);
      for (const [i, setting] of settings.entries()) {
        await playOn(setting, i, (SECONDS * 1000) / kinds.length / settings.length);
      }
    });
  }
  test("the runs met what they are for", () => {
    for (const [what, count] of Object.entries(totals)) {
      if (what !== "unresponsive") assert.ok(count > 0, `${what}: ${count}`);
    }
    assert.ok(flushes > 0);
    assert.ok(contended > 0);
  });
});

async function playOn(setting: Setting, index: number, milliseconds: number): Promise<void> {
  const seed = seedOf(SEED, tables++);
  const scene = setScene(setting, seed);
  const crew = crewFor(scene, randomFrom(seed), workers);
  try {
    const filler = setting.options.entries === LARGE.entries && index % 4 !== 1 ? crowd(scene) : [];
    for (let place = 0; place < setting.players; place++) crew.start(place);
    for (let place = 0; place < setting.players; place++) await crew.untilPlaying(place);
    for (let i = 0; i < PAUSES; i++) {
      await sleep(milliseconds / PAUSES);
      await lookAround(scene, crew);
    }
    for (const { tally, flushes: count } of await crew.stop()) {
      flushes += count;
      for (const what of Object.keys(totals) as (keyof Tally)[]) totals[what] += tally[what];
    }
    contended += scene.allocator.statistics().lockContended;
    giveBackMail(scene);
    giveBackCrowd(scene, filler);
    checkAllIsThere(scene);
  } catch (cause) {
    await crew.end();
    workers.length = 0;
    const how = `IOVA_STRESS_SEED=${SEED} node --enable-source-maps --test build/src/allocator/stress/stress.slow.test.js`;
    const note = "threads run as they like: it may take several runs";
    throw new Error(`${nameOf(setting)}: ${(cause as Error).message}\nto repeat: ${how} (${note})`, { cause });
  }
}

/** In a pause: the table is sound, and every taken entry has a holder. */
async function lookAround(scene: Scene, crew: Crew<Played>): Promise<void> {
  await crew.pause();
  assertSound(scene.state, "in a pause");
  assert.deepEqual(account(scene, crew.living, NOBODY), { left: [], wrong: [] });
  crew.resume();
  pauses++;
}

/** Fills the table up to a tenth, which lies scattered. */
function crowd({ allocator, shadow, iotlb }: Scene): number[] {
  const firsts: number[] = [];
  for (let first = allocator.allocate(CROWD); first >= 0; first = allocator.allocate(CROWD)) firsts.push(first);
  const kept = firsts.filter((_, i) => i % 10 !== 0);
  for (const [i, first] of firsts.entries()) {
    if (i % 10 === 0) {
      iotlb?.cleared(first, CROWD);
      assert.equal(allocator.free(first, CROWD), 0);
    } else shadow.mark(first, CROWD, LEADER);
  }
  assert.equal(allocator.drain(), undefined);
  return kept;
}
const CROWD = 57;

function giveBackCrowd({ allocator, shadow, iotlb }: Scene, firsts: readonly number[]): void {
  for (const first of firsts) {
    shadow.unmark(first, CROWD, LEADER);
    iotlb?.cleared(first, CROWD);
    assert.equal(allocator.free(first, CROWD), 0);
  }
}
