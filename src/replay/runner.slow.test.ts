import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { afterEach, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { nodeHost } from "../cli/host.ts";
import { parseTrace } from "../trace/parser.ts";
import { type RequestHistory, requestsOf } from "../trace/requests.ts";
import type { RowResult } from "./result.ts";
import { type NamedSetup, prepareReplay, type ReplayOptions, type ReplayResult, runReplay } from "./runner.ts";
import type { ReplayHost } from "./threads.ts";

const traces = new URL("../../../traces/", import.meta.url);
const recorded = (name: string): RequestHistory => {
  const bytes = readFileSync(new URL(name, traces));
  return requestsOf(parseTrace(name.endsWith(".gz") ? gunzipSync(bytes) : bytes));
};
const nvme = recorded("nvme-io-612.txt.gz");

const SINGLE: NamedSetup = {
  name: "single-lock",
  setup: { table: "single-lock", cache: "none", invalidate: "strict" },
};
const POOLED: NamedSetup = { name: "pooled", setup: { table: "pooled", cache: "none", invalidate: "strict" } };
const CACHED: NamedSetup = { name: "cached", setup: { table: "pooled", cache: "fifo", invalidate: "strict" } };
const LAZY: NamedSetup = { name: "lazy", setup: { table: "pooled", cache: "fifo", invalidate: "lazy" } };
const options = (changes: Partial<ReplayOptions> = {}): ReplayOptions => ({
  workers: 2,
  platform: "linear-tce",
  pageShift: 12,
  rows: [SINGLE, POOLED, CACHED, LAZY],
  seconds: 0.2,
  ...changes,
});

function sound(row: RowResult): void {
  assert.ok(row.requests > 100, `${row.name}: ${row.requests} requests`);
  assert.ok(row.translationsChecked > 10, `${row.name}: ${row.translationsChecked} checked`);
  assert.deepEqual([row.translationsWrong, row.failures, row.entriesLost, row.firstWrong], [0, 0, 0, ""], row.name);
}

describe("a replay", () => {
  test("maps and unmaps on every table; every translation is right, nothing fails, nothing is lost", async () => {
    const progress: number[] = [];
    const prepared = prepareReplay(nvme, options());
    const { rows } = await runReplay(prepared, nodeHost(), (done) => progress.push(done));
    assert.deepEqual(
      rows.map(({ name }) => name),
      ["single-lock", "pooled", "cached", "lazy"],
    );
    rows.forEach(sound);
    const [single, , cached, lazy] = rows as [RowResult, RowResult, RowResult, RowResult];
    // One lock for each search and one for each free.
    assert.ok(Math.abs(single.lockAcquisitions - 2 * single.requests) < 2000, `${single.lockAcquisitions} locks`);
    assert.ok(single.iotlbFlushes >= single.requests - 1000);
    assert.ok(cached.lockAcquisitions < 2 * cached.requests);
    assert.ok(lazy.iotlbFlushes < lazy.requests / 4, `${lazy.iotlbFlushes} flushes for ${lazy.requests} requests`);
    assert.ok(single.largestHoleEntries > 0 && single.largestHoleEntries <= prepared.entries);
    assert.equal(progress.at(-1), 1);
  });

  for (const [name, workers] of [
    ["fixtures/vfio.txt", 1],
    ["fixtures/e1000e.txt", 2],
    ["fixtures/linux-6.1.txt", 3],
  ] as const) {
    test(`of ${name} on ${workers} workers`, async () => {
      const prepared = prepareReplay(
        recorded(name),
        options({ workers, entries: 4096, seconds: 0.1, rows: [SINGLE, CACHED] }),
      );
      const { rows } = await runReplay(prepared, nodeHost());
      rows.forEach(sound);
    });
  }

  test("with larger pages", async () => {
    const prepared = prepareReplay(nvme, options({ pageShift: 16, seconds: 0.1, rows: [SINGLE, POOLED] }));
    assert.equal(prepared.entries, 65_536);
    (await runReplay(prepared, nodeHost())).rows.forEach(sound);
  });

  test("on another platform, with its own page size and format", async () => {
    const { pageShift: _, ...usual } = options({ platform: "linear-iopte", seconds: 0.1, rows: [SINGLE, LAZY] });
    const prepared = prepareReplay(nvme, usual);
    assert.deepEqual([prepared.pageShift, prepared.kind.format], [13, "sun4u-iopte"]);
    (await runReplay(prepared, nodeHost())).rows.forEach(sound);
  });

  test("plays slices that are over before a worker wakes up", async () => {
    const prepared = prepareReplay(nvme, options({ workers: 3, rows: [SINGLE], seconds: 2 }));
    const { rows } = await runReplay(prepared, { ...nodeHost(), sleep: async () => {} });
    assert.ok((rows[0] as RowResult).translationsChecked > 0);
  });

  test("in a table that is almost too small fails now and then, and says why; what succeeds is right", async () => {
    const peak = prepareReplay(nvme, options()).plan.peakEntries;
    const prepared = prepareReplay(nvme, options({ entries: peak, seconds: 0.1, rows: [SINGLE, POOLED, CACHED] }));
    for (const row of (await runReplay(prepared, nodeHost())).rows) {
      assert.equal(row.translationsWrong, 0);
      assert.equal(row.entriesLost, 0);
      assert.deepEqual(Object.keys(row.failuresByReason), row.failures > 0 ? ["table-full"] : []);
    }
  });
});

describe("options that make no sense are refused, with the numbers", () => {
  const refused: readonly (readonly [Partial<ReplayOptions>, RegExp])[] = [
    [{ workers: 0 }, /workers is 0; expected an integer from 1 to 64/],
    [{ workers: 1.5 }, /workers is 1.5/],
    [{ platform: "vax" }, /platform is "vax"; expected one of linear-tce, /],
    [{ pageShift: 11 }, /page shift is 11; expected one that linear-tce has: 12, /],
    [{ entries: 0 }, /entries of linear-tce is 0; expected an integer from 1/],
    [{ entries: 16 }, /entries is 16; expected at least 32 for the request of line \d+ alone, and \d+ for all/],
    [
      { entries: 256 },
      /entries is 256; expected at least \d+, the most that are live at once on 2 workers \(\d+ \+ \d+\)/,
    ],
    [{ entries: 2 ** 31 - 1 }, /memory of the replay is a table of 2147483647 entries/],
    [
      { platform: "pseries", entries: 100_000_000, rows: [SINGLE, POOLED, CACHED] },
      /entries is 100000000; expected at most 33554432 or so: the tables of 3 rows may together take 1073741824 bytes/,
    ],
    [
      { entries: 2 ** 28, rows: [SINGLE] },
      /entries is 268435456; expected at most 134217728 or so: its table may take/,
    ],
    [{ seconds: 0 }, /seconds is 0; expected/],
    [{ seconds: Number.NaN }, /seconds is NaN; expected/],
  ];
  for (const [changes, message] of refused) {
    test(JSON.stringify(changes), () => {
      assert.throws(() => prepareReplay(nvme, options(changes)), message);
    });
  }
});

describe("when a worker goes wrong", () => {
  const worker = new URL("./runner.test.worker.js", import.meta.url);
  const run = async (
    how: string,
    changes: Partial<ReplayOptions> = {},
    host?: Partial<ReplayHost>,
  ): Promise<ReplayResult> => {
    process.env["MISBEHAVE"] = how;
    const prepared = prepareReplay(nvme, options({ seconds: 0.1, rows: [POOLED], ...changes }));
    return await runReplay(prepared, { ...nodeHost(worker), ...host });
  };
  afterEach(() => {
    delete process.env["MISBEHAVE"];
  });

  test("entries that hold the wrong page are seen", async () => {
    const [row] = (await run("wrong page", { rows: [SINGLE] })).rows as [RowResult];
    assert.ok(row.translationsWrong > 0);
    assert.match(
      row.firstWrong,
      /^a (read of|write to) bus address 0x1[0-9a-f]{8} did not reach memory at 0x[0-9a-f]+$/,
    );
  });

  for (const setup of [SINGLE, CACHED]) {
    test(`a forgotten invalidation is seen: ${setup.name}`, async () => {
      const [row] = (await run("no invalidation", { rows: [setup], entries: 1024, seconds: 0.3 })).rows as [RowResult];
      assert.ok(row.translationsWrong > 0, `${row.translationsChecked} checked`);
    });
  }

  test("failures are counted by reason and lose nothing", async () => {
    const [row] = (await run("refused")).rows as [RowResult];
    assert.ok(row.failures > 0);
    assert.deepEqual(row.failuresByReason, { "platform-refused": row.failures });
    assert.deepEqual([row.translationsWrong, row.entriesLost], [0, 0]);
  });

  /** The planted death comes after this number of calls: long enough for a busy machine. It ends the replay. */
  const UNTIL_IT_DIES = { seconds: 20 };

  test("one that throws ends the replay with its message", async () => {
    await assert.rejects(run("throw", UNTIL_IT_DIES), {
      code: "worker-died",
      message: "pooled: worker 1 died: planted",
    });
  });

  test("one that ends by itself ends the replay with its exit code", async () => {
    await assert.rejects(run("exit", UNTIL_IT_DIES), { message: "pooled: worker 1 ended by itself, with exit code 7" });
  });

  test("one that keeps silent ends the replay", async () => {
    const { within } = nodeHost();
    let waits = 0;
    // The first wait ends when the other worker has started, however long a busy machine takes for that.
    const impatient: ReplayHost["within"] = (_, promise, error) => within(waits++ === 0 ? 60_000 : 100, promise, error);
    await assert.rejects(
      run("silent", {}, { within: impatient }),
      /pooled: 1 of 2 workers \(1\) had not started when nothing had been heard of any for 15 s: they hang, or/,
    );
  });
});

const STARTED = 12;

test("threads start a few at a time, and many are waited for as long as one after the other says something", async () => {
  const { within, startThread, cores } = nodeHost();
  let starting = 0;
  let most = 0;
  let waits = 0;
  const counting: Partial<ReplayHost> = {
    within: (_, promise, error) => {
      waits++;
      return within(60_000, promise, error);
    },
    startThread: (job) => {
      most = Math.max(most, ++starting);
      const thread = startThread(job);
      return {
        ...thread,
        onReport: (handler) =>
          thread.onReport((report) => {
            if (report.state === "ready") starting--;
            handler(report);
          }),
      };
    },
  };
  const prepared = prepareReplay(nvme, options({ workers: STARTED, seconds: 0.1, rows: [SINGLE, POOLED] }));
  const { rows } = await runReplay(prepared, { ...nodeHost(), ...counting });
  for (const row of rows) assert.equal(row.translationsWrong, 0);
  assert.ok(most <= 2 * cores, `${most} at once on ${cores} cores`);
  assert.ok(waits >= STARTED / most, `the time began again only ${waits} times`);
});
