/**
 * Fault injection: a table whose allocations and entry writes fail on a schedule, so that a driver's error paths can be
 * tried out. It wraps the table of one device; a device without it calls its table directly and pays nothing.
 *
 * Only what may fail in a running system is made to fail: `allocate` finds no space, `set` is refused, `flush` can't hand over what
 * was gathered. Giving back never fails by injection. A schedule is a function of the calls alone, so a run can be repeated.
 */
import type { AreaConstraints } from "../allocator/constraints.ts";
import type { MappingTable } from "../table/contract.ts";
import { ForwardingTable } from "../table/forwarding-table.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import { type Failure, failureCode } from "../units/failure.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";
import type { EntryAccess } from "../units/numbers.ts";

/** Which calls fail. `{}` is: each of them. */
export interface FaultSchedule {
  /** Every n-th call is a candidate: 1 (default) is each, 3 is the third, the sixth … */
  readonly interval?: number;
  /** How many of the candidates fail: 0 .. 1. Default 1. */
  readonly probability?: number;
  /** Stop after this many failures. Default: never. */
  readonly times?: number;
  /** What the failing call answers. Default "table-full" for allocations, "platform-refused" for sets, "platform-busy" for flushes. */
  readonly failure?: Failure;
}

/** What to make fail; a kind of call that is left out never does. */
export interface FaultInjectionOptions {
  readonly allocate?: FaultSchedule;
  readonly set?: FaultSchedule;
  readonly flush?: FaultSchedule;
  /** Seed of the probabilities: 0 .. 2^32 − 1. Default 1. */
  readonly seed?: number;
}

/** A table that fails on schedule and otherwise hands everything on. */
export class FaultInjectingTable extends ForwardingTable {
  readonly #allocate: Schedule;
  readonly #set: Schedule;
  readonly #flush: Schedule;

  constructor(table: MappingTable, options: FaultInjectionOptions) {
    super(table);
    checkKeys("fault injection", options, { allocate: "object", set: "object", flush: "object", seed: "any" });
    const seed = options.seed ?? 1;
    checkInteger("fault injection seed", seed, 0, 2 ** 32 - 1);
    this.#allocate = new Schedule("allocate", options.allocate, "table-full", seed);
    // A seed of its own: whether a set fails doesn't depend on how many allocations there were.
    this.#set = new Schedule("set", options.set, "platform-refused", seed ^ 0x5bd1e995);
    this.#flush = new Schedule("flush", options.flush, "platform-busy", seed ^ 0x27d4eb2f);
  }

  /** How many calls have been made to fail so far. */
  get injected(): { readonly allocate: number; readonly set: number; readonly flush: number } {
    return { allocate: this.#allocate.injected, set: this.#set.injected, flush: this.#flush.injected };
  }

  override allocate(count: number, constraints: AreaConstraints, after: number): number {
    const failure = this.#allocate.next();
    return failure === undefined ? super.allocate(count, constraints, after) : failureCode(failure);
  }
  override set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#set.next() ?? super.set(first, count, page, access);
  }
  /** Counts as a set. */
  override setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#set.next() ?? super.setCoherent(first, count, page, access);
  }
  /** A flush that is made to fail hands nothing on: what was gathered stays so until the caller abandons it. */
  override flush(): Failure | undefined {
    return this.#flush.next() ?? super.flush();
  }
}

const SCHEDULE_TYPES: OptionTypes<FaultSchedule> = {
  interval: "any",
  probability: "any",
  times: "any",
  failure: "any",
};

/** The calls of one kind, counted. */
class Schedule {
  injected = 0;
  readonly #interval: number;
  readonly #probability: number;
  readonly #times: number;
  readonly #failure: Failure;
  #calls = 0;
  #random: number;

  constructor(what: string, schedule: FaultSchedule | undefined, failure: Failure, seed: number) {
    if (schedule !== undefined) checkKeys(`faults of ${what}`, schedule, SCHEDULE_TYPES);
    this.#interval = schedule?.interval ?? 1;
    this.#probability = schedule?.probability ?? 1;
    this.#times = schedule === undefined ? 0 : (schedule.times ?? Number.POSITIVE_INFINITY);
    this.#failure = schedule?.failure ?? failure;
    this.#random = seed;
    failureCode(this.#failure);
    checkInteger(`fault interval of ${what}`, this.#interval, 1, Number.MAX_SAFE_INTEGER);
    if (!(this.#probability >= 0 && this.#probability <= 1)) {
      throw new InvalidArgumentError(`fault probability of ${what}`, this.#probability, "a number from 0 to 1");
    }
    if (!(this.#times >= 0)) throw new InvalidArgumentError(`fault times of ${what}`, this.#times, "0 or more");
  }

  /** Counts one call: the failure it meets, or undefined. */
  next(): Failure | undefined {
    this.#calls++;
    if (this.#calls % this.#interval !== 0 || this.injected >= this.#times) return undefined;
    if (this.#nextRandom() >= this.#probability) return undefined;
    this.injected++;
    return this.#failure;
  }

  /** A number in [0, 1): a Weyl sequence through an integer hash (the "lowbias32" constants), exact on every machine. */
  #nextRandom(): number {
    this.#random = (this.#random + 0x9e3779b9) | 0;
    let hash = this.#random;
    hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
    hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
    return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
  }
}
