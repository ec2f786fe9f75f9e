/** A worker thread that plays: attaches to the table it is sent, plays until it is stopped or killed, and answers with its tally. */
import { parentPort } from "node:worker_threads";
import { createShared, type SharedBuffer, waitWhile, wordsOf } from "../../shared/memory.ts";
import { PooledAllocator } from "../pooled-allocator.ts";
import { randomFrom } from "../random.model.ts";
import type { AllocatorHandle } from "../state.ts";
import { Control } from "./control.model.ts";
import type { OwnPart } from "./crew.model.ts";
import { IotlbModel } from "./iotlb.model.ts";
import { Player, type Profile, type Tally } from "./player.model.ts";
import { Mailbox, ShadowMap } from "./shadow-map.model.ts";

/** What a worker is sent. */
export interface Part extends OwnPart {
  readonly handle: AllocatorHandle;
  readonly control: SharedBuffer;
  readonly shadow: SharedBuffer;
  readonly mailbox: SharedBuffer;
  /** Undefined: the table is strict. */
  readonly iotlb: SharedBuffer | undefined;
  /** A flush fails once in so many times; 0: never. */
  readonly flushFailsOnceIn: number;
  readonly profile: Profile;
}

/** What it answers when it was stopped. */
export interface Played {
  readonly tally: Tally;
  readonly flushes: number;
}

parentPort?.on("message", (part: Part) => parentPort?.postMessage(play(part)));

function play(part: Part): Played {
  const random = randomFrom(part.seed);
  const iotlb = part.iotlb && new IotlbModel(part.iotlb, random, part.flushFailsOnceIn);
  const allocator = PooledAllocator.attach(part.handle, iotlb);
  const control = new Control(part.control);
  // Some take their time between attaching and telling their slot.
  if (random(2) === 0) waitWhile(wordsOf(createShared(4)), 0, 0, random(60));
  control.begin(part.place, allocator.thread);
  const stage = { allocator, shadow: new ShadowMap(part.shadow), mailbox: new Mailbox(part.mailbox), iotlb };
  const player = new Player(stage, random, part.holder, part.profile);
  while (control.goOn(part.place)) player.step();
  player.finish();
  allocator.close();
  return { tally: player.tally, flushes: iotlb?.flushes ?? 0 };
}
