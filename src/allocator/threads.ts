/**
 * Thread slots: each attached thread has a number, an area of its own in the buffer, and a state.
 *
 *   free → (attach) live → (close) free
 *                    ↘ (reclaim) dying → free, or dead while ranges of it are still live
 *
 * A slot in state dead keeps its number until its ranges are gone: no new thread can be mistaken for their owner.
 */
import { compareExchange, load, type SharedWords, store } from "../shared/memory.ts";
import { IovaError } from "../units/errors.ts";
import { THREAD } from "./layout.ts";

export const SLOT_FREE = 0;
export const SLOT_LIVE = 1;
/** Declared dead, its recovery has begun. */
export const SLOT_DYING = 2;
/** Recovered, but ranges that it allocated are still live. */
export const SLOT_DEAD = 3;

/** Where a thread's area begins, in words. */
export function areaOf(threadsAt: number, thread: number): number {
  return threadsAt + thread * THREAD.words;
}

/** Claims a free slot for the calling thread. Throws when all are taken. */
export function claimSlot(words: SharedWords, threadsAt: number, threads: number): number {
  for (let thread = 0; thread < threads; thread++) {
    if (claimSlotAt(words, threadsAt, thread)) return thread;
  }
  throw new IovaError(
    "no-thread-slot",
    `all ${threads} thread slots of the table are taken; create it with a larger \`threads\`, or close() or reclaim() ended threads`,
  );
}

/** Claims exactly this slot for the calling thread. False when it is not free. */
export function claimSlotAt(words: SharedWords, threadsAt: number, thread: number): boolean {
  return compareExchange(words, areaOf(threadsAt, thread) + THREAD.state, SLOT_FREE, SLOT_LIVE) === SLOT_FREE;
}

/** The slot's state. */
export function slotState(words: SharedWords, threadsAt: number, thread: number): number {
  return load(words, areaOf(threadsAt, thread) + THREAD.state);
}

export function setSlotState(words: SharedWords, threadsAt: number, thread: number, state: number): void {
  store(words, areaOf(threadsAt, thread) + THREAD.state, state);
}
