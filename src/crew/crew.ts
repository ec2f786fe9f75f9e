/**
 * The threads of one machine. Each thread has one number, which is the same in its machine, bridges, tables and physical pages. After a
 * thread has died, `reclaim` recovers its holdings in all of them, in the necessary order.
 *
 *     const crew = Crew.create({ threads: 8 });
 *     const machine = SoftwareMachine.create({ memoryBytes, crew });
 *     const seat = crew.addThread();
 *     worker.postMessage([seat, machine.handle]);         // there: SoftwareMachine.attach(handle, Crew.attach(seat))
 *     void reclaimOnExit(worker, crew, seat);             // crew.reclaim(seat.thread, "everything"), once the worker has ended
 *
 * A *structure* is what threads attach to: a machine, a table, physical pages. Each has a number in its crew, and each thread a bit for
 * each structure, which is set while the structure may hold something of the thread.
 *
 *   free → (addThread) offered → (attach) live → (close) free, or dead while a structure still holds something of the thread
 *        ↘ (attach) ─────────────────────↗  ↘ (reclaim) dying → free, or dead while …
 *
 * Why nothing is lost when a thread dies:
 * - A number is given to a new thread only when its slot is free, and the slot becomes free only after every bit of it has been cleared.
 *   A thread sets its bit before its first access to the structure (`enter`), and clears it after the last (`leave`).
 * - `reclaim` marks the slot dying, and clears a bit after the structure's recovery has ended. Recoveries can be repeated. A reclaimer
 *   that dies leaves the recovery lock with its tag and the slot dying: the thread that reclaims the reclaimer takes the lock over, and goes
 *   on with every slot that is dying.
 * - `addStructure` and `addThread` claim a number before they return it: a thread that dies in between leaves a structure's number or a
 *   slot taken. The slot can be reclaimed. The structure's number, one of 1024, is lost. The state and the bits of a slot are atomics; so
 *   what a thread wrote before it gave its number back is seen by the next that gets it.
 */

import { holderOf, inherit, lock, tagOf, unlock } from "../shared/lock.ts";
import {
  compareExchange,
  createShared,
  isShared,
  load,
  peek,
  poke,
  type SharedBuffer,
  type SharedWords,
  store,
  wordsOf,
} from "../shared/memory.ts";
import { checkInteger, FormatError, InvalidArgumentError, IovaError, postHint, shown } from "../units/errors.ts";
import { failureOf } from "../units/failure.ts";
import { checkKeys } from "../units/keys.ts";
import type { EntryRanges } from "../units/numbers.ts";

/** "in-flight": the thread's unfinished operations, its cache and its queue. "everything": its live ranges too. */
export type ReclaimScope = "in-flight" | "everything";

/**
 * The order of recoveries: structures that block others come first; memory that a device may still reach comes last. "guest-table": tables of
 * guests, which change pinned tables. "process": what ends with the last thread of a process, before its tables can be given back.
 */
const STAGES: readonly Stage[] = [
  "hypervisor",
  "machine",
  "bridge",
  "pinned-table",
  "guest-table",
  "process",
  "table",
  "pinned",
  "pages",
];
/** A stage of a recovery. */
export type Stage =
  | "hypervisor"
  | "machine"
  | "bridge"
  | "pinned-table"
  | "guest-table"
  | "process"
  | "table"
  | "pinned"
  | "pages";

/** The result of a structure's recovery. */
export interface Recovered {
  /** Table entries that came back. */
  readonly ranges: EntryRanges;
  /** The structure still holds live ranges of the thread. Its number stays taken. */
  readonly isLeft: boolean;
  /** Set if the recovery is incomplete: later stages do not run, and the number stays taken, until a repetition succeeds. `reclaim` throws it. */
  readonly failure?: IovaError;
}

/**
 * Recovers one structure from a dead thread. Returns undefined if the structure holds nothing of the thread. It runs under the crew's recovery
 * lock, so two recoveries never run at once. It must be repeatable, because the thread that runs it may die in between.
 */
export type Recover = (thread: number, scope: ReclaimScope) => Recovered | undefined;

/** Options of `Crew.create`. */
export interface CrewOptions {
  /** Threads that can be attached at a time, the creator included: 1 .. 256. Default 32. */
  readonly threads?: number;
}

/** Data that a thread attaches to, structured-cloneable: post it to another thread and call `Crew.attach` there. */
export interface CrewHandle {
  /** Version of the buffer's layout. */
  readonly version: number;
  /** The shared buffer that holds the crew's state. */
  readonly state: SharedBuffer;
}

/** A handle for one thread that has not started yet, with the number that is claimed for it. Post it to that thread and call `Crew.attach` there. */
export interface CrewSeat extends CrewHandle {
  /** The number that is claimed for the thread, 0 .. threads − 1. */
  readonly thread: number;
  /** Distinguishes this claim of the number from later ones. */
  readonly generation: number;
}

/** Result of `Crew.reclaim`. */
export interface Reclaimed {
  /** True if a new thread may get the number. False while ranges of the dead thread are live. */
  readonly isFree: boolean;
  /** Table entries that came back, by the number of the table in the crew. */
  readonly ranges: ReadonlyMap<number, EntryRanges>;
}

/** The ledger has eight bits for an owner. */
export const MAX_THREADS = 256;
const DEFAULT_THREADS = 32;
const MAX_STRUCTURES = 1024;

/** "CREW" in ASCII. */
const MAGIC = 0x43524557;
/** Version of this layout. Raised with every change that another version could misread. */
const VERSION = 1;

/** In words. The first line never changes after creation. */
const HEADER = {
  magic: 0,
  version: 1,
  threads: 2,
  /** 62 random bits: two views are of one crew when these are equal. */
  identity: 3,

  /** Lock: one recovery at a time. A line of its own. */
  recoveryLock: 32,

  /** Structures with numbers from here on do not exist: scans end here. Only grows. */
  structuresEnd: 64,
  /** A bit for each structure that exists. */
  structures: 96,
  /** By structure: twice how often it has been removed; odd while it is being removed, when bits for it mean nothing. */
  generations: 128,

  words: 1152,
} as const;

/** Words of one thread's slot. Its first line is the state's alone. */
const SLOT = {
  state: 0,
  /** How often the slot has been claimed. */
  generation: 1,
  /** A bit for each structure that may hold something of the thread. */
  structures: 32,

  words: 64,
} as const;

const SLOT_FREE = 0;
export const SLOT_LIVE = 1;
/** Declared dead; its recovery has begun. */
const SLOT_DYING = 2;
/** Recovered or closed, but a structure still holds something of the thread. */
export const SLOT_DEAD = 3;
/** Its number is given to a thread that has not attached yet. */
const SLOT_OFFERED = 4;

/** View of one thread of a structure, with the recoveries that it has registered. */
export class Attachment {
  /** Number of the structure in the crew. */
  readonly structure: number;
  /** @internal */
  readonly recoveries: { readonly stage: number; readonly recover: Recover }[] = [];

  constructor(structure: number) {
    this.structure = structure;
  }

  /**
   * Registers one more recovery, for another part of the structure. Within a stage the recoveries of a view run in the order of
   * registration.
   */
  onReclaim(stage: Stage, recover: Recover): void {
    this.recoveries.push({ stage: STAGES.indexOf(stage), recover });
  }
}

/**
 * The threads that share structures: machines, tables, pages. Each has one number in all of them, and one call of `reclaim` recovers a dead
 * thread in all of them.
 *
 * An object is the membership of one thread. Post `handle`, or a seat, to another thread and `attach` there; never use one object in two
 * threads.
 *
 * @example
 * ```ts
 * import { Crew, PooledAllocator } from "iova";
 *
 * const crew = Crew.create({ threads: 8 });
 * const table = PooledAllocator.create({ entries: 1024, crew });
 *
 * const seat = crew.addThread();
 * // In the other thread, which gets `seat` and `table.handle` in a message:
 * const other = Crew.attach(seat);
 * const view = PooledAllocator.attach(table.handle, other);
 * view.allocate(100);
 * // In the first thread, when the other one has ended:
 * const { isFree } = crew.reclaim(seat.thread, "everything");
 * console.log(seat.thread, isFree, table.statistics().taken);
 * ```
 * ```text output
 * 1 true 0
 * ```
 */
export class Crew {
  /** Data that a thread attaches to, structured-cloneable: post it to another thread and call `Crew.attach` there. */
  readonly handle: CrewHandle;
  /** Number of this thread, 0 .. threads − 1. Ledgers and reports name it as the owner. */
  readonly thread: number;
  /** Threads that can be attached at a time. */
  readonly threads: number;
  readonly #words: SharedWords;
  /** The generation of this thread's claim of the number. */
  readonly #generation: number;
  readonly #attachments = new Set<Attachment>();
  #isClosing = false;
  #isClosed = false;

  private constructor(handle: CrewHandle, words: SharedWords, thread: number) {
    this.handle = { version: handle.version, state: handle.state };
    this.thread = thread;
    this.threads = peek(words, HEADER.threads);
    this.#words = words;
    this.#generation = load(words, slotAt(thread) + SLOT.generation);
  }

  /**
   * Makes a crew, with this thread as its thread 0.
   * @throws InvalidArgumentError for options out of range
   */
  static create(options: CrewOptions = {}): Crew {
    return Crew.attach(createCrewState(options));
  }

  /**
   * Attaches this thread: with the number of a seat (`addThread`), else with any free number.
   * @throws FormatError for a foreign handle; IovaError "no-thread-slot" when all numbers are taken, or the seat is
   */
  static attach(handle: CrewHandle | CrewSeat): Crew {
    const words = openCrewState(handle);
    const thread = "thread" in handle ? takeSeat(words, handle) : claimSlot(words, SLOT_LIVE);
    return new Crew(handle, words, thread);
  }

  /**
   * Claims a number for a thread that is about to start, and returns the seat to post to it. The number is known however early the thread dies,
   * so the thread can always be reclaimed.
   * @throws IovaError "no-thread-slot" when all numbers are taken; "view-closed" after `close`
   */
  addThread(): CrewSeat {
    this.checkOpen();
    const thread = claimSlot(this.#words, SLOT_OFFERED);
    return { ...this.handle, thread, generation: load(this.#words, slotAt(thread) + SLOT.generation) };
  }

  /** True if the seat's number still belongs to its thread, alive or dead. */
  holds({ thread, generation }: CrewSeat): boolean {
    const isOurs = load(this.#words, slotAt(thread) + SLOT.generation) === generation;
    return isOurs && slotState(this.#words, thread) !== SLOT_FREE;
  }

  /** Returns the numbers in use: of attached threads, of seats, and of dead threads whose ranges are still live. */
  threadsInUse(): number[] {
    return Array.from({ length: this.threads }, (_, thread) => thread).filter(
      (thread) => slotState(this.#words, thread) !== SLOT_FREE,
    );
  }

  /** True if the thread is attached to the crew, and the structure may hold something of it. */
  isIn(thread: number, structure: number): boolean {
    return slotState(this.#words, thread) === SLOT_LIVE && isAttached(this.#words, thread, structure);
  }

  /** True if the structure may hold something of the thread, alive or dead. The structure must exist. */
  mayHold(thread: number, structure: number): boolean {
    return isAttached(this.#words, thread, structure);
  }

  /** True if this thread was declared dead. Then its structures may hold nothing of it any more, and another thread may have its number. */
  get isDeclaredDead(): boolean {
    const at = slotAt(this.thread);
    const isOurs = load(this.#words, at + SLOT.generation) === this.#generation;
    return this.#isClosed || !isOurs || load(this.#words, at + SLOT.state) !== SLOT_LIVE;
  }

  /**
   * True if this is the crew of the handle.
   * @throws FormatError for a foreign handle
   */
  isOf(handle: CrewHandle): boolean {
    const words = openCrewState(handle);
    return [0, 1].every((i) => peek(words, HEADER.identity + i) === peek(this.#words, HEADER.identity + i));
  }

  /** Throws IovaError "view-closed" after `close`. */
  checkOpen(): void {
    if (this.#isClosing)
      throw new IovaError("view-closed", "this view of the crew is closed; attach a new one to its handle");
  }

  /**
   * Attaches this thread to a structure. `recover` recovers the structure from another thread that has died. Call it before the first access to
   * the structure in this thread's name. For authors of structures; tables and machines call it.
   * @throws IovaError "already-attached" when this thread has a view of the structure, or has left ranges there when it closed one;
   * "structure-gone" when the structure was removed; "view-closed" after `close`
   */
  enter(structure: number, stage: Stage, recover: Recover): Attachment {
    this.checkOpen();
    checkInteger("number of a structure", structure, 0, Number.MAX_SAFE_INTEGER);
    if (!tryBit(this.#words, slotAt(this.thread) + SLOT.structures, indexOf(structure))) {
      throw new IovaError(
        "already-attached",
        `thread ${this.thread} has a view of this already, or has left ranges there when it closed one; ` +
          "attach as another thread: with a Crew of its own",
      );
    }
    const attachment = new Attachment(structure);
    // Checked after the bit is set: `removeStructure` clears the bit before the number can go to another structure.
    if (!this.#isThere(attachment)) {
      clearBit(this.#words, slotAt(this.thread) + SLOT.structures, indexOf(structure));
      throw new IovaError("structure-gone", "what the handle leads to has been given back");
    }
    this.#attachments.add(attachment);
    attachment.onReclaim(stage, recover);
    return attachment;
  }

  /**
   * Ends an attachment. `isLeft`: the structure still holds something that only a recovery can return; the number stays taken until then. Does
   * nothing when this thread was declared dead, or the structure has been removed.
   */
  leave(attachment: Attachment, isLeft = false): void {
    this.#attachments.delete(attachment);
    if (!isLeft && !this.isDeclaredDead && this.#isThere(attachment)) {
      clearBit(this.#words, slotAt(this.thread) + SLOT.structures, indexOf(attachment.structure));
    }
    if (this.#isClosing) this.#endWhenLeft();
  }

  /**
   * Recovers a dead thread in every structure that this thread is attached to. Call it when the thread has certainly ended (Node: the `exit`
   * event of its worker); a paused thread is not dead. After "in-flight" the number stays taken while ranges of it are live; when these have
   * been freed, or should be, call it again with "everything". It can be repeated after an error.
   *
   * If a recovery fails, its error is thrown, and later stages have not begun.
   * @throws IovaError "no-such-thread" for a number that is free; "own-thread" for this thread's number; "not-attached" when the dead thread
   * was attached to a structure that this thread is not attached to (all others are recovered then); "view-closed" after `close`
   * @throws InvalidArgumentError for another scope
   */
  reclaim(thread: number, scope: ReclaimScope): Reclaimed {
    this.checkOpen();
    checkInteger("thread", thread, 0, this.threads - 1);
    if (scope !== "in-flight" && scope !== "everything") {
      throw new InvalidArgumentError("scope", scope, "in-flight or everything");
    }
    if (thread === this.thread)
      throw new IovaError("own-thread", `reclaim of thread ${thread}: that is the calling thread`);
    if (slotState(this.#words, thread) === SLOT_FREE)
      throw new IovaError("no-such-thread", `reclaim of thread ${thread}: no thread has that number`);
    const ranges = new Map<number, EntryRanges>();
    this.#lockRecovery(thread);
    // Gives the lock back when a recovery throws. When this thread is killed, the lock keeps its tag.
    let failure: IovaError | undefined;
    try {
      store(this.#words, slotAt(thread) + SLOT.state, SLOT_DYING);
      failure = this.#recoverDying(thread, scope, ranges);
    } finally {
      unlock(this.#words, HEADER.recoveryLock);
    }
    if (failure !== undefined) throw failure;
    this.#checkReached(thread);
    return { isFree: slotState(this.#words, thread) === SLOT_FREE, ranges };
  }

  /**
   * Adds a structure and returns its number, for `enter`.
   * @throws IovaError "no-structure" when there are 1024
   */
  addStructure(): number {
    return addStructure(this.#words);
  }

  /**
   * Removes the structure with its holdings of every thread; its index may go to another structure. Only one thread at a time may call this
   * for a structure. If the thread dies in it, another can repeat the call; without that, one of 1024 indices is lost.
   */
  removeStructure(structure: number): void {
    const words = this.#words;
    const index = indexOf(structure);
    const at = HEADER.generations + index;
    const generation = generationOf(structure);
    const found = compareExchange(words, at, generation, generation + 1);
    // One more than in the number: a thread died while it removed the structure. Any other value: removed already.
    if (found !== generation && found !== generation + 1) return;
    for (let thread = 0; thread < this.threads; thread++) clearBit(words, slotAt(thread) + SLOT.structures, index);
    store(words, at, generation + 2);
    clearBit(words, HEADER.structures, index);
  }

  /**
   * Ends this thread's membership: its number is free once its last view of a structure is closed. While a structure holds ranges of this
   * thread, the number stays taken; `reclaim` it from another thread. A second call does nothing.
   */
  close(): void {
    this.#isClosing = true;
    this.#endWhenLeft();
  }

  #endWhenLeft(): void {
    if (this.#isClosed || this.#attachments.size > 0) return;
    const { isDeclaredDead } = this;
    this.#isClosed = true;
    // Declared dead: the slot belongs to the reclaimer, or to another thread.
    if (isDeclaredDead) return;
    const at = slotAt(this.thread) + SLOT.state;
    compareExchange(this.#words, at, SLOT_LIVE, this.#structuresOf(this.thread).length > 0 ? SLOT_DEAD : SLOT_FREE);
  }

  /**
   * Recovers the thread that was asked for, and every other thread whose recovery was interrupted: stage by stage, all of them in each. What one
   * needs in a later stage, such as a lock, another may have died with.
   */
  #recoverDying(thread: number, scope: ReclaimScope, ranges: Map<number, EntryRanges>): IovaError | undefined {
    const recoveries: Recovery[] = [];
    for (let other = 0; other < this.threads; other++) {
      if (slotState(this.#words, other) !== SLOT_DYING) continue;
      const isAsked = other === thread;
      recoveries.push({
        thread: other,
        scope: isAsked ? scope : "in-flight",
        ranges: isAsked ? ranges : new Map(),
        attachments: [...this.#attachments].filter(
          (attachment) => this.#isThere(attachment) && isAttached(this.#words, other, attachment.structure),
        ),
        kept: new Set(),
        failure: undefined,
      });
    }
    for (let stage = 0; stage < STAGES.length; stage++) {
      for (const recovery of recoveries) if (recovery.failure === undefined) recoverStage(recovery, stage);
    }
    for (const recovery of recoveries) this.#endRecovery(recovery);
    return recoveries.find(({ failure }) => failure !== undefined)?.failure;
  }

  /** Clears the bits of recovered structures. Only after all stages have succeeded: a repetition runs all stages again. */
  #endRecovery({ thread, attachments, kept, failure }: Recovery): void {
    const at = slotAt(thread);
    if (failure === undefined) {
      for (const attachment of attachments) {
        if (!kept.has(attachment)) clearBit(this.#words, at + SLOT.structures, indexOf(attachment.structure));
      }
    }
    store(this.#words, at + SLOT.state, this.#structuresOf(thread).length > 0 ? SLOT_DEAD : SLOT_FREE);
  }

  #lockRecovery(dead: number): void {
    const tag = tagOf(this.thread);
    if (inherit(this.#words, HEADER.recoveryLock, tagOf(dead), tag)) return;
    const failure = lock(this.#words, HEADER.recoveryLock, tag);
    if (failure === 0) return;
    const holder = holderOf(this.#words, HEADER.recoveryLock) - 1;
    throw new IovaError(
      failureOf(failure),
      `reclaim of thread ${dead}: thread ${holder} is recovering (if it is dead, reclaim it first)`,
    );
  }

  /** Throws when structures hold something of the thread of which this thread has no view. */
  #checkReached(thread: number): void {
    const here = [...this.#attachments].filter((attachment) => this.#isThere(attachment));
    const reached = new Set(here.map(({ structure }) => indexOf(structure)));
    let missed = 0;
    for (const index of this.#structuresOf(thread)) if (!reached.has(index)) missed++;
    if (missed === 0) return;
    throw new IovaError(
      "not-attached",
      `reclaim of thread ${thread}: it was attached to ${missed === 1 ? "a structure" : `${missed} structures`} (machine, table, pages) ` +
        "that this thread has no view of; attach there, then reclaim it again",
    );
  }

  /** True if the attachment's structure exists: it was made, and not removed. */
  #isThere({ structure }: Attachment): boolean {
    const index = indexOf(structure);
    const isMade = (load(this.#words, HEADER.structures + (index >>> 5)) & (1 << (index & 31))) !== 0;
    return isMade && load(this.#words, HEADER.generations + index) === generationOf(structure);
  }

  /** Indices of the structures that may hold something of the thread. */
  #structuresOf(thread: number): number[] {
    const words = this.#words;
    const end = load(words, HEADER.structuresEnd);
    const found: number[] = [];
    for (let word = 0; word < Math.ceil(end / 32); word++) {
      for (let left = load(words, slotAt(thread) + SLOT.structures + word); left !== 0; left &= left - 1) {
        const index = word * 32 + 31 - Math.clz32(left & -left);
        const isBeingRemoved = (load(words, HEADER.generations + index) & 1) === 1;
        if (!isBeingRemoved) found.push(index);
      }
    }
    return found;
  }
}

/** The recovery of one dead thread. */
interface Recovery {
  readonly thread: number;
  readonly scope: ReclaimScope;
  readonly ranges: Map<number, EntryRanges>;
  /** Views of this thread, of structures that may hold something of the dead one. */
  readonly attachments: readonly Attachment[];
  /** Those whose structures still hold something of it. */
  readonly kept: Set<Attachment>;
  /** Later stages do not run. */
  failure: IovaError | undefined;
}

function recoverStage(recovery: Recovery, stage: number): void {
  for (const attachment of recovery.attachments) {
    for (const { recover } of attachment.recoveries.filter((one) => one.stage === stage)) {
      const recovered = recover(recovery.thread, recovery.scope);
      if (recovered === undefined) continue;
      recovery.ranges.set(attachment.structure, recovered.ranges);
      recovery.failure ??= recovered.failure;
      if (recovered.isLeft || recovered.failure !== undefined) recovery.kept.add(attachment);
    }
  }
}

/** Makes the shared state, with no thread attached. Throws InvalidArgumentError. */
export function createCrewState(options: CrewOptions = {}): CrewHandle {
  checkKeys("a crew", options, { threads: "any" });
  const { threads = DEFAULT_THREADS } = options;
  checkInteger("threads", threads, 1, MAX_THREADS);
  const state = createShared(4 * (HEADER.words + threads * SLOT.words));
  const words = wordsOf(state);
  poke(words, HEADER.magic, MAGIC);
  poke(words, HEADER.version, VERSION);
  poke(words, HEADER.threads, threads);
  for (const i of [0, 1]) poke(words, HEADER.identity + i, Math.floor(Math.random() * 2 ** 31));
  return { version: VERSION, state };
}

/**
 * How many threads a structure has room for: those of its crew, else `threads`, else 32. Throws InvalidArgumentError for a value that is
 * not a Crew, or when both are given and differ. `what`: "threads of the machine".
 */
export function threadsFor(what: string, crew: Crew | undefined, threads: number | undefined): number {
  if (crew === undefined) return threads ?? DEFAULT_THREADS;
  if (!(crew instanceof Crew)) throw new InvalidArgumentError("crew", crew, "a Crew");
  if (threads === undefined || threads === crew.threads) return crew.threads;
  throw new InvalidArgumentError(what, threads, `those of the crew, ${crew.threads}, or left out`);
}

/** Throws InvalidArgumentError unless `crew` is left out, or that of a structure with this crew. */
export function checkCrew(whose: string, crew: Crew | undefined, handle: CrewHandle): void {
  if (crew === undefined || (crew instanceof Crew && crew.isOf(handle))) return;
  throw new InvalidArgumentError("crew", crew, `that of ${whose}, or none`);
}

/** Opens a posted state. Throws FormatError, which says what was found and what is expected. */
export function openCrewState(handle: CrewHandle): SharedWords {
  if (handle?.version !== VERSION) {
    const found = `the crew's handle has version ${shown(handle?.version)}`;
    throw new FormatError(`${found}; this library reads version ${VERSION}${postHint(handle)}`);
  }
  if (!isShared(handle.state)) {
    throw new FormatError(
      "the crew's handle holds no shared memory (in a browser: is the page cross-origin isolated?)",
    );
  }
  const words = wordsOf(handle.state, 0, Math.floor(handle.state.byteLength / 4));
  const { byteLength } = handle.state;
  if (byteLength < 4 * HEADER.words || peek(words, HEADER.magic) !== MAGIC) {
    throw new FormatError("the value is not a crew's handle: its first word is not the mark of one");
  }
  const expected = 4 * (HEADER.words + peek(words, HEADER.threads) * SLOT.words);
  if (byteLength !== expected) {
    throw new FormatError(`the crew's buffer is ${byteLength} bytes long; its header says ${expected}`);
  }
  return words;
}

/** Adds a structure to a crew's state; returns its number. */
export function addStructure(words: SharedWords): number {
  for (let index = 0; index < MAX_STRUCTURES; index++) {
    if (!tryBit(words, HEADER.structures, index)) continue;
    raise(words, HEADER.structuresEnd, index + 1);
    return (load(words, HEADER.generations + index) / 2) * MAX_STRUCTURES + index;
  }
  throw new IovaError("no-structure", `the crew has ${MAX_STRUCTURES} machines, tables and pages; close some of them`);
}

/** The state of a thread's slot. */
export function slotState(words: SharedWords, thread: number): number {
  return load(words, slotAt(thread) + SLOT.state);
}

/** True if the structure may hold something of the thread. */
export function isAttached(words: SharedWords, thread: number, structure: number): boolean {
  const index = indexOf(structure);
  return (load(words, slotAt(thread) + SLOT.structures + (index >>> 5)) & (1 << (index & 31))) !== 0;
}

/** A structure's number combines its index and how often the index was given back before, so that an old number is recognised. */
function indexOf(structure: number): number {
  return structure % MAX_STRUCTURES;
}

function generationOf(structure: number): number {
  return 2 * Math.floor(structure / MAX_STRUCTURES);
}

function slotAt(thread: number): number {
  return HEADER.words + thread * SLOT.words;
}

function claimSlot(words: SharedWords, state: number): number {
  const threads = peek(words, HEADER.threads);
  for (let thread = 0; thread < threads; thread++) {
    const at = slotAt(thread);
    if (compareExchange(words, at + SLOT.state, SLOT_FREE, state) !== SLOT_FREE) continue;
    // Only this thread uses the slot until the number is returned.
    store(words, at + SLOT.generation, (load(words, at + SLOT.generation) + 1) | 0);
    return thread;
  }
  throw new IovaError(
    "no-thread-slot",
    `all ${threads} thread numbers are taken; create it with more \`threads\`, or close() or reclaim() ended threads`,
  );
}

function takeSeat(words: SharedWords, { thread, generation }: CrewSeat): number {
  checkInteger("thread of a seat", thread, 0, peek(words, HEADER.threads) - 1);
  const at = slotAt(thread);
  const isOurs = load(words, at + SLOT.generation) === generation;
  if (isOurs && compareExchange(words, at + SLOT.state, SLOT_OFFERED, SLOT_LIVE) === SLOT_OFFERED) return thread;
  throw new IovaError(
    "no-thread-slot",
    `the seat of thread ${thread} is taken already; addThread() makes one for each thread`,
  );
}

/** Sets the bit. False when it is set already. */
function tryBit(words: SharedWords, at: number, bit: number): boolean {
  const word = at + (bit >>> 5);
  const mask = 1 << (bit & 31);
  for (;;) {
    const bits = load(words, word);
    if ((bits & mask) !== 0) return false;
    if (compareExchange(words, word, bits, bits | mask) === bits) return true;
  }
}

function clearBit(words: SharedWords, at: number, bit: number): void {
  const word = at + (bit >>> 5);
  const mask = 1 << (bit & 31);
  for (;;) {
    const bits = load(words, word);
    if ((bits & mask) === 0 || compareExchange(words, word, bits, bits & ~mask) === bits) return;
  }
}

function raise(words: SharedWords, at: number, least: number): void {
  for (;;) {
    const value = load(words, at);
    if (value >= least || compareExchange(words, at, value, least) === value) return;
  }
}
