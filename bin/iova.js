#!/usr/bin/env node
/**
 * Starts the command line. All it does itself is to say how to get the build when there is none (a fresh clone has none), and to
 * end with exit code 3 when an error reaches nothing that handles it: Node's own 1 means bad news here.
 */
import { existsSync } from "node:fs";

process.on("uncaughtException", (error) => {
  console.error(`iova: ${String(error?.stack ?? error).replace(/\s*\n\s*/g, "; ")}`);
  process.exit(3);
});

const main = new URL("../dist/iova-cli.js", import.meta.url);
if (existsSync(main)) {
  const { main: run } = await import(main.href);
  process.exitCode = await run(process.argv.slice(2));
} else {
  console.error("iova: nothing is built here yet. In a clone, `npm run build` installs what is needed and builds.");
  process.exitCode = 2;
}
