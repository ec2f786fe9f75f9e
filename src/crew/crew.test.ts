import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { holderOf, lock, tagOf } from "../shared/lock.ts";
import { wordsOf } from "../shared/memory.ts";
import type { EntryRange } from "../units/numbers.ts";
import { Crew, type CrewHandle, type Recover, type Recovered } from "./crew.ts";

const NOTHING: Recover = () => undefined;
const RANGE = { first: 3, end: 5 } as EntryRange;
/** Where the recovery lock lies, in words. */
const RECOVERY_LOCK = 32;

function crewOf(threads: number): readonly Crew[] {
  const first = Crew.create({ threads });
  return [first, ...Array.from({ length: threads - 1 }, () => Crew.attach(structuredClone(first.handle)))];
}

describe("numbers", () => {
  test("each thread has its own; a closed one's goes to the next thread; when all are taken, attaching says so", () => {
    const [first, second] = crewOf(2) as [Crew, Crew];
    assert.deepEqual([first.thread, second.thread, first.threadsInUse()], [0, 1, [0, 1]]);
    assert.throws(() => Crew.attach(first.handle), {
      code: "no-thread-slot",
      message: /all 2 thread numbers are taken/,
    });
    second.close();
    second.close();
    const next = Crew.attach(first.handle);
    assert.equal(next.thread, 1);
    second.close();
    assert.deepEqual(first.threadsInUse(), [0, 1], "a second close takes nothing from the next thread");
  });

  test("a seat is a number for one thread, known before it starts", () => {
    const crew = Crew.create({ threads: 3 });
    const seat = structuredClone(crew.addThread());
    assert.deepEqual([seat.thread, crew.threadsInUse()], [1, [0, 1]]);
    assert.equal(Crew.attach(crew.handle).thread, 2, "other threads pass it by");
    const seated = Crew.attach(seat);
    assert.equal(seated.thread, 1);
    assert.throws(() => Crew.attach(seat), {
      code: "no-thread-slot",
      message: /the seat of thread 1 is taken already/,
    });
    seated.close();
    const later = crew.addThread();
    assert.equal(later.thread, 1);
    assert.throws(() => Crew.attach(seat), { code: "no-thread-slot" }, "an old seat is not the new one");
    assert.equal(Crew.attach(later).thread, 1);
  });

  test("of a thread that died before it attached, the seat comes back", () => {
    const crew = Crew.create({ threads: 2 });
    const { thread } = crew.addThread();
    assert.deepEqual(crew.reclaim(thread, "everything"), { isFree: true, ranges: new Map() });
    assert.deepEqual(crew.threadsInUse(), [0]);
  });

  test("a number stays with its thread until its last view is closed, whatever is closed first", () => {
    const [first, second] = crewOf(2) as [Crew, Crew];
    const structure = first.addStructure();
    const attachment = second.enter(structure, "table", NOTHING);
    second.close();
    assert.deepEqual(first.threadsInUse(), [0, 1]);
    assert.throws(() => second.enter(first.addStructure(), "table", NOTHING), { code: "view-closed" });
    second.leave(attachment);
    assert.deepEqual(first.threadsInUse(), [0]);
  });
});

describe("structures", () => {
  test("a thread has one view of a structure at a time", () => {
    const crew = Crew.create();
    const structure = crew.addStructure();
    const attachment = crew.enter(structure, "table", NOTHING);
    assert.throws(() => crew.enter(structure, "table", NOTHING), { code: "already-attached" });
    crew.leave(attachment);
    crew.leave(crew.enter(structure, "table", NOTHING));
  });

  test("one that is removed can't be entered by its old number, and an old view takes nothing from the next one with its place", () => {
    const crew = Crew.create();
    const old = crew.addStructure();
    const oldView = crew.enter(old, "table", NOTHING);
    crew.removeStructure(old);
    crew.removeStructure(old);
    assert.throws(() => crew.enter(old, "table", NOTHING), { code: "structure-gone" });
    const next = crew.addStructure();
    assert.notEqual(next, old);
    crew.enter(next, "table", NOTHING);
    crew.leave(oldView);
    assert.ok(crew.isIn(crew.thread, next));
    crew.removeStructure(old);
    assert.ok(crew.isIn(crew.thread, next));
  });

  test("there are 1024 at a time, and a clear error beyond", () => {
    const crew = Crew.create();
    const all = Array.from({ length: 1024 }, () => crew.addStructure());
    assert.equal(new Set(all).size, 1024);
    assert.throws(() => crew.addStructure(), { code: "no-structure", message: /the crew has 1024 machines/ });
    crew.removeStructure(all[77] as number);
    crew.addStructure();
  });
});

/** A living thread and a dead one, which both have a view of a structure of each stage. */
function withDead(stages: readonly Parameters<Crew["enter"]>[1][], recover: (stage: string) => Recovered | undefined) {
  const [living, dead] = crewOf(3) as [Crew, Crew];
  const structures = stages.map((stage) => {
    const structure = living.addStructure();
    living.enter(structure, stage, () => recover(stage));
    dead.enter(structure, stage, NOTHING);
    return structure;
  });
  return { living, dead, structures };
}

describe("reclaim", () => {
  test("runs what each view has registered, by stages: what holds others up first, memory last", () => {
    const order: string[] = [];
    const stages = ["pages", "pinned", "table", "process", "pinned-table", "bridge", "machine", "hypervisor"] as const;
    const { living, dead } = withDead(stages, (stage) => {
      order.push(stage);
      return undefined;
    });
    assert.equal(living.reclaim(dead.thread, "everything").isFree, true);
    assert.deepEqual(order, [...stages].reverse());
    assert.deepEqual(living.threadsInUse(), [0, 2]);
  });

  test("leaves out what the dead thread had no view of", () => {
    const [living, dead] = crewOf(2) as [Crew, Crew];
    living.enter(living.addStructure(), "table", () => assert.fail("nothing of it is here"));
    assert.equal(living.reclaim(dead.thread, "everything").isFree, true);
  });

  test("tells the ranges that came back, and keeps the number while something is left", () => {
    let isLeft = true;
    const { living, dead, structures } = withDead(["table"], () => ({ ranges: [RANGE], isLeft }));
    const table = structures[0] as number;
    assert.deepEqual(living.reclaim(dead.thread, "in-flight"), { isFree: false, ranges: new Map([[table, [RANGE]]]) });
    assert.deepEqual(living.threadsInUse(), [0, 1, 2]);
    isLeft = false;
    assert.equal(living.reclaim(dead.thread, "everything").isFree, true);
    assert.throws(() => living.reclaim(dead.thread, "everything"), {
      code: "no-such-thread",
      message: "reclaim of thread 1: no thread has that number",
    });
  });
});

describe("a reclaim that can't be whole", () => {
  test("names no number free while a structure holds something that the reclaimer has no view of", () => {
    const [living, dead, third] = crewOf(3) as [Crew, Crew, Crew];
    const structure = third.addStructure();
    const recovered: number[] = [];
    third.enter(structure, "table", (thread) => {
      recovered.push(thread);
      return undefined;
    });
    dead.enter(structure, "table", NOTHING);
    assert.throws(() => living.reclaim(dead.thread, "everything"), {
      code: "not-attached",
      message:
        /reclaim of thread 1: it was attached to a structure \(machine, table, pages\) that this thread has no view of/,
    });
    assert.equal(third.reclaim(dead.thread, "everything").isFree, true);
    assert.deepEqual(recovered, [1]);
  });

  test("that fails in a stage does not begin the later ones; repeated, it goes on", () => {
    const failure = Object.assign(new Error("busy"), { code: "platform-busy" }) as never;
    let isBusy = true;
    const order: string[] = [];
    const { living, dead } = withDead(["machine", "table", "pages"], (stage) => {
      order.push(stage);
      if (stage === "table" && isBusy) return { ranges: [], isLeft: false, failure };
      return undefined;
    });
    assert.throws(() => living.reclaim(dead.thread, "everything"), { message: "busy" });
    assert.deepEqual(order, ["machine", "table"]);
    assert.deepEqual(living.threadsInUse(), [0, 1, 2]);
    isBusy = false;
    assert.equal(living.reclaim(dead.thread, "everything").isFree, true);
    assert.equal(order.at(-1), "pages");
  });

  test("whose recovery throws leaves the recovery lock free, and can be repeated", () => {
    let isThrown = true;
    const { living, dead } = withDead(["table"], () => {
      if (isThrown) throw new Error("the platform is gone");
      return undefined;
    });
    assert.throws(() => living.reclaim(dead.thread, "everything"), /the platform is gone/);
    assert.equal(holderOf(wordsOf(living.handle.state), RECOVERY_LOCK), 0);
    isThrown = false;
    assert.equal(living.reclaim(dead.thread, "everything").isFree, true);
  });

  test("of a thread that died while it recovered another goes on with both", () => {
    const [living, dead, reclaimer] = crewOf(3) as [Crew, Crew, Crew];
    const structure = living.addStructure();
    const recovered: number[] = [];
    living.enter(structure, "table", (thread) => {
      recovered.push(thread);
      return undefined;
    });
    dead.enter(structure, "table", NOTHING);
    reclaimer.enter(structure, "table", () => {
      throw new Error("killed here");
    });
    assert.throws(() => reclaimer.reclaim(dead.thread, "everything"), /killed here/);
    // As its death leaves it: with the lock.
    assert.equal(lock(wordsOf(living.handle.state), RECOVERY_LOCK, tagOf(reclaimer.thread)), 0);
    assert.equal(living.reclaim(reclaimer.thread, "everything").isFree, true);
    assert.deepEqual(recovered, [1, 2]);
    assert.deepEqual(living.threadsInUse(), [0]);
  });
});

describe("a reclaim of the wrong thread", () => {
  test("refuses what can't be meant", () => {
    const [living, dead] = crewOf(2) as [Crew, Crew];
    const thread = dead.thread;
    assert.throws(() => living.reclaim(living.thread, "everything"), { code: "own-thread" });
    assert.throws(() => living.reclaim(2, "everything"), /thread is 2; expected an integer from 0 to 1/);
    assert.throws(() => living.reclaim(thread, "all" as never), /scope is "all"; expected in-flight or everything/);
    living.close();
    assert.throws(() => living.reclaim(thread, "everything"), { code: "view-closed" });
  });

  test("of a thread that goes on by mistake ends its view: it gives nothing back that may be another's", () => {
    const [living, declared] = crewOf(2) as [Crew, Crew];
    const structure = living.addStructure();
    living.enter(structure, "table", NOTHING);
    const attachment = declared.enter(structure, "table", NOTHING);
    living.reclaim(declared.thread, "everything");
    assert.equal(declared.isDeclaredDead, true);
    const next = Crew.attach(living.handle);
    next.enter(structure, "table", NOTHING);
    declared.leave(attachment);
    declared.close();
    assert.ok(living.isIn(next.thread, structure));
  });
});

test("a foreign, cut or other handle is refused", () => {
  const { handle } = Crew.create();
  const cut = new SharedArrayBuffer(handle.state.byteLength - 4);
  new Int32Array(cut).set(new Int32Array(handle.state).subarray(0, cut.byteLength / 4));
  const cases: readonly [unknown, RegExp][] = [
    [undefined, /the crew's handle has version undefined; this library reads version 1/],
    [{ ...handle, version: 2 }, /has version 2; this library reads version 1/],
    [{ ...handle, state: new ArrayBuffer(64) }, /holds no shared memory/],
    [{ ...handle, state: new SharedArrayBuffer(8192) }, /its first word is not the mark of one/],
    [{ ...handle, state: cut }, /the crew's buffer is \d+ bytes long; its header says \d+/],
    [{ ...handle, thread: 32, generation: 0 }, /thread of a seat is 32; expected an integer from 0 to 31/],
  ];
  for (const [wrong, message] of cases) assert.throws(() => Crew.attach(wrong as CrewHandle), { message });
  assert.throws(() => Crew.create({ threads: 257 }), /threads is 257; expected an integer from 1 to 256/);
  assert.throws(() => Crew.create({ thread: 3 } as never), /thread/);
});

test("a structure that was never made, or has no such number, can't be entered", () => {
  const crew = Crew.create();
  assert.throws(() => crew.enter(500, "table", NOTHING), { code: "structure-gone" });
  assert.throws(() => crew.enter(-5, "table", NOTHING), /number of a structure is -5; expected an integer from 0/);
  crew.close();
  assert.equal(crew.isDeclaredDead, true, "neither left a bit set");
});

test("two crews are told apart", () => {
  const [one, other] = [Crew.create(), Crew.create()];
  assert.deepEqual([one.isOf(structuredClone(one.handle)), one.isOf(other.handle)], [true, false]);
});
