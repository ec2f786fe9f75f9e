/** The main thread's part after a kill: reclaim, allocate, check that no range of the dead thread is lost, and give the rest back. */
import assert from "node:assert/strict";
import { openCrewState, type ReclaimScope, SLOT_DEAD, slotState } from "../../crew/crew.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { EntryRange, EntryRanges } from "../../units/numbers.ts";
import { UNCONSTRAINED } from "../constraints.ts";
import type { LeftRange } from "./accounts.model.ts";
import type { Scene } from "./scene.model.ts";
import { MAIL, type MarkedRange } from "./shadow-map.model.ts";
import type { Toll } from "./toll.model.ts";

/** Who was killed. */
export interface Dead {
  readonly slot: number;
  readonly holder: number;
  /** A pool whose lock it held: its first entry, or -1. */
  readonly lockedEntry: number;
}

/**
 * Reclaims, allocates an entry, and notes how long that took. Returns the ranges that came back. `flushFails`: the platform
 * can't invalidate at first.
 */
export function recover(
  scene: Scene,
  dead: Dead,
  scope: ReclaimScope,
  flushFails: boolean,
  toll: Toll,
): readonly EntryRange[] {
  const { allocator, shadow, iotlb, setting } = scene;
  const forgotten: EntryRange[] = [];
  // Bits come back only after this: until then the entries are still the dead thread's in the shadow map.
  const forget = (ranges: EntryRanges): Failure | undefined => {
    for (const { first, end } of ranges) {
      shadow.wipe(first, end - first, [dead.holder]);
      iotlb?.cleared(first, end - first);
    }
    forgotten.push(...ranges);
    return flushFails ? "platform-busy" : iotlb?.invalidateAll();
  };
  // The public `reclaim` suffices where a range that comes back had no holder, and no IOTLB has to be invalidated for it.
  const isPlain = iotlb === undefined && scope === "in-flight" && !setting.profile.asTable;
  if (!isPlain) scene.forget = forget;
  const began = performance.now();
  try {
    const ranges = allocator.reclaim(dead.slot, scope);
    if (isPlain) forgotten.push(...ranges);
  } catch (error) {
    if (!(error instanceof IovaError) || error.code !== "platform-busy") throw error;
    toll.quarantines++;
  } finally {
    scene.forget = undefined;
  }
  const first = allocator.allocate(1, UNCONSTRAINED, dead.lockedEntry);
  const took = performance.now() - began;
  assert.ok(first >= 0, `no entry could be had after reclaim: ${allocator.shortage(1)}`);
  toll.took(`${setting.options.entries} entries`, took);
  iotlb?.assertForgotten(first, 1);
  assert.equal(shadow.ownerAt(first), 0, `entry ${first} was handed out after reclaim, but is held`);
  iotlb?.cleared(first, 1);
  assert.equal(allocator.free(first, 1), 0);
  if (flushFails) assert.equal(allocator.flushIotlb(), undefined);
  toll.reclaimed += forgotten.length;
  return forgotten;
}

/**
 * Every range that the dead thread had recorded is still taken, or has come back; and only ranges that had to come back have done so.
 * `atOnce`: how many ranges one operation of a thread may change.
 */
export function checkNothingLost(
  scope: ReclaimScope,
  recorded: readonly MarkedRange[],
  returned: readonly EntryRange[],
  left: readonly LeftRange[],
  atOnce = 1,
): void {
  const back = new Set(returned.map(({ first, end }) => `${first} ${end - first}`));
  const still = new Map(left.map((range) => [`${range.first} ${range.count}`, range]));
  let recordedAndBack = 0;
  for (const { first, count } of recorded) {
    const key = `${first} ${count}`;
    if (back.has(key)) recordedAndBack++;
    else assert.ok(still.has(key), `[${first}, ${first + count}) was the dead thread's, and is lost`);
  }
  if (scope === "in-flight") {
    assert.ok(
      recordedAndBack <= atOnce,
      `${recordedAndBack} ranges came back that were live; ${atOnce} may have been ending`,
    );
    return;
  }
  for (const { first, count, reserved } of left) {
    assert.ok(reserved, `[${first}, ${first + count}) is still live after reclaim of everything`);
  }
}

/** Frees the ranges that the dead thread has left live or reserved. No thread may run: marks and bits are removed in two steps. */
export function giveBackLeft(scene: Scene, left: readonly LeftRange[], holder: number, toll: Toll): void {
  const { allocator, shadow, iotlb } = scene;
  for (const { first, count, reserved, recorded } of left) {
    shadow.wipe(first, count, [holder, MAIL]);
    if (reserved) {
      assert.equal(allocator.unreserve({ first, end: first + count }), undefined);
    } else {
      iotlb?.cleared(first, count);
      assert.equal(allocator.free(first, count), 0);
    }
    if (recorded) toll.recorded++;
    else toll.unrecorded++;
  }
}

/** Slots of dead threads are free again once all their ranges are freed: a second reclaim finds that out. */
export function giveBackDeadSlots({ allocator, state }: Scene): void {
  for (let slot = 0; slot < state.layout.threads; slot++) {
    if (slotState(openCrewState(state.handle.crew), slot) !== SLOT_DEAD) continue;
    assert.deepEqual([...allocator.reclaim(slot, "in-flight")], []);
  }
}
