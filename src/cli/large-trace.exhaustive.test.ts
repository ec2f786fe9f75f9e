/** The command's memory while it reads a trace of a million events, plain and packed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { repeatedTrace } from "../trace/large-trace.model.ts";

const IOVA = fileURLToPath(new URL("../../../bin/iova.js", import.meta.url));
const NVME = fileURLToPath(new URL("../../../traces/nvme-io-612.txt.gz", import.meta.url));
const MOST_BYTES = 300 * 10 ** 6;
const folder = mkdtempSync(join(tmpdir(), "iova-large-"));
after(() => rmSync(folder, { recursive: true }));

/** Written by the child as its last act: the most memory that it had, in KiB. */
const TELL_MEMORY = join(folder, "tell-memory.mjs");
writeFileSync(
  TELL_MEMORY,
  'import { writeFileSync } from "node:fs"; process.on("exit", () => writeFileSync(process.env.MEMORY_FILE, String(process.resourceUsage().maxRSS)));',
);

function memoryOf(verb: string, file: string): number {
  const told = join(folder, "memory");
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", TELL_MEMORY, IOVA, verb, file], {
    encoding: "utf8",
    env: { ...process.env, MEMORY_FILE: told },
  });
  assert.equal(status, 0, stderr);
  assert.match(stdout, /1,095,726 (?:lines|events)/);
  return Number(readFileSync(told, "utf8")) * 1024;
}

describe("a trace of 1,095,726 events (review of 2026-11-30: 330 MB, columns that double)", () => {
  const text = Buffer.concat([...repeatedTrace(gunzipSync(readFileSync(NVME)).toString("latin1"), 86)]);
  const files = [join(folder, "trace.txt"), join(folder, "trace.txt.gz")] as const;
  writeFileSync(files[0], text);
  writeFileSync(files[1], gzipSync(text, { level: 1 }));
  for (const verb of ["explain", "stat"]) {
    for (const file of files) {
      test(`iova ${verb} ${file.endsWith("gz") ? "packed" : "plain"} takes less than 300 MB`, () => {
        const bytes = memoryOf(verb, file);
        assert.ok(bytes < MOST_BYTES, `${Math.round(bytes / 1e6)} MB`);
      });
    }
  }
});
