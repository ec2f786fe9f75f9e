/**
 * Drivers that are killed at random moments, on a real platform and a machine with an IOTLB: after `forgetThread` and `reclaim`, the
 * table is sound and usable, no entry without an owner is left, and no device reaches a page through one.
 *
 *   IOVA_TABLE_KILLS: how many
 *   IOVA_TABLE_KILLS_SEED: what the drivers do, and who is killed
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { UNCONSTRAINED } from "../allocator/constraints.ts";
import { LIVE } from "../allocator/ledger.ts";
import { randomFrom } from "../allocator/random.model.ts";
import { assertSound, ledgerRanges } from "../allocator/soundness.model.ts";
import { type OpenState, openState } from "../allocator/state.ts";
import { account, type LeftRange } from "../allocator/stress/accounts.model.ts";
import { Control } from "../allocator/stress/control.model.ts";
import { Crew } from "../allocator/stress/crew.model.ts";
import { lockedEntry, remainsOf } from "../allocator/stress/post-mortem.model.ts";
import { checkNothingLost } from "../allocator/stress/recovered.model.ts";
import { type Random, seedFrom, seedOf } from "../allocator/stress/seed.model.ts";
import { LEADER, Mailbox, ShadowMap } from "../allocator/stress/shadow-map.model.ts";
import { Toll } from "../allocator/stress/toll.model.ts";
import type { ReclaimScope } from "../crew/crew.ts";
import { readLayout, THREAD } from "../machines/software/layout.ts";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { slotAt } from "../machines/software/threads.ts";
import { LinearPlatform } from "../platforms/linear/platform.ts";
import { peek, wordsOf } from "../shared/memory.ts";
import type { DmaWindow, EntryRange } from "../units/numbers.ts";
import { type Driven, MOST_AT_ONCE } from "./driver.test.worker.ts";
import { iovaOf } from "./iommu-table.ts";

const SEED = seedFrom("IOVA_TABLE_KILLS_SEED");
const DRIVERS = 3;
const ENTRIES = 2048;
/** The main thread maps this page. */
const OWN_PAGE = 2;

interface Setting {
  readonly format: "powernv-tce" | "sun4u-iopte";
  readonly invalidate: "strict" | "lazy";
  readonly cache: "none" | "fifo";
  readonly scope: ReclaimScope;
}

interface Rig {
  readonly setting: Setting;
  readonly machine: SoftwareMachine;
  readonly platform: LinearPlatform;
  readonly state: OpenState;
  readonly control: Control;
  readonly shadow: ShadowMap;
  readonly mailbox: Mailbox;
  readonly crew: Crew<Driven>;
  /** The driver whose entries are being cleared: its marks go with them. */
  clearing: number;
}

const toll = new Toll();
const done = { maps: 0, unmaps: 0, refused: 0, busy: 0, inMidDma: 0, refusedDmas: 0 };

const SETTINGS: readonly Setting[] = (["powernv-tce", "sun4u-iopte"] as const).flatMap((format) =>
  (["strict", "lazy"] as const).flatMap((invalidate) =>
    (["none", "fifo"] as const).flatMap((cache) =>
      (["in-flight", "everything"] as const).map((scope): Setting => ({ format, invalidate, cache, scope })),
    ),
  ),
);

/**
 * The tests of a file.
 * @param usual - how many drivers are killed when IOVA_TABLE_KILLS does not say
 */
export function testReclaim(usual: number, file: string): void {
  const all = Number(process.env["IOVA_TABLE_KILLS"] ?? usual);
  const how = `IOVA_TABLE_KILLS_SEED=${SEED} node --enable-source-maps --test build/src/table/${file}`;
  after(() => {
    const counts = Object.entries(done).map(([what, count]) => `${what} ${count}`);
    console.log(`seed ${SEED}: ${toll}\n${counts.join(", ")}`);
  });
  describe("after a driver is killed and reclaimed, no entry without an owner is left", () => {
    for (const [i, setting] of SETTINGS.entries()) {
      const kills = Math.floor((all * (i + 1)) / SETTINGS.length) - Math.floor((all * i) / SETTINGS.length);
      if (kills === 0) continue;
      const { format, invalidate, cache, scope } = setting;
      test(`${kills} kills: ${format}, ${invalidate}, cache ${cache}, reclaim ${scope}`, async () => {
        await run(setting, seedOf(SEED, i), kills, how);
      });
    }
    test("the kills met what recovery is for", () => {
      assert.equal(toll.kills, all);
      if (all < 200) return;
      assert.ok(done.refusedDmas > 0);
      assert.ok(done.inMidDma > 0);
      for (const what of ["pending", "ending", "live"] as const) assert.ok(toll.met(what) > 0, `no kill left ${what}`);
    });
  });
}

/** @param how - the command that repeats the run */
async function run(setting: Setting, seed: number, kills: number, how: string): Promise<void> {
  const random = randomFrom(seed);
  const rig = setUp(setting, random);
  const { crew } = rig;
  try {
    for (let place = 0; place < DRIVERS; place++) crew.start(place);
    for (let i = 0; i < kills; i++) await killOne(rig, random);
    for (let place = 0; place < DRIVERS; place++) await crew.untilPlaying(place);
    for (const driven of await crew.stop()) {
      for (const what of Object.keys(driven) as (keyof Driven)[]) done[what] += driven[what];
    }
    checkAllIsThere(rig);
  } catch (cause) {
    const note = "threads run as they like: it may take several runs";
    throw new Error(`${(cause as Error).message}\nto repeat: ${how} (${note})`, { cause });
  } finally {
    await crew.end();
  }
}

function setUp(setting: Setting, random: Random): Rig {
  const { format, invalidate, cache } = setting;
  const pageShift = format === "powernv-tce" ? 12 : 13;
  const window: DmaWindow = { base: 0x80000000n, pageShift, entries: ENTRIES };
  const machine = SoftwareMachine.create({
    memoryBytes: 2 ** 25,
    threads: 16,
    // As large as the table: it forgets nothing by itself.
    iotlb: { entries: ENTRIES, ways: 4 },
    busyMilliseconds: 20_000,
  });
  const table = { invalidate, cache, pools: 3, threads: 16 };
  const platform = LinearPlatform.create(machine, { format, window, table });
  const buffers = { control: Control.create(DRIVERS), shadow: ShadowMap.create(ENTRIES) };
  const control = new Control(buffers.control);
  const state = openState(platform.generic.handle);
  const part = { machine: machine.handle, platform: platform.handle, ...buffers };
  const worker = new URL("./driver.test.worker.js", import.meta.url);
  const crew = new Crew<Driven>({ state, control, players: DRIVERS, worker, part }, random);
  const shadow = new ShadowMap(buffers.shadow);
  const mailbox = new Mailbox(Mailbox.create(1));
  const rig = { setting, machine, platform, state, control, shadow, mailbox, crew, clearing: LEADER };
  // Bits come back only after the entries are cleared: until then they are still the dead driver's in the shadow map.
  const clear = platform.ops.clear.bind(platform.ops);
  platform.ops.clear = (first, count) => {
    shadow.wipe(first, count, [rig.clearing]);
    clear(first, count);
  };
  machine.memory.write(OWN_PAGE << pageShift, numberOf(LEADER));
  return rig;
}

async function killOne(rig: Rig, random: Random): Promise<void> {
  const { crew, control, machine, shadow, state } = rig;
  const place = random(DRIVERS);
  await crew.untilPlaying(place);
  await sleep(random(10));
  const holder = await crew.kill(place);
  toll.kills++;
  const slot = control.slotOf(place);
  toll.found(remainsOf(state, slot));
  const recorded = shadow.ranges().filter(({ owner }) => owner === holder);
  const locked = lockedEntry(state, slot);
  rig.clearing = holder;
  if (isInMidDma(machine, slot)) done.inMidDma++;
  const returned = recover(rig, slot, locked);
  checkUnreachable(rig, returned, holder);
  await crew.pause();
  assertSound(state, `after thread ${slot} was killed and reclaimed`);
  const { left, wrong } = account(rig, crew.living, holder, MOST_AT_ONCE);
  assert.deepEqual(wrong, []);
  checkNothingLost(rig.setting.scope, recorded, returned, left, MOST_AT_ONCE);
  checkEntries(rig, holder);
  giveBackLeft(rig, left);
  rig.clearing = LEADER;
  if (left.length > 0) assert.deepEqual([...rig.platform.generic.reclaim(slot, "in-flight")], []);
  crew.start(place);
  crew.resume();
}

function isInMidDma({ handle }: SoftwareMachine, thread: number): boolean {
  const words = wordsOf(handle.state);
  return (peek(words, slotAt(readLayout(words, handle.state.byteLength / 4), thread) + THREAD.sequence) & 1) === 1;
}

/** Reclaims, maps a page and has the device read it, and notes how long that took. */
function recover({ platform, setting, machine }: Rig, slot: number, lockedAt: number): readonly EntryRange[] {
  const { generic } = platform;
  const began = performance.now();
  const returned = [...generic.reclaim(slot, setting.scope)];
  const entry = generic.allocate(1, UNCONSTRAINED, lockedAt);
  assert.ok(entry >= 0, `no entry could be had after reclaim: ${generic.allocator.shortage(1)}`);
  assert.equal(generic.set(entry, 1, OWN_PAGE, 3), undefined);
  generic.publish();
  generic.commit(entry, 1);
  const number = readNumber(machine, platform, entry);
  toll.took(`${setting.invalidate}, with a mapping made and read`, performance.now() - began);
  toll.reclaimed += returned.length;
  assert.equal(number, LEADER);
  assert.equal(generic.unmap(entry, 1), undefined);
  return returned;
}

/** At once, while others run: recovered ranges are refused, or have new owners already. */
function checkUnreachable({ machine, platform }: Rig, returned: readonly EntryRange[], holder: number): void {
  for (const { first, end } of returned) {
    for (let entry = first as number; entry < end; entry++) {
      const number = readNumber(machine, platform, entry);
      assert.notEqual(number, holder, `entry ${entry} came back, and a device still reads the dead driver's page`);
    }
  }
}

/** Entries in memory are those of live ranges, and no others; DMA to other entries is refused, in lazy mode after a flush. */
function checkEntries({ machine, platform, state, shadow, setting }: Rig, dead: number): void {
  const { generic, ops } = platform;
  const isLive = new Uint8Array(ENTRIES);
  for (const { first, count, state: found } of ledgerRanges(state)) {
    if (found === LIVE) isLive.fill(1, first, first + count);
  }
  if (setting.invalidate === "lazy") assert.equal(generic.allocator.flushIotlb(), undefined);
  machine.faults();
  const before = machine.statistics().faults;
  let refused = 0;
  const value = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  for (let entry = 0; entry < ENTRIES; entry++) {
    ops.get(entry, value);
    const number = readNumber(machine, platform, entry);
    if (isLive[entry] === 1) {
      assert.notEqual(value.access, 0, `live entry ${entry} is empty`);
      const owner = shadow.ownerAt(entry);
      assert.equal(number, owner === 0 ? dead : owner, `entry ${entry} leads to another owner's page`);
    } else {
      assert.equal(value.access, 0, `entry ${entry} has no owner, and leads to page ${value.page}`);
      assert.equal(number, undefined, `entry ${entry} has no owner, and a device reads through it`);
      refused++;
    }
  }
  assert.equal(machine.statistics().faults - before, refused, "each refused DMA is a fault");
  done.refusedDmas += refused;
}

/** Unmaps what the dead has left mapped. Nothing may run: marks and bits go in two steps. */
function giveBackLeft({ platform, shadow, clearing }: Rig, left: readonly LeftRange[]): void {
  for (const { first, count, recorded } of left) {
    shadow.wipe(first, count, [clearing]);
    assert.equal(platform.generic.unmap(first, count), undefined);
    if (recorded) toll.recorded++;
    else toll.unrecorded++;
  }
}

function checkAllIsThere({ platform, state, shadow, machine }: Rig): void {
  const { allocator } = platform.generic;
  assert.equal(allocator.drain(), undefined);
  assertSound(state, "when all is unmapped");
  assert.deepEqual(shadow.ranges(), []);
  assert.equal(allocator.statistics().taken, 0);
  const whole = { first: 0, end: ENTRIES };
  assert.equal(platform.generic.reserve(whole), undefined);
  for (let entry = 0; entry < ENTRIES; entry++) assert.equal(readNumber(machine, platform, entry), undefined);
}

/** What the device reads through an entry; undefined: it is refused. */
function readNumber(machine: SoftwareMachine, platform: LinearPlatform, entry: number): number | undefined {
  const bytes = new Uint8Array(4);
  if (!machine.device(0).dmaRead(iovaOf(platform.generic.window, entry), bytes)) return undefined;
  return new DataView(bytes.buffer).getUint32(0, true);
}

function numberOf(holder: number): Uint8Array {
  return new Uint8Array(new Uint32Array([holder]).buffer);
}
