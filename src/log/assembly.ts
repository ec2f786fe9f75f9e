/**
 * Facts in the making: a message in several lines is one fact, and a message that is quoted again is the same fact. Memory is
 * bounded: a fact is handed on when no further line can belong to it.
 */
import { Copies, type Origin } from "./copies.ts";
import type { Clock, Fact, LineRef } from "./facts.ts";
import type { Found, Sink } from "./shape.ts";

/** Lines that may stand between the parts of one message. */
const REACH_LINES = 40;
/** The same for a line that begins a report with a stack: registers and modules stand between. */
const NOTE_REACH_LINES = 150;
const REACH_SECONDS = 2;
/** Processors print at once, so that a line may have an earlier time than the one before it. */
const OUT_OF_ORDER_SECONDS = 1;
/** Lines noted of one fact. */
const MOST_LINES = 64;

interface Open {
  readonly fact: Fact;
  readonly origin: Origin;
  lastLine: number;
  lastTime: number | undefined;
  lastClock: Clock | undefined;
}

export class Assembly implements Sink {
  readonly #onFact: (fact: Fact) => void;
  readonly #open = new Map<string, Open>();
  readonly #notes = new Map<string, Found>();
  readonly #copies = new Copies();
  /** First line of the window. */
  #line = 0;
  /** The line after the latest message, or after the window as long as no message of it is read. */
  #nextLine = 0;
  #time: number | undefined;
  #clock: Clock | undefined;
  #origin: Origin = { depth: 0, run: 0, pass: 0 };
  #wallTime = Number.NEGATIVE_INFINITY;

  constructor(onFact: (fact: Fact) => void) {
    this.#onFact = onFact;
  }

  /** Where the reader is: called before the shapes of a window are tried. */
  at(lines: readonly LineRef[], time: number | undefined, clock: Clock | undefined, depth: number): void {
    const line = lines[0]?.line ?? this.#line;
    const { run, pass } = this.#origin;
    const goesOn =
      line <= this.#nextLine && time === this.#time && clock === this.#clock && depth === this.#origin.depth;
    const isBack = clock === "wall" && time !== undefined && time < this.#wallTime - OUT_OF_ORDER_SECONDS;
    if (!goesOn || isBack) this.#origin = { depth, run: run + 1, pass: isBack ? pass + 1 : pass };
    if (clock === "wall" && time !== undefined) this.#wallTime = time;
    this.#line = line;
    this.#nextLine = lastOf(lines) + 1;
    this.#time = time;
    this.#clock = clock;
    if (this.#open.size > 0) this.#closeUnreached();
  }

  #closeUnreached(): void {
    for (const [key, open] of this.#open) if (!this.#reaches(open)) this.#close(key, open);
  }

  add(fact: Fact, key?: string): void {
    this.#nextLine = lastOf(fact.lines) + 1;
    if (key === undefined) {
      this.#hand(fact, this.#origin);
      return;
    }
    const before = this.#open.get(key);
    if (before !== undefined) this.#hand(before.fact, before.origin);
    this.#open.set(key, {
      fact,
      origin: this.#origin,
      lastLine: lastOf(fact.lines),
      lastTime: fact.time,
      lastClock: fact.clock,
    });
  }

  open(key: string): Fact | undefined {
    const open = this.#open.get(key);
    // A copy that is quoted deeper does not go on with the first.
    const isQuote = open !== undefined && open.origin.depth < this.#origin.depth;
    return open !== undefined && !isQuote && this.#reaches(open) ? open.fact : undefined;
  }

  extend(fact: Fact, found: Found): void {
    this.#nextLine = lastOf(found.base.lines) + 1;
    for (const line of found.base.lines) {
      if (fact.lines.length < MOST_LINES && !fact.lines.some((known) => known.line === line.line))
        fact.lines.push(line);
    }
    for (const open of this.#open.values()) {
      if (open.fact !== fact) continue;
      open.lastLine = lastOf(found.base.lines);
      if (found.base.time === undefined) continue;
      open.lastTime = found.base.time;
      open.lastClock = found.base.clock;
    }
  }

  note(key: string, found: Found): void {
    this.#notes.set(key, found);
  }

  noted(key: string): Found | undefined {
    const note = this.#notes.get(key);
    if (note === undefined || this.#line - lastOf(note.base.lines) > NOTE_REACH_LINES) return undefined;
    return this.#isNear(note.base.time, note.base.clock) ? note : undefined;
  }

  /** Hands on what is still open. */
  finish(): void {
    for (const [key, open] of this.#open) this.#close(key, open);
  }

  #reaches(open: Open): boolean {
    if (this.#line - open.lastLine > REACH_LINES) return false;
    return this.#isNear(open.lastTime, open.lastClock);
  }

  /** Times of different clocks say nothing about each other. */
  #isNear(time: number | undefined, clock: Clock | undefined): boolean {
    if (this.#time === undefined || time === undefined || clock !== this.#clock) return true;
    return Math.abs(this.#time - time) <= REACH_SECONDS;
  }

  #close(key: string, open: Open): void {
    this.#open.delete(key);
    this.#hand(open.fact, open.origin);
  }

  #hand(fact: Fact, origin: Origin): void {
    if (!this.#copies.isCopy(fact, origin)) this.#onFact(fact);
  }
}

function lastOf(lines: readonly LineRef[]): number {
  return lines.at(-1)?.line ?? 0;
}
