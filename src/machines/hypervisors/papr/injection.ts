/**
 * Injected answers: hypercalls that fail, or answer busy, on a test's schedule. Each thread's view has its own schedule, which counts only
 * that view's calls, so a run can be repeated.
 */
import { checkInteger } from "../../../units/errors.ts";
import { FailureSchedule, type FailureScheduleOptions } from "../../../units/failure-schedule.ts";

/** An answer that replaces hypercalls, and the schedule of the replaced calls. */
export interface InjectedAnswer extends FailureScheduleOptions {
  /** Number of the hypercall. Default: any. */
  readonly call?: number;
  /** Token of the service, for H_RTAS. Default: any. */
  readonly token?: number;
  /** Code that the call returns; for H_RTAS, the status of the service. */
  readonly answer: number;
  /** Entries that the call writes before it fails: 0 .. 512. Default 0. */
  readonly written?: number;
}

/** One view's schedule. */
export class Injector {
  readonly #answers: { readonly answer: InjectedAnswer; readonly schedule: FailureSchedule }[];

  /** Throws InvalidArgumentError for numbers out of range. */
  constructor(answers: readonly InjectedAnswer[]) {
    for (const { written = 0 } of answers) checkInteger("injected answer's written entries", written, 0, 512);
    this.#answers = answers.map((answer) => ({ answer, schedule: new FailureSchedule("an injected answer", answer) }));
  }

  /** Counts one call. Returns its injected answer, or undefined. `token` is 0 except for H_RTAS. */
  next(call: number, token: number): InjectedAnswer | undefined {
    for (const { answer, schedule } of this.#answers) {
      if ((answer.call ?? call) !== call || (answer.token ?? token) !== token) continue;
      if (schedule.next()) return answer;
    }
    return undefined;
  }
}
