/** Every board with real threads: drivers map and unmap at once, one of them is killed in the middle, and nothing of it is left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import type { PowernvPlatform } from "../platforms/powernv/platform.ts";
import type { TableOptions } from "../table/iommu-table.ts";
import type { Board, BoardOptions } from "./board.ts";
import type { BoardDriverData } from "./board-driver.test.worker.ts";
import { BOARD_KINDS, boardNamed } from "./boards.ts";

/** So few that entries come round again while the IOTLB would still know them. */
const PAGES = 12;
const FEW_ENTRIES = 64;
/** More than what threads hold in their flush queues and caches. */
const MANY_ENTRIES = 2 ** 15;
const NEVER = 2 ** 31;

interface Driver {
  readonly report: Int32Array;
  readonly worker: Worker;
  readonly exit: Promise<unknown>;
}

function start(board: Board, index: number, rounds: number): Driver {
  const report = new SharedArrayBuffer(32);
  const device = "ab"[index % 2] as string;
  const workerData: BoardDriverData = {
    board: board.handle,
    device,
    report,
    rounds,
    firstPage: 1 + index * PAGES,
    pages: PAGES,
  };
  const worker = new Worker(new URL("./board-driver.test.worker.js", import.meta.url), { workerData });
  const exit = new Promise((resolve, reject) => {
    worker.once("exit", resolve);
    worker.once("error", reject);
  });
  return { report: new Int32Array(report), worker, exit };
}

async function untilMapped({ report }: Driver, mappings: number): Promise<void> {
  while (Atomics.load(report, 2) < mappings) await new Promise((next) => setTimeout(next, 1));
}

/**
 * Two drivers run to their end beside one that is killed once it has made so many mappings. False: an invalidation was given up, since
 * the killed one's DMA was in flight for longer than the machine waits; then some ranges are quarantined.
 */
async function run(board: Board, rounds: number, killedAfter: number): Promise<boolean> {
  const drivers = [start(board, 0, rounds), start(board, 1, rounds)];
  const victim = start(board, 2, NEVER);
  await untilMapped(victim, killedAfter);
  await victim.worker.terminate();
  await victim.exit;
  // What it had in flight first: the invalidations of its table wait for that.
  board.forgetThread((victim.report[0] as number) - 1);
  board.table.reclaim((victim.report[1] as number) - 1, "everything");
  await Promise.all(drivers.map(({ exit }) => exit));
  for (const { report } of [...drivers, victim])
    assert.deepEqual([report[3], report[4]], [0, 0], "wrong data, failures");
  assert.deepEqual([...board.table.leaks()], []);
  assert.deepEqual(board.takeFaults(), []);
  assert.deepEqual(board.table.allocator.threadsInUse(), [board.table.thread]);
  return drivers.every(({ report }) => report[5] === 0);
}

function boardOptions(levels: number, entries: number, table: TableOptions): BoardOptions {
  return { memoryBytes: 2 ** 22, entries, levels, devices: ["a", "b"], threads: 4, table };
}

for (const kind of BOARD_KINDS) {
  for (const [name, entries, table] of [
    ["strict", FEW_ENTRIES, {}],
    ["lazy with cache", MANY_ENTRIES, { invalidate: "lazy", cache: "fifo" }],
  ] as const) {
    test(`${kind.name}, ${name}: every device sees its own data only, and a killed driver leaves nothing`, async () => {
      for (let round = 0; round < 3; round++) {
        const board = kind.create(boardOptions(1, entries, table));
        await run(board, 10_000, 1 + round * 500);
        board.close();
      }
    });
  }
}

test("powernv, 2 levels: killed drivers leave no level that no table leads to, and no slot", async () => {
  for (let round = 0; round < 6; round++) {
    const board = boardNamed("powernv").create(boardOptions(2, MANY_ENTRIES, {}));
    const { phb, table, group } = board.platform as PowernvPlatform;
    const isWhole = await run(board, 5_000, 1 + round * 100);
    assert.ok(phb.pages.takenPages > 1, "levels were made");
    if (!isWhole) continue;
    assert.equal(table.release(), undefined);
    assert.equal(group.unsetWindow(table), undefined);
    assert.equal(phb.pages.takenPages, 0);
    assert.deepEqual(phb.threadLabelled(board.machineThread), phb.pages.thread);
  }
});
