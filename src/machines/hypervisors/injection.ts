/**
 * What a model of a hypervisor does against its guests on purpose: it takes a part of what a call asks for, or fails a call. A
 * guest has to cope with both, and tests make them happen at every call in turn.
 *
 * In shared memory, so that it is one schedule for the calls of all threads. Every word stands for itself and is read once per
 * call; a thread that dies in a call leaves nothing behind but its count.
 */
import { add, load, type SharedWords, store } from "../../shared/memory.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import type { FailureScheduleOptions } from "../../units/failure-schedule.ts";

const WORD = { calls: 0, most: 1, random: 2, failFrom: 3, failEnd: 4, failStatus: 5 } as const;

/** More than are made, and no count of them leaves 31 bits. */
const MOST_CALLS = 2 ** 29;

/** What to do from now on. */
export interface Injection {
  /** A call takes at most so many entries (or bytes, where it is bytes that it takes); 0: all. Default 0. */
  readonly most?: number;
  /** A call takes a random number, at least one, up to what it would take otherwise. Default false. */
  readonly random?: boolean;
  /** Which calls from now on fail, as every schedule of failures says it. Default: none. */
  readonly fail?: Pick<FailureScheduleOptions, "after" | "times">;
  /** The status with which they fail: not 0. */
  readonly status?: number;
}

/** One thread's view. */
export class CallInjection {
  /** How many words it needs, zeros at first: nothing is injected. */
  static readonly words = 8;
  readonly #words: SharedWords;
  readonly #at: number;

  constructor(words: SharedWords, at: number) {
    this.#words = words;
    this.#at = at;
  }

  /** In place of what was set before. One thread at a time. Throws InvalidArgumentError for numbers out of range. */
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

  /** Calls so far. */
  get calls(): number {
    return load(this.#words, this.#at + WORD.calls) >>> 0;
  }

  /** Counts a call. The status with which it is to fail, or 0. */
  begin(): number {
    const call = add(this.#words, this.#at + WORD.calls, 1) + 1;
    const from = load(this.#words, this.#at + WORD.failFrom);
    const fails = from !== 0 && call >= from && call < load(this.#words, this.#at + WORD.failEnd);
    return fails ? load(this.#words, this.#at + WORD.failStatus) : 0;
  }

  /** How much a call takes of what it is asked for: at least 1. */
  take(asked: number): number {
    const most = load(this.#words, this.#at + WORD.most);
    const taken = most === 0 ? asked : Math.min(asked, most);
    if (load(this.#words, this.#at + WORD.random) === 0) return taken;
    // The call's number, mixed: what a call takes depends on which it is.
    const call = Math.imul(load(this.#words, this.#at + WORD.calls), 0x9e3779b1);
    return 1 + ((Math.imul(call ^ (call >>> 15), 0x85ebca6b) >>> 0) % taken);
  }

  #store(word: number, value: number): void {
    store(this.#words, this.#at + word, value);
  }
}
