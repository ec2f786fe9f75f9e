/**
 * Answers on a schedule: hypercalls that fail or ask for patience when a test wants them to, as a hypervisor under load does. One
 * schedule a thread's view; it counts that view's calls alone, so a run can be repeated.
 */
import { checkInteger } from "../../../units/errors.ts";
import { FailureSchedule, type FailureScheduleOptions } from "../../../units/failure-schedule.ts";

/** What to answer instead of making a call, and to which of the calls that match. */
export interface InjectedAnswer extends FailureScheduleOptions {
  /** The call's number. Default: any. */
  readonly call?: number;
  /** Of H_RTAS: the service's token. Default: any. */
  readonly token?: number;
  /** The code; of H_RTAS, the service's status. */
  readonly answer: number;
  /** Entries that the call writes all the same before it fails: it was cut off in the middle. Default 0. */
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

  /** Counts one call: what it is to be answered, or undefined. `token` is 0 for all but H_RTAS. */
  next(call: number, token: number): InjectedAnswer | undefined {
    for (const { answer, schedule } of this.#answers) {
      if ((answer.call ?? call) !== call || (answer.token ?? token) !== token) continue;
      if (schedule.next()) return answer;
    }
    return undefined;
  }
}
