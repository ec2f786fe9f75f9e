/** Schedules of injected failures, for fault injection, tests and models of hypervisors. */
import { checkInteger, InvalidArgumentError } from "./errors.ts";

/** `{}`: every call fails. */
export interface FailureScheduleOptions {
  /** Calls that succeed first. Default 0. */
  readonly after?: number;
  /** Every n-th of the later calls is a candidate: 1 (default) is each, 3 is the third, the sixth … */
  readonly interval?: number;
  /** Share of the candidates that fail: 0 .. 1. Default 1. */
  readonly probability?: number;
  /** Stop after this many failures. Default: never. */
  readonly times?: number;
}

/** Counts calls. The failures depend only on the calls and the seed, so a run can be repeated. */
export class FailureSchedule {
  /** Calls that have failed so far. */
  failed = 0;
  readonly #after: number;
  readonly #interval: number;
  readonly #probability: number;
  readonly #times: number;
  #calls = 0;
  #random: number;

  /** `what`: the kind of call, for errors. `seed`: of the probability. Throws InvalidArgumentError for numbers out of range. */
  constructor(what: string, options: FailureScheduleOptions = {}, seed = 1) {
    const { after = 0, interval = 1, probability = 1, times = Number.POSITIVE_INFINITY } = options;
    checkInteger(`fault-free calls of ${what}`, after, 0, Number.MAX_SAFE_INTEGER);
    checkInteger(`fault interval of ${what}`, interval, 1, Number.MAX_SAFE_INTEGER);
    if (!(probability >= 0 && probability <= 1)) {
      throw new InvalidArgumentError(`fault probability of ${what}`, probability, "a number from 0 to 1");
    }
    if (!(times >= 0)) throw new InvalidArgumentError(`fault times of ${what}`, times, "0 or more");
    this.#after = after;
    this.#interval = interval;
    this.#probability = probability;
    this.#times = times;
    this.#random = seed;
  }

  /** Counts one call. True: it fails. */
  next(): boolean {
    const behind = ++this.#calls - this.#after;
    if (behind < 1 || behind % this.#interval !== 0 || this.failed >= this.#times) return false;
    if (this.#nextRandom() >= this.#probability) return false;
    this.failed++;
    return true;
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
