/**
 * Plays cells: every cell once per repetition, in a new random order each time, in worker threads made for it. A slow
 * phase of the machine therefore affects all subjects alike, and no subject runs in an isolate that another one has warmed up.
 * One cell runs at a time. With a base, its cell of the same name is played just before or just after.
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

/** Results of a cell in one repetition. */
export interface Measured {
  /** By metric: "ns", "rate", QUIET and the case's own. */
  readonly values: Readonly<Record<string, number>>;
  readonly cpuNanoseconds: number;
  /** The share of its time for which the thread was ready and another one ran, 0 .. 1. */
  readonly queuedShare: number;
  readonly hash: number | undefined;
  readonly openingHash: number | undefined;
}

/** Metric of one thread: nanoseconds of an operation in a slice that other processes hardly disturbed. */
export const QUIET = "quiet ns";

/** A cell and its results, one for each repetition. */
export interface Result {
  readonly cell: Cell;
  readonly measured: readonly Measured[];
  /** Results of the base's cell of the same name, one beside each of ours; undefined without a base. */
  readonly base?: readonly Measured[];
}

/** A cell that failed, or whose digests differ between repetitions. */
export class InvalidResult extends Error {}

/** Time limit of a cell; every cell takes much less. */
const LIMIT_MS = 120_000;

export interface PlayOptions {
  readonly repetitions: number;
  readonly seed: number;
  /** The build to compare this one with. */
  readonly base?: Base | undefined;
  /** True: all cells run in the same threads. This is faster, and the times are meaningless. */
  readonly reuseThreads: boolean;
  /** The build to measure. Default: this build, bundled. */
  readonly build?: Build;
  /** Called before each cell with the number of finished cells and of all cells. */
  readonly progress: (done: number, all: number, cell: Cell) => void;
}

/** A cell of one build, and its results so far. */
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
    // Also after a failed cell: an idle thread would keep the process alive.
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
  /** Plays one cell. `share` is called with a value of the player for the others. */
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

/** The worker threads of a build: new ones for each cell or, if times do not matter, the same ones. */
class Stage {
  readonly #build: Build;
  readonly #reuse: boolean;
  /** Follows the names of its cells in messages. */
  readonly #note: string;
  readonly #idle: PlayerThread[] = [];
  /** Inputs that cells share, by key. */
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
      // The other player may be waiting for the failed one.
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

/** Combines the measurements of a cell's players. */
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

/** Throws InvalidResult if repetitions of the same work have different digests. */
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
