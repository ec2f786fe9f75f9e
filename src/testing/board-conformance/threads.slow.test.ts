/**
 * Real threads on every board: drivers that map, unmap and have the device do DMA at once, with canaries; and drivers that are killed
 * in the middle of it. Once a dead one is reclaimed nothing of it is mapped, the others never see anything but their own, and in
 * the end every entry can be had again.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { BoardKind } from "../../machines/board.ts";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { Bench } from "./bench.ts";
import { type DriverPart, PIECES, REPORT } from "./driver.model.ts";
import { type Choice, PLAIN } from "./setting.ts";

const DRIVERS = 2;
const KILLS = 5;
/** What is in a dead driver's memory: no driver writes it. */
const SECRET = 0xfe;
const PATIENCE_MS = 60_000;
const SEED = Number(process.env["IOVA_BOARD_KILLS_SEED"] ?? Date.now() % 2 ** 31);
const KINDS = BOARD_KINDS.filter(({ maxThreads = 32, name }) => maxThreads > DRIVERS + 1 && !name.includes("@"));

class Crew {
  readonly bench: Bench;
  readonly #report = new Int32Array(new SharedArrayBuffer(4 * (1 + DRIVERS * REPORT.words)));
  readonly #workers: Worker[] = [];
  readonly #forgets: boolean;
  #tag = 1;
  #error: unknown;

  constructor(kind: BoardKind, choice: Partial<Choice>, forgetsToInvalidate = false) {
    this.bench = new Bench(kind, {
      ...PLAIN,
      ...choice,
      pageShift: kind.pageShifts[0] as number,
      levels: kind.levels[0] as number,
    });
    this.#forgets = forgetsToInvalidate;
    for (let place = 0; place < DRIVERS; place++) this.start(place);
  }

  start(place: number): void {
    for (let word = 0; word < REPORT.words; word++) if (word !== REPORT.wrong) this.#set(place, word, 0);
    const { bench } = this;
    const workerData: DriverPart = {
      handle: bench.board.handle,
      report: this.#report.buffer as unknown as SharedArrayBuffer,
      place,
      address: bench.address(place * PIECES),
      stride: bench.address(1) - bench.address(0),
      tag: this.#tag++,
      strict: bench.setting.invalidate === "strict",
      forgetsToInvalidate: this.#forgets,
    };
    const worker = new Worker(new URL("./driver.test.worker.js", import.meta.url), { workerData });
    worker.once("error", (error) => {
      this.#error = error;
    });
    this.#workers[place] = worker;
  }

  get(place: number, word: number): number {
    return Atomics.load(this.#report, 1 + place * REPORT.words + word);
  }
  #set(place: number, word: number, value: number): void {
    Atomics.store(this.#report, 1 + place * REPORT.words + word, value);
  }

  get wrong(): number {
    return Array.from({ length: DRIVERS }, (_, place) => this.get(place, REPORT.wrong)).reduce((a, b) => a + b, 0);
  }

  /** Waits until the driver has done `rounds` more. */
  async untilRounds(place: number, rounds: number): Promise<void> {
    const wanted = this.get(place, REPORT.rounds) + rounds;
    const began = performance.now();
    while (this.get(place, REPORT.rounds) < wanted) {
      if (this.#error !== undefined) throw this.#error;
      assert.ok(performance.now() - began < PATIENCE_MS, `driver ${place} has not done ${rounds} rounds`);
      await sleep(1);
    }
  }

  /** Kills the driver, and takes back what it held. Afterwards no device reaches its memory. */
  async kill(place: number): Promise<number> {
    const worker = this.#workers[place] as Worker;
    await worker.terminate();
    const { bench } = this;
    const { board } = bench;
    const pieces = Array.from({ length: PIECES }, (_, i) => bench.address(place * PIECES + i));
    for (const address of pieces) board.machine.memory.write(address, new Uint8Array(256).fill(SECRET));
    const left = this.#mappedTo(pieces);
    board.forgetThread(this.get(place, REPORT.machineThread) - 1);
    board.table.reclaim(this.get(place, REPORT.tableThread) - 1, "everything");
    assert.deepEqual(this.#mappedTo(pieces), [], "entries lead to the dead driver's memory after it was reclaimed");
    const seen = new Uint8Array(16);
    // Where a fault freezes all devices, a look at what is out of reach would cut off the drivers that go on.
    const looked = bench.kind.faultsFreeze === true ? [] : left;
    for (const entry of looked) {
      const granted = bench.master.dmaRead(bench.iova(entry) + BigInt(bench.address(0) % bench.pageBytes), seen);
      assert.ok(!granted || seen[0] !== SECRET, `a device reads the dead driver's memory through entry ${entry}`);
    }
    board.takeFaults();
    return left.length;
  }

  /** Entries that lead to the pages of these addresses. */
  #mappedTo(addresses: readonly number[]): number[] {
    const pages = new Set(addresses.map((address) => this.bench.pageOf(address)));
    return [...this.bench.entries()].filter(([, { page }]) => pages.has(page)).map(([entry]) => entry);
  }

  async stop(): Promise<void> {
    Atomics.store(this.#report, 0, 1);
    await Promise.all(this.#workers.map(async (worker) => worker.threadId > 0 && (await once(worker, "exit"))));
    if (this.#error !== undefined) throw this.#error;
  }
}

const MODES: readonly Partial<Choice>[] = [
  { invalidate: "strict" },
  { invalidate: "strict", cache: "fifo", pools: 2 },
  { invalidate: "lazy", cache: "fifo", entries: 2048 },
];

for (const kind of KINDS) {
  for (const choice of MODES) {
    const mode = `${choice.invalidate}${choice.cache === "fifo" ? " with cache" : ""}`;
    test(`${kind.name}, ${mode}: drivers on threads map, unmap and do DMA at once, are killed, and leave nothing`, async (t) => {
      const crew = new Crew(kind, choice);
      const { bench } = crew;
      try {
        let random = SEED;
        let left = 0;
        for (let kill = 0; kill < KILLS; kill++) {
          random = (Math.imul(random, 0x19660d) + 0x3c6ef35f) | 0;
          const place = kill % DRIVERS;
          await crew.untilRounds(place, 20 + ((random >>> 8) % 200));
          await sleep((random >>> 16) % 8);
          left += await crew.kill(place);
          await crew.untilRounds(1 - place, 200);
          crew.start(place);
          await crew.untilRounds(place, 1);
        }
        await crew.untilRounds(0, 2000);
        const rounds = [0, 1].map((place) => crew.get(place, REPORT.rounds));
        const busy = [0, 1].map((place) => crew.get(place, REPORT.busy));
        await crew.stop();
        t.diagnostic(
          `seed ${SEED}: ${KILLS} kills, which left ${left} entries; rounds since the last start ${rounds}, of these without effect ${busy}`,
        );
        assert.equal(crew.wrong, 0, `seed ${SEED}: drivers saw what is not theirs (see what they printed)`);
        bench.expectAtRest();
      } finally {
        await crew.stop();
        bench.close();
      }
    });
  }
}

test("with invalidations left out, drivers see what is not theirs, wherever the machine keeps what is stale", async () => {
  for (const kind of KINDS.filter(({ hasIotlb }) => hasIotlb)) {
    const crew = new Crew(kind, {}, true);
    try {
      // Few entries are left, so that they come round while the IOTLB has them.
      const device = crew.bench.plainDevice();
      const taken: number[] = [];
      for (let entry = 0; entry >= 0 && taken.length < 100; ) {
        entry = device.mapPages(crew.bench.address(DRIVERS * PIECES), 8, 3);
        if (entry >= 0) taken.push(entry);
      }
      const began = performance.now();
      while (crew.wrong === 0 && performance.now() - began < PATIENCE_MS) await crew.untilRounds(0, 100);
      assert.ok(crew.wrong > 0, `${kind.name}: nobody saw a stale translation: the test shows nothing`);
    } finally {
      await crew.stop();
      crew.bench.close();
    }
  }
});
