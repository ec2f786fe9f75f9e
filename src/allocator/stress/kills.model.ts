/**
 * Threads that are killed at random moments: after each kill and `reclaim`, the table is sound and usable, and no range of the dead thread
 * is lost.
 *
 * `worker.terminate()` ends a thread at the next loop edge or call, never between two plain stores: the order of stores is
 * for the explorer to prove. What this shows is the whole way in reality: the `exit` event, real locks with real waiters, and
 * other threads that go on meanwhile.
 *
 *   IOVA_KILLS: how many
 *   IOVA_KILLS_SEED: what the players do, and who is killed
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ReclaimScope } from "../../crew/crew.ts";
import { openCrewState, SLOT_LIVE, slotState } from "../../crew/crew.ts";
import type { EntryRange } from "../../units/numbers.ts";
import { randomFrom } from "../random.model.ts";
import { assertSound } from "../soundness.model.ts";
import { account } from "./accounts.model.ts";
import type { Crew } from "./crew.model.ts";
import type { Played } from "./player.test.worker.ts";
import { lockedEntry, remainsOf } from "./post-mortem.model.ts";
import { checkNothingLost, giveBackDeadSlots, giveBackLeft, recover } from "./recovered.model.ts";
import { checkAllIsThere, crewFor, giveBackMail, nameOf, type Scene, type Setting, setScene } from "./scene.model.ts";
import { type Random, seedFrom, seedOf } from "./seed.model.ts";
import { Toll } from "./toll.model.ts";

const SEED = seedFrom("IOVA_KILLS_SEED");
const PLAYERS = 3;
const THREADS = 32;

interface KillSetting extends Setting {
  readonly scope: ReclaimScope;
}

const toll = new Toll();
/** Settings that each have their share of the kills. */
const settings = [...settingsOf()];

/**
 * The tests of a file.
 * @param usual - how many threads are killed when IOVA_KILLS does not say
 */
export function testKills(usual: number, file: string): void {
  const all = Number(process.env["IOVA_KILLS"] ?? usual);
  const how = `IOVA_KILLS_SEED=${SEED} node --enable-source-maps --test build/src/allocator/stress/${file}`;
  after(() => console.log(`seed ${SEED}: ${toll}`));
  describe("after a random kill and reclaim the table is sound and usable, and nothing is lost", () => {
    for (const [i, setting] of settings.entries()) {
      const kills = Math.floor((all * (i + 1)) / settings.length) - Math.floor((all * i) / settings.length);
      if (kills === 0) continue;
      test(`${kills} kills, reclaim ${setting.scope}: ${nameOf(setting)}`, async () => {
        await killOn(setting, seedOf(SEED, i), kills, how);
      });
    }
    test("the kills met what recovery is for", () => {
      assert.equal(toll.kills, all);
      if (all < 1000) return;
      for (const what of ["locks", "cached", "kept", "live"] as const)
        assert.ok(toll.met(what) > 0, `no kill left ${what}`);
    });
  });
}

function* settingsOf(): Generator<KillSetting> {
  for (const cache of ["none", "fifo"] as const) {
    for (const invalidate of ["strict", "lazy"] as const) {
      for (const [pools, entries] of [
        [1, 4096],
        [3, 8192],
        [16, 2 ** 15],
      ] as const) {
        for (const scope of ["in-flight", "everything"] as const) {
          yield settingOf(cache, invalidate, pools, entries, scope);
        }
      }
    }
  }
  yield settingOf("fifo", "lazy", 16, 2 ** 20, "in-flight");
}

function settingOf(
  cache: "none" | "fifo",
  invalidate: "strict" | "lazy",
  pools: number,
  entries: number,
  scope: ReclaimScope,
): KillSetting {
  return {
    options: { cache, invalidate, entries, pools, largePool: pools !== 3, threads: THREADS },
    players: PLAYERS,
    flushFailsOnceIn: invalidate === "lazy" && pools === 3 ? 8 : 0,
    scope,
    profile: {
      quota: Math.min(6000, Math.floor(entries / 5)),
      span: pools === 16 && entries < 2 ** 20 ? entries / 4 + 40 : 0,
      // "everything" takes back what the dead has allocated, wherever it has gone.
      hands: scope === "in-flight",
      reserves: true,
      asTable: pools !== 1,
    },
  };
}

/** @param how - the command that repeats the run */
async function killOn(setting: KillSetting, seed: number, kills: number, how: string): Promise<void> {
  const random = randomFrom(seed);
  const scene = setScene(setting, seed);
  const crew = crewFor(scene, random);
  try {
    for (let place = 0; place < PLAYERS; place++) crew.start(place);
    for (let i = 0; i < kills; i++) await killOne(scene, crew, random, setting.scope);
    for (let place = 0; place < PLAYERS; place++) await crew.untilPlaying(place);
    await crew.stop();
    giveBackMail(scene);
    giveBackDeadSlots(scene);
    checkAllIsThere(scene);
  } catch (cause) {
    const note = "threads run as they like: it may take several runs";
    throw new Error(`${nameOf(setting)}: ${(cause as Error).message}\nto repeat: ${how} (${note})`, { cause });
  } finally {
    await crew.end();
  }
}

async function killOne(scene: Scene, crew: Crew<Played>, random: Random, scope: ReclaimScope): Promise<void> {
  const { control, shadow, state } = scene;
  // Now and then it is the one that has only just been started.
  const isYoung = random(12) === 0;
  const place = isYoung ? crew.youngest : random(PLAYERS);
  if (isYoung) await sleep(random(200));
  else {
    await crew.untilPlaying(place);
    await sleep(random(10));
  }
  const holder = await crew.kill(place);
  toll.kills++;
  const told = control.slotOf(place);
  const slot = told >= 0 ? told : await untoldSlot(scene, crew, place);
  const recorded = shadow.ranges().filter(({ owner }) => owner === holder);
  let returned: readonly EntryRange[] = [];
  if (slot >= 0) {
    toll.found(remainsOf(state, slot));
    const dead = { slot, holder, lockedEntry: lockedEntry(state, slot) };
    const flushFails = scene.setting.flushFailsOnceIn > 0 && random(3) === 0;
    returned = recover(scene, dead, scope, flushFails, toll);
  }
  crew.start(place);
  await crew.pause();
  assertSound(state, `after thread ${slot} was killed and reclaimed`);
  const { left, wrong } = account(scene, crew.living, holder);
  assert.deepEqual(wrong, []);
  checkNothingLost(scope, recorded, returned, left);
  giveBackLeft(scene, left, holder, toll);
  giveBackDeadSlots(scene);
  crew.resume();
}

/**
 * The slot of a thread that was killed before it wrote down its slot; -1 when it had not taken one. It is the taken slot that no other thread has
 * written down. Threads that are attaching have not written down theirs yet, so they finish first.
 */
async function untoldSlot({ allocator, control, state }: Scene, crew: Crew<Played>, dead: number): Promise<number> {
  toll.early++;
  const known = new Set([allocator.thread]);
  for (let place = 0; place < PLAYERS; place++) {
    if (place === dead) continue;
    await crew.untilPlaying(place);
    known.add(control.slotOf(place));
  }
  for (let slot = 0; slot < THREADS; slot++) {
    if (known.has(slot) || slotState(openCrewState(state.handle.crew), slot) !== SLOT_LIVE) continue;
    toll.untold++;
    return slot;
  }
  return -1;
}
