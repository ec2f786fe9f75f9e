/** The built library, not bundled further, in a real browser: the page and two web workers on one table. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import { ROOT } from "../root.ts";
import { inBrowser } from "./chromium.ts";
import { type Serving, serve } from "./server.ts";

const manifest: { readonly exports: Record<string, { readonly default?: string }> } = JSON.parse(
  readFileSync(join(ROOT, "package.json"), "utf8"),
);
/** All entries but iova/qemu, which starts processes. */
const BROWSER_ENTRIES: readonly string[] = Object.entries(manifest.exports).flatMap(([name, { default: path }]) =>
  name === "./qemu" || path === undefined ? [] : [path],
);
const STEPS = 40_000;
const SEED = 20_150_401;

interface PlayerReport {
  readonly thread: number;
  readonly allocations: number;
  readonly refusals: number;
  readonly overlaps: number;
  readonly live: readonly [number, number][];
}
interface Played {
  readonly reports: readonly PlayerReport[];
  readonly own: PlayerReport;
  readonly leaked: readonly [number, [number, number][]][];
  readonly takenAtEnd: number;
  readonly leakedAtEnd: number;
  readonly mayWait: boolean;
}
/** Functions of page.js for this test. */
interface PageParts {
  readonly iovaTest: {
    play(options: object): Promise<Played>;
    makeTable(): string;
    load(paths: readonly string[]): Promise<readonly (readonly string[])[]>;
    makeBoards(path: string): Promise<readonly string[]>;
  };
}

// One pool without a cache: every operation meets the others at one lock.
for (const [pools, cache] of [
  [1, "none"],
  [4, "fifo"],
] as const) {
  test(`a page and two web workers share a table, and none gets the other's entries (${pools} pools, cache ${cache})`, (t) =>
    onPage(t, async (page, serving) => {
      await page.goto(serving.isolated);
      const options = { entries: 8192, pools, cache, workers: 2, steps: STEPS, seed: SEED };
      const played = await page.evaluate((o) => (globalThis as unknown as PageParts).iovaTest.play(o), options);
      const all = [...played.reports, played.own];
      t.diagnostic(`seed ${SEED}; ${all.map(describe).join("; ")}`);
      assert.equal(played.mayWait, false, "a page's own thread may not wait, and yet takes part");
      assert.deepEqual(all.map(({ thread }) => thread).sort(), [0, 1, 2]);
      for (const { thread, allocations, overlaps } of all) {
        assert.equal(overlaps, 0, `thread ${thread} got entries that another one owned`);
        assert.ok(allocations > (thread === 0 ? 0 : STEPS / 4), `thread ${thread} allocated ${allocations} times`);
      }
      assert.deepEqual(rangesOf(played.leaked), rangesOf(all.map(({ thread, live }) => [thread, live])), "the ledger");
      assert.deepEqual([played.takenAtEnd, played.leakedAtEnd], [0, 0], "all is free when all has been freed");
    }));
}

test("on a page without the isolation headers the library loads, and making a table throws an error that names them", (t) =>
  onPage(t, async (page, serving) => {
    await page.goto(serving.plain);
    const message = await page.evaluate(() => (globalThis as unknown as PageParts).iovaTest.makeTable());
    assert.match(message, /SharedArrayBuffer/);
    assert.match(message, /isolat/);
  }));

// Review of 2026-11-30, B1.
test("every entry for browsers loads with and without the isolation headers; without them every board throws an error that names them", (t) =>
  onPage(t, async (page, serving) => {
    for (const [address, code] of [
      [serving.isolated, "made"],
      [serving.plain, "no-shared-memory"],
    ] as const) {
      await page.goto(address);
      const loaded = await page.evaluate((p) => (globalThis as unknown as PageParts).iovaTest.load(p), BROWSER_ENTRIES);
      assert.ok(loaded.every((names) => names.length > 0));
      const boards = await page.evaluate(
        (p) => (globalThis as unknown as PageParts).iovaTest.makeBoards(p),
        manifest.exports["./platform"]?.default as string,
      );
      assert.ok(boards.length > 5);
      for (const board of boards) assert.match(board, new RegExp(`: ${code}$`));
    }
  }));

/** Runs `work` on a fresh page of the clone. */
function onPage(t: TestContext, work: (page: Page, serving: Serving) => Promise<void>): Promise<void> {
  return inBrowser(t, () => serve(ROOT), work);
}

/** Each thread's live ranges, in the order of the table. */
function rangesOf(owners: readonly (readonly [number, readonly [number, number][]])[]): Map<number, string[]> {
  const sorted = owners.filter(([, ranges]) => ranges.length > 0).sort(([a], [b]) => a - b);
  return new Map(
    sorted.map(([thread, ranges]) => [thread, ranges.map(([first, count]) => `${first}+${count}`).sort()]),
  );
}

function describe({ thread, allocations, refusals }: PlayerReport): string {
  return `thread ${thread}: ${allocations} allocations, ${refusals} refused`;
}
