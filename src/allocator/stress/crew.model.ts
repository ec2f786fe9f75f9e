/**
 * Players on worker threads, as the main thread leads them: started, paused, stopped, killed by `terminate()`, replaced. A player
 * that fails by itself fails the whole crew.
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { unsoundness } from "../soundness.model.ts";
import type { OpenState } from "../state.ts";
import { AWAY, type Control, RUNNING } from "./control.model.ts";
import type { Random } from "./seed.model.ts";
import { LEADER } from "./shadow-map.model.ts";

/** Players come to a pause, start and stop within this time, or hang. */
const PATIENCE_MS = 30_000;

/** What of its message is a player's own. */
export interface OwnPart {
  /** Its place in the crew. */
  readonly place: number;
  /** Its number in the shadow map. */
  readonly holder: number;
  readonly seed: number;
}

export interface CrewOptions {
  /** What they play on. */
  readonly state: OpenState;
  readonly control: Control;
  readonly players: number;
  /** The module that they run. It plays for each message, and answers when it was stopped. */
  readonly worker: URL;
  /** What all are sent, beside what is their own. */
  readonly part: object;
  /** Workers that can be used again: `stop` puts them back there. */
  readonly idle?: Worker[];
}

interface Member<Played> {
  readonly worker: Worker;
  readonly holder: number;
  /** What it answered when it was stopped. */
  played: Played | undefined;
  killed: boolean;
}

/** `Played`: what a player answers. */
export class Crew<Played> {
  readonly #options: CrewOptions;
  readonly #control: Control;
  readonly #random: Random;
  readonly #members: Member<Played>[] = [];
  readonly #idle: Worker[];
  #failure: Error | undefined;
  #nextHolder: number = LEADER + 1;
  /** The place that was filled last. */
  youngest = 0;

  constructor(options: CrewOptions, random: Random) {
    this.#options = options;
    this.#control = options.control;
    this.#random = random;
    this.#idle = options.idle ?? [];
  }

  /** Numbers of the players that have not been killed, and the leader's. */
  get living(): Set<number> {
    const members = this.#members.filter(({ killed }) => !killed);
    return new Set([LEADER, ...members.map(({ holder }) => holder)]);
  }

  /** A new player for this place. */
  start(place: number): void {
    const worker = this.#idle.pop() ?? new Worker(this.#options.worker);
    const member: Member<Played> = { worker, holder: this.#nextHolder++, played: undefined, killed: false };
    worker.on("error", this.#onError);
    worker.once("message", (played: Played) => {
      member.played = played;
    });
    this.#control.reset(place);
    const own: OwnPart = { place, holder: member.holder, seed: this.#random(2 ** 31) };
    worker.postMessage({ ...this.#options.part, ...own });
    this.#members[place] = member;
    this.youngest = place;
  }

  /** Waits until the player at this place plays. */
  async untilPlaying(place: number): Promise<void> {
    await this.#until(() => this.#control.activityOf(place) !== AWAY, `the player at place ${place} does not begin`);
  }

  /** Ends the player at this place wherever it is. Returns its number as a holder once it is gone for certain. */
  async kill(place: number): Promise<number> {
    const member = this.#members[place] as Member<Played>;
    const gone = once(member.worker, "exit");
    void member.worker.terminate();
    await gone;
    this.#throwFailure();
    this.#control.away(place);
    member.killed = true;
    return member.holder;
  }

  /** All players stand between two operations, but for those that have not yet attached. */
  async pause(): Promise<void> {
    const control = this.#control;
    control.pause();
    for (let place = 0; place < this.#options.players; place++) {
      for (let looks = 0; looks < 5 && control.activityOf(place) === RUNNING; looks++) {
        control.awaitChange(place, RUNNING, 1);
      }
      await this.#until(() => control.activityOf(place) !== RUNNING, `the player at place ${place} does not pause`);
    }
  }

  resume(): void {
    this.#control.resume();
  }

  /** Has every player give back its ranges. Returns the players' answers. */
  async stop(): Promise<Played[]> {
    this.#control.stop = true;
    await this.#until(() => this.#members.every(({ played }) => played !== undefined), "players do not stop");
    const played = this.#members.map((member) => member.played as Played);
    for (const { worker } of this.#members.splice(0)) this.#idle.push(worker.off("error", this.#onError));
    return played;
  }

  /** Ends all workers wherever they are. */
  async end(): Promise<void> {
    const workers = [...this.#members.map(({ worker }) => worker), ...this.#idle];
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  async #until(isSo: () => boolean, complaint: string): Promise<void> {
    for (const began = performance.now(); !isSo(); await sleep(1)) {
      this.#throwFailure();
      if (performance.now() - began < PATIENCE_MS) continue;
      throw new Error(`${complaint}; the table: ${unsoundness(this.#options.state).join("; ")}`);
    }
  }

  readonly #onError = (error: Error): void => {
    this.#failure = error;
  };

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
