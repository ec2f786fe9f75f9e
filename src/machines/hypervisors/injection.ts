/**
 * Fault injection for hypervisor models: partial completion and failed calls. A guest must handle both, and tests inject them at every call
 * in turn.
 *
 * The schedule lies in shared memory and covers the calls of all threads. Its words are independent and read once per call; a thread that
 * dies in a call leaves only its increment of the counter.
 */
import { add, load, type SharedWords, store } from "../../shared/memory.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import type { FailureScheduleOptions } from "../../units/failure-schedule.ts";

const WORD = { calls: 0, most: 1, random: 2, failFrom: 3, failEnd: 4, failStatus: 5 } as const;

/** Limit of the counts: more calls than any test makes, and sums of them fit 31 bits. */
const MOST_CALLS = 2 ** 29;

/** The injection for all calls from now on. */
export interface Injection {
  /** Most entries (for copies, bytes) that a call processes; 0: no limit. Default 0. */
  readonly most?: number;
  /** A call processes a random number, at least 1, up to what it would process otherwise. Default false. */
  readonly random?: boolean;
  /** Schedule of the failing calls, counted from now on. Default: no call fails. */
  readonly fail?: Pick<FailureScheduleOptions, "after" | "times">;
  /** Status of the failing calls: not 0. */
  readonly status?: number;
}

/** One thread's view. */
export class CallInjection {
  /** Number of its words. All words 0: nothing is injected. */
  static readonly words = 8;
  readonly #words: SharedWords;
  readonly #at: number;

  constructor(words: SharedWords, at: number) {
    this.#words = words;
    this.#at = at;
  }

  /** Replaces the injection. Called by one thread at a time. Throws InvalidArgumentError for numbers out of range. */
  set(injection: Injection): void {
    const { most = 0, random = false, fail, status = -1 } = injection;
    const { after = 0, times = MOST_CALLS } = fail ?? { times: 0 };
    checkInteger("what a call takes at most", most, 0, 2 ** 31 - 1);
    checkInteger("calls before those that fail", after, 0, MOST_CALLS);
    checkInteger("calls that fail", times, 0, MOST_CALLS);
    checkInteger("status of calls that fail", status, -(2 ** 31), 2 ** 31 - 1);
    if (status === 0) throw new InvalidArgumentError("status of calls that fail", status, "not 0: that is success");
    this.#store(WORD.most, most);
    this.#store(WORD.random, random ? 1 : 0);
    this.#store(WORD.failStatus, status);
    const from = times === 0 ? 0 : load(this.#words, this.#at + WORD.calls) + after + 1;
    this.#store(WORD.failFrom, 0);
    this.#store(WORD.failEnd, from === 0 ? 0 : from + times);
    this.#store(WORD.failFrom, from);
  }

  /** Number of calls so far. */
  get calls(): number {
    return load(this.#words, this.#at + WORD.calls) >>> 0;
  }

  /** Counts a call. Returns its injected status, or 0. */
  begin(): number {
    const call = add(this.#words, this.#at + WORD.calls, 1) + 1;
    const from = load(this.#words, this.#at + WORD.failFrom);
    const fails = from !== 0 && call >= from && call < load(this.#words, this.#at + WORD.failEnd);
    return fails ? load(this.#words, this.#at + WORD.failStatus) : 0;
  }

  /** Number of entries or bytes that a call processes of `asked`: at least 1. */
  take(asked: number): number {
    const most = load(this.#words, this.#at + WORD.most);
    const taken = most === 0 ? asked : Math.min(asked, most);
    if (load(this.#words, this.#at + WORD.random) === 0) return taken;
    // A hash of the call's number, so that the result depends only on the call.
    const call = Math.imul(load(this.#words, this.#at + WORD.calls), 0x9e3779b1);
    return 1 + ((Math.imul(call ^ (call >>> 15), 0x85ebca6b) >>> 0) % taken);
  }

  #store(word: number, value: number): void {
    store(this.#words, this.#at + word, value);
  }
}
