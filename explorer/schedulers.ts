/**
 * Schedulers make the decisions of an execution: all of them in turn (`EverySchedule`), at random from a seed
 * (`RandomSchedule`), or from a list (`GivenSchedule`). A schedule is the list of these decisions:
 * everything between them is determined.
 */

export interface Scheduler {
  /** A free choice among `count` (at least 2) threads: 0 .. count − 1. */
  pick(count: number): number;
  /**
   * A thread is about to make an access: 0: it goes on; 1 .. switches: another thread is preferred; switches + 1 (if
   * `kill`): it dies here.
   */
  arrive(switches: number, kill: boolean): number;
  /** True if this decision was made in an earlier schedule with the same prefix. Called before each decision. */
  repeats(): boolean;
}

/** Depth-first: the first schedule takes option 0 everywhere; `advance` changes the last decision that has options left. */
export class EverySchedule implements Scheduler {
  #choices = new Int32Array(1024);
  #options = new Int32Array(1024);
  #length = 0;
  #depth = 0;

  restart(): void {
    this.#depth = 0;
  }

  repeats(): boolean {
    return this.#depth < this.#length;
  }

  pick(count: number): number {
    return this.#choose(count);
  }

  arrive(switches: number, kill: boolean): number {
    return this.#choose(1 + switches + (kill ? 1 : 0));
  }

  /** Prepares the next schedule. False: that was the last one. */
  advance(): boolean {
    // Decisions beyond this depth belong to an earlier, longer schedule.
    this.#length = this.#depth;
    while (this.#length > 0) {
      const last = this.#length - 1;
      const next = (this.#choices[last] as number) + 1;
      if (next < (this.#options[last] as number)) {
        this.#choices[last] = next;
        return true;
      }
      this.#length = last;
    }
    return false;
  }

  #choose(options: number): number {
    const depth = this.#depth++;
    if (depth < this.#length) {
      if (this.#options[depth] !== options) {
        throw new Error(
          `decision ${depth} had ${this.#options[depth]} options before and has ${options} now: the explored code keeps state outside of shared memory`,
        );
      }
      return this.#choices[depth] as number;
    }
    if (depth === this.#choices.length) this.#grow();
    this.#choices[depth] = 0;
    this.#options[depth] = options;
    this.#length = depth + 1;
    return 0;
  }

  #grow(): void {
    const choices = new Int32Array(this.#choices.length * 2);
    const options = new Int32Array(this.#choices.length * 2);
    choices.set(this.#choices);
    options.set(this.#options);
    this.#choices = choices;
    this.#options = options;
  }
}

/** Probabilities of a switch before an access; each random schedule uses one of them. Rare switches let threads run further. */
const SWITCH_PROBABILITIES = [0.5, 0.2, 0.05, 0.01];

/** The same seed gives the same schedules. A victim is killed at an arrival that is chosen beforehand. */
export class RandomSchedule implements Scheduler {
  #state: number;
  #switches = 0.5;
  #arrivals = 0;
  #mostArrivals = 1;
  #killAt = 0;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  restart(): void {
    this.#mostArrivals = Math.max(this.#mostArrivals, this.#arrivals);
    this.#arrivals = 0;
    this.#switches = SWITCH_PROBABILITIES[this.#below(SWITCH_PROBABILITIES.length)] as number;
    this.#killAt = this.#below(this.#mostArrivals);
  }

  repeats(): boolean {
    return true; // states are not remembered: schedules are independent samples
  }

  pick(count: number): number {
    return this.#below(count);
  }

  arrive(switches: number, kill: boolean): number {
    const arrival = this.#arrivals++;
    if (kill && arrival >= this.#killAt) {
      this.#killAt = arrival + 1 + this.#below(this.#mostArrivals);
      return switches + 1;
    }
    return switches > 0 && this.#fraction() < this.#switches ? 1 + this.#below(switches) : 0;
  }

  #below(count: number): number {
    return Math.floor(this.#fraction() * count);
  }

  /** Mulberry32: 32 bits of state, good enough to spread schedules. */
  #fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

/** Repeats the decisions of a schedule; after the last one, threads run on without preemptions. */
export class GivenSchedule implements Scheduler {
  readonly #choices: readonly number[];
  #depth = 0;

  constructor(choices: readonly number[]) {
    this.#choices = choices;
  }

  repeats(): boolean {
    return true;
  }

  pick(count: number): number {
    return this.#next(count);
  }

  arrive(switches: number, kill: boolean): number {
    return this.#next(1 + switches + (kill ? 1 : 0));
  }

  #next(options: number): number {
    const choice = this.#choices[this.#depth++] ?? 0;
    if (choice >= options) {
      throw new RangeError(
        `decision ${this.#depth - 1} of the schedule is ${choice}; expected 0 to ${options - 1}: it belongs to another exploration`,
      );
    }
    return choice;
  }
}
