/**
 * The DMAs in flight on a machine, by the thread that drives the device. Invalidations wait for them.
 *
 * A thread can drive any device, one DMA at a time. During a DMA its in-flight bit is set and its sequence number is odd:
 *
 *     begin: sequence odd, bit set → look up, walk, fill, move bytes → sequence even, bit cleared: end
 *
 * The bits show that nothing is in flight (one load for 32 threads: the common case). The sequence distinguishes a DMA from the next one of
 * the same thread.
 *
 * `awaitPassing` waits until every DMA that was in flight at the call has ended: its bit is clear, or its sequence has changed. It does not
 * wait for later DMAs, so a device that never pauses can't delay it. All accesses are atomic, in one total order (JavaScript's atomics are
 * sequentially consistent):
 *
 * - A load that sees the bit clear, or the sequence even or changed, pairs with `end`: all reads of that DMA, and its fills of the IOTLB,
 *   precede the load. The DMA can't see a later store to the page.
 * - If `awaitPassing` does not see the bit that `begin` sets, that `begin` and the DMA's look-ups (atomic loads) come later. The DMA sees
 *   everything that the caller of `awaitPassing` stored before its last atomic store.
 *
 * A thread that is killed during a DMA leaves its bit set. A waiter can't know whether it is dead or paused, so waits are bounded. `forget`
 * clears the bit when the crew recovers the thread.
 */

import {
  add,
  compareExchange,
  load,
  mayWait,
  milliseconds,
  notify,
  peek,
  type SharedWords,
  SPINS,
  store,
  waitWhile,
} from "../../shared/memory.ts";
import { IovaError } from "../../units/errors.ts";
import { type Layout, THREAD, THREADS_PER_WORD } from "./layout.ts";

/** Number of checks before a waiter sleeps. A DMA moves bytes, so it takes longer than a lock is held. */
const LOOKS: number = 10 * SPINS;
/** The longest sleep between two checks: a thread that is killed between clearing and notifying does not wake the waiter. */
const LONGEST_SLEEP_MS = 5;
/** Time limit of a thread that may not sleep. */
const WOULD_BLOCK_AFTER_MS = 1;

/** Results of `awaitPassing`. */
export const PASSED = 0;
/** A DMA in flight has exceeded the machine's time limit. */
export const STILL_IN_FLIGHT = 1;
/** The same, on a thread that may not sleep. */
export const MAY_NOT_WAIT = 2;

/** Index of a thread's first word. */
export function slotAt(layout: Layout, thread: number): number {
  return layout.threadsAt + thread * THREAD.words;
}

/** The error for the use of a closed view. */
export function closed(): IovaError {
  return new IovaError("closed", "this view of the software machine is closed; attach a new one to its handle");
}

/** One thread's view of the in-flight bits. Stateless. */
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

  /** Begins this thread's DMA, which may then read the IOTLB and entries. */
  begin(): void {
    // Both stores precede the first look-up. A waiter that misses one of them precedes all look-ups and need not wait.
    store(this.#state, this.#slotAt + THREAD.sequence, peek(this.#state, this.#slotAt + THREAD.sequence) + 1);
    // Only this thread changes the bit, so adding sets it.
    add(this.#state, this.#wordAt, this.#bit);
  }

  /** Ends this thread's DMA: its bytes have moved, and its fills of the IOTLB are done. */
  end(): void {
    store(this.#state, this.#slotAt + THREAD.sequence, peek(this.#state, this.#slotAt + THREAD.sequence) + 1);
    add(this.#state, this.#wordAt, -this.#bit);
    // A waiter stores `waited`, then loads the sequence again: at least one side sees the other's store.
    if (load(this.#state, this.#slotAt + THREAD.waited) !== 0) {
      store(this.#state, this.#slotAt + THREAD.waited, 0);
      notify(this.#state, this.#slotAt + THREAD.sequence, this.#layout.threads);
    }
  }

  /** Waits until all DMAs of other threads that are in flight now have ended. Returns PASSED, or the reason why it stopped waiting. */
  awaitPassing(): number {
    for (let word = 0; word < this.#layout.inFlightWords; word++) {
      const bits = load(this.#state, this.#layout.inFlightAt + word);
      if (bits === 0) continue;
      const answer = this.#awaitThreads(bits, word * THREADS_PER_WORD);
      if (answer !== PASSED) return answer;
    }
    return PASSED;
  }

  /** Ends the DMA of a killed thread. The caller knows that the thread no longer runs. */
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
