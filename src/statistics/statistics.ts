/**
 * Statistics of a recording, device by device: how much was mapped, for how long, how much at once, and how large the largest hole was. The lives
 * of mappings come from the trace's analysis; here they are gone through once, in the order of time.
 */
import { TraceAnalysis } from "../explain/trace/analysis.ts";
import { isFailedMap } from "../explain/trace/exhaustion.ts";
import { NO_ROW } from "../explain/trace/lives.ts";
import { type Trace, type TraceEvents, UNKNOWN_DEVICE, UNMAP } from "../trace/events.ts";
import { UNCLAIMED } from "../trace/join.ts";
import { Account, type Span } from "./account.ts";
import type { TraceStatistics } from "./contract.ts";
import { limitsOf } from "./limits.ts";

/** The device of what no line ties to a device. */
const UNKNOWN_NAME = "unknown";

/** Lives by the row at which they begin or end: a chain for each row. */
class LivesOfRows {
  readonly #head: Int32Array;
  readonly #next: Int32Array;

  constructor(rows: number, lives: number) {
    this.#head = new Int32Array(rows).fill(-1);
    this.#next = new Int32Array(lives).fill(-1);
  }

  add(row: number, life: number): void {
    this.#next[life] = this.#head[row] as number;
    this.#head[row] = life;
  }

  forEach(row: number, visit: (life: number) => void): void {
    for (let life = this.#head[row] as number; life >= 0; life = this.#next[life] as number) visit(life);
  }
}

class Reader {
  readonly #analysis: TraceAnalysis;
  readonly #events: TraceEvents;
  readonly #span: Span;
  readonly #accounts = new Map<string, Account>();
  readonly #accountOfOwner = new Map<number, Account>();
  readonly #begins: LivesOfRows;
  readonly #ends: LivesOfRows;
  /** Columns by the row of a request: ranges that are still to end, pages, and the row of its first `map` line once it has begun. */
  readonly #rangesLeft: Int32Array;
  readonly #pages: Float64Array;
  readonly #startRow: Int32Array;

  constructor(analysis: TraceAnalysis, hasUnit: boolean) {
    this.#analysis = analysis;
    this.#events = analysis.trace.events;
    const rows = this.#events.length;
    const { time } = this.#events;
    this.#span =
      rows === 0
        ? { first: 0, last: 0, hasUnit }
        : { first: time[0] as number, last: time[rows - 1] as number, hasUnit };
    this.#begins = new LivesOfRows(rows, analysis.lives.length);
    this.#ends = new LivesOfRows(rows, analysis.lives.length);
    this.#rangesLeft = new Int32Array(rows);
    this.#pages = new Float64Array(rows);
    this.#startRow = new Int32Array(rows).fill(NO_ROW);
  }

  read(): Account[] {
    for (let life = 0; life < this.#analysis.lives.length; life++) this.#prepare(life);
    this.#countUnmapsOfNothing();
    this.#countFailures();
    const accounts = [...this.#accounts.values()];
    for (const account of accounts) account.open();
    this.#beginOlder();
    for (let row = 0; row < this.#events.length; row++) {
      this.#begins.forEach(row, (life) => this.#begin(row, life));
      this.#ends.forEach(row, (life) => this.#end(row, life));
    }
    return accounts;
  }

  #prepare(life: number): void {
    const { lives } = this.#analysis;
    const [map, unmap] = [lives.mapRow[life] as number, lives.unmapRow[life] as number];
    const [first, end] = [lives.first[life] as number, lives.end[life] as number];
    const account = this.#accountOf(life);
    account.borders.add(first);
    account.borders.add(end);
    if (map === NO_ROW) {
      account.olderRanges++;
      account.olderPages += end - first;
    } else {
      this.#begins.add(map, life);
      const request = this.#requestOf(life);
      this.#rangesLeft[request] = (this.#rangesLeft[request] as number) + 1;
      this.#pages[request] = (this.#pages[request] as number) + end - first;
    }
    if (unmap !== NO_ROW) this.#ends.add(unmap, life);
  }

  /** An `unmap` line of 0 bytes ends nothing. */
  #countUnmapsOfNothing(): void {
    for (let row = 0; row < this.#events.length; row++) {
      if (this.#events.kind[row] !== UNMAP) continue;
      let account: Account | undefined;
      this.#ends.forEach(row, (life) => {
        account = this.#accountOf(life);
      });
      (account ?? this.#accountNamed(UNKNOWN_NAME)).unmapLines++;
    }
  }

  #countFailures(): void {
    for (let row = 0; row < this.#events.length; row++) {
      if (!isFailedMap(this.#events, row)) continue;
      const device = this.#events.device[row] as number;
      const name = device === UNKNOWN_DEVICE ? undefined : this.#analysis.trace.devices[device];
      this.#accountNamed(name ?? UNKNOWN_NAME).failures++;
    }
  }

  #beginOlder(): void {
    const { lives } = this.#analysis;
    for (let life = 0; life < lives.length; life++) {
      if (lives.mapRow[life] !== NO_ROW) continue;
      const account = this.#accountOf(life);
      account.addMapping();
      account.cover(lives.first[life] as number, lives.end[life] as number);
    }
  }

  #begin(row: number, life: number): void {
    const { lives } = this.#analysis;
    const account = this.#accountOf(life);
    const request = this.#requestOf(life);
    account.moveTo(this.#events.time[row] as number);
    if (this.#startRow[request] === NO_ROW) {
      this.#startRow[request] = row;
      account.begin(this.#pages[request] as number);
    }
    account.cover(lives.first[life] as number, lives.end[life] as number);
  }

  #end(row: number, life: number): void {
    const { lives } = this.#analysis;
    const account = this.#accountOf(life);
    account.moveTo(this.#events.time[row] as number);
    account.uncover(lives.first[life] as number, lives.end[life] as number);
    if (lives.mapRow[life] === NO_ROW) {
      account.removeMapping();
      return;
    }
    const request = this.#requestOf(life);
    const left = (this.#rangesLeft[request] as number) - 1;
    this.#rangesLeft[request] = left;
    if (left === 0) account.end(this.#events.time[this.#startRow[request] as number] as number);
  }

  /** The row of the dma event behind the life's `map` line, or of that line itself. */
  #requestOf(life: number): number {
    const map = this.#analysis.lives.mapRow[life] as number;
    const claim = this.#analysis.history.claim[map] as number;
    return claim === UNCLAIMED ? map : claim;
  }

  #accountOf(life: number): Account {
    const owner = this.#analysis.lives.owner[life] as number;
    let account = this.#accountOfOwner.get(owner);
    if (account === undefined) {
      account = this.#accountNamed(this.#analysis.history.owners.nameOf(owner) ?? UNKNOWN_NAME);
      this.#accountOfOwner.set(owner, account);
    }
    return account;
  }

  #accountNamed(name: string): Account {
    let account = this.#accounts.get(name);
    if (account === undefined) {
      account = new Account(name, this.#span);
      this.#accounts.set(name, account);
    }
    return account;
  }

  /** `map` lines of each device; a life that a partial unmap left behind is of the same line. */
  countMapLines(): void {
    const { lives } = this.#analysis;
    const seen = new Uint8Array(this.#events.length);
    for (let life = 0; life < lives.length; life++) {
      const map = lives.mapRow[life] as number;
      if (map === NO_ROW || seen[map] === 1) continue;
      seen[map] = 1;
      this.#accountOf(life).mapLines++;
    }
  }
}

/** Measures a trace. Memory: about 60 bytes an event, beside the trace itself and the lives of its mappings. */
export function statisticsOf(trace: Trace): TraceStatistics {
  const analysis = new TraceAnalysis("", trace);
  const reader = new Reader(analysis, !trace.clockCounts);
  reader.countMapLines();
  const devices = reader
    .read()
    .map((account) => account.close())
    .sort((a, b) => b.maps - a.maps || b.failures - a.failures || (a.device < b.device ? -1 : 1));
  const { first, last } = analysis.span;
  return {
    version: 1,
    seconds: trace.clockCounts ? null : last - first,
    devices,
    limits: limitsOf(analysis, devices),
  };
}
