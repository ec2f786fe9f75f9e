/** The lock of src/shared/lock.ts, explored: mutual exclusion, wake-ups, deaths. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SharedWords } from "../src/shared/memory.ts";
import { OWNER_UNRESPONSIVE } from "../src/units/failure.ts";
import { assertFound, assertSound } from "./assertions.model.ts";
import { type Exploration, explore, type FailureKind } from "./explore.ts";
import { exploredCopy, type Plant } from "./load.ts";
import { createShared, milliseconds, peek, poke, wordsOf } from "./memory.ts";

type Lock = typeof import("../src/shared/lock.ts");

const LOCK = 0;
/** A counter that the lock guards, accessed by plain reads and writes. */
const COUNTER = 32;

const sound = await exploredCopy().load<Lock>("shared/lock.js");

/** A thread that increments the counter `times` times under the lock. Returns how often it got the lock. */
const counting = (lock: Lock, thread: number, times: number) => (words: SharedWords) => {
  let done = 0;
  for (let i = 0; i < times; i++) {
    if (lock.lock(words, LOCK, lock.tagOf(thread)) !== 0) continue;
    poke(words, COUNTER, peek(words, COUNTER) + 1);
    lock.unlock(words, LOCK);
    done++;
  }
  return done;
};

/** As in recovery: take over the dead thread's lock, repair the state, release the lock. */
const reclaiming = (lock: Lock) => (words: SharedWords, dead: readonly number[], self: number) => {
  for (const thread of dead) {
    if (!lock.inherit(words, LOCK, lock.tagOf(thread), lock.tagOf(self))) continue;
    poke(words, COUNTER, peek(words, COUNTER));
    lock.unlock(words, LOCK);
  }
};

function locked(lock: Lock, threads: number, times: number): Exploration<SharedWords> {
  return {
    setup: () => wordsOf(createShared(4 * 64)),
    threads: Array.from({ length: threads }, (_, thread) => counting(lock, thread, times)),
    reclaim: reclaiming(lock),
    check: (words, { threads: ends, dead }) => {
      assert.equal(lock.holderOf(words, LOCK), 0, "the lock is held");
      assert.ok(peek(words, LOCK) === 0, "a waiters' flag is left");
      const counted = peek(words, COUNTER);
      const wanted = threads * times;
      assert.ok(dead.length === 0 ? counted === wanted : counted <= wanted, `counted ${counted} of ${wanted}`);
      for (const { state, value } of ends.slice(0, threads)) if (state === "returned") assert.equal(value, times);
    },
    nameOf: (byteOffset) => ({ [LOCK * 4]: "lock", [COUNTER * 4]: "counter" })[byteOffset],
    skipSeen: true,
  };
}

test("two threads exclude each other, and no wake-up is lost, in all schedules", (t) => {
  assertSound(t, "lock, 2 threads x 1", locked(sound, 2, 1));
  assertSound(t, "lock, 2 threads x 2", locked(sound, 2, 2));
  assertSound(t, "lock, 2 threads x 1, switched everywhere", {
    ...locked(sound, 2, 1),
    switchAt: "all",
    preemptions: 4,
  });
});

test("three threads exclude each other, and no wake-up is lost, with 4 preemptions", (t) => {
  assertSound(t, "lock, 3 threads x 1, 4 preemptions", { ...locked(sound, 3, 1), preemptions: 4 });
  assertSound(t, "lock, 3 threads x 2, 3 preemptions", { ...locked(sound, 3, 2), preemptions: 3 });
});

test("sleeps that end early do no harm", (t) => {
  const report = assertSound(t, "lock, 3 threads x 1, early time-outs", {
    ...locked(sound, 3, 1),
    preemptions: 3,
    earlyTimeOuts: true,
  });
  assert.ok(report.timeOuts > 0);
});

test("a thread that dies at any access, holding the lock or waiting for it, does not lock out other threads", (t) => {
  const two = assertSound(t, "lock, 2 threads x 1, one dies", { ...locked(sound, 2, 1), kills: 1 });
  assert.ok(two.kills > 0);
  assertSound(t, "lock, 3 threads x 1, one dies, 2 preemptions", { ...locked(sound, 3, 1), kills: 1, preemptions: 2 });
  assertSound(t, "lock, 2 threads x 1, one dies, then its reclaimer", {
    ...locked(sound, 2, 1),
    kills: 2,
    preemptions: 2,
    victims: [0],
  });
});

test("a waiter reports that a dead holder does not answer if it is not reclaimed", (t) => {
  const { reclaim: _, ...exploration } = locked(sound, 2, 1);
  let unresponsive = 0;
  const waiting = (words: SharedWords) => sound.lock(words, LOCK, sound.tagOf(1));
  const report = assertSound(t, "lock, 2 threads x 1, one dies, no recovery", {
    ...exploration,
    threads: [counting(sound, 0, 1), waiting],
    expectsTimeOut: () => true, // thread 1 never releases the lock, so thread 0 may wait for ever
    kills: 1,
    victims: [0],
    check: (words, { threads }) => {
      if (threads[1]?.value !== OWNER_UNRESPONSIVE) return;
      unresponsive++;
      assert.equal(sound.holderOf(words, LOCK), sound.tagOf(0));
    },
  });
  assert.ok(unresponsive > 0);
  assert.ok(report.timeOuts > unresponsive * 100, "the waiter reads the lock every 5 ms, for 2 s");
});

/** Runs one thread alone: the result of each attempt at the lock, with its duration in milliseconds. */
function alone(lock: Lock, program: (words: SharedWords, attempt: (tag: number) => void) => void): unknown {
  const seen: unknown[] = [];
  const report = explore<SharedWords>({
    setup: () => wordsOf(createShared(4 * 64)),
    threads: [
      (words) => {
        const answers: unknown[] = [];
        program(words, (tag) => {
          const began = milliseconds();
          const answer = lock.lock(words, LOCK, tag);
          answers.push([answer, milliseconds() - began]);
        });
        return answers;
      },
    ],
    check: (_, { threads }) => seen.push(threads[0]?.value),
    expectsTimeOut: () => true,
  });
  assert.equal(report.first, undefined, report.first?.trace);
  return seen.at(-1);
}

const { lock: take, unlock: give, inherit, tagOf } = sound;

test("after one waiter has timed out after 2 s, others wait for 50 ms while the holder is the same (review of 2026-11-30, defect 6)", () => {
  const answers = alone(sound, (words, attempt) => {
    take(words, LOCK, tagOf(0));
    for (const waiter of [1, 2, 1]) attempt(tagOf(waiter));
  });
  assert.deepEqual(answers, [
    [OWNER_UNRESPONSIVE, 2005],
    [OWNER_UNRESPONSIVE, 55],
    [OWNER_UNRESPONSIVE, 55],
  ]);
});

test("waits for a holder that answers late, or for a new holder, last up to 2 s again", () => {
  const answers = alone(sound, (words, attempt) => {
    take(words, LOCK, tagOf(0));
    attempt(tagOf(1));
    give(words, LOCK);
    attempt(tagOf(1));
    attempt(tagOf(2));
    inherit(words, LOCK, tagOf(1), tagOf(3));
    attempt(tagOf(2));
    give(words, LOCK);
  });
  assert.deepEqual(answers, [
    [OWNER_UNRESPONSIVE, 2005],
    [0, 0],
    [OWNER_UNRESPONSIVE, 2005],
    [OWNER_UNRESPONSIVE, 2005],
  ]);
});

interface PlantedBug extends Plant {
  readonly bug: string;
  /** The kinds of failure that show it. */
  readonly shows: readonly FailureKind[];
  /** Number of threads that show it. */
  readonly threads: number;
}

const PLANTED: readonly PlantedBug[] = [
  {
    bug: "unlock does not wake a waiter",
    shows: ["lost-wake-up"],
    threads: 2,
    module: "shared/lock.js",
    from: "notify(words, at, 1);",
    to: ";",
  },
  {
    bug: "a woken thread forgets that others still sleep",
    shows: ["lost-wake-up"],
    threads: 3,
    module: "shared/lock.js",
    from: "if (compareExchange(words, at, 0, tag | WAITERS) === 0)",
    to: "if (compareExchange(words, at, 0, tag) === 0)",
  },
  {
    bug: "the lock is read and then taken, in two steps",
    shows: ["race", "check"],
    threads: 2,
    module: "shared/lock.js",
    from: "if (compareExchange(words, at, 0, tag) !== 0)",
    to: "if (load(words, at) === 0) exchange(words, at, tag); else",
  },
  {
    bug: "the waiters' flag is set although the holder may have changed",
    shows: ["lost-wake-up"],
    threads: 2,
    module: "shared/lock.js",
    from: "compareExchange(words, at, held, held | WAITERS) !== held",
    to: "exchange(words, at, held | WAITERS) < 0",
  },
];

for (const { bug, shows, threads, ...plant } of PLANTED) {
  test(`planted bug found: ${bug}`, async (t) => {
    const broken = await exploredCopy([plant]).load<Lock>("shared/lock.js");
    assertFound(t, bug, { ...locked(broken, threads, 1), preemptions: 3 }, shows);
  });
}
