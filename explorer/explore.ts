/**
 * Explores the schedules of a few threads over real code: all of them, those with few preemptions, or random ones; each also with
 * a thread that dies at any of its accesses, and a reclaimer that then runs beside the others. The report has the trace of the
 * first bad schedule, and `replay` prints any schedule again.
 *
 * The code must be loaded by `loadExplored` (load.ts), so that its accesses of shared memory come here.
 */
import { Execution, type ExecutionFailure, type FailureKind, type Subject, type SwitchAt } from "./execution.ts";
import type { ThreadOutcome } from "./logical-thread.ts";
import { EverySchedule, GivenSchedule, RandomSchedule } from "./schedulers.ts";
import { orderBy, startStorage } from "./session.ts";
import type { Storage } from "./storage.ts";
import { formatTrace, type NameOf, placeName } from "./trace.ts";
import { Visited } from "./visited.ts";

export type { FailureKind, SwitchAt, ThreadOutcome };

/** Second argument of `check`: how the schedule ended. */
export interface ScheduleEnd {
  /** One for each thread, then one for each reclaimer that ran. */
  readonly threads: readonly ThreadOutcome[];
  /** Numbers of the threads that died, oldest first. */
  readonly dead: readonly number[];
  /** Sleeps that ended by their time-out. */
  readonly timeOuts: number;
}

/** The program to explore, and the bounds of the exploration. */
export interface Exploration<State> {
  /** Runs once. Makes all shared memory and all views; every schedule starts from the bytes that it leaves. */
  readonly setup: () => State;
  /**
   * The threads' functions; at most 8 with the reclaimers. Each runs many times. A run may depend only on values that it reads from
   * shared memory, and must not change an object of the state.
   */
  readonly threads: readonly ((state: State) => unknown)[];
  /** Runs as a further thread after each death. `dead`: the numbers of the dead, oldest first; `self`: its own. */
  readonly reclaim?: (state: State, dead: readonly number[], self: number) => unknown;
  /**
   * Throws if the state after a schedule is bad. May change shared memory: the changes are undone. Schedules that were executed
   * before all meeting places were known are checked more than once.
   */
  readonly check?: (state: State, end: ScheduleEnd) => void;
  /** Most preemptions (switches away from a thread that could go on) in one schedule. Default: no bound. */
  readonly preemptions?: number;
  /** Most deaths in one schedule: 1, of a victim; 2, then of the reclaimer, which another one follows. Default 0. */
  readonly kills?: 0 | 1 | 2;
  /** Numbers of the threads that may die first. Default: all. */
  readonly victims?: readonly number[];
  /**
   * Where a victim may die. "changes" (the default): before its first access, and after each that changed something; dying
   * after one that did not is the same. "all": before every access.
   */
  readonly killAt?: "changes" | "all";
  /**
   * Where threads are switched: before "all" accesses; before all but plain ones ("synchronising"); or ("meetings", the default)
   * before those of places that several threads access in the schedules explored, one writing, not all by plain accesses.
   * Elsewhere the order makes no difference: plain accesses have one, or are found to race. Places are found on the way;
   * the exploration starts again with each, until it has been everywhere without meeting a new one.
   */
  readonly switchAt?: SwitchAt;
  /** Accesses of these bytes count as plain, whatever their kind: nothing is switched there, and meeting there is a race. */
  readonly isPrivate?: (byteOffset: number, buffer: number) => boolean;
  /** True if a sleep may end by its time-out while others could run. Each such end counts as a preemption. Default: false. */
  readonly earlyTimeOuts?: boolean;
  /** True: a glance returns any value that the memory model allows. Default: the newest. */
  readonly staleGlances?: boolean;
  /** True if a sleep on this word may end by its time-out without a death. Default: never, a time-out is a lost wake-up. */
  readonly expectsTimeOut?: (byteOffset: number, buffer: number) => boolean;
  /** True if a thread may throw this error. Default: never. */
  readonly mayThrow?: (error: unknown) => boolean;
  /** True: a schedule ends in a state that was reached before. The counts are then not those of all schedules. */
  readonly skipSeen?: boolean;
  /** Random schedules instead of all of them. */
  readonly random?: { readonly seed: number; readonly schedules: number };
  /** Stop after this number of schedules. */
  readonly maximumSchedules?: number;
  /** Stop at the first bad schedule. */
  readonly stopAtFailure?: boolean;
  /** A schedule with more accesses than this is a failure: it may never end. Default 20,000. */
  readonly maximumSteps?: number;
  /** Names places in traces. */
  readonly nameOf?: NameOf;
}

/** Everything that determines one execution. It can be kept as JSON and replayed. */
export interface Schedule {
  /** The option chosen at each decision. */
  readonly choices: readonly number[];
  /** The units at which threads were known to meet: decisions are made there. */
  readonly meetings: readonly number[];
}

/** A bad schedule. */
export interface ScheduleFailure {
  readonly kind: FailureKind;
  readonly message: string;
  /** For `replay`. */
  readonly schedule: Schedule;
  /** Every access up to the failure, a line each. */
  readonly trace: string;
}

/** Counts of an exploration, and its first bad schedule. */
export interface Report {
  /** Schedules executed to their end or to a failure. */
  readonly schedules: number;
  /** Schedules left early, in a state that was seen before. */
  readonly pruned: number;
  /** True if every schedule within the bounds was executed or left in a state seen before. */
  readonly complete: boolean;
  /** Accesses made. */
  readonly steps: number;
  /** Accesses of the longest schedule. */
  readonly longest: number;
  /** Schedules in which a thread died. */
  readonly kills: number;
  /** Sleeps that ended by their time-out. */
  readonly timeOuts: number;
  /** Bad schedules, by kind. */
  readonly failures: Readonly<Record<FailureKind, number>>;
  /** The first bad schedule. */
  readonly first: ScheduleFailure | undefined;
  readonly milliseconds: number;
}

type MutableReport = { -readonly [Key in keyof Report]: Report[Key] } & { failures: Record<FailureKind, number> };

/** Explores. Failures of the code are in the report. Throws ExplorationError if the code breaks a rule of the explorer. */
export function explore<State>(exploration: Exploration<State>): Report {
  const prepared = prepare(exploration);
  const began = performance.now();
  const report = exploration.random === undefined ? every(prepared, exploration) : some(prepared, exploration.random);
  report.milliseconds = performance.now() - began;
  return report;
}

type Limits = Pick<Exploration<unknown>, "skipSeen" | "maximumSchedules" | "stopAtFailure">;

/** All schedules, from the start again whenever a new place is found where threads meet. */
function every(prepared: Prepared, limits: Limits): MutableReport {
  const most = limits.maximumSchedules ?? Number.POSITIVE_INFINITY;
  for (;;) {
    const schedules = new EverySchedule();
    const execution = new Execution(prepared.subject, schedules, limits.skipSeen === true ? new Visited() : undefined);
    const report = emptyReport();
    for (let more = true; more && !execution.learnMeetings(); ) {
      schedules.restart();
      const failure = runSchedule(prepared, execution);
      tally(report, prepared, execution, failure);
      report.complete = !schedules.advance();
      const isEnough = report.schedules >= most || (failure !== undefined && limits.stopAtFailure === true);
      if (isEnough) return report;
      more = !report.complete;
    }
    if (report.complete && !execution.learnMeetings()) return report;
  }
}

/** Random schedules. Meeting places are learnt on the way. */
function some(prepared: Prepared, random: { readonly seed: number; readonly schedules: number }): MutableReport {
  const schedules = new RandomSchedule(random.seed);
  const execution = new Execution(prepared.subject, schedules, undefined);
  const report = emptyReport();
  while (report.schedules < random.schedules) {
    schedules.restart();
    const failure = runSchedule(prepared, execution);
    tally(report, prepared, execution, failure);
    execution.learnMeetings();
  }
  report.complete = true;
  return report;
}

/** The trace of one schedule of this exploration, a line for each access, and how it ended. */
export function replay<State>(exploration: Exploration<State>, schedule: Schedule): string {
  const prepared = prepare(exploration);
  for (const unit of schedule.meetings) prepared.subject.meetings[unit] = 1;
  const execution = new Execution(prepared.subject, new GivenSchedule(schedule.choices), undefined);
  execution.trace = [];
  const failure = runSchedule(prepared, execution);
  const { threads, storage } = prepared.subject;
  const end = failure === undefined ? "no failure" : `${failure.kind}: ${failure.message}`;
  return `${formatTrace(execution.trace, threads.length, storage, exploration.nameOf)}\n${end}`;
}

/** A report as one line, for test output. */
export function formatReport(name: string, report: Report): string {
  const bad = Object.entries(report.failures).filter(([, count]) => count > 0);
  const failures = bad.length === 0 ? "no failures" : bad.map(([kind, count]) => `${count} ${kind}`).join(", ");
  const speed = report.steps / report.milliseconds / 1000;
  return (
    `${name}: ${report.schedules} schedules${report.complete ? "" : " (not all)"}, ${report.pruned} left as seen before, ` +
    `${report.kills} with a death, ${report.timeOuts} time-outs, ${report.steps} steps (longest ${report.longest}), ` +
    `${failures}; ${(report.milliseconds / 1000).toFixed(1)} s, ${speed.toFixed(1)} M steps/s`
  );
}

interface Prepared {
  readonly subject: Subject;
  readonly check: (end: ScheduleEnd) => void;
  readonly nameOf: NameOf | undefined;
}

function prepare<State>(exploration: Exploration<State>): Prepared {
  const { threads, reclaim, check, kills = 0, preemptions = Number.POSITIVE_INFINITY } = exploration;
  if (threads.length === 0 || threads.length + kills > 8) {
    throw new RangeError(`${threads.length} threads and ${kills} reclaimers; expected 1 to 8 in all`);
  }
  if (
    exploration.earlyTimeOuts === true &&
    preemptions === Number.POSITIVE_INFINITY &&
    exploration.random === undefined
  ) {
    throw new RangeError("early time-outs without a bound of preemptions: the schedules would never end");
  }
  const storage = startStorage();
  const state = exploration.setup();
  const place = <Answer>(unit: number, ask: (byteOffset: number, buffer: number) => Answer): Answer => {
    const { buffer, byteOffset } = storage.placeOf(unit);
    return ask(byteOffset, buffer);
  };
  const { expectsTimeOut } = exploration;
  const subject: Subject = {
    storage,
    threads: threads.map((body) => () => body(state)),
    reclaim: reclaim === undefined ? undefined : (dead, self) => reclaim(state, dead, self),
    kills,
    victims: exploration.victims ?? threads.map((_, number) => number),
    killAtEvery: exploration.killAt === "all",
    preemptions,
    switchAt: exploration.switchAt ?? "meetings",
    meetings: new Uint8Array(storage.units),
    earlyTimeOuts: exploration.earlyTimeOuts === true,
    staleGlances: exploration.staleGlances === true,
    privateUnits: privateUnits(storage, exploration.isPrivate),
    expectsTimeOut: (unit) => expectsTimeOut !== undefined && place(unit, expectsTimeOut),
    mayThrow: exploration.mayThrow ?? (() => false),
    maximumSteps: exploration.maximumSteps ?? 20_000,
  };
  return { subject, check: (end) => check?.(state, end), nameOf: exploration.nameOf };
}

function privateUnits(storage: Storage, isPrivate: Exploration<unknown>["isPrivate"]): Uint8Array {
  const units = new Uint8Array(storage.units);
  if (isPrivate === undefined) return units;
  for (let unit = 0; unit < units.length; unit++) {
    const { buffer, byteOffset } = storage.placeOf(unit);
    if (isPrivate(byteOffset, buffer)) units[unit] = 1;
  }
  return units;
}

/** Runs and checks one schedule, then undoes its writes. */
function runSchedule(prepared: Prepared, execution: Execution): ExecutionFailure | undefined {
  const { storage } = prepared.subject;
  storage.recording = true;
  orderBy(execution);
  try {
    execution.run();
    orderBy(undefined);
    if (execution.failure !== undefined || execution.pruned) return execution.failure;
    return checked(prepared, execution);
  } finally {
    orderBy(undefined);
    storage.undo();
    storage.recording = false;
  }
}

function checked(prepared: Prepared, execution: Execution): ExecutionFailure | undefined {
  const { dead, timeOuts } = execution;
  try {
    prepared.check({ threads: execution.outcomes(), dead, timeOuts });
    return undefined;
  } catch (error) {
    return { kind: "check", message: error instanceof Error ? error.message : String(error), unit: -1 };
  }
}

/** Executes a bad schedule again, with a trace. */
function show(prepared: Prepared, choices: readonly number[], failure: ExecutionFailure): ScheduleFailure {
  const meetings = [...prepared.subject.meetings.keys()].filter((unit) => prepared.subject.meetings[unit] === 1);
  const { subject, nameOf } = prepared;
  const execution = new Execution(subject, new GivenSchedule(choices), undefined);
  execution.trace = [];
  runSchedule(prepared, execution);
  const where = failure.unit < 0 ? "" : ` (${placeName(failure.unit, subject.storage, nameOf)})`;
  const trace = formatTrace(execution.trace, subject.threads.length, subject.storage, nameOf);
  return { kind: failure.kind, message: failure.message + where, schedule: { choices, meetings }, trace };
}

function emptyReport(): MutableReport {
  return {
    schedules: 0,
    pruned: 0,
    complete: false,
    steps: 0,
    longest: 0,
    kills: 0,
    timeOuts: 0,
    failures: { race: 0, deadlock: 0, "lost-wake-up": 0, endless: 0, thrown: 0, check: 0 },
    first: undefined,
    milliseconds: 0,
  };
}

function tally(
  report: MutableReport,
  prepared: Prepared,
  execution: Execution,
  failure: ExecutionFailure | undefined,
): void {
  report.steps += execution.steps;
  if (execution.pruned) {
    report.pruned++;
    return;
  }
  report.schedules++;
  report.timeOuts += execution.timeOuts;
  if (execution.steps > report.longest) report.longest = execution.steps;
  if (execution.dead.length > 0) report.kills++;
  if (failure === undefined) return;
  report.failures[failure.kind]++;
  report.first ??= show(prepared, execution.choices, failure);
}
