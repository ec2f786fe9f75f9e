/** Drivers (driver.model.ts) on threads of their own, all on one board: started, waited for, put to rest, killed and taken back. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { BoardKind } from "../../machines/board.ts";
import { COMMAND, type DriverPart, PIECES, REPORT } from "./driver.model.ts";
import { Rig } from "./rig.ts";
import { type BoardSetting, PLAIN } from "./setting.ts";

export const DRIVERS = 2;
/** Content of a dead driver's memory. No driver writes this byte. */
const SECRET = 0xfe;
export const PATIENCE_MS = 60_000;

export class Crew {
  readonly rig: Rig;
  readonly #report = new Int32Array(new SharedArrayBuffer(4 * (1 + DRIVERS * REPORT.words)));
  readonly #workers: Worker[] = [];
  readonly #forgets: boolean;
  #tag = 1;
  #error: unknown;

  /** `setting`: what differs from a plain board with pages of the usual size. */
  constructor(kind: BoardKind, setting: Partial<BoardSetting>, forgetsToInvalidate = false) {
    const usual = { pageShift: kind.pageShifts[0] as number, levels: kind.levels[0] as number };
    this.rig = new Rig(kind, { ...PLAIN, ...usual, ...setting });
    this.#forgets = forgetsToInvalidate;
    for (let driver = 0; driver < DRIVERS; driver++) this.start(driver);
  }

  start(driver: number): void {
    for (let word = 0; word < REPORT.words; word++) if (word !== REPORT.wrong) this.#set(driver, word, 0);
    const { rig } = this;
    const workerData: DriverPart = {
      handle: rig.board.handle,
      report: this.#report.buffer as unknown as SharedArrayBuffer,
      driver,
      address: rig.address(driver * PIECES),
      stride: rig.address(1) - rig.address(0),
      tag: this.#tag++,
      strict: rig.setting.invalidate === "strict",
      forgetsToInvalidate: this.#forgets,
    };
    const worker = new Worker(new URL("./driver.test.worker.js", import.meta.url), { workerData });
    worker.once("error", (error) => {
      this.#error = error;
    });
    this.#workers[driver] = worker;
  }

  get(driver: number, word: number): number {
    return Atomics.load(this.#report, 1 + driver * REPORT.words + word);
  }
  #set(driver: number, word: number, value: number): void {
    Atomics.store(this.#report, 1 + driver * REPORT.words + word, value);
  }

  get wrong(): number {
    return Array.from({ length: DRIVERS }, (_, driver) => this.get(driver, REPORT.wrong)).reduce((a, b) => a + b, 0);
  }

  /** Waits until the driver has done `rounds` more. */
  async untilRounds(driver: number, rounds: number): Promise<void> {
    const wanted = this.get(driver, REPORT.rounds) + rounds;
    const what = (): string => `driver ${driver} has done ${rounds} rounds`;
    await this.#until(what, () => this.get(driver, REPORT.rounds) >= wanted);
  }

  /** All drivers stand between two rounds, with what they have mapped, until `goOn`. */
  async rest(): Promise<void> {
    this.#command(COMMAND.rest);
    for (let driver = 0; driver < DRIVERS; driver++) {
      await this.#until(
        () => `driver ${driver} rests`,
        () => this.get(driver, REPORT.resting) === 1,
      );
    }
  }

  goOn(): void {
    this.#command(COMMAND.go);
  }

  #command(command: number): void {
    Atomics.store(this.#report, 0, command);
    Atomics.notify(this.#report, 0);
  }

  async #until(what: () => string, isTrue: () => boolean): Promise<void> {
    for (const began = performance.now(); !isTrue(); await sleep(1)) {
      if (this.#error !== undefined) throw this.#error;
      assert.ok(performance.now() - began < PATIENCE_MS, `after ${PATIENCE_MS} ms it is not true that ${what()}`);
    }
  }

  /** Kills the driver, and takes back what it held. Afterwards no device reaches its memory. */
  async kill(driver: number): Promise<number> {
    const worker = this.#workers[driver] as Worker;
    await worker.terminate();
    const { rig } = this;
    const { board } = rig;
    const pieces = Array.from({ length: PIECES }, (_, i) => rig.address(driver * PIECES + i));
    for (const address of pieces) board.machine.memory.write(address, new Uint8Array(256).fill(SECRET));
    const left = this.#mappedTo(pieces);
    board.crew.reclaim(this.get(driver, REPORT.thread) - 1, "everything");
    assert.deepEqual(this.#mappedTo(pieces), [], "entries lead to the dead driver's memory after it was reclaimed");
    this.#expectOutOfReach();
    return left.length;
  }

  /** Through every entry: the dead may have emptied some that the IOTLB still knew. */
  #expectOutOfReach(): void {
    const { rig } = this;
    const { kind, board, master } = rig;
    // Where a fault freezes all devices, a look at what is out of reach would cut off the drivers that go on.
    const looked = kind.faultsFreeze === true ? 0 : board.table.window.entries;
    const seen = new Uint8Array(16);
    for (let entry = 0; entry < looked; entry++) {
      const granted = master.dmaRead(rig.iova(entry) + BigInt(rig.address(0) % rig.pageBytes), seen);
      assert.ok(!granted || seen[0] !== SECRET, `a device reads the dead driver's memory through entry ${entry}`);
    }
    board.takeFaults();
  }

  /** Entries that lead to the pages of these addresses. */
  #mappedTo(addresses: readonly number[]): number[] {
    const pages = new Set(addresses.map((address) => this.rig.pageOf(address)));
    return [...this.rig.entries()].filter(([, { page }]) => pages.has(page)).map(([entry]) => entry);
  }

  /** Each unmaps what it has, and ends; one that does not is killed. */
  async stop(): Promise<void> {
    this.#command(COMMAND.stop);
    const patience = new AbortController();
    const late = sleep(PATIENCE_MS, true, { signal: patience.signal }).catch(() => false);
    for (const [driver, worker] of this.#workers.entries()) {
      const isLate = worker.threadId > 0 && (await Promise.race([once(worker, "exit").then(() => false), late]));
      if (!isLate) continue;
      await worker.terminate();
      this.#error ??= new Error(`driver ${driver} has not ended within ${PATIENCE_MS} ms of being told to`);
    }
    patience.abort();
    if (this.#error !== undefined) throw this.#error;
  }
}
