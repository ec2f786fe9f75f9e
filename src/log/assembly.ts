/**
 * Facts in the making: a message in several lines is one fact, and a message that is quoted again is the same fact. Memory is
 * bounded: a fact is handed on when no further line can belong to it.
 */
import type { Clock, Fact, LineRef } from "./facts.ts";
import type { Found, Sink } from "./shape.ts";

/** Lines that may stand between the parts of one message. */
const REACH_LINES = 40;
/** The same for a line that begins a report with a stack: registers and modules stand between. */
const NOTE_REACH_LINES = 150;
const REACH_SECONDS = 2;
/** Messages remembered, to know them again when they are quoted. */
const MOST_REMEMBERED = 8192;
/** Lines noted of one fact. */
const MOST_LINES = 64;

interface Open {
  readonly fact: Fact;
  /** Quote marks before its first line. */
  readonly depth: number;
  lastLine: number;
  lastTime: number | undefined;
  lastClock: Clock | undefined;
}

export class Assembly implements Sink {
  readonly #onFact: (fact: Fact) => void;
  readonly #open = new Map<string, Open>();
  readonly #notes = new Map<string, Found>();
  /** Signature of a message → quote depth where it was first seen. */
  readonly #seen = new Map<string, number>();
  #line = 0;
  #time: number | undefined;
  #clock: Clock | undefined;
  #depth = 0;

  constructor(onFact: (fact: Fact) => void) {
    this.#onFact = onFact;
  }

  /** Where the reader is: called before the shapes of a window are tried. */
  at(line: number, time: number | undefined, clock: Clock | undefined, depth: number): void {
    this.#line = line;
    this.#time = time;
    this.#clock = clock;
    this.#depth = depth;
    for (const [key, open] of this.#open) if (!this.#reaches(open)) this.#close(key, open);
  }

  add(fact: Fact, key?: string): void {
    if (key === undefined) {
      this.#hand(fact, this.#depth);
      return;
    }
    const before = this.#open.get(key);
    if (before !== undefined) this.#close(key, before);
    this.#open.set(key, {
      fact,
      depth: this.#depth,
      lastLine: lastOf(fact.lines),
      lastTime: fact.time,
      lastClock: fact.clock,
    });
  }

  open(key: string): Fact | undefined {
    const open = this.#open.get(key);
    return open !== undefined && this.#reaches(open) ? open.fact : undefined;
  }

  extend(fact: Fact, found: Found): void {
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
    this.#hand(open.fact, open.depth);
  }

  #hand(fact: Fact, depth: number): void {
    if (!this.#isRepeated(fact, depth)) this.#onFact(fact);
  }

  /** The same message at the same microsecond, or quoted at another depth, is there once. */
  #isRepeated(fact: Fact, depth: number): boolean {
    const signature = signatureOf(fact);
    const known = this.#seen.get(signature);
    if (known !== undefined) return fact.clock === "uptime" || known !== depth;
    if (this.#seen.size === MOST_REMEMBERED) this.#seen.delete(this.#seen.keys().next().value ?? "");
    this.#seen.set(signature, depth);
    return false;
  }
}

/** Equal for copies of one message, however each of them was wrapped. */
function signatureOf(fact: Fact): string {
  const time = fact.clock === "uptime" ? fact.time : "";
  if (fact.kind === "fault" && fact.iova !== undefined) {
    const { device, iommu, streamId, access, reason } = fact;
    return `${fact.shape} ${time} ${fact.iova} ${device} ${iommu} ${streamId} ${access} ${reason?.code}`;
  }
  const address = "iova" in fact ? fact.iova : "";
  return `${fact.kind} ${fact.shape} ${time} ${address} ${fact.text.replace(/\s+/g, "")}`;
}

function lastOf(lines: readonly LineRef[]): number {
  return lines.at(-1)?.line ?? 0;
}
