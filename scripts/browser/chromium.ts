/** Headless Chromium for tests: a fresh page, whose errors fail the test. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { needProgram } from "../debian.ts";
import type { Serving } from "./server.ts";

const CHROMIUM = "/usr/bin/chromium";
/** Without these flags Chromium contacts its maker's servers. */
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Runs `work` on a fresh page from `serve`; skips the test with a reason if no browser can be installed. */
export async function inBrowser(
  t: TestContext,
  serve: () => Promise<Serving>,
  work: (page: Page, serving: Serving) => Promise<void>,
): Promise<void> {
  const missing = needProgram(CHROMIUM, "chromium");
  if (missing !== undefined) return t.skip(missing);
  const serving = await serve();
  const browser: Browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS, headless: true });
  try {
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(error.message));
    await work(page, serving);
    assert.deepEqual(complaints, []);
    assert.deepEqual(serving.missing, [], "every module that was asked for is there");
  } finally {
    await browser.close();
    serving.close();
  }
}
