/** The command's memory while it reads logs of 300 MB from standard input: floods of faults, a journal, one line without an end. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { largeLog } from "../log/large-log.model.ts";

const IOVA = fileURLToPath(new URL("../../../bin/iova.js", import.meta.url));
const INPUT_BYTES = 300e6;
const MOST_BYTES = 300e6;
const folder = mkdtempSync(join(tmpdir(), "iova-large-"));
after(() => rmSync(folder, { recursive: true }));

/** Written by the child as its last act: the most memory that it had, in KiB. */
const TELL_MEMORY = join(folder, "tell-memory.mjs");
writeFileSync(
  TELL_MEMORY,
  'import { writeFileSync } from "node:fs"; process.on("exit", () => writeFileSync(process.env.MEMORY_FILE, String(process.resourceUsage().maxRSS)));',
);

interface Explained {
  readonly status: number | null;
  readonly printed: string;
  readonly memoryBytes: number;
}

async function explain(pieces: Iterable<Uint8Array>): Promise<Explained> {
  const memory = join(folder, "memory");
  const child = spawn(process.execPath, ["--import", TELL_MEMORY, IOVA, "explain", "-", "--json"], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, MEMORY_FILE: memory },
  });
  Readable.from(pieces, { objectMode: false, highWaterMark: 2 ** 20 }).pipe(child.stdin);
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
  });
  const [status] = (await once(child, "close")) as [number | null];
  return { status, printed, memoryBytes: Number(readFileSync(memory, "utf8")) * 1024 };
}

function* repeated(piece: Uint8Array, bytes: number): Generator<Uint8Array, undefined> {
  for (let made = 0; made < bytes; made += piece.length) yield piece;
}

describe("a log of 300 MB on standard input takes less than 300 MB of memory", () => {
  for (const kind of ["amd", "journal"] as const) {
    test(`full of lines of the kind ${kind}`, async () => {
      let messages = 0;
      const pieces = (function* () {
        for (const piece of largeLog(kind, INPUT_BYTES)) {
          messages += countOf(piece, "IO_PAGE_FAULT");
          yield piece;
        }
      })();
      const { status, printed, memoryBytes } = await explain(pieces);
      assert.equal(status, messages > 0 ? 1 : 0);
      assert.equal(countedIn(printed), messages);
      assert.ok(memoryBytes < MOST_BYTES, `${Math.round(memoryBytes / 1e6)} MB`);
    });
  }

  test("that is one line", async () => {
    const { status, printed, memoryBytes } = await explain(
      repeated(new TextEncoder().encode("DMAR: fault ".repeat(2 ** 16)), INPUT_BYTES),
    );
    assert.deepEqual([status, printed], [2, ""]);
    assert.ok(memoryBytes < MOST_BYTES, `${Math.round(memoryBytes / 1e6)} MB`);
  });
});

/** Messages of all findings. */
function countedIn(json: string): number {
  const { findings } = JSON.parse(json) as { findings: readonly { count: number }[] };
  return findings.reduce((sum, { count }) => sum + count, 0);
}

function countOf(piece: Uint8Array, word: string): number {
  return new TextDecoder().decode(piece).split(word).length - 1;
}
