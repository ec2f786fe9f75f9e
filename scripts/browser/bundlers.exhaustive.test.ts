/** A user's page with workers, built by esbuild and by vite from the installed package, in a real browser. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { ROOT } from "../root.ts";
import { installPackage, needRuntimes, vitePath } from "../runtimes/installed.ts";
import { inBrowser } from "./chromium.ts";
import { serveFolder } from "./server.ts";

/** Functions of scripts/browser/app/main.js for this test. */
interface App {
  readonly app: {
    readonly isolated: boolean;
    share(): Promise<{ readonly ranges: number; readonly twice: number; readonly taken: number }>;
    make(): readonly string[];
  };
}
interface Bundler {
  readonly name: string;
  /** Undefined, or the reason why the bundler can't be installed. */
  need(): string | undefined;
  build(source: string, into: string): Promise<unknown>;
}

const BUNDLERS: readonly Bundler[] = [
  {
    name: "esbuild",
    need: () => undefined,
    build: async (source, into) => {
      // esbuild leaves workers to its user: the worker is an entry of its own.
      const entryPoints = [join(source, "main.js"), join(source, "worker.js")];
      await build({ entryPoints, bundle: true, splitting: true, format: "esm", minify: true, outdir: into });
      cpSync(join(source, "index.html"), join(into, "index.html"));
    },
  },
  {
    name: "vite",
    need: needRuntimes,
    build: async (source, into) => {
      const vite: { build(options: object): Promise<unknown> } = await import(pathToFileURL(vitePath()).href);
      const worker = { format: "es" };
      await vite.build({
        root: source,
        base: "./",
        logLevel: "warn",
        worker,
        build: { outDir: into, emptyOutDir: true, target: "es2022" },
      });
    },
  },
];

const folder = mkdtempSync(join(tmpdir(), "iova-bundlers-"));
after(() => rmSync(folder, { recursive: true }));
installPackage(folder);
const source = join(folder, "app");
cpSync(join(ROOT, "scripts", "browser", "app"), source, { recursive: true });

for (const bundler of BUNDLERS) {
  test(`a page built by ${bundler.name}: two workers allocate; without the isolation headers it loads, and says what is missing`, async (t) => {
    const missing = bundler.need();
    if (missing !== undefined) return t.skip(missing);
    const built = join(folder, bundler.name);
    mkdirSync(built);
    await bundler.build(source, built);
    await inBrowser(
      t,
      () => serveFolder(built),
      async (page, serving) => {
        await page.goto(serving.isolated);
        assert.equal(await page.evaluate(() => (globalThis as unknown as App).app.isolated), true);
        const shared = await page.evaluate(() => (globalThis as unknown as App).app.share());
        assert.deepEqual(shared, { ranges: 400, twice: 0, taken: 0 });
        assert.deepEqual(await page.evaluate(() => (globalThis as unknown as App).app.make()), ["made", "made"]);
        await page.goto(serving.plain);
        assert.equal(await page.evaluate(() => (globalThis as unknown as App).app.isolated), false);
        const made = await page.evaluate(() => (globalThis as unknown as App).app.make());
        assert.equal(made.length, 2);
        for (const answer of made)
          assert.match(answer, /no-shared-memory: there is no SharedArrayBuffer here; a web page needs/);
      },
    );
  });
}
