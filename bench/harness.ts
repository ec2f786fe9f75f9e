/**
 * Plays cells: every cell once per repetition, in an order that is drawn anew each time, each by worker threads made for it. So
 * whatever slows the machine down for a while hits all subjects alike, and no subject runs in an isolate that another
 * has shaped. One cell runs at a time.
 */
import { Worker } from "node:worker_threads";
import { createShared } from "../src/shared/memory.ts";
import { caseNamed } from "./cases/index.ts";
import type { BenchCase, Cell, Played } from "./cell.ts";
import type { Assignment, FromWorker, ToWorker } from "./cell.worker.ts";
import { nextRandom, seedOf } from "./churn.ts";
import { fold } from "./measure.ts";
import { CELL_WORDS } from "./player.ts";
import { rateTogether } from "./rate.ts";

/** What a cell came to in one repetition. */
export interface Measured {
  /** By metric: "ns", "rate", and the case's own. */
  readonly values: Readonly<Record<string, number>>;
  readonly cpuNanoseconds: number;
  /** The share of its time for which the thread was ready and another one ran, 0 .. 1. */
  readonly queuedShare: number;
  readonly hash: number | undefined;
  readonly openingHash: number | undefined;
}

/** A cell and what it came to, one for each repetition. */
export interface Result {
  readonly cell: Cell;
  readonly measured: readonly Measured[];
}

/** A cell that ended badly, or whose answers differ from one repetition to the next. */
export class InvalidResult extends Error {}

/** No cell takes nearly as long. */
const LIMIT_MS = 120_000;

export interface PlayOptions {
  readonly repetitions: number;
  readonly seed: number;
  /** Play all cells in the same threads: faster, and the times mean nothing. */
  readonly reuseThreads: boolean;
  /** Told before each cell: how many are done, of how many. */
  readonly progress: (done: number, all: number, cell: Cell) => void;
}

/** Throws InvalidResult. */
export async function playAll(cells: readonly Cell[], options: PlayOptions): Promise<readonly Result[]> {
  const { repetitions, seed, reuseThreads, progress } = options;
  const pool = new PlayerThreads(reuseThreads);
  const inputs = new Map<string, unknown>();
  const results = new Map<Cell, Measured[]>(cells.map((cell) => [cell, []]));
  try {
    for (let repetition = 0; repetition < repetitions; repetition++) {
      const order = shuffled(cells, seedOf(seed, repetition));
      for (const [i, cell] of order.entries()) {
        progress(repetition * cells.length + i, repetitions * cells.length, cell);
        results.get(cell)?.push(await playCell(cell, inputs, pool));
      }
    }
  } finally {
    // After a cell that failed, too: a thread that waits for its next part keeps the process alive for ever.
    await pool.end();
  }
  return [...results].map(([cell, measured]) => checked({ cell, measured }));
}

/** What the cell is called in messages. */
export function nameOf(cell: Cell): string {
  return `${cell.case}: ${cell.row}, ${cell.at}`;
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
  readonly #worker: Worker = new Worker(new URL("./cell.worker.js", import.meta.url));
  #settle: { resolve(played: Played): void; reject(reason: unknown): void } | undefined;
  #share: (value: unknown) => void = () => {};

  constructor() {
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

/** New threads for each cell, or, where times do not matter, the same ones again. */
class PlayerThreads {
  readonly #reuse: boolean;
  readonly #idle: PlayerThread[] = [];

  constructor(reuse: boolean) {
    this.#reuse = reuse;
  }
  take(count: number): PlayerThread[] {
    return Array.from({ length: count }, () => this.#idle.pop() ?? new PlayerThread());
  }
  async giveBack(threads: readonly PlayerThread[]): Promise<void> {
    if (this.#reuse) this.#idle.push(...threads);
    else await endAll(threads);
  }
  async end(): Promise<void> {
    await endAll(this.#idle);
  }
}

async function endAll(threads: readonly PlayerThread[]): Promise<void> {
  await Promise.all(threads.map((thread) => thread.end()));
}

async function playCell(cell: Cell, inputs: Map<string, unknown>, pool: PlayerThreads): Promise<Measured> {
  const input = inputOf(caseNamed(cell.case), cell, inputs);
  const words = createShared(CELL_WORDS * 4);
  const threads = pool.take(cell.threads);
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
    await pool.giveBack(threads);
    return measured;
  } catch (error) {
    // The other player may wait for this one for ever.
    await endAll(threads);
    throw new InvalidResult(`${nameOf(cell)}: ${error instanceof Error ? error.message : error}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function inputOf(benchCase: BenchCase, cell: Cell, inputs: Map<string, unknown>): unknown {
  if (benchCase.input === undefined) return undefined;
  const key = benchCase.input.key(cell.work);
  if (!inputs.has(key)) inputs.set(key, benchCase.input.make(cell.work));
  return inputs.get(key);
}

/** One measurement of what the players of a cell have measured. */
function combined(played: readonly Played[]): Measured {
  const sum = (of: (one: Played) => number) => played.reduce((total, one) => total + of(one), 0);
  const operations = sum(({ slices, operations: each }) => each * slices.begins.length);
  const wall = sum(({ slices }) => (slices.ends.at(-1) ?? 0) - (slices.begins[0] ?? 0));
  const rate = rateTogether(played);
  return {
    values: Object.assign({ ns: (1000 * played.length) / rate, rate }, ...played.map(({ values }) => values)),
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
export function checked(result: Result): Result {
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
