/** Pages mapped in by threads of the other end while this end ends their exports, and threads that are killed with pages mapped in. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { LDC_MAP } from "../../formats/ldc-map-entry.ts";
import { LdcHypervisor } from "../../machines/hypervisors/ldc/hypervisor.ts";
import type { ImporterData } from "./importer.test.worker.ts";
import { LdcLink } from "./link.ts";
import { LdcPlatform } from "./platform.ts";

const PAGE = 8192;
const TAG = 1;
const SECRET = 200;
const KILLS = 15;
const PERMISSIONS: number = LDC_MAP.direct | LDC_MAP.read;

interface Importer {
  readonly report: Int32Array;
  readonly worker: Worker;
  readonly ended: Promise<unknown>;
}

function importerOf(channel: LdcHypervisor): Importer {
  const report = new SharedArrayBuffer(32);
  // Two pages are exported at a time: these entries come round again and again.
  const workerData: ImporterData = { handle: channel.handle, report, entries: 64, secret: SECRET };
  const worker = new Worker(new URL("./importer.test.worker.js", import.meta.url), { workerData });
  const ended = new Promise((resolve, reject) => {
    worker.once("exit", resolve);
    worker.once("error", reject);
  });
  return { report: new Int32Array(report), worker, ended };
}

type Exported = readonly [page: number, cookies: ReturnType<LdcPlatform["map"]>];

/** Exports pages in turn, two at a time, until `enough`; those that are still exported then are returned. */
async function exportInTurn(channel: LdcHypervisor, exporter: LdcPlatform, enough: () => boolean): Promise<Exported[]> {
  const exported: Exported[] = [];
  for (let round = 0; !enough(); round++) {
    const page = round % 8;
    channel.memory.write(page * PAGE, new Uint8Array(512).fill(TAG));
    exported.push([page, exporter.map(page * PAGE, PAGE, PERMISSIONS, 1)]);
    if (exported.length > 2) end(channel, exporter, exported.shift() as Exported);
    if (round % 100 === 0) await new Promise((next) => setImmediate(next));
  }
  return exported;
}

/** Ends an export; then the page holds the secret. */
function end(channel: LdcHypervisor, exporter: LdcPlatform, [page, cookies]: Exported): void {
  assert.equal(exporter.unmap(cookies), undefined);
  channel.memory.write(page * PAGE, new Uint8Array(512).fill(SECRET));
}

function start(): readonly [LdcHypervisor, LdcPlatform] {
  const channel = LdcHypervisor.create({ memoryBytes: 2 ** 20, threads: 6 });
  // A table of 512 entries, of which 64 are handed out: the others are reserved.
  const reserved = [{ first: 64, end: 512 }];
  const exporter = LdcPlatform.create(channel, {
    tableAddress: 2 ** 19,
    entries: 512,
    table: { reserved },
  });
  exporter.link.connect();
  new LdcLink(channel.ends[1]).connect();
  return [channel, exporter];
}

function assertEmpty(channel: LdcHypervisor, exporter: LdcPlatform): void {
  assert.equal(exporter.generic.allocator.flushIotlb(), undefined);
  const table = new Uint8Array(512 * 16);
  channel.memory.read(exporter.handle.tableAddress, table);
  assert.ok(
    table.every((byte) => byte === 0),
    "entries or revoke cookies are left",
  );
}

test("after the end of an export, no thread that had the page mapped in can read it", async (t) => {
  const [channel, exporter] = start();
  const importers = [importerOf(channel), importerOf(channel)];
  const word = (index: number): number => importers.reduce((sum, { report }) => sum + Atomics.load(report, index), 0);
  const exported = await exportInTurn(channel, exporter, () => word(4) > 3000);
  for (const each of exported) end(channel, exporter, each);
  for (const { report } of importers) Atomics.store(report, 0, 1);
  await Promise.all(importers.map(({ ended }) => ended));
  t.diagnostic(`${word(4)} pages mapped in, ${word(1)} reads`);
  assert.equal(word(2), 0);
  assertEmpty(channel, exporter);
});

test("threads killed with pages mapped in, or in the middle of it, hold nothing up once they are forgotten", async (t) => {
  const [channel, exporter] = start();
  let mappedIn = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const importer = importerOf(channel);
    const enough = (): boolean => Atomics.load(importer.report, 4) > 50 + 30 * (kill % 5);
    const exported = await exportInTurn(channel, exporter, enough);
    await importer.worker.terminate();
    await importer.ended;
    mappedIn += Atomics.load(importer.report, 4);
    assert.equal(Atomics.load(importer.report, 2), 0);
    channel.crew.reclaim(Atomics.load(importer.report, 3) - 1, "in-flight");
    for (const each of exported) end(channel, exporter, each);
    assertEmpty(channel, exporter);
  }
  t.diagnostic(`${KILLS} kills, ${mappedIn} pages mapped in`);
  const left = importerOf(channel);
  await exportInTurn(channel, exporter, () => Atomics.load(left.report, 4) > 100);
  Atomics.store(left.report, 0, 1);
  await left.ended;
});
