import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { tarOf } from "../capture/tar.ts";
import { readTraceFile } from "./trace-file.ts";

const traces = fileURLToPath(new URL("../../../traces/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "iova-trace-"));
after(() => rmSync(folder, { recursive: true }));

const packed = readFileSync(join(traces, "nvme-io-612.txt.gz"));
const plain = readFileSync(join(traces, "fixtures/linux-6.1.txt"));
const zst = readFileSync(join(traces, "fixtures/linux-6.1.txt.zst"));

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

  test("is read when it is packed by zst", async () => {
    assert.equal((await readTraceFile(join(traces, "fixtures/linux-6.1.txt.zst"))).events.length, 48);
    assert.equal((await readTraceFile(file("misnamed.gz", zst))).events.length, 48);
    const twice = Buffer.concat([zst, zst]);
    assert.equal((await readTraceFile(file("two frames.zst", twice))).events.length, 96);
  });

  test("is read as UTF-16 and with carriage returns alone, as an editor may have saved it", async () => {
    const text = plain.toString("latin1");
    assert.equal((await readTraceFile(file("utf16", Buffer.from(`\ufeff${text}`, "utf16le")))).events.length, 48);
    assert.equal((await readTraceFile(file("returns", text.replaceAll("\n", "\r")))).events.length, 48);
  });

  test("may be one of the files of an archive of iova capture", async () => {
    const log = Buffer.from("[    1.000000] Linux version 6.1.0\n");
    const archive = archiveOf({ "capture/dmesg.txt": log, "capture/trace.txt": plain, "capture/groups.txt": log });
    assert.equal((await readTraceFile(file("capture.tar.gz", gzipSync(archive)))).events.length, 48);
    assert.equal((await readTraceFile(file("capture.tar", archive))).events.length, 48);
    await assert.rejects(readTraceFile(file("without.tar", archiveOf({ "a/dmesg.txt": log, "a/b": log }))), {
      name: "FormatError",
      message: /without\.tar: no file of the archive \(dmesg\.txt and b\) holds a trace; expected ftrace text/,
    });
    await assert.rejects(readTraceFile(file("two.tar", archiveOf({ "a/one": plain, "a/two": plain }))), {
      name: "FormatError",
      message: /two\.tar: the archive holds 2 traces: one and two; unpack it and name one of them/,
    });
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
    /cut\.gz: the gz data end too early after byte 100000 of the file \(read before: \d,\d{3} whole lines of its text, \d,\d{3} events\)/,
  ],
  ["a gz file that is cut in its head", () => file("head.gz", packed.subarray(0, 5)), /end too early after byte 5 /],
  [
    "a gz file with a flipped byte",
    () => file("flipped.gz", flipped(packed, 90_000)),
    /the gz data are damaged \(.+\) after byte/,
  ],
  [
    "a zst file that is cut",
    () => file("cut.zst", zst.subarray(0, 400)),
    /cut\.zst: the zstd data end too early after byte 400 of the file \(read before: 0 whole lines of its text, 0 events\)/,
  ],
  [
    "a zst file with a flipped byte in its head",
    () => file("flipped.zst", flipped(zst, 4)),
    /the zstd data (?:are damaged \(.+\)|end too early) after byte/,
  ],
  [
    "a binary file",
    () => file("binary", Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0)),
    /binary is a binary file \(byte 7 is zero\)/,
  ],
  [
    "a binary file in gz",
    () => file("binary.gz", gzipSync(Uint8Array.of(1, 2, 0))),
    /is a binary file \(byte 2 is zero\)/,
  ],
  [
    "random bytes without a line end",
    () => file("noise", new Uint8Array(2 ** 21).fill(0x80)),
    /its only line is no event; line 1 is `\\x80\\x80/,
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
  ["an endless file of zeros", () => "/dev/zero", /\/dev\/zero is a binary file \(byte 0 is zero\)/],
];

describe("a file that is not a trace", () => {
  for (const [what, path, message] of cases) {
    test(`${what} is an error that says so`, async () => {
      await assert.rejects(readTraceFile(path()), (error: Error) => {
        assert.match(error.message, message);
        assert.match(error.name, /^(IovaError|FormatError)$/);
        return true;
      });
    });
  }

  test("zero bytes that a crash left among the events count as blanks", async () => {
    const trace = await readTraceFile(file("damaged", Buffer.concat([plain, Buffer.from("\0\0\n"), plain])));
    assert.equal(trace.events.length, 48 + 48);
    assert.equal(trace.classes.blank.count, 1);
  });
});

function archiveOf(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const members = Object.entries(files).map(([name, bytes]) => ({ name, bytes: bytes.length, pieces: [bytes] }));
  return Buffer.concat([...tarOf(members, 0)]);
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = (copy[at] as number) ^ 0xff;
  return copy;
}
