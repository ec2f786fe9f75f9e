/**
 * Plays cells: every cell once per repetition, in an order that is drawn anew each time, each by worker threads made for it. So
 * whatever slows the machine down for a while hits all subjects alike, and no subject runs in an isolate that another
 * has shaped. One cell runs at a time. Where there is a base, its cell of the same name is played just before or just after.
 */
import { Worker } from "node:worker_threads";
import { createShared } from "../src/shared/memory.ts";
import { type Base, type Build, caseOf, nameOf, THIS_BUILD } from "./build.ts";
import type { Cell, Played } from "./cell.ts";
import type { Assignment, FromWorker, ToWorker } from "./cell.worker.ts";
import { nextRandom, seedOf } from "./churn.ts";
import { fold } from "./measure.ts";
import { CELL_WORDS } from "./player.ts";
import { rateTogether, timeUndisturbed } from "./rate.ts";

/** What a cell came to in one repetition. */
export interface Measured {
  /** By metric: "ns", "rate", QUIET and the case's own. */
  readonly values: Readonly<Record<string, number>>;
  readonly cpuNanoseconds: number;
  /** The share of its time for which the thread was ready and another one ran, 0 .. 1. */
  readonly queuedShare: number;
  readonly hash: number | undefined;
  readonly openingHash: number | undefined;
}

/** Of one thread: nanoseconds of an operation in a slice that little else has disturbed. */
export const QUIET = "quiet ns";

/** A cell and what it came to, one for each repetition. */
export interface Result {
  readonly cell: Cell;
  readonly measured: readonly Measured[];
  /** What the base's cell of the same name came to, beside each of them; undefined without one. */
  readonly base?: readonly Measured[];
}

/** A cell that ended badly, or whose answers differ from one repetition to the next. */
export class InvalidResult extends Error {}

/** No cell takes nearly as long. */
const LIMIT_MS = 120_000;

export interface PlayOptions {
  readonly repetitions: number;
  readonly seed: number;
  /** What to compare this build with. */
  readonly base?: Base | undefined;
  /** Play all cells in the same threads: faster, and the times mean nothing. */
  readonly reuseThreads: boolean;
  /** What is measured. Default: this build, bundled. */
  readonly build?: Build;
  /** Told before each cell: how many are done, of how many. */
  readonly progress: (done: number, all: number, cell: Cell) => void;
}

/** A cell of one build, and what it has come to so far. */
interface Part {
  readonly stage: Stage;
  readonly cell: Cell;
  readonly measured: Measured[];
}

/** Throws InvalidResult. */
export async function playAll(cells: readonly Cell[], options: PlayOptions): Promise<readonly Result[]> {
  const { repetitions, seed, base, progress } = options;
  const ours = new Stage(options.build ?? THIS_BUILD, options.reuseThreads, "");
  const theirs = base && new Stage(base.build, options.reuseThreads, " (base)");
  const all = cells.map((cell): readonly Part[] => {
    const twin = base?.twins.get(cell);
    const own = { stage: ours, cell, measured: [] };
    if (theirs === undefined || twin === undefined) return [own];
    return [own, { stage: twin.player === "base" ? theirs : ours, cell: twin.cell, measured: [] }];
  });
  try {
    for (let repetition = 0; repetition < repetitions; repetition++) {
      for (const [i, parts] of shuffled(all, seedOf(seed, repetition)).entries()) {
        progress(repetition * all.length + i, repetitions * all.length, (parts[0] as Part).cell);
        for (const { stage, cell, measured } of shuffled(parts, seedOf(seed + repetition, i))) {
          measured.push(await stage.play(cell));
        }
      }
    }
  } finally {
    // After a cell that failed, too: a thread that waits for its next part keeps the process alive for ever.
    await Promise.all([ours.end(), theirs?.end()]);
  }
  return all.map(([own, twin]) => {
    const { cell, measured } = checked(own as Part);
    return { cell, measured, ...(twin && { base: checked(twin).measured }) };
  });
}

function shuffled<T>(values: readonly T[], seed: number): T[] {
  const order = [...values];
  let random = seed;
  for (let i = order.length - 1; i > 0; i--) {
    random = nextRandom(random);
    const other = (random >>> 0) % (i + 1);
    [order[i], order[other]] = [order[other] as T, order[i] as T];
  }
  return order;
}

/** A worker thread that plays one part at a time. */
class PlayerThread {
  readonly #worker: Worker;
  #settle: { resolve(played: Played): void; reject(reason: unknown): void } | undefined;
  #share: (value: unknown) => void = () => {};

  constructor(file: URL) {
    this.#worker = new Worker(file);
    this.#worker.on("message", (message: FromWorker) => {
      if ("played" in message) this.#settle?.resolve(message.played);
      else if ("failed" in message) this.#settle?.reject(message.failed);
      else this.#share(message.shared);
    });
    this.#worker.on("error", (error) => this.#settle?.reject(error));
    this.#worker.on("exit", (code) => this.#settle?.reject(new Error(`a player ended with code ${code}`)));
  }
  /** `share` is called with what the player has for the others. */
  play(assignment: Assignment, share: (value: unknown) => void): Promise<Played> {
    this.#share = share;
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#send({ assignment });
    });
  }
  receive(shared: unknown): void {
    this.#send({ shared });
  }
  async end(): Promise<void> {
    await this.#worker.terminate();
  }
  #send(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}

/** Where a build's cells are played: in new threads for each cell, or, where times do not matter, in the same ones again. */
class Stage {
  readonly #build: Build;
  readonly #reuse: boolean;
  /** Follows the names of its cells in messages. */
  readonly #note: string;
  readonly #idle: PlayerThread[] = [];
  /** What cells that are alike have in common, by its key. */
  readonly #inputs = new Map<string, unknown>();

  constructor(build: Build, reuse: boolean, note: string) {
    this.#build = build;
    this.#reuse = reuse;
    this.#note = note;
  }

  /** Throws InvalidResult. */
  async play(cell: Cell): Promise<Measured> {
    const input = this.#inputOf(cell);
    const words = createShared(CELL_WORDS * 4);
    const threads = Array.from(
      { length: cell.threads },
      () => this.#idle.pop() ?? new PlayerThread(this.#build.worker),
    );
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${LIMIT_MS / 1000} s`)), LIMIT_MS);
    });
    try {
      const played = threads.map((thread, player) => {
        const assignment = { case: cell.case, work: cell.work, player, players: cell.threads, input, words };
        const others = threads.filter((other) => other !== thread);
        return thread.play(assignment, (value) => {
          for (const other of others) other.receive(value);
        });
      });
      const measured = combined(await Promise.race([Promise.all(played), limit]));
      await this.#giveBack(threads);
      return measured;
    } catch (error) {
      // The other player may wait for this one for ever.
      await endAll(threads);
      throw this.#invalid(cell, error);
    } finally {
      clearTimeout(timer);
    }
  }

  async end(): Promise<void> {
    await endAll(this.#idle);
  }

  async #giveBack(threads: readonly PlayerThread[]): Promise<void> {
    if (this.#reuse) this.#idle.push(...threads);
    else await endAll(threads);
  }

  #inputOf(cell: Cell): unknown {
    const { input } = caseOf(this.#build, cell.case);
    if (input === undefined) return undefined;
    const key = input.key(cell.work);
    if (!this.#inputs.has(key)) this.#inputs.set(key, input.make(cell.work));
    return this.#inputs.get(key);
  }

  #invalid(cell: Cell, error: unknown): InvalidResult {
    const where = cell.work.build === undefined ? this.#note : " (base)";
    const why = error instanceof Error ? error.message : error;
    return new InvalidResult(`${nameOf(cell)}${where}: ${why}`, { cause: error });
  }
}

async function endAll(threads: readonly PlayerThread[]): Promise<void> {
  await Promise.all(threads.map((thread) => thread.end()));
}

/** One measurement of what the players of a cell have measured. */
function combined(played: readonly Played[]): Measured {
  const sum = (of: (one: Played) => number) => played.reduce((total, one) => total + of(one), 0);
  const operations = sum(({ slices, operations: each }) => each * slices.begins.length);
  const wall = sum(({ slices }) => (slices.ends.at(-1) ?? 0) - (slices.begins[0] ?? 0));
  const rate = rateTogether(played);
  const [alone, ...others] = played;
  const quiet = alone !== undefined && others.length === 0 ? { [QUIET]: timeUndisturbed(alone) } : {};
  const ns = (1000 * played.length) / rate;
  return {
    values: Object.assign({ ns, rate, ...quiet }, ...played.map(({ values }) => values)),
    cpuNanoseconds: sum(({ slices }) => slices.cpuNanoseconds) / operations,
    queuedShare: sum(({ slices }) => slices.queuedNanoseconds) / wall,
    hash: digestOf(played.map(({ hash }) => hash)),
    openingHash: digestOf(played.map(({ openingHash }) => openingHash)),
  };
}

function digestOf(hashes: readonly (number | undefined)[]): number | undefined {
  let digest = 0;
  for (const hash of hashes) {
    if (hash === undefined) return undefined;
    digest = fold(digest, hash);
  }
  return hashes.length === 1 ? hashes[0] : digest;
}

/** The same work must have given the same answers each time: throws InvalidResult. */
export function checked<R extends Result>(result: R): R {
  const [first, ...others] = result.measured;
  const differs = others.some(({ hash, openingHash }) => hash !== first?.hash || openingHash !== first?.openingHash);
  if (!differs) return result;
  const hashes = result.measured.map(({ hash }) => hashText(hash)).join(", ");
  throw new InvalidResult(`${nameOf(result.cell)}: the repetitions gave different answers (digests ${hashes})`);
}

/** A digest, for people. */
export function hashText(hash: number | undefined): string {
  return hash === undefined ? "varies" : (hash >>> 0).toString(16).padStart(8, "0");
}
