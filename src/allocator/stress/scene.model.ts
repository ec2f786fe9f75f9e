/** Tables that stress runs play on, and what surrounds them: shadow map, mailbox, IOTLB, and the main thread's view. */
import assert from "node:assert/strict";
import type { Worker } from "node:worker_threads";
import type { SharedBuffer } from "../../shared/memory.ts";
import type { AllocatorOptions } from "../options.ts";
import { PooledAllocator } from "../pooled-allocator.ts";
import { randomFrom } from "../random.model.ts";
import type { Forget } from "../recovery.ts";
import { assertSound, ledgerRanges } from "../soundness.model.ts";
import { type OpenState, openState } from "../state.ts";
import { Control } from "./control.model.ts";
import { Crew, type OwnPart } from "./crew.model.ts";
import { IotlbModel } from "./iotlb.model.ts";
import type { Profile } from "./player.model.ts";
import type { Part, Played } from "./player.test.worker.ts";
import type { Random } from "./seed.model.ts";
import { MAIL, Mailbox, ShadowMap } from "./shadow-map.model.ts";

/** One kind of table, and how it is played on. */
export interface Setting {
  readonly options: AllocatorOptions;
  readonly profile: Profile;
  readonly players: number;
  /** A flush fails once in so many times; 0: never. */
  readonly flushFailsOnceIn: number;
}

export interface Scene {
  readonly setting: Setting;
  readonly allocator: PooledAllocator;
  readonly state: OpenState;
  readonly control: Control;
  readonly shadow: ShadowMap;
  readonly mailbox: Mailbox;
  readonly iotlb: IotlbModel | undefined;
  /** What clears the entries of a dead thread; undefined: a flush, in lazy mode. */
  forget: Forget | undefined;
  /** What players are sent, but for what is their own. */
  readonly part: Omit<Part, keyof OwnPart>;
}

const MAIL_PLACES = 64;

export function setScene(setting: Setting, seed: number): Scene {
  const { options, profile, flushFailsOnceIn } = setting;
  const iotlbBuffer = options.invalidate === "lazy" ? IotlbModel.create(options.entries) : undefined;
  const iotlb = iotlbBuffer && new IotlbModel(iotlbBuffer, randomFrom(seed), 0);
  const allocator = PooledAllocator.create(options, iotlb, {
    forget: (ranges) => (scene.forget === undefined ? iotlb && allocator.invalidateAll() : scene.forget(ranges)),
  });
  const buffers = {
    control: Control.create(setting.players),
    shadow: ShadowMap.create(options.entries),
    mailbox: Mailbox.create(MAIL_PLACES),
  };
  const scene: Scene = {
    setting,
    allocator,
    state: openState(allocator.handle),
    control: new Control(buffers.control),
    shadow: new ShadowMap(buffers.shadow),
    mailbox: new Mailbox(buffers.mailbox),
    iotlb,
    forget: undefined,
    part: {
      handle: allocator.handle,
      ...buffers,
      iotlb: iotlbBuffer as SharedBuffer | undefined,
      flushFailsOnceIn,
      profile,
    },
  };
  return scene;
}

/** Players for it; none has started. `idle`: workers that can be used again. */
export function crewFor({ state, control, setting, part }: Scene, random: Random, idle: Worker[] = []): Crew<Played> {
  const worker = new URL("./player.test.worker.js", import.meta.url);
  return new Crew<Played>({ state, control, players: setting.players, worker, part, idle }, random);
}

/** In one line. */
export function nameOf({ options, players }: Setting): string {
  const { cache, invalidate, entries, pools } = options;
  return [`cache ${cache}`, invalidate, `${entries} entries`, `${pools} pools`, `${players} players`].join(", ");
}

/** Frees what players have left in the mailbox. */
export function giveBackMail({ allocator, shadow, mailbox, iotlb }: Scene): void {
  for (let first = mailbox.take(0); first >= 0; first = mailbox.take(0)) {
    const count = shadow.countAt(first);
    shadow.unmark(first, count, MAIL);
    iotlb?.cleared(first, count);
    assert.equal(allocator.free(first, count), 0);
  }
}

/** After all players have given back their ranges, no entry is taken, and the whole table can be taken. */
export function checkAllIsThere({ allocator, state, shadow }: Scene): void {
  assert.equal(allocator.drain(), undefined);
  assertSound(state, "when all is given back");
  assert.deepEqual(shadow.ranges(), []);
  assert.deepEqual(ledgerRanges(state), []);
  const { taken, cached, waiting, quarantined } = allocator.statistics();
  assert.deepEqual({ taken, cached, waiting, quarantined }, { taken: 0, cached: 0, waiting: 0, quarantined: 0 });
  assert.deepEqual([...allocator.leaks()], []);
  const whole = { first: 0, end: allocator.entries };
  assert.equal(allocator.reserve(whole), undefined, "the whole table can't be taken");
  assert.equal(allocator.unreserve(whole), undefined);
  assertSound(state, "after the whole table was taken");
}
