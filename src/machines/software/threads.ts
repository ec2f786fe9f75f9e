/**
 * The DMAs in flight on a machine, by the thread that drives the device: what an invalidation waits for.
 *
 * A thread drives any device, one DMA at a time. While it does, its bit is set among the in-flight bits and its sequence
 * number is odd:
 *
 *     begin: sequence odd, bit set → look up, walk, fill, move bytes → sequence even, bit cleared: end
 *
 * The bits alone would do to see that nothing is in flight (one load for 32 threads: the common case); the sequence tells the
 * DMA that was in flight from the next one.
 *
 * `awaitPassing` waits until every DMA that was in flight when it was called has ended: bit seen clear, or sequence seen to
 * change. It does not wait for those that begin later, so a device that never pauses can't hold it up. All of these are
 * atomic accesses, in one order that all threads agree on (JavaScript's atomics are sequentially consistent):
 *
 * - An in-flight bit seen clear, or a sequence seen even or changed, pairs with `end`: everything that DMA read, and every
 *   IOTLB way that it filled, comes before. A later store of ours to the page can't be seen by it.
 * - If `awaitPassing` does not see the bit that `begin` sets, that `begin` comes after; so do the DMA's look-ups, which are
 *   atomic loads. It sees all that the caller of `awaitPassing` stored before its last atomic store.
 *
 * A thread that is killed in mid-DMA leaves its bit set. Nobody may guess that it is dead (it could be paused): waits are
 * bounded, and `forget` clears what it left once the crew recovers the thread.
 */

import type { SharedWords } from "../../shared/memory.ts";
import * as memory from "../../shared/memory.ts";
import { IovaError } from "../../units/errors.ts";
import type { Layout } from "./layout.ts";
import * as layouts from "./layout.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { add, compareExchange, load, mayWait, milliseconds, notify, peek, SPINS, store, waitWhile } = memory;
const { THREAD, THREADS_PER_WORD } = layouts;

/** A DMA lasts longer than a lock is held: it moves bytes. So a waiter looks this often before it sleeps. */
const LOOKS: number = 10 * SPINS;
/** The longest sleep before a waiter looks again: a thread killed between clearing and notifying takes the wake-up with it. */
const LONGEST_SLEEP_MS = 5;
/** A thread that may not sleep looks for this long. */
const WOULD_BLOCK_AFTER_MS = 1;

/** What `awaitPassing` says. */
export const PASSED = 0;
/** A DMA has been in flight for longer than the machine waits. */
export const STILL_IN_FLIGHT = 1;
/** The same, on a thread that may not sleep. */
export const MAY_NOT_WAIT = 2;

/** Where a thread's words begin. */
export function slotAt(layout: Layout, thread: number): number {
  return layout.threadsAt + thread * THREAD.words;
}

/** What every use of a closed view throws. */
export function closed(): IovaError {
  return new IovaError("closed", "this view of the software machine is closed; attach a new one to its handle");
}

/** The in-flight bits of one thread's machine. Holds no state of its own. */
export class DmaInFlight {
  readonly #state: SharedWords;
  readonly #layout: Layout;
  readonly #thread: number;
  readonly #slotAt: number;
  readonly #wordAt: number;
  readonly #bit: number;

  constructor(state: SharedWords, layout: Layout, thread: number) {
    this.#state = state;
    this.#layout = layout;
    this.#thread = thread;
    this.#slotAt = slotAt(layout, thread);
    this.#wordAt = wordOf(layout, thread);
    this.#bit = bitOf(thread);
  }

  /** This thread's DMA begins: from here on it may look at the IOTLB and at entries. */
  begin(): void {
    // Both before the first look-up. A waiter that misses either of them comes before all look-ups, and need not wait.
    store(this.#state, this.#slotAt + THREAD.sequence, peek(this.#state, this.#slotAt + THREAD.sequence) + 1);
    // The bit is this thread's alone, so adding sets it.
    add(this.#state, this.#wordAt, this.#bit);
  }

  /** Its bytes have moved, its fills are done. */
  end(): void {
    store(this.#state, this.#slotAt + THREAD.sequence, peek(this.#state, this.#slotAt + THREAD.sequence) + 1);
    add(this.#state, this.#wordAt, -this.#bit);
    // A waiter first sets `waited`, then looks at the sequence again: one of the two of us sees the other.
    if (load(this.#state, this.#slotAt + THREAD.waited) !== 0) {
      store(this.#state, this.#slotAt + THREAD.waited, 0);
      notify(this.#state, this.#slotAt + THREAD.sequence, this.#layout.threads);
    }
  }

  /** Waits until all DMAs of other threads that are in flight now have ended. PASSED, or why it could not wait. */
  awaitPassing(): number {
    for (let word = 0; word < this.#layout.inFlightWords; word++) {
      const bits = load(this.#state, this.#layout.inFlightAt + word);
      if (bits === 0) continue;
      const answer = this.#awaitThreads(bits, word * THREADS_PER_WORD);
      if (answer !== PASSED) return answer;
    }
    return PASSED;
  }

  /** Forgets what a killed thread left in flight. The caller knows that the thread no longer runs. */
  forget(thread: number): void {
    const sequence = slotAt(this.#layout, thread) + THREAD.sequence;
    const at = load(this.#state, sequence);
    if ((at & 1) === 1) store(this.#state, sequence, at + 1);
    this.#clearBit(wordOf(this.#layout, thread), bitOf(thread));
    notify(this.#state, sequence, this.#layout.threads);
  }

  #clearBit(word: number, bit: number): void {
    for (;;) {
      const bits = load(this.#state, word);
      if ((bits & bit) === 0) return;
      if (compareExchange(this.#state, word, bits, bits & ~bit) === bits) return;
    }
  }

  #awaitThreads(bits: number, firstThread: number): number {
    const patience = mayWait() ? this.#layout.busyMilliseconds : WOULD_BLOCK_AFTER_MS;
    const deadline = milliseconds() + patience;
    for (let left = bits; left !== 0; left &= left - 1) {
      const thread = firstThread + 31 - Math.clz32(left & -left);
      if (thread !== this.#thread && !this.#awaitThread(slotAt(this.#layout, thread), deadline)) {
        return mayWait() ? STILL_IN_FLIGHT : MAY_NOT_WAIT;
      }
    }
    return PASSED;
  }

  #awaitThread(slot: number, deadline: number): boolean {
    const at = slot + THREAD.sequence;
    const sequence = load(this.#state, at);
    if ((sequence & 1) === 0) return true;
    for (let look = 0; look < LOOKS; look++) {
      if (load(this.#state, at) !== sequence) return true;
    }
    for (;;) {
      const left = deadline - milliseconds();
      if (left <= 0) return load(this.#state, at) !== sequence;
      if (mayWait()) {
        store(this.#state, slot + THREAD.waited, 1);
        // Returns at once when the sequence has changed meanwhile.
        waitWhile(this.#state, at, sequence, Math.min(left, LONGEST_SLEEP_MS));
      }
      if (load(this.#state, at) !== sequence) return true;
    }
  }
}

function wordOf(layout: Layout, thread: number): number {
  return layout.inFlightAt + Math.floor(thread / THREADS_PER_WORD);
}

function bitOf(thread: number): number {
  return 1 << (thread % THREADS_PER_WORD);
}
