/**
 * A lock that records its owner. It is one word: 0 when free, else the owner's tag, with a flag when threads may be asleep on it. Its
 * counters stand beside it; only the holder writes them.
 *
 * Why an owner: `worker.terminate()` leaves a lock held for ever in a fifth of all random kills. By the tag, recovery finds the locks of a
 * dead thread, and a waiter can name the thread that it waits for. No lock is ever taken over by time-out, because a paused thread is not
 * dead.
 *
 * Pairing: the exchange in `unlock` is paired with the compareExchange that takes the lock next, so everything written
 * under the lock by plain stores is seen by the next holder. The exchange reads the waiters' flag in the same step, so
 * no thread can set the flag on a lock that has just been given back without noticing: its compareExchange fails.
 * A notified waiter that is killed before it takes the lock takes the wake-up with it (seen in 9 of 15 runs): hence no
 * sleep is longer than 5 ms before the word is looked at again.
 *
 * A waiter that has not got the lock after 2 s marks the word: this holder is unresponsive. Later waiters see the mark and wait for 50 ms.
 * So a program with a dead thread that is not reclaimed yet is slow, but does not stop. `unlock` and `inherit` remove the mark. It is set
 * by a compareExchange of the whole word that was just seen held, so it can't stand on a free lock. The holder may have changed before the
 * mark is set; the only effect is that waiters are less patient until this holder unlocks.
 */
import { type FailureCode, OWNER_UNRESPONSIVE, WOULD_BLOCK } from "../units/failure.ts";
import { COUNTER_WORDS, count, counted, increment } from "./counters.ts";
import {
  compareExchange,
  exchange,
  idle,
  LONGEST_PAUSE,
  load,
  mayWait,
  milliseconds,
  notify,
  type SharedWords,
  waitWhile,
} from "./memory.ts";

const ACQUISITIONS = 2;
const CONTENDED = ACQUISITIONS + COUNTER_WORDS;
const WAIT_MICROSECONDS = CONTENDED + COUNTER_WORDS;
/** Words that a lock takes; the first is the lock itself. Zeros are a free lock. */
export const LOCK_WORDS: number = WAIT_MICROSECONDS + COUNTER_WORDS;

/** Set in the word while threads may sleep on it. Tags lie below it: 1 .. 2^16 − 1. */
const WAITERS = 1 << 16;
const TAG_MASK = WAITERS - 1;
/** Set in the word once a waiter has given up waiting for this holder. */
const GIVEN_UP = 1 << 17;

/** The longest sleep before a waiter looks again, in milliseconds. */
const LONGEST_SLEEP_MS = 5;
/** After this long without getting the lock, the waiter gives up and says who holds it. */
const UNRESPONSIVE_AFTER_MS = 2000;
/**
 * How long a waiter waits, in milliseconds, when it has other work to do, or when the holder is marked as unresponsive. A running thread
 * never holds a lock for so long.
 */
export const SHORT_PATIENCE_MS = 50;
/** A thread that may not sleep tries for this long. */
const WOULD_BLOCK_AFTER_MS = 1;

/** The tag of a thread's slot; never 0. */
export function tagOf(thread: number): number {
  return thread + 1;
}

/**
 * Takes the lock for the thread with this tag. Returns 0, or a failure code when the time is over; then the lock is not held. Not
 * reentrant.
 */
export function lock(
  words: SharedWords,
  at: number,
  tag: number,
  patienceMs: number = UNRESPONSIVE_AFTER_MS,
): 0 | FailureCode {
  if (compareExchange(words, at, 0, tag) !== 0) return lockContended(words, at, tag, patienceMs);
  increment(words, at + ACQUISITIONS);
  return 0;
}

/** Gives the lock back, and wakes one thread if any may sleep on it. */
export function unlock(words: SharedWords, at: number): void {
  if (exchange(words, at, 0) >= WAITERS) notify(words, at, 1);
}

/**
 * Takes over a lock that a dead thread holds; the waiters' flag stays. False when that thread does not hold it. Only for a lock whose
 * protected state the caller repairs next.
 */
export function inherit(words: SharedWords, at: number, deadTag: number, tag: number): boolean {
  for (;;) {
    const held = load(words, at);
    if ((held & TAG_MASK) !== deadTag) return false;
    if (compareExchange(words, at, held, (held & WAITERS) | tag) === held) return true;
  }
}

/** The tag of the lock's holder, or 0. */
export function holderOf(words: SharedWords, at: number): number {
  return load(words, at) & TAG_MASK;
}

function lockContended(words: SharedWords, at: number, tag: number, patienceMs: number): 0 | FailureCode {
  const began = milliseconds();
  const deadline = began + (mayWait() ? patienceMs : WOULD_BLOCK_AFTER_MS);
  const answer = spin(words, at, tag) ? 0 : sleepUntilLocked(words, at, tag, began, deadline);
  if (answer !== 0) return answer;
  increment(words, at + ACQUISITIONS);
  increment(words, at + CONTENDED);
  count(words, at + WAIT_MICROSECONDS, Math.round((milliseconds() - began) * 1000));
  return 0;
}

/**
 * Looks at the lock at longer and longer intervals. Each look takes the cache line with lock, hint and counters away from the holder, which must
 * fetch it back; left alone, the holder does dozens of operations at its own speed.
 */
function spin(words: SharedWords, at: number, tag: number): boolean {
  for (let pause = 1; pause <= LONGEST_PAUSE; pause += pause) {
    idle(pause);
    if (load(words, at) === 0 && compareExchange(words, at, 0, tag) === 0) return true;
  }
  return false;
}

function sleepUntilLocked(
  words: SharedWords,
  at: number,
  tag: number,
  began: number,
  deadline: number,
): 0 | FailureCode {
  for (;;) {
    const held = load(words, at);
    if (held === 0) {
      // Other threads may still sleep on the word, because `unlock` has woken only this one: keep their flag.
      if (compareExchange(words, at, 0, tag | WAITERS) === 0) return 0;
      continue;
    }
    const now = milliseconds();
    if (now > deadline || ((held & GIVEN_UP) !== 0 && now > began + SHORT_PATIENCE_MS)) {
      if (now > began + UNRESPONSIVE_AFTER_MS) compareExchange(words, at, held, held | GIVEN_UP);
      return mayWait() ? OWNER_UNRESPONSIVE : WOULD_BLOCK;
    }
    if (!mayWait()) continue;
    if ((held & WAITERS) === 0 && compareExchange(words, at, held, held | WAITERS) !== held) continue;
    waitWhile(words, at, held | WAITERS, LONGEST_SLEEP_MS);
  }
}

/** Counters of a lock since it was made. */
export interface LockStatistics {
  readonly acquisitions: number;
  /** Acquisitions that found the lock taken. */
  readonly contended: number;
  /** Sum over the contended acquisitions, each from its first attempt until it has the lock. */
  readonly waitMicroseconds: number;
}

export function lockStatistics(words: SharedWords, at: number): LockStatistics {
  return {
    acquisitions: counted(words, at + ACQUISITIONS),
    contended: counted(words, at + CONTENDED),
    waitMicroseconds: counted(words, at + WAIT_MICROSECONDS),
  };
}
