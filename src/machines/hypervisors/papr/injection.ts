/**
 * Answers on a schedule: hypercalls that fail or ask for patience when a test wants them to, as a hypervisor under load does. One
 * schedule a thread's view; it counts that view's calls alone, so a run can be repeated.
 */
import { checkInteger } from "../../../units/errors.ts";

/** What to answer instead of making a call. */
export interface InjectedAnswer {
  /** The call's number. Default: any. */
  readonly call?: number;
  /** Of H_RTAS: the service's token. Default: any. */
  readonly token?: number;
  /** The code; of H_RTAS, the service's status. */
  readonly answer: number;
  /** How many matching calls are let through first. Default 0. */
  readonly after?: number;
  /** Of those behind them, every n-th. Default 1: each. */
  readonly interval?: number;
  /** Stop after this many. Default: never. */
  readonly times?: number;
  /** Entries that the call writes all the same before it fails: it was cut off in the middle. Default 0. */
  readonly written?: number;
}

/** One view's schedule. */
export class Injector {
  readonly #answers: { readonly answer: InjectedAnswer; calls: number; given: number }[];

  /** Throws InvalidArgumentError for numbers out of range. */
  constructor(answers: readonly InjectedAnswer[]) {
    for (const { after = 0, interval = 1, times = 0, written = 0 } of answers) {
      checkInteger("injected answer's calls let through", after, 0, Number.MAX_SAFE_INTEGER);
      checkInteger("injected answer's interval", interval, 1, Number.MAX_SAFE_INTEGER);
      checkInteger("injected answer's times", times, 0, Number.MAX_SAFE_INTEGER);
      checkInteger("injected answer's written entries", written, 0, 512);
    }
    this.#answers = answers.map((answer) => ({ answer, calls: 0, given: 0 }));
  }

  /** Counts one call: what it is to be answered, or undefined. `token` is 0 for all but H_RTAS. */
  next(call: number, token: number): InjectedAnswer | undefined {
    for (const entry of this.#answers) {
      const { after = 0, interval = 1, times = Number.POSITIVE_INFINITY } = entry.answer;
      if ((entry.answer.call ?? call) !== call || (entry.answer.token ?? token) !== token) continue;
      const behind = ++entry.calls - after;
      if (behind < 1 || behind % interval !== 0 || entry.given >= times) continue;
      entry.given++;
      return entry.answer;
    }
    return undefined;
  }
}
