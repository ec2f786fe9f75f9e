/**
 * The whole way with real threads: drivers that map and unmap through the generic table, a wild device beside them, the software
 * machine below. Strict: no device sees a page after `unmap` has returned. Lazy: no address is handed out again before the IOTLB
 * has forgotten what it led to.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { WildDevice } from "../../machines/software/wild-device.model.ts";
import type { TableOptions } from "../../table/iommu-table.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import type { MapperData } from "./mapper.test.worker.ts";
import { LinearPlatform } from "./platform.ts";

const DRIVERS = 2;
const PAGES = 40;
const SECRET = 200;
const NOT_A_BYTE = 256;

interface Outcome {
  readonly mapped: number;
  readonly wrong: number;
  readonly failures: number;
  readonly secretsSeen: number;
  readonly granted: number;
}

async function run(
  format: string,
  table: TableOptions,
  rounds: number,
  forgetsToInvalidate: boolean,
): Promise<Outcome> {
  const strict = table.invalidate !== "lazy";
  const kind = format === "powernv-tce" ? "linear-tce" : "linear-iopte";
  const pageShift = format === "powernv-tce" ? 12 : 13;
  // Lazy: so many that what threads hold in their flush queues (512 ranges each) never fills the table.
  const entries = strict ? 128 : 4096;
  const window: DmaWindow = { base: 0x80000000n, pageShift, entries };
  const machine = SoftwareMachine.create({
    memoryBytes: 2 ** 21,
    devices: ["a", "b", "c", "d"],
    threads: 4,
    // It forgets nothing by itself.
    iotlb: { entries, ways: 4 },
  });
  const platform = LinearPlatform.create(machine, { format, window, table: { ...table, threads: 4 } });
  const wild = new WildDevice({
    handle: machine.handle,
    windowBase: window.base,
    pageShift,
    entries,
    bytes: 64,
    secret: strict ? SECRET : NOT_A_BYTE,
    mark: 0,
  });
  const reports = await Promise.all(
    Array.from({ length: DRIVERS }, async (_, driver) => {
      const workerData: MapperData = {
        board: { kind, machine: machine.handle, platform: platform.handle },
        devices: machine.handle.devices.length,
        report: new SharedArrayBuffer(16),
        rounds,
        firstPage: 1 + driver * PAGES,
        pages: PAGES,
        secret: strict ? SECRET : 0,
        forgetsToInvalidate,
      };
      const worker = new Worker(new URL("./mapper.test.worker.js", import.meta.url), { workerData });
      await new Promise((resolve, reject) => {
        worker.once("exit", resolve);
        worker.once("error", reject);
      });
      return new Int32Array(workerData.report);
    }),
  );
  await wild.untilGranted(0);
  await wild.stop();
  assert.deepEqual([...platform.generic.leaks()], []);
  const sum = (word: number): number => reports.reduce((total, report) => total + (report[word] as number), 0);
  const { secretsSeen, granted } = wild;
  return { mapped: sum(0), wrong: sum(1), failures: sum(2) + sum(3), secretsSeen, granted };
}

const TABLES: readonly [string, TableOptions][] = [
  ["strict", { invalidate: "strict" }],
  ["strict with cache", { invalidate: "strict", cache: "fifo" }],
  ["lazy", { invalidate: "lazy" }],
  ["lazy with cache", { invalidate: "lazy", cache: "fifo" }],
];

for (const format of ["powernv-tce", "sun4u-iopte"]) {
  for (const [name, table] of TABLES) {
    test(`${format}, ${name}: several drivers map and unmap, and every device sees its own data only`, async (t) => {
      const outcome = await run(format, table, 20_000, false);
      t.diagnostic(JSON.stringify(outcome));
      assert.equal(outcome.wrong, 0);
      assert.equal(outcome.failures, 0);
      assert.equal(outcome.secretsSeen, 0);
      assert.ok(outcome.mapped > 9_000);
    });
  }
}

test("with the invalidations left out, strict mode lets the wild device see freed pages, and both modes mix up owners", async (t) => {
  for (const [name, table] of TABLES) {
    const outcome = await run("powernv-tce", table, 20_000, true);
    t.diagnostic(`${name}: ${JSON.stringify(outcome)}`);
    assert.ok(outcome.wrong > 0, `${name}: no driver saw a stale translation: the test shows nothing`);
    if (table.invalidate === "strict")
      assert.ok(outcome.secretsSeen > 0, "no freed page was seen: the test shows nothing");
  }
});
