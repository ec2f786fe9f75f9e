/**
 * One schedule, executed: logical threads that run the real code, one at a time, inside one real thread.
 *
 * A thread's function can't be left in the middle and entered again. So a thread that is to stop is cut off by a thrown token
 * when it reaches its next access, and when it is to go on, its function is run **again from the start**: its first accesses
 * get their logged results, without any effect, and with the first one that is not in the log the thread is where it was. That
 * needs code whose every mutable state is in shared memory, that takes clocks from memory.ts, and that catches nothing.
 * While a thread is not switched away from it runs on, so a schedule costs its accesses, plus one replay for each switch.
 *
 * Waiting is that of a futex: a waiter sleeps until it is notified, whatever happens to the word. Its time-out fires only
 * when nothing else can run. In a schedule without a death that is a lost wake-up, and a failure.
 *
 * A death is offered before every access of a victim, once: dying later, after others have run, leaves the same memory as
 * dying at once and the reclaimer being slow. For the same reason it need not be offered again after accesses that changed
 * nothing; it is, on request.
 */
import * as kinds from "./accesses.ts";
import { HappensBefore, ORDERED } from "./happens-before.ts";
import { History } from "./history.ts";
import {
  KILLED,
  LogicalThread,
  READY,
  RETURNED,
  SLEEPING,
  THREW,
  type ThreadOutcome,
  UNBORN,
} from "./logical-thread.ts";
import { NOT_STORED, perform } from "./perform.ts";
import type { Scheduler } from "./schedulers.ts";
import { mixed, StateHash } from "./state-hash.ts";
import type { ByteView, Storage, View } from "./storage.ts";
import type { Visited } from "./visited.ts";

/** Why a schedule is bad. */
export type FailureKind = "race" | "deadlock" | "lost-wake-up" | "endless" | "thrown" | "check";

/** Before which accesses threads are switched: all, all but plain ones, or those of places where threads meet. */
export type SwitchAt = "all" | "synchronising" | "meetings";

/** How a schedule went wrong. */
export interface ExecutionFailure {
  readonly kind: FailureKind;
  readonly message: string;
  /** The place that it is about; −1: none. */
  readonly unit: number;
}

/** The code breaks a rule of the explorer (state outside of shared memory, a catch): the exploration ends. */
export class ExplorationError extends Error {
  override readonly name = "ExplorationError";
}

/** The program under exploration; the same for all schedules. */
export interface Subject {
  readonly storage: Storage;
  readonly threads: readonly (() => unknown)[];
  /** Runs as a thread of its own after each death. `dead`: the numbers of the dead, oldest first; `self`: its own. */
  readonly reclaim: ((dead: readonly number[], self: number) => unknown) | undefined;
  /** Most deaths in one schedule: the first is that of a victim, each further one that of the reclaimer. */
  readonly kills: number;
  readonly victims: readonly number[];
  /** True: a death is also tried after accesses that changed nothing. */
  readonly killAtEvery: boolean;
  readonly preemptions: number;
  readonly switchAt: SwitchAt;
  /** By unit: 1 where threads are known to meet. Grows while schedules are executed. */
  readonly meetings: Uint8Array;
  /** True if a sleep may end by its time-out while others could run. Each such end counts as a preemption. */
  readonly earlyTimeOuts: boolean;
  /** True: a relaxed read returns any value that the memory model allows. False: the newest. */
  readonly staleGlances: boolean;
  /** By unit: 1 where every access counts as plain. */
  readonly privateUnits: Uint8Array;
  readonly expectsTimeOut: (unit: number) => boolean;
  readonly mayThrow: (error: unknown) => boolean;
  readonly maximumSteps: number;
}

/** One line of a trace. */
export interface TraceEntry {
  readonly thread: number;
  readonly kind: number;
  /** −1: no place. */
  readonly unit: number;
  /** The value of the place before and after. */
  readonly before: number;
  readonly after: number;
  /** Further events: "sleeps", "dies". */
  readonly note: string;
}

/** Thrown through the explored code to cut it off. Made once: a stack trace for each would cost more than the rest. */
const CUT: object = { cutOff: true };

const STORES_VALUE: readonly boolean[] = kinds.ACCESS_NAMES.map(
  (_, kind) => kind === kinds.STORE || kind === kinds.POKE || kind === kinds.POKE_HALF || kind === kinds.HINT,
);
/** Numbers of events other than accesses, for the state hash. */
const DEATH_UNIT = -1;
const CLOCK_UNIT = -2;

/** Made once for an exploration, run once for every schedule. */
export class Execution {
  readonly #subject: Subject;
  readonly #scheduler: Scheduler;
  readonly #visited: Visited | undefined;
  readonly #order: HappensBefore;
  readonly #hash: StateHash = new StateHash();
  /** Undefined: relaxed reads see the newest value. */
  readonly #history: History | undefined;
  readonly #threads: LogicalThread[] = [];
  readonly #dead: number[] = [];
  /** Sleeping threads, first come first. */
  #sleepers: LogicalThread[] = [];
  #current: LogicalThread;
  /** Accesses of this run of the current thread's function, made or fed from the log. */
  #cursor = 0;
  /** The current thread has just been chosen: it makes one access before it can be switched away from. */
  #granted = false;
  #unwinding = false;
  /** The thread that was chosen to run next. */
  #next: LogicalThread | undefined;
  #preemptions = 0;
  #clock = 0;
  #over = false;

  /** Decisions of this schedule so far. */
  choices: number[] = [];
  /** Collects the trace; undefined: no trace is taken. */
  trace: TraceEntry[] | undefined;
  failure: ExecutionFailure | undefined;
  /** The schedule was left because its state has been explored. */
  pruned = false;
  steps = 0;
  timeOuts = 0;

  constructor(subject: Subject, scheduler: Scheduler, visited: Visited | undefined) {
    this.#subject = subject;
    this.#scheduler = scheduler;
    this.#visited = visited;
    for (const [number, body] of subject.threads.entries()) this.#threads.push(new LogicalThread(number, body));
    for (let death = 0; death < subject.kills; death++) {
      const self = this.#threads.length;
      this.#threads.push(new LogicalThread(self, () => subject.reclaim?.([...this.#dead], self)));
    }
    this.#current = this.#threads[0] as LogicalThread;
    this.#order = new HappensBefore(subject.storage.units, this.#threads.length);
    this.#history = subject.staleGlances ? new History(this.#order) : undefined;
  }

  /** Numbers of the threads that died in this schedule, oldest first. */
  get dead(): readonly number[] {
    return this.#dead;
  }

  /** Outcomes of the threads, then of the reclaimers that ran. */
  outcomes(): ThreadOutcome[] {
    return this.#threads.filter((thread) => thread.state !== UNBORN).map((thread) => thread.outcome());
  }

  /** Adds the meetings of the last schedule to those of the subject. True: some were new. */
  learnMeetings(): boolean {
    const { meetings } = this.#subject;
    let isNews = false;
    for (const unit of this.#order.meetings) {
      if (meetings[unit] === 1) continue;
      meetings[unit] = 1;
      isNews = true;
    }
    return isNews;
  }

  /** Executes one schedule. */
  run(): void {
    this.#restart();
    while (!this.#over) {
      const thread = this.#next ?? this.#pick();
      this.#next = undefined;
      if (thread === undefined) return;
      this.#resume(thread);
    }
  }

  // Called by the running code, through memory.ts.

  /** An access of a word or halfword. `first` and `second` are the function's further arguments. */
  access(kind: number, view: View, at: number, first: number, second: number): number {
    const thread = this.#current;
    const position = this.#cursor;
    const unit = view.firstUnit + (at << view.unitShift);
    if (position < thread.length) {
      const logged = thread.values[position] as number;
      if (thread.signatures[position] !== ((unit << 5) | kind) || (STORES_VALUE[kind] && logged !== first)) {
        this.#changed(thread, position, unit, kind);
      }
      this.#cursor = position + 1;
      return logged;
    }
    const before = view.array[at];
    if (before === undefined)
      throw new RangeError(`${kinds.ACCESS_NAMES[kind]} at index ${at} of ${view.array.length}`);
    if (view.storage !== this.#subject.storage)
      throw new ExplorationError("explored code uses memory that the set-up has not made");
    this.#arrive(this.#isSwitchPoint(kind, unit, unit + (1 << view.unitShift)));
    let order = kinds.ORDER_OF[kind] as number;
    const value = perform(kind, view, at, before, first, second);
    if (order === kinds.ATOMIC_UPDATE && value === NOT_STORED) {
      // In halfwords it may meet plain stores, and says no more than "not this value": see memory.ts.
      order = kind === kinds.COMPARE_EXCHANGE_HALF ? kinds.RELAXED_READ : kinds.ATOMIC_READ;
    }
    this.#meet(kind, unit, 1 << view.unitShift, order);
    const after = view.array[at] as number;
    if (after !== before || this.#subject.killAtEvery) thread.changedSince = true;
    let answer = value === NOT_STORED ? before : value;
    if (this.#history !== undefined) {
      if (kinds.writes(order)) this.#history.add(unit, thread.number, before, after);
      else if (order === kinds.RELAXED_READ && kind !== kinds.NOTIFY && kind !== kinds.COMPARE_EXCHANGE_HALF)
        answer = this.#glimpse(this.#history, unit, before);
    }
    if (this.trace !== undefined)
      this.#note(kind, unit, before, after, order === kinds.RELAXED_READ && answer !== before ? `sees ${answer}` : "");
    if (kind === kinds.WAIT && before === (first | 0)) this.#sleep(unit, second);
    this.#cursor = position + 1;
    thread.log((unit << 5) | kind, answer);
    if (kind === kinds.NOTIFY) this.#wake(unit, first);
    return answer;
  }

  /** A bulk access of `length` bytes. It counts as one access, in which no thread dies: the engine's copies are not interrupted. */
  bulk(kind: number, view: ByteView, at: number, length: number, bytes: Uint8Array | undefined): void {
    const thread = this.#current;
    const position = this.#cursor++;
    const firstByte = view.firstByte + at;
    if (position < thread.length) {
      if (thread.signatures[position] !== (((firstByte >> 1) << 5) | kind)) {
        this.#changed(thread, position, firstByte >> 1, kind);
      }
      if (kind === kinds.COPY_OUT) bytes?.set(thread.copies.get(position) as Uint8Array);
      return;
    }
    if (!(at >= 0 && at + length <= view.array.length)) {
      throw new RangeError(`${kinds.ACCESS_NAMES[kind]} of bytes [${at}, ${at + length}) of ${view.array.length}`);
    }
    this.#arrive(this.#isSwitchPoint(kind, firstByte >> 1, (firstByte + length + 1) >> 1));
    if (kind === kinds.COPY_OUT) {
      const copy = view.array.slice(at, at + length);
      bytes?.set(copy);
      thread.copies.set(position, copy);
    } else {
      view.storage.writeBytes(view.array, at, length, bytes);
      thread.changedSince = true;
    }
    if (this.trace !== undefined) this.#note(kind, firstByte >> 1, 0, length, "bytes");
    for (let byte = firstByte; byte < firstByte + length; ) {
      const width = this.#subject.storage.split[byte >> 2] === 1 ? 1 : 2;
      const unit = width === 1 ? byte >> 1 : (byte >> 2) << 1;
      this.#meet(kind, unit, width, kinds.ORDER_OF[kind] as number);
      byte = (unit + width) << 1;
    }
    thread.log(((firstByte >> 1) << 5) | kind, 0);
  }

  /** The clock, in milliseconds. Only time-outs advance it, to the end of the sleep. */
  now(): number {
    const thread = this.#current;
    const position = this.#cursor;
    if (position < thread.length) {
      if (thread.signatures[position] !== kinds.CLOCK) this.#changed(thread, position, 0, kinds.CLOCK);
      this.#cursor = position + 1;
      return thread.values[position] as number;
    }
    if (this.#unwinding) throw CUT;
    if (this.#visited !== undefined) this.#hash.add(thread.number, position, CLOCK_UNIT, this.timeOuts);
    this.#cursor = position + 1;
    thread.log(kinds.CLOCK, this.#clock);
    return this.#clock;
  }

  // One schedule.

  #restart(): void {
    const { threads } = this.#subject;
    for (const thread of this.#threads) thread.restart(thread.number < threads.length ? READY : UNBORN);
    this.#order.restart();
    this.#hash.restart();
    this.#history?.restart();
    this.#dead.length = 0;
    this.#sleepers = [];
    this.#next = undefined;
    this.#preemptions = 0;
    this.#clock = 0;
    this.#over = false;
    this.choices = [];
    this.failure = undefined;
    this.pruned = false;
    this.steps = 0;
    this.timeOuts = 0;
  }

  /** Runs a thread until it is cut off or ends. */
  #resume(thread: LogicalThread): void {
    this.#current = thread;
    this.#cursor = 0;
    this.#granted = true;
    this.#unwinding = false;
    try {
      thread.value = thread.body();
    } catch (error) {
      if (error !== CUT) this.#threw(thread, error);
      return;
    }
    if (this.#unwinding)
      throw new ExplorationError("explored code went on after it was cut off: it catches the explorer's token");
    if (this.#cursor < thread.length) this.#changed(thread, this.#cursor, 0, kinds.CLOCK);
    // A thread may also die after its work, before other threads see that.
    if (thread.changedSince && this.#mayDie(thread)) {
      const choice = this.#seen(thread.number) ? 0 : this.#chosen(this.#scheduler.arrive(0, true));
      if (this.#over) return;
      if (choice === 1) {
        this.#kill(thread);
        return;
      }
    }
    thread.state = RETURNED;
  }

  #threw(thread: LogicalThread, error: unknown): void {
    if (this.#unwinding || error instanceof ExplorationError) throw error;
    thread.state = THREW;
    thread.error = error;
    if (!this.#subject.mayThrow(error)) this.#fail("thrown", `thread ${thread.number} threw ${String(error)}`);
  }

  /** Chooses the thread that runs when the last one can't. Undefined: no thread is left, or none can run. */
  #pick(): LogicalThread | undefined {
    let ready = 0;
    for (const thread of this.#threads) if (thread.state === READY) ready++;
    if (ready === 0) return this.#timeOut();
    const early = this.#canPreempt() ? this.#impatient() : 0;
    if (ready + early === 1) return this.#threads.find((thread) => thread.state === READY);
    if (this.#seen(-1)) return undefined;
    const choice = this.#chosen(this.#scheduler.pick(ready + early));
    if (choice < ready) return this.#threads.filter((thread) => thread.state === READY)[choice];
    return this.#wakeEarly(choice - ready);
  }

  /** True if threads are switched before an access of this kind to the units [unit, end). */
  #isSwitchPoint(kind: number, unit: number, end: number): boolean {
    const { switchAt, meetings, privateUnits } = this.#subject;
    if (switchAt === "all") return true;
    if (switchAt === "synchronising") return kinds.synchronises(kind) && privateUnits[unit] === 0;
    for (let part = unit; part < end; part++) if (meetings[part] === 1) return true;
    return false;
  }

  /** Called before each access that is not in the log: may cut the thread off. */
  #arrive(isSwitchPoint: boolean): void {
    if (this.#unwinding) throw CUT;
    const thread = this.#current;
    if (this.steps++ >= this.#subject.maximumSteps) {
      this.#fail("endless", `more than ${this.#subject.maximumSteps} accesses in one schedule`);
      this.#cutOff();
    }
    const canSwitch = !this.#granted && isSwitchPoint && this.#canPreempt();
    this.#granted = false;
    const ready = canSwitch ? this.#othersReady() : 0;
    const switches = canSwitch ? ready + this.#impatient() : 0;
    const kill = thread.changedSince && this.#mayDie(thread);
    if (switches === 0 && !kill) return;
    thread.changedSince = false;
    if (this.#seen(thread.number + (switches > 0 ? 32 : 0) + (kill ? 128 : 0))) this.#cutOff();
    const choice = this.#chosen(this.#scheduler.arrive(switches, kill));
    if (choice === 0) return;
    if (choice > switches) this.#kill(thread);
    else if (choice > ready) this.#next = this.#wakeEarly(choice - 1 - ready);
    else {
      this.#preemptions++;
      this.#next = this.#threads.filter((other) => other.state === READY && other !== thread)[choice - 1];
    }
    this.steps--; // the access has not been made
    this.#cutOff();
  }

  /** Records meetings and races of an access of `width` units. */
  #meet(kind: number, unit: number, width: number, order: number): void {
    const { privateUnits, storage } = this.#subject;
    const thread = this.#current.number;
    const position = this.#current.length;
    const counted = privateUnits[unit] === 0 ? order : kinds.writes(order) ? kinds.PLAIN_WRITE : kinds.PLAIN_READ;
    const end = storage.split[unit >> 1] === 1 ? unit + width : unit + 1;
    for (let part = unit; part < end; part++) {
      let other = ORDERED;
      if (kind === kinds.NOTIFY) this.#order.accessQueue(part, thread);
      else other = this.#order.access(part, thread, counted, width);
      if (this.#visited !== undefined) this.#hash.add(thread, position, part, this.#order.versionBefore);
      if (other !== ORDERED) {
        this.#note(kind, unit, 0, 0, "races");
        this.#fail(
          "race",
          `${kinds.ACCESS_NAMES[kind]} by thread ${thread} is not ordered after an access by thread ${other}`,
          unit,
        );
        this.#cutOff();
      }
    }
    if (counted === kinds.ATOMIC_WRITE || counted === kinds.ATOMIC_UPDATE) this.#order.tick(thread);
  }

  /** A relaxed read: any value that may still be seen. */
  #glimpse(history: History, unit: number, now: number): number {
    const { number, length } = this.#current;
    const values = history.visible(unit, number, now);
    if (values.length === 1) return now;
    if (this.#seen(number + 64)) this.#cutOff();
    const choice = this.#chosen(this.#scheduler.pick(values.length));
    this.#hash.add(number, length, unit, -1 - choice);
    return values[choice] as number;
  }

  // Sleep and death.

  #sleep(unit: number, milliseconds: number): void {
    const thread = this.#current;
    thread.state = SLEEPING;
    thread.sleepsOn = unit;
    thread.deadline = this.#clock + milliseconds;
    this.#sleepers.push(thread);
    this.#order.accessQueue(unit, thread.number);
    this.#hash.add(thread.number, thread.length, CLOCK_UNIT, -1 - this.timeOuts); // its deadline
    this.#note(kinds.WAIT, unit, 0, 0, "sleeps");
    this.#cutOff();
  }

  #wake(unit: number, count: number): void {
    let left = count;
    for (const thread of [...this.#sleepers]) {
      if (thread.sleepsOn !== unit || left-- <= 0) continue;
      this.#current.changedSince = true;
      this.#rouse(thread, "is woken");
    }
  }

  #rouse(thread: LogicalThread, how: string): void {
    this.#sleepers = this.#sleepers.filter((other) => other !== thread);
    thread.state = READY;
    thread.log((thread.sleepsOn << 5) | kinds.WAIT, 0);
    this.trace?.push({
      thread: thread.number,
      kind: kinds.WAIT,
      unit: thread.sleepsOn,
      before: 0,
      after: 0,
      note: how,
    });
  }

  /** Nothing can run: the sleep that ends first does. */
  #timeOut(): LogicalThread | undefined {
    let first: LogicalThread | undefined;
    for (const thread of this.#sleepers) if (first === undefined || thread.deadline < first.deadline) first = thread;
    if (first === undefined) return undefined;
    if (first.deadline === Number.POSITIVE_INFINITY) {
      this.#fail("deadlock", `thread ${first.number} waits for ever, and no thread can run`, first.sleepsOn);
      return undefined;
    }
    if (this.#dead.length === 0 && !this.#subject.expectsTimeOut(first.sleepsOn)) {
      this.#fail("lost-wake-up", `thread ${first.number} sleeps, and no thread is left to wake it`, first.sleepsOn);
      return undefined;
    }
    this.#expire(first);
    return first;
  }

  #expire(thread: LogicalThread): void {
    this.timeOuts++;
    this.#clock = Math.max(this.#clock, thread.deadline);
    this.#hash.add(thread.number, thread.length, CLOCK_UNIT, this.timeOuts);
    this.#rouse(thread, "times out");
  }

  #wakeEarly(choice: number): LogicalThread | undefined {
    this.#preemptions++;
    const thread = this.#sleepers.filter((sleeper) => sleeper.deadline !== Number.POSITIVE_INFINITY)[choice];
    if (thread !== undefined) this.#expire(thread);
    return thread;
  }

  #mayDie(thread: LogicalThread): boolean {
    const { kills, threads, victims } = this.#subject;
    const deaths = this.#dead.length;
    if (deaths >= kills) return false;
    return deaths === 0 ? victims.includes(thread.number) : thread.number === threads.length + deaths - 1;
  }

  #kill(thread: LogicalThread): void {
    thread.state = KILLED;
    this.#note(kinds.CLOCK, -1, 0, 0, "dies");
    this.#hash.add(thread.number, thread.length, DEATH_UNIT, this.#dead.length);
    this.#dead.push(thread.number);
    if (this.#subject.reclaim === undefined) return;
    const reclaimer = this.#threads[this.#subject.threads.length + this.#dead.length - 1] as LogicalThread;
    reclaimer.state = READY;
    for (const dead of this.#dead) this.#order.join(reclaimer.number, dead);
  }

  // Helpers.

  #canPreempt(): boolean {
    return this.#preemptions < this.#subject.preemptions;
  }

  #othersReady(): number {
    let ready = 0;
    for (const thread of this.#threads) if (thread.state === READY && thread !== this.#current) ready++;
    return ready;
  }

  /** Sleepers that may time out early. */
  #impatient(): number {
    if (!this.#subject.earlyTimeOuts) return 0;
    let impatient = 0;
    for (const thread of this.#sleepers) if (thread.deadline !== Number.POSITIVE_INFINITY) impatient++;
    return impatient;
  }

  #chosen(choice: number): number {
    this.choices.push(choice);
    return choice;
  }

  /** True if this state has been explored; the schedule then ends. `point`: the kind of the next decision. */
  #seen(point: number): boolean {
    if (this.#visited === undefined || this.#scheduler.repeats()) return false;
    const { low, high } = this.#hash;
    const preemptions = Math.min(this.#preemptions, 254);
    if (!this.#visited.before((low + mixed(point + 3)) | 0, high ^ mixed(point + 77), preemptions)) return false;
    this.pruned = true;
    this.#over = true;
    return true;
  }

  #fail(kind: FailureKind, message: string, unit = -1): void {
    this.failure = { kind, message, unit };
    this.#over = true;
  }

  #cutOff(): never {
    this.#unwinding = true;
    throw CUT;
  }

  #note(kind: number, unit: number, before: number, after: number, note: string): void {
    this.trace?.push({ thread: this.#current.number, kind, unit, before, after, note });
  }

  #changed(thread: LogicalThread, position: number, unit: number, kind: number): never {
    const logged = thread.signatures[position] as number;
    throw new ExplorationError(
      `thread ${thread.number}, access ${position}: ${kinds.ACCESS_NAMES[logged & 31]} of unit ${logged >>> 5} at first, ` +
        `${kinds.ACCESS_NAMES[kind]} of unit ${unit} when run again: it keeps state outside of shared memory`,
    );
  }
}
