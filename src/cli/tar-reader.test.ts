import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type TarMember, tarOf } from "../capture/tar.ts";
import { main } from "./main.ts";
import { filesOf } from "./tar-reader.ts";
import { RecordingTerminal } from "./terminal.model.ts";

const folder = mkdtempSync(join(tmpdir(), "iova-tar-"));
after(() => rmSync(folder, { recursive: true }));

function member(name: string, text: string): TarMember {
  const content = new TextEncoder().encode(text);
  return { name, bytes: content.length, pieces: [content] };
}

function archiveOf(...members: readonly TarMember[]): Buffer {
  return Buffer.concat([...tarOf(members, 0)]);
}

/** The files of an input that comes in pieces of `length` bytes, all in the same buffer. */
async function read(input: Uint8Array, length: number): Promise<Record<string, string>> {
  const pieces = function* (): Generator<Uint8Array> {
    const buffer = new Uint8Array(length);
    for (let first = 0; first < input.length; first += length) {
      const piece = input.subarray(first, first + length);
      buffer.set(piece);
      yield buffer.subarray(0, piece.length);
    }
  };
  const files: Record<string, string> = {};
  for await (const { file, bytes } of filesOf("in", pieces())) {
    files[file] = (files[file] ?? "") + Buffer.from(bytes).toString();
  }
  return files;
}

describe("an input that is a tar archive", () => {
  const archive = archiveOf(member("x/trace.txt", "t".repeat(1000)), member("x/empty", ""), member("x/dmesg.txt", "d"));

  test("is the files in it, in pieces of any size", async () => {
    const expected = { "in/trace.txt": "t".repeat(1000), "in/empty": "", "in/dmesg.txt": "d" };
    for (const length of [1, 7, 511, 512, 513, 4096]) assert.deepEqual(await read(archive, length), expected);
  });

  test("is an error that names the place when it is cut or damaged", async () => {
    for (const length of [700, 1700, 2000]) {
      await assert.rejects(read(archive.subarray(0, length), 512), /^FormatError: in: the tar archive ends too early/);
    }
    const damaged = Buffer.from(archive);
    damaged[1536] = 1;
    await assert.rejects(read(damaged, 512), /byte 1536 of its text begins no file/);
  });

  test("other inputs stay one file, short ones too", async () => {
    assert.deepEqual(await read(Buffer.from("a log"), 2), { in: "a log" });
    assert.deepEqual(await read(new Uint8Array(0), 2), { in: "" });
    assert.deepEqual(await read(Buffer.from("l".repeat(2000)), 300), { in: "l".repeat(2000) });
  });

  test("a length beyond eleven octal digits is written in binary", () => {
    const [header] = tarOf([{ name: "a", bytes: 2 ** 35 + 5, pieces: [] }], 0);
    assert.deepEqual([...(header as Uint8Array).subarray(124, 136)], [0x80, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 5]);
  });
});

test("explain reads an archive, and quotes the lines of its files", async () => {
  const dmesg =
    "[    0.000000] Linux version 6.1.0\n[    9.000000] DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0xabc000 [fault reason 0x05] PTE Write access is not set\n";
  const path = join(folder, "capture.tar.gz");
  writeFileSync(path, gzipSync(archiveOf(member("x/dmesg.txt", dmesg), member("x/cmdline.txt", "quiet\n"))));
  const terminal = new RecordingTerminal();
  assert.equal(await main(["explain", "-C", "0", path], terminal), 1);
  assert.match(terminal.output, /0000:01:00\.0/);
  assert.match(terminal.output, /> +2 {2}\[ {4}9\.000000\] DMAR: \[DMA Write/);
});
