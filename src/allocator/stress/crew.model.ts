/**
 * Players on worker threads, as the main thread leads them: started, paused, stopped, killed by `terminate()`, replaced. A player
 * that fails by itself fails the whole crew.
 */
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { unsoundness } from "../soundness.model.ts";
import { AWAY, RUNNING } from "./control.model.ts";
import type { Part, Played } from "./player.test.worker.ts";
import { LEADER, type Scene } from "./scene.model.ts";
import type { Random } from "./seed.model.ts";

/** Players come to a pause, start and stop within this time, or hang. */
const PATIENCE_MS = 30_000;

interface Member {
  readonly worker: Worker;
  readonly holder: number;
  /** What it answered when it was stopped. */
  played: Played | undefined;
}

export class Crew {
  readonly #scene: Scene;
  readonly #random: Random;
  readonly #members: Member[] = [];
  readonly #idle: Worker[];
  #failure: Error | undefined;
  #nextHolder: number = LEADER + 1;
  /** The place that was filled last. */
  youngest = 0;

  /** `idle`: workers that can be used again; `stop` puts them back there. */
  constructor(scene: Scene, random: Random, idle: Worker[] = []) {
    this.#scene = scene;
    this.#random = random;
    this.#idle = idle;
  }

  get places(): number {
    return this.#scene.setting.players;
  }

  /** Holders of all places, and the leader. */
  get living(): Set<number> {
    return new Set([LEADER, ...this.#members.map(({ holder }) => holder)]);
  }

  /** A new player for this place. */
  start(place: number): void {
    const worker = this.#idle.pop() ?? new Worker(new URL("./player.test.worker.js", import.meta.url));
    const member: Member = { worker, holder: this.#nextHolder++, played: undefined };
    worker.on("error", this.#onError);
    worker.once("message", (played: Played) => {
      member.played = played;
    });
    this.#scene.control.reset(place);
    const own = {
      place,
      holder: member.holder,
      seed: this.#random(2 ** 31),
      dawdles: this.#random(2) === 0,
      closes: true,
    };
    const part: Part = { ...this.#scene.part, ...own };
    worker.postMessage(part);
    this.#members[place] = member;
    this.youngest = place;
  }

  /** Waits until the player at this place plays. */
  async untilPlaying(place: number): Promise<void> {
    await this.#until(
      () => this.#scene.control.activityOf(place) !== AWAY,
      `the player at place ${place} does not begin`,
    );
  }

  /** Ends the player at this place wherever it is. Returns its number as a holder once it is gone for certain. */
  async kill(place: number): Promise<number> {
    const { worker, holder } = this.#members[place] as Member;
    const gone = once(worker, "exit");
    void worker.terminate();
    await gone;
    this.#throwFailure();
    return holder;
  }

  /** All players stand between two operations, but for those that have not yet attached. */
  async pause(): Promise<void> {
    const { control } = this.#scene;
    control.pause();
    for (let place = 0; place < this.places; place++) {
      for (let looks = 0; looks < 5 && control.activityOf(place) === RUNNING; looks++) {
        control.awaitChange(place, RUNNING, 1);
      }
      await this.#until(() => control.activityOf(place) !== RUNNING, `the player at place ${place} does not pause`);
    }
  }

  resume(): void {
    this.#scene.control.resume();
  }

  /** Has every player give back what it has. What they answer. */
  async stop(): Promise<Played[]> {
    this.#scene.control.stop = true;
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
      throw new Error(`${complaint}; the table: ${unsoundness(this.#scene.state).join("; ")}`);
    }
  }

  readonly #onError = (error: Error): void => {
    this.#failure = error;
  };

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
