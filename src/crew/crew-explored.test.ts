/**
 * Threads that join a crew, enter a structure, leave it and close, in all orders of their accesses, and dying at any of them, with the
 * recovery beside the others. What is judged: two threads never have one number, what a thread had in the structure is recovered
 * before its number is another's, and no number, bit or lock is lost.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertFound, assertSound, reclaimDead } from "../../explorer/assertions.model.ts";
import type { Exploration } from "../../explorer/explore.ts";
import { exploredCopy, type Plant } from "../../explorer/load.ts";
import { createShared, exchange, load, type SharedWords, store, wordsOf } from "../../explorer/memory.ts";
import type { Crew, CrewSeat } from "./crew.ts";

const THREADS = 4;

interface State {
  /** The reclaimers. */
  readonly crews: readonly Crew[];
  readonly structure: number;
  readonly seats: readonly CrewSeat[];
  /** What the structure holds, by number: 1, something of that thread. */
  readonly held: SharedWords;
}

type CrewModule = typeof import("./crew.ts");

const load1 = async (plants: readonly Plant[] = []): Promise<CrewModule> =>
  exploredCopy(plants).load<CrewModule>("crew/crew.js");

function recovering(held: SharedWords): (thread: number) => undefined {
  return (thread) => store(held, thread, 0) as undefined;
}

function setup(library: CrewModule): State {
  const first = library.Crew.create({ threads: THREADS });
  const second = library.Crew.attach(first.handle);
  const held = wordsOf(createShared(4 * THREADS));
  const structure = first.addStructure();
  for (const crew of [first, second]) crew.enter(structure, "table", recovering(held));
  return { crews: [first, second], structure, seats: [first.addThread(), first.addThread()], held };
}

/** A thread's whole life. */
const living =
  (library: CrewModule, which: number) =>
  ({ crews, seats, structure, held }: State): number => {
    const crew = library.Crew.attach(which < 0 ? (crews[0] as Crew).handle : (seats[which] as CrewSeat));
    const attachment = crew.enter(structure, "table", recovering(held));
    assert.equal(exchange(held, crew.thread, 1), 0, "the structure holds something of another thread with the number");
    store(held, crew.thread, 0);
    crew.leave(attachment);
    crew.close();
    return crew.thread;
  };

function check({ crews, structure, held }: State, { dead }: { readonly dead: readonly number[] }): void {
  const left = crews.filter((_, reclaimer) => !dead.includes(2 + reclaimer));
  const first = left[0] as Crew;
  for (let thread = 2; thread < THREADS; thread++) {
    assert.equal(load(held, thread), 0, `something of thread ${thread} is left`);
    assert.equal(first.isIn(thread, structure), false);
  }
  assert.deepEqual(
    first.threadsInUse(),
    left.map(({ thread }) => thread),
    "a number is lost",
  );
  // The recovery lock is free.
  const { thread } = first.addThread();
  assert.equal(first.reclaim(thread, "everything").isFree, true);
}

/** Two threads with seats; one may die, or one that recovers the other too. */
function seated(library: CrewModule, kills: 0 | 1 | 2): Exploration<State> {
  return {
    setup: () => setup(library),
    threads: [0, 1].map((seat) => living(library, seat)),
    // A thread of the exploration has the seat of its index, a reclaimer the crew.
    reclaim: ({ crews, seats }, dead, self) => {
      const numbers = dead.map((thread) => seats[thread]?.thread ?? crews[thread - 2]?.thread ?? -1);
      reclaimDead(crews[self - 2], numbers.toReversed());
    },
    kills,
    check,
    skipSeen: true,
    preemptions: kills === 2 ? 1 : 2,
  };
}

/** Two threads that take any number, one after the other's close or beside it. */
function unseated(library: CrewModule): Exploration<State> {
  return {
    setup: () => {
      const state = setup(library);
      for (const { thread } of state.seats) state.crews[0]?.reclaim(thread, "everything");
      return state;
    },
    threads: [-1, -1].map((which) => living(library, which)),
    check,
    skipSeen: true,
    preemptions: 3,
  };
}

const sound = await load1();

test("two threads that take numbers at once have different ones, and give them back", (t) => {
  assertSound(t, "2 threads without seats", unseated(sound));
  assertSound(t, "2 threads with seats", seated(sound, 0));
});

test("a thread that dies at any access leaves nothing once it is reclaimed", (t) => {
  const report = assertSound(t, "2 threads, 1 dies", seated(sound, 1));
  assert.ok(report.kills > 0);
});

test("a reclaimer that dies at any access leaves nothing once both are reclaimed", (t) => {
  const report = assertSound(t, "2 threads, 2 die, reclaimers too", seated(sound, 2));
  assert.ok(report.kills > 0);
});

const BUGS: readonly { readonly bug: string; readonly plant: Plant; readonly kills: 0 | 1 | 2 }[] = [
  {
    bug: "a number that is free before its structures are recovered",
    plant: {
      module: "crew/crew.js",
      from: "store(this.#words, slotAt(thread) + SLOT.state, SLOT_DYING);",
      to: "store(this.#words, slotAt(thread) + SLOT.state, SLOT_FREE); if (peek(this.#words, 0) === 0)",
    },
    kills: 1,
  },
  {
    bug: "a recovery that leaves the bit of the structure set",
    plant: {
      module: "crew/crew.js",
      from: "if (!kept.has(attachment))",
      to: "if (false)",
    },
    kills: 1,
  },
  {
    bug: "a recovery lock that is not taken over",
    plant: { module: "crew/crew.js", from: "if (inherit(", to: "if (false && inherit(" },
    kills: 2,
  },
];

for (const { bug, plant, kills } of BUGS) {
  test(`${bug}: found`, async (t) => {
    assertFound(t, bug, seated(await load1([plant]), kills), [
      "check",
      "thrown",
      "stuck" as never,
      "deadlock" as never,
    ]);
  });
}
