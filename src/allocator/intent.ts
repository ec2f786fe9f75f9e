/**
 * One thread's view of the shared buffer, and its **intent**: what it is about to do to the bits.
 *
 * Order of a change: lock; intent's fields, then its kind; ledger and bits; intent cleared; unlock. A thread that dies in between
 * leaves its tag in the lock and the range in its intent; recovery clears that range, for a half-made allocation (rolled back)
 * and a half-made free (rolled forward) alike. Cleared after the unlock, an intent could speak of a range that is somebody
 * else's by then.
 */

import type { SharedHalves, SharedWords } from "../shared/memory.ts";
import * as memory from "../shared/memory.ts";
import * as layout from "./layout.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { poke } = memory;
const { THREAD } = layout;

/** Kinds of intent. */
export const NO_INTENT = 0;
/** Bits are being taken: rolled back by recovery. */
export const TAKING = 1;
/** Bits are being given back: rolled forward by recovery. */
export const GIVING = 2;

/** What every part of one thread's view works on. */
export interface View {
  readonly words: SharedWords;
  readonly ledger: SharedHalves;
  readonly bitmapAt: number;
  /** This thread's slot, lock tag, and area in `words`. */
  readonly thread: number;
  readonly tag: number;
  readonly threadAt: number;
}

/** Announces a change of the bits [first, first + count). Held lock: that of every pool the range touches. */
export function announce(view: View, kind: number, first: number, count: number): void {
  poke(view.words, view.threadAt + THREAD.intentFirst, first);
  poke(view.words, view.threadAt + THREAD.intentCount, count);
  poke(view.words, view.threadAt + THREAD.intentKind, kind);
}

/** The change is made, or undone. */
export function announceDone(view: View): void {
  poke(view.words, view.threadAt + THREAD.intentKind, NO_INTENT);
}
