import assert from "node:assert/strict";
import { test } from "node:test";
import type { SharedWords } from "../src/shared/memory.ts";
import { ExplorationError } from "./execution.ts";
import { type Exploration, explore, formatReport, replay } from "./explore.ts";
import {
  add,
  bytesOf,
  compareExchange,
  copyIn,
  copyOut,
  createShared,
  exchange,
  glance,
  halvesOf,
  load,
  milliseconds,
  notify,
  peek,
  peekHalf,
  poke,
  pokeHalf,
  store,
  waitWhile,
  wordsOf,
  zero,
} from "./memory.ts";
import { adds, assertGood, endsOf, give, increment, take, words } from "./small-programs.model.ts";

/** The binomial coefficient, n over k. */
const binomial = (n: number, k: number): number => (k === 0 ? 1 : (binomial(n - 1, k - 1) * n) / k);

test("two threads of m and n accesses that meet have (m + n)! / m! n! schedules", () => {
  for (const [m, n] of [
    [1, 1],
    [2, 3],
    [5, 5],
    [7, 6],
  ] as const) {
    const report = explore({ setup: words, threads: [adds(m), adds(n)] });
    assertGood(report);
    assert.equal(report.schedules, binomial(m + n, m), `${m}, ${n}`);
    assert.equal(report.steps, report.schedules * (m + n));
    assert.equal(report.longest, m + n);
  }
});

test("three threads of 2, 3 and 2 accesses have 7! / 2! 3! 2! schedules", () => {
  assert.equal(explore({ setup: words, threads: [adds(2), adds(3), adds(2)] }).schedules, 210);
});

test("without a preemption there are as many schedules as orders of threads", () => {
  const report = explore({ setup: words, threads: [adds(9), adds(9), adds(9)], preemptions: 0 });
  assert.equal(report.schedules, 6);
});

test("with at most p preemptions, two threads of 4 accesses have the schedules counted by hand", () => {
  const count = (preemptions: number) => explore({ setup: words, threads: [adds(4), adds(4)], preemptions }).schedules;
  assert.equal(count(0), 2);
  // The first thread is cut at one of 3 places; the second then runs to its end.
  assert.equal(count(1), 2 + 2 * 3);
  // The second thread is interrupted as well.
  assert.equal(count(2), 8 + 2 * 3 * 3);
  assert.equal(count(99), binomial(8, 4));
});

test("threads are switched where they meet, before all accesses but plain ones, or before all", () => {
  const threads = [0, 1].map((thread) => (at: SharedWords) => {
    poke(at, thread, peek(at, thread) + 1);
    load(at, 8 + thread);
    add(at, 10, 1);
  });
  const count = (switchAt: NonNullable<Exploration<SharedWords>["switchAt"]>) =>
    explore({ setup: words, threads, switchAt }).schedules;
  // Accesses before the first switch point belong to the thread's start.
  assert.equal(count("meetings"), binomial(4, 2));
  assert.equal(count("synchronising"), binomial(6, 3));
  assert.equal(count("all"), binomial(8, 4));
});

test("a place where threads meet in some schedules only is found, and its schedules are explored", () => {
  // Threads meet at word 2 only in schedules that see the flag, which takes a switch at the flag.
  const exploration: Exploration<SharedWords> = {
    setup: words,
    threads: [
      (at) => {
        store(at, 1, 1);
        store(at, 2, 5);
        store(at, 2, 6);
      },
      (at) => (load(at, 1) === 1 ? load(at, 2) : -1),
    ],
  };
  const answers = endsOf(exploration).map((end) => /, returned (-?\d+);/.exec(end)?.[1]);
  assert.deepEqual(answers.sort(), ["-1", "0", "5", "6"]);
  assert.deepEqual(endsOf(exploration), endsOf({ ...exploration, switchAt: "all" }));
});

test("switching only where threads meet reaches the same end states as switching everywhere", () => {
  const sound: Exploration<SharedWords> = { setup: words, threads: [increment, increment] };
  assert.deepEqual(endsOf(sound), endsOf({ ...sound, switchAt: "synchronising" }));
  assert.deepEqual(endsOf(sound), endsOf({ ...sound, switchAt: "all" }));
  // A plain write may be met by a glance: then threads are switched there, too.
  const glancing: Exploration<SharedWords> = {
    setup: words,
    threads: [
      (at) => {
        poke(at, 1, 1);
        poke(at, 2, 1);
        poke(at, 1, 2);
      },
      (at) => `${glance(at, 2)}${glance(at, 1)}`,
    ],
  };
  assert.deepEqual(endsOf(glancing), endsOf({ ...glancing, switchAt: "all" }));
  assert.equal(endsOf(glancing).length, 5);
});

test("each schedule starts from the bytes that the set-up left, whatever threads and checks wrote", () => {
  const setup = () => {
    const buffer = createShared(64);
    const state = { words: wordsOf(buffer), halves: halvesOf(buffer, 32), bytes: bytesOf(buffer, 48) };
    store(state.words, 0, 7);
    pokeHalf(state.halves, 1, 0xbeef);
    copyIn(state.bytes, 1, Uint8Array.of(1, 2, 3));
    return state;
  };
  const five = ({ bytes }: ReturnType<typeof setup>): Uint8Array => {
    const copy = new Uint8Array(5);
    copyOut(bytes, 0, copy);
    return copy;
  };
  const body = (state: ReturnType<typeof setup>): readonly number[] => {
    const found = [load(state.words, 0), peekHalf(state.halves, 1), ...five(state)];
    add(state.words, 0, 5);
    pokeHalf(state.halves, 1, 1);
    copyIn(state.bytes, 0, Uint8Array.of(9, 9, 9, 9, 9));
    zero(state.bytes, 1, 2);
    return [...found, ...five(state)];
  };
  let ends = 0;
  const report = explore({
    setup,
    threads: [body, (state: ReturnType<typeof setup>) => load(state.words, 2)],
    switchAt: "all",
    check: (state, end) => {
      ends++;
      assert.deepEqual(end.threads[0]?.value, [7, 0xbeef, 0, 1, 2, 3, 0, 9, 0, 0, 9, 9]);
      assert.equal(load(state.words, 0), 12);
      poke(state.words, 0, 99);
      zero(state.bytes, 0, 16);
    },
  });
  assertGood(report);
  assert.equal(ends, 9); // eight accesses and one
});

test("skipSeen: fewer schedules reach all end states", () => {
  // Reads do not meet each other: many orders of these accesses are one.
  const pair = (word: number) => (at: SharedWords) => {
    for (let i = 0; i < 2; i++) store(at, word, load(at, word) + 1);
  };
  const exploration: Exploration<SharedWords> = { setup: words, threads: [pair(0), pair(0), pair(1)] };
  const all = explore(exploration);
  const fewer = explore({ ...exploration, skipSeen: true });
  assertGood(fewer);
  assert.equal(all.schedules, 630);
  assert.ok(fewer.schedules + fewer.pruned < all.schedules / 2, `${fewer.schedules} and ${fewer.pruned}`);
  for (const preemptions of [1, 2, 3, Number.POSITIVE_INFINITY]) {
    const bounded = { ...exploration, preemptions };
    assert.deepEqual(endsOf({ ...bounded, skipSeen: true }), endsOf(bounded), `${preemptions} preemptions`);
  }
});

test("a seed determines its random schedules", () => {
  const run = (seed: number): string[] => {
    const orders: string[] = [];
    const report = explore({
      setup: words,
      threads: [0, 1].map((thread) => (at: SharedWords) => {
        for (let i = 0; i < 8; i++) store(at, 16 + add(at, 0, 1), thread);
      }),
      check: (at) => void orders.push(Array.from({ length: 16 }, (_, i) => load(at, 16 + i)).join("")),
      random: { seed, schedules: 200 },
    });
    assertGood(report);
    assert.equal(report.schedules, 200);
    return orders;
  };
  assert.deepEqual(run(1), run(1));
  assert.notDeepEqual(run(1), run(2));
  assert.ok(new Set(run(1)).size > 50, `${new Set(run(1)).size} different ones`);
});

test("a schedule is replayed step by step, with names", () => {
  const exploration: Exploration<SharedWords> = {
    setup: words,
    threads: [0, 1].map(() => (at: SharedWords) => store(at, 1, load(at, 1) + 1)),
    check: (at) => assert.equal(load(at, 1), 2, "an increment was lost"),
    nameOf: (byteOffset) => (byteOffset === 4 ? "counter" : undefined),
  };
  const { first } = explore(exploration);
  assert.equal(first?.kind, "check");
  const lines = [
    "   1  thread 0     load                 counter  0",
    "   2  thread 1     load                 counter  0",
    "   3  thread 1     store                counter  0 -> 1",
    "   4  thread 0     store                counter  1",
  ].join("\n");
  const schedule = { choices: [0, 1, 0], meetings: [2] };
  assert.deepEqual(first?.schedule, schedule);
  const trace = replay(exploration, schedule);
  assert.equal(trace.split("\ncheck: ")[0], lines);
  assert.match(trace, /\ncheck: an increment was lost/);
  assert.equal(first?.trace, lines);
  assert.match(replay(exploration, { ...schedule, choices: [0, 0] }), /no failure$/);
  assert.throws(
    () => replay(exploration, { ...schedule, choices: [5] }),
    /decision 0 of the schedule is 5; expected 0 to 1/,
  );
});

test("a report counts schedules; maximumSchedules and stopAtFailure end the exploration", () => {
  const wrong: Exploration<SharedWords> = {
    setup: words,
    threads: [0, 1].map(() => (at: SharedWords) => store(at, 1, load(at, 1) + 1)),
    check: (at) => assert.equal(load(at, 1), 2),
  };
  const all = explore(wrong);
  assert.equal(all.schedules, 6);
  assert.equal(all.failures.check, 4); // all but the two in which one thread follows the other
  assert.match(formatReport("counter", all), /^counter: 6 schedules, .* 24 steps \(longest 4\), 4 check; /);
  const stopped = explore({ ...wrong, stopAtFailure: true });
  assert.equal(stopped.complete, false);
  assert.equal(stopped.failures.check, 1);
  const two = explore({ ...wrong, maximumSchedules: 2 });
  assert.deepEqual([two.schedules, two.complete], [2, false]);
});

test("a locked counter is right in all schedules of two threads and of three", () => {
  const counter = (count: number): Exploration<SharedWords> => ({
    setup: words,
    threads: Array.from({ length: count }, () => increment),
    check: (at) => assert.equal(peek(at, 1), count),
  });
  assertGood(explore(counter(2)));
  assertGood(explore({ ...counter(2), switchAt: "all" }));
  assertGood(explore(counter(3)));
});

test("two locks taken in opposite order are a deadlock", () => {
  const both = (first: number, second: number) => (at: SharedWords) => {
    take(at, first);
    take(at, second);
    give(at, second);
    give(at, first);
  };
  assertGood(explore({ setup: words, threads: [both(0, 1), both(0, 1)] }));
  const report = explore({ setup: words, threads: [both(0, 1), both(1, 0)] });
  assert.ok(report.failures.deadlock > 0);
  assert.equal(report.first?.kind, "deadlock");
});

test("a missing notify is a lost wake-up, also if the sleep has a time-out", () => {
  const sleeper = (milliseconds: number) => (at: SharedWords) => waitWhile(at, 0, 0, milliseconds);
  const forgetful = (at: SharedWords) => store(at, 0, 1);
  const waker = (at: SharedWords) => {
    store(at, 0, 1);
    notify(at, 0, 1);
  };
  const report = explore({ setup: words, threads: [sleeper(5), forgetful] });
  assert.equal(report.schedules, 2);
  assert.equal(report.failures["lost-wake-up"], 1); // in the other one it does not sleep
  assertGood(explore({ setup: words, threads: [sleeper(5), waker] }));
  const patient = explore({ setup: words, threads: [sleeper(Number.POSITIVE_INFINITY), forgetful] });
  assert.equal(patient.failures.deadlock, 1);
  const expected = explore({
    setup: words,
    threads: [sleeper(5), forgetful],
    expectsTimeOut: (byteOffset) => byteOffset === 0,
  });
  assertGood(expected);
  assert.equal(expected.timeOuts, 1);
});

test("only notify wakes a sleeper, a changed word does not; sleepers are woken in order of arrival", () => {
  const sleeper = (at: SharedWords): number[] => {
    const came = add(at, 2, 1);
    waitWhile(at, 0, 0, 1000);
    return [came, add(at, 1, 1)];
  };
  const waker = (at: SharedWords): void => {
    if (load(at, 2) < 2) return; // one has not arrived yet
    store(at, 0, 1);
    notify(at, 0, 1);
  };
  let wakings = 0;
  const report = explore({
    setup: words,
    threads: [sleeper, sleeper, waker],
    preemptions: 0,
    expectsTimeOut: () => true,
    check: (at, { threads, timeOuts }) => {
      for (const { value } of threads.slice(0, 2)) assert.equal((value as number[])[0], (value as number[])[1]);
      // Notify wakes one of the two. The other one sleeps until its time-out, although the word has changed.
      assert.equal(timeOuts, load(at, 0) === 1 ? 1 : 2);
      wakings += load(at, 0);
    },
  });
  assertGood(report);
  assert.equal(report.schedules, 6);
  assert.ok(wakings > 0);
});

test("earlyTimeOuts: sleeps end early, and each early end counts as a preemption", () => {
  const threads = [
    (at: SharedWords): number => {
      waitWhile(at, 0, 0, 5);
      return load(at, 0);
    },
    (at: SharedWords): void => {
      store(at, 0, 1);
      notify(at, 0, 1);
    },
  ];
  const exploration: Exploration<SharedWords> = { setup: words, threads, preemptions: 1 };
  const seesZero = (ends: string[]) => ends.some((end) => end.startsWith("returned 0"));
  assert.equal(seesZero(endsOf(exploration)), false);
  assert.equal(seesZero(endsOf({ ...exploration, earlyTimeOuts: true })), true);
  assert.throws(() => explore({ setup: words, threads, earlyTimeOuts: true }), /would never end/);
});

test("the clock stands still until a sleep times out", () => {
  const report = explore({
    setup: words,
    threads: [
      (at: SharedWords): number => {
        const began = milliseconds();
        for (let i = 0; i < 100; i++) load(at, i & 7);
        const slept = milliseconds();
        waitWhile(at, 0, 0, 5);
        return (slept - began) * 1000 + (milliseconds() - slept);
      },
      (at) => load(at, 0),
    ],
    preemptions: 1,
    expectsTimeOut: () => true,
    check: (_, { threads }) => assert.equal(threads[0]?.value, 5),
  });
  assertGood(report);
});

test("an ABA fault is found: a value changes and changes back unnoticed", () => {
  // A stack of the nodes 1 and 2, each with the next node's number in its word; the head is word 0.
  const setup = (): SharedWords => {
    const at = words();
    store(at, 0, 1);
    store(at, 1, 2);
    return at;
  };
  const pop = (at: SharedWords): number => {
    for (;;) {
      const head = load(at, 0);
      if (head === 0) return 0;
      const next = load(at, head);
      if (compareExchange(at, 0, head, next) === head) return head;
    }
  };
  const push = (at: SharedWords, node: number): void => {
    for (;;) {
      const head = load(at, 0);
      store(at, node, head);
      if (compareExchange(at, 0, head, node) === head) return;
    }
  };
  const popTwoPushOne = (at: SharedWords): number => {
    const first = pop(at);
    const second = pop(at);
    if (first !== 0) push(at, first);
    return second;
  };
  const exploration: Exploration<SharedWords> = {
    setup,
    threads: [pop, popTwoPushOne],
    check: (at, { threads }) => {
      const owned = threads.map((thread) => thread.value).filter((node) => node !== 0);
      for (let node = load(at, 0); node !== 0; node = load(at, node)) {
        assert.ok(!owned.includes(node), `node ${node} is owned, and on the stack`);
        owned.push(node);
      }
    },
  };
  const report = explore(exploration);
  assert.ok(report.failures.check > 0);
  assert.match(report.first?.message ?? "", /node 2 is owned, and on the stack/);
  assert.ok(explore({ ...exploration, preemptions: 1 }).failures.check > 0);
  // The fault needs a preemption: without one, no pop is interrupted.
  assert.equal(explore({ ...exploration, preemptions: 0 }).failures.check, 0);
});

test("an error that a thread throws is a failure, unless mayThrow accepts it", () => {
  const exploration: Exploration<SharedWords> = { setup: words, threads: [(at) => load(at, 64)] };
  const report = explore(exploration);
  assert.equal(report.failures.thrown, 1);
  assert.match(report.first?.message ?? "", /thread 0 threw RangeError: load at index 64 of 64/);
  const errors: unknown[] = [];
  const expecting = explore({
    ...exploration,
    mayThrow: (error) => error instanceof RangeError,
    check: (_, end) => void errors.push(end.threads[0]?.error),
  });
  assertGood(expecting);
  assert.ok(errors[0] instanceof RangeError);
});

test("a thread that never ends is a failure", () => {
  const spinning = (at: SharedWords): void => {
    while (load(at, 0) === 0);
  };
  const report = explore({ setup: words, threads: [spinning], maximumSteps: 500 });
  assert.equal(report.failures.endless, 1);
});

test("code that keeps state outside of shared memory is refused", () => {
  let outside = 0;
  const counting = (at: SharedWords): number => load(at, outside++) + add(at, 0, 1);
  assert.throws(() => explore({ setup: words, threads: [counting, adds(2)] }), /keeps state outside of shared memory/);
  const storing = (at: SharedWords): void => {
    store(at, 1, outside++);
    add(at, 0, 1);
  };
  assert.throws(() => explore({ setup: words, threads: [storing, adds(2)] }), /keeps state outside of shared memory/);
});

test("code that catches the explorer's token is refused", () => {
  const catching = (at: SharedWords): void => {
    try {
      add(at, 0, 1);
      add(at, 0, 1);
    } catch {
      return;
    }
  };
  assert.throws(() => explore({ setup: words, threads: [catching, catching] }), /it catches the explorer's token/);
});

test("an access of memory that the set-up has not made is refused", () => {
  const foreign = words();
  assert.throws(() => explore({ setup: words, threads: [() => load(foreign, 0)] }), ExplorationError);
  const making = explore({ setup: words, threads: [() => words()] });
  assert.equal(making.failures.thrown, 1);
});

test("a check that would sleep for ever fails with the word and its value", () => {
  const leaving = (at: SharedWords): void => {
    if (exchange(at, 0, 1) !== 0) notify(at, 0, 1);
  };
  const report = explore({ setup: words, threads: [leaving], check: (at) => take(at, 0) });
  assert.match(report.first?.message ?? "", /a wait while word 0 is 2, outside of any thread/);
});
