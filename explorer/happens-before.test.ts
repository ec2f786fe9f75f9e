import assert from "node:assert/strict";
import { test } from "node:test";
import type { SharedBytes, SharedHalves, SharedWords } from "../src/shared/memory.ts";
import { type Exploration, explore } from "./explore.ts";
import {
  add,
  bytesOf,
  compareExchange,
  compareExchangeHalf,
  copyIn,
  copyOut,
  createShared,
  glance,
  glanceHalf,
  halvesOf,
  hintTo,
  load,
  loadHalf,
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
import { assertGood, endsOf, words } from "./small-programs.model.ts";

interface Views {
  readonly words: SharedWords;
  readonly halves: SharedHalves;
  readonly bytes: SharedBytes;
}
function views(): Views {
  const buffer = createShared(64);
  return { words: wordsOf(buffer), halves: halvesOf(buffer, 0, 8), bytes: bytesOf(buffer) };
}

/** True if the two accesses race in at least one order. */
function races(one: (at: Views) => unknown, other: (at: Views) => unknown): boolean {
  const report = explore({ setup: views, threads: [one, other] });
  const { race, ...others } = report.failures;
  assert.deepEqual(Object.values(others), [0, 0, 0, 0, 0]);
  return race > 0;
}

test("an unlocked counter of plain accesses is a race, although every schedule gives the right sum", () => {
  const unlocked = (at: SharedWords) => poke(at, 1, peek(at, 1) + 1);
  const report = explore({ setup: words, threads: [unlocked, unlocked], check: (at) => assert.equal(peek(at, 1), 2) });
  // There is no place to switch: one thread follows the other, and the sum is right.
  assert.equal(report.schedules, 2);
  assert.equal(report.failures.race, 2);
  assert.match(report.first?.message ?? "", /peek by thread 1 is not ordered after an access by thread 0 \(byte 4\)/);
});

test("two accesses race as the table of kinds says", () => {
  const accesses: Record<string, (at: Views) => unknown> = {
    peek: (at) => peek(at.words, 0),
    poke: (at) => poke(at.words, 0, 1),
    load: (at) => load(at.words, 0),
    store: (at) => store(at.words, 0, 1),
    add: (at) => add(at.words, 0, 1),
    "failed compareExchange": (at) => compareExchange(at.words, 0, 77, 1),
    glance: (at) => glance(at.words, 0),
    hintTo: (at) => hintTo(at.words, 0, 1),
    copyOut: (at) => copyOut(at.bytes, 0, new Uint8Array(4)),
    copyIn: (at) => copyIn(at.bytes, 0, Uint8Array.of(1, 2, 3, 4)),
    zero: (at) => zero(at.bytes, 0, 4),
  };
  const racing = (one: string, other: string) =>
    races(accesses[one] as (at: Views) => unknown, accesses[other] as (at: Views) => unknown);
  const partners = (one: string) => Object.keys(accesses).filter((other) => racing(one, other));
  const changing = ["poke", "store", "add", "hintTo", "copyIn", "zero"];
  assert.deepEqual(partners("peek"), changing);
  assert.deepEqual(partners("copyOut"), changing);
  const allButGlance = Object.keys(accesses).filter((name) => name !== "glance");
  for (const write of ["poke", "copyIn", "zero"]) assert.deepEqual(partners(write), allButGlance, write);
  assert.deepEqual(partners("load"), ["poke", "copyIn", "zero"]);
  assert.deepEqual(partners("failed compareExchange"), ["poke", "copyIn", "zero"]);
  for (const write of ["store", "add", "hintTo"]) {
    assert.deepEqual(partners(write), ["peek", "poke", "copyOut", "copyIn", "zero"], write);
  }
  assert.deepEqual(partners("glance"), []);
});

test("places are told apart by halfword, whatever the view", () => {
  const firstWord = (at: Views) => poke(at.words, 0, 1);
  const half = (place: number) => (at: Views) => pokeHalf(at.halves, place, 1);
  const secondHalfsBytes = (at: Views) => copyIn(at.bytes, 2, Uint8Array.of(1, 2));
  assert.equal(races(firstWord, half(1)), true);
  assert.equal(races(firstWord, half(2)), false);
  assert.equal(races(half(0), half(1)), false);
  assert.equal(races(secondHalfsBytes, half(0)), false);
  assert.equal(
    races(secondHalfsBytes, (at) => peekHalf(at.halves, 1)),
    true,
  );
  const ninthWord = (at: Views) => poke(at.words, 8, 1);
  assert.equal(
    races((at) => copyIn(at.bytes, 32, Uint8Array.of(1)), ninthWord),
    true,
  );
});

test("halfwords race as words do", () => {
  const change = (at: Views) => compareExchangeHalf(at.halves, 0, 0, 1);
  const poking = (at: Views) => pokeHalf(at.halves, 0, 2);
  assert.equal(
    races(change, (at) => loadHalf(at.halves, 0)),
    false,
  );
  assert.equal(races(change, poking), true);
  assert.equal(
    races(poking, (at) => glanceHalf(at.halves, 0)),
    false,
  );
});

test("atomic accesses of one place in two widths do not synchronise, and race", () => {
  assert.equal(
    races(
      (at) => store(at.words, 0, 1),
      (at) => loadHalf(at.halves, 0),
    ),
    true,
  );
  assert.equal(
    races(
      (at) => load(at.words, 0),
      (at) => loadHalf(at.halves, 0),
    ),
    false,
  );
});

/** True if a message in word 1 arrives in order: thread 0 writes it and runs `send`; thread 1 reads it if `received` is true. */
function delivers(send: (at: SharedWords) => void, received: (at: SharedWords) => boolean): boolean {
  const report = explore({
    setup: words,
    threads: [
      (at) => {
        poke(at, 1, 42);
        send(at);
      },
      (at) => {
        if (received(at)) assert.equal(peek(at, 1), 42);
      },
    ],
  });
  assert.equal(report.schedules > 1, true);
  assert.equal(report.failures.thrown, 0);
  return report.failures.race === 0;
}

test("an atomic read is ordered after the atomic write that it reads from", () => {
  assert.equal(
    delivers(
      (at) => store(at, 0, 1),
      (at) => load(at, 0) === 1,
    ),
    true,
  );
  assert.equal(
    delivers(
      (at) => add(at, 0, 1),
      (at) => compareExchange(at, 0, 1, 2) === 1,
    ),
    true,
  );
  assert.equal(
    delivers(
      (at) => store(at, 0, 1),
      (at) => compareExchange(at, 0, 7, 7) === 1,
    ),
    true,
  );
});

test("a relaxed write, a relaxed read or a failed compareExchange delivers nothing", () => {
  assert.equal(
    delivers(
      (at) => hintTo(at, 0, 1),
      (at) => load(at, 0) === 1,
    ),
    false,
  );
  assert.equal(
    delivers(
      (at) => store(at, 0, 1),
      (at) => glance(at, 0) === 1,
    ),
    false,
  );
  const failing = (at: SharedWords) => {
    compareExchange(at, 2, 7, 7);
    hintTo(at, 0, 1);
  };
  assert.equal(
    delivers(failing, (at) => load(at, 2) === 0 && glance(at, 0) === 1),
    false,
  );
});

test("a relaxed write ends the release of the atomic write before it", () => {
  const send = (at: SharedWords) => {
    store(at, 0, 1);
    hintTo(at, 0, 2);
  };
  assert.equal(
    delivers(send, (at) => load(at, 0) === 1),
    true,
  );
  assert.equal(
    delivers(send, (at) => load(at, 0) === 2),
    false,
  );
});

test("an atomic write does not release writes that follow it", () => {
  const send = (at: SharedWords) => {
    store(at, 0, 1);
    poke(at, 1, 43);
  };
  assert.equal(
    delivers(send, (at) => load(at, 0) === 1),
    false,
  );
});

test("a wake-up orders nothing: the woken thread has to read atomically", () => {
  const sleeping = (look: boolean): Exploration<SharedWords> => ({
    setup: words,
    threads: [
      (at) => {
        waitWhile(at, 0, 0, 5);
        if (look) load(at, 0);
        return peek(at, 1);
      },
      (at) => {
        poke(at, 1, 42);
        store(at, 0, 1);
        notify(at, 0, 1);
      },
    ],
  });
  assert.ok(explore(sleeping(false)).failures.race > 0);
  assertGood(explore(sleeping(true)));
});

test("happens-before is transitive across three threads", () => {
  const hand = (from: number, to: number) => (at: SharedWords) => {
    if (load(at, from) === 1) store(at, to, 1);
  };
  const chain = (last: number): Exploration<SharedWords> => ({
    setup: words,
    threads: [
      (at) => {
        poke(at, 1, 42);
        store(at, 0, 1);
      },
      hand(0, 2),
      (at) => (load(at, last) === 1 ? peek(at, 1) : 0),
    ],
  });
  assertGood(explore(chain(2)));
});

test("accesses of a private range are plain: no switches there, and a meeting is a race", () => {
  const isPrivate = (byteOffset: number) => byteOffset >= 16 && byteOffset < 32;
  const own = (word: number) => (at: SharedWords) => {
    add(at, word, 1);
    hintTo(at, word, 2);
    return load(at, word);
  };
  const apart = explore({ setup: words, threads: [own(4), own(5)], isPrivate });
  assertGood(apart);
  assert.equal(apart.schedules, 2);
  assert.ok(explore({ setup: words, threads: [own(4), own(4)], isPrivate }).failures.race > 0);
  assertGood(explore({ setup: words, threads: [own(4), own(4)] }));
});

test("a glance sees the newest value; with staleGlances, any value that may not be overwritten yet", () => {
  const exploration: Exploration<SharedWords> = {
    setup: words,
    threads: [
      (at) => {
        hintTo(at, 1, 1);
        hintTo(at, 1, 2);
        store(at, 0, 1);
        hintTo(at, 1, 3);
      },
      (at) => `${load(at, 0)}:${glance(at, 1)}`,
    ],
  };
  const seen = (options: Partial<Exploration<SharedWords>>) => [
    ...new Set(endsOf({ ...exploration, ...options }).map((end) => /returned (\d:\d)/.exec(end)?.[1])),
  ];
  assert.deepEqual(seen({}), ["0:0", "0:1", "0:2", "0:3", "1:2", "1:3"]);
  assert.deepEqual(seen({ staleGlances: true }), ["0:0", "0:1", "0:2", "0:3", "1:2", "1:3"]);
  // Without a switch in between, the stale values are those that make the difference.
  assert.deepEqual(seen({ preemptions: 0 }), ["0:0", "1:3"]);
  assert.deepEqual(seen({ preemptions: 0, staleGlances: true }), ["0:0", "1:2", "1:3"]);
});
