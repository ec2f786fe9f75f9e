import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { readTraceFile } from "./trace-file.ts";

const traces = fileURLToPath(new URL("../../../traces/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "iova-trace-"));
after(() => rmSync(folder, { recursive: true }));

const packed = readFileSync(join(traces, "nvme-io-612.txt.gz"));
const plain = readFileSync(join(traces, "fixtures/linux-6.1.txt"));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe("a trace file", () => {
  test("is read plain or gz, whatever its name", async () => {
    assert.equal((await readTraceFile(join(traces, "nvme-io-612.txt.gz"))).events.length, 12741);
    assert.equal((await readTraceFile(file("misnamed.txt", packed))).events.length, 12741);
    assert.equal((await readTraceFile(file("misnamed.gz", plain))).events.length, 48);
    const twice = Buffer.concat([gzipSync(plain), gzipSync(plain)]);
    assert.equal((await readTraceFile(file("two members.gz", twice))).events.length, 96);
  });

  test("is read in pieces: a large one too", async () => {
    const lines = plain.subarray(plain.indexOf("    kworker"));
    const copies = Math.ceil((3 * 2 ** 20) / lines.length);
    const large = Buffer.concat(Array.from({ length: copies }, () => lines));
    const seen: number[] = [];
    const trace = await readTraceFile(file("large.txt", large), (bytes, total) => {
      seen.push(bytes);
      assert.equal(total, large.length);
    });
    assert.equal(trace.events.length, copies * 48);
    assert.equal(seen.length, 4);
    assert.equal(seen.at(-1), large.length);
  });
});

const cases: readonly (readonly [what: string, path: () => string, message: RegExp])[] = [
  ["a missing file", () => join(folder, "none"), /none: there is no such file$/],
  ["a directory", () => folder, /is a directory; expected a trace file$/],
  ["a path through a file", () => join(file("leaf", "x"), "x"), /a part of the path is no directory$/],
  ["an empty file", () => file("empty", ""), /empty is empty; expected ftrace text/],
  ["an empty gz file", () => file("empty.gz", gzipSync("")), /is empty once unpacked/],
  [
    "a gz file that is cut",
    () => file("cut.gz", packed.subarray(0, 100_000)),
    /cut\.gz: the gz data end too early after byte 100000 of the file \(read before: \d{4} whole lines of its text, \d{4} events\)/,
  ],
  ["a gz file that is cut in its head", () => file("head.gz", packed.subarray(0, 5)), /end too early after byte 5 /],
  [
    "a gz file with a flipped byte",
    () => file("flipped.gz", flipped(packed, 90_000)),
    /the gz data are damaged \(.+\) after byte/,
  ],
  [
    "a binary file",
    () => file("binary", Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0)),
    /binary: byte 7 of its text is 0 \(it begins with `\\x7fELF/,
  ],
  [
    "a binary file in gz",
    () => file("binary.gz", gzipSync(Uint8Array.of(1, 2, 0))),
    /is binary: byte 2 of its text is 0/,
  ],
  [
    "random bytes without a line end",
    () => file("noise", new Uint8Array(2 ** 21).fill(0x80)),
    /line 1 is longer than 1048576 bytes/,
  ],
  [
    "a text that is no trace",
    () => file("prose", "Dear reader,\nno trace here.\n"),
    /none of its 2 lines is an event; line 1 is `Dear reader,`/,
  ],
  [
    "a trace of other events",
    () => file("sched", "# tracer: nop\n  a-1 [000] ..... 1.0: sched_switch: prev_comm=a\n"),
    /has 1 event, but no iommu or dma event; the first, in line 2, is `a-1 .*sched_switch.*-e iommu -e dma/,
  ],
  [
    "a trace without events",
    () => file("head", "# tracer: nop\n#\n"),
    /holds no events, but 2 lines of a trace's head/,
  ],
  [
    "one broken line",
    () => file("broken", "  a-1 [000] ..... 1.0: map: IOMMU: iova=zz\n"),
    /broken, line 1: iova= holds no hexadecimal number/,
  ],
  ["trace-cmd's own file", () => file("trace.dat", "\x17\x08\x44tracing6"), /make text of it: trace-cmd report/],
  ["perf's own file", () => file("perf.data", "PERFILE2"), /make text of it: perf script/],
  [
    "another compression",
    () => file("x.xz", Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0)),
    /compressed by xz; unpack it first: xz -d/,
  ],
  ["an endless file of zeros", () => "/dev/zero", /\/dev\/zero is binary: byte 0/],
];

describe("what is no trace file", () => {
  for (const [what, path, message] of cases) {
    test(`${what} is an error that says so`, async () => {
      await assert.rejects(readTraceFile(path()), (error: Error) => {
        assert.match(error.message, message);
        assert.match(error.name, /^(IovaError|FormatError)$/);
        return true;
      });
    });
  }

  test("a zero byte after the first events is one foreign line", async () => {
    const trace = await readTraceFile(file("damaged", Buffer.concat([plain, Buffer.from("\0\0\n"), plain])));
    assert.equal(trace.events.length, 48 + 48);
    assert.equal(trace.classes.foreign.count, 1);
    assert.equal(trace.classes.foreign.firstText, "\\x00\\x00");
  });
});

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = (copy[at] as number) ^ 0xff;
  return copy;
}
