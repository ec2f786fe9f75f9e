#!/usr/bin/env node
/**
 * Starts the command line. All it does itself is to say how to get the build when there is none: a fresh clone has none.
 */
import { existsSync } from "node:fs";

const main = new URL("../build/src/cli/main.js", import.meta.url);
if (existsSync(main)) {
  const { main: run } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2));
} else {
  console.error("iova: nothing is built here yet. In a clone, `npm run build` installs what is needed and builds.");
  process.exitCode = 2;
}
