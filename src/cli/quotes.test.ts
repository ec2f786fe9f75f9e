import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { tarOf } from "../capture/tar.ts";
import { main } from "./main.ts";
import { RecordingTerminal } from "./terminal.model.ts";

const LOG = fileURLToPath(new URL("../../../traces/wifi-crash.log", import.meta.url));
const text = `${"[    1.000000] a line before\n".repeat(40)}${readFileSync(LOG, "utf8")}[  200.000000] a line behind\n`;
const folder = mkdtempSync(join(tmpdir(), "iova-quotes-"));
after(() => rmSync(folder, { recursive: true }));

async function quotesOf(name: string, content: Uint8Array): Promise<string[]> {
  const path = join(folder, name);
  writeFileSync(path, content);
  const terminal = new RecordingTerminal(400);
  assert.equal(await main(["explain", path, "--context", "1"], terminal), 1, terminal.errors);
  return terminal.output.split("\n").filter((line) => /^[> ] +\d+ {2}\S/.test(line));
}

/** The log, as people save it. */
const ENCODINGS: readonly (readonly [name: string, bytes: Buffer])[] = [
  ["UTF-16, little-endian, with its mark", Buffer.from(`\ufeff${text}`, "utf16le")],
  ["UTF-16, little-endian, without a mark", Buffer.from(text, "utf16le")],
  ["UTF-16, big-endian", Buffer.from(`\ufeff${text}`, "utf16le").swap16()],
  ["UTF-8 with a mark", Buffer.from(`\ufeff${text}`)],
  ["lines that end in carriage returns alone", Buffer.from(text.replaceAll("\n", "\r"))],
  ["lines that end in carriage return and line feed", Buffer.from(text.replaceAll("\n", "\r\n"))],
  ["a line without end", Buffer.from(text.slice(0, text.indexOf("[  200.")).trimEnd())],
];

function archived(bytes: Uint8Array): Uint8Array {
  const other = Buffer.from("[    1.000000] another file\n");
  const members = [
    { name: "x/cmdline.txt", bytes: other.length, pieces: [other] },
    { name: "x/dmesg.txt", bytes: bytes.length, pieces: [bytes] },
  ];
  return gzipSync(Buffer.concat([...tarOf(members, 0)]));
}

describe("the lines that are quoted are those that were read (review of 2026-11-30)", () => {
  for (const [name, bytes] of ENCODINGS) {
    test(`of a file with ${name}, plain and in an archive`, async () => {
      const expected = await quotesOf("plain.log", Buffer.from(text));
      assert.equal(expected.length, 5);
      assert.match(expected[1] ?? "", /^> {5}41 {2}\[ {2}100\.\d+\] /);
      const wanted = name === "a line without end" ? expected.slice(0, 4) : expected;
      assert.deepEqual(await quotesOf("file.log", bytes), wanted);
      assert.deepEqual(await quotesOf("archive.tar.gz", archived(bytes)), wanted);
    });
  }
});

test("lines of several files have headings, and a mark stands where lines are left out", async () => {
  const traces = ["dmesg", "trace"].map((name) =>
    fileURLToPath(new URL(`../../../traces/use-after-unmap.${name}.txt.gz`, import.meta.url)),
  );
  const terminal = new RecordingTerminal(400);
  await main(["explain", ...traces, "--context", "0"], terminal);
  const lines = terminal.output.split("\n").map((line) => line.slice(0, 9));
  const at = lines.indexOf(">    400 ");
  assert.deepEqual(lines.slice(at + 2, at + 5), [">     15 ", "       …", ">     19 "]);
  for (const name of traces) assert.ok(terminal.output.includes(`\n${name}:\n`), name);
});

/** Reads standard input as `iova explain -` does, then quotes two of its lines. */
const READ_AND_QUOTE = `
  const { Quoter } = await import(process.env.QUOTES);
  const { RecordingTerminal } = await import(process.env.TERMINAL);
  const quoter = new Quoter(new RecordingTerminal(400), 2 ** 20);
  await quoter.read("-", () => ({ write() {}, end() {} }));
  const lines = [1, 30002].map((line) => ({ file: "-", line }));
  await quoter.gather(lines, 0);
  console.log(quoter.quote(lines, 0).join("\\n"));
`;

test("a line of standard input beyond the kept part is reported as not quoted", async () => {
  const input = spawnSync(process.execPath, ["--input-type=module", "-e", READ_AND_QUOTE], {
    input: `first line\n${`${"x".repeat(99)}\n`.repeat(30_000)}last line\n`,
    encoding: "utf8",
    env: {
      ...process.env,
      QUOTES: new URL("quotes.js", import.meta.url).href,
      TERMINAL: new URL("terminal.model.js", import.meta.url).href,
    },
  });
  assert.deepEqual(
    input.stdout.split("\n").slice(0, 3),
    [
      ">      1  first line",
      "       …",
      ">  30002  (not quoted: of standard input, the first 1 MiB are kept for quotes)",
    ],
    input.stderr,
  );
});
