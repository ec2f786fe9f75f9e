import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MOST_LINE_BYTES, PlainText } from "./plain-text.ts";

/** The output for an input that is given in pieces of this size. */
function plain(input: Uint8Array, pieceBytes: number = input.length): { text: string; cutLines: number } {
  const pieces: Uint8Array[] = [];
  const reader = new PlainText("x.log", (bytes) => pieces.push(bytes.slice()));
  for (let at = 0; at < input.length; at += pieceBytes) reader.write(input.subarray(at, at + pieceBytes));
  reader.finish();
  return { text: Buffer.concat(pieces).toString(), cutLines: reader.cutLines };
}

const TEXT = "DMAR: é fault\n".repeat(2000);

describe("text of any encoding comes out as UTF-8", () => {
  const bigEndian = Buffer.from(`\ufeff${TEXT}`, "utf16le").swap16();
  const inputs: readonly (readonly [name: string, bytes: Uint8Array])[] = [
    ["UTF-8", Buffer.from(TEXT)],
    ["UTF-8 with a mark", Buffer.from(`\ufeff${TEXT}`)],
    ["UTF-16LE", Buffer.from(TEXT, "utf16le")],
    ["UTF-16LE with a mark", Buffer.from(`\ufeff${TEXT}`, "utf16le")],
    ["UTF-16BE with a mark", bigEndian],
    ["lines that end in CR", Buffer.from(TEXT.replaceAll("\n", "\r"))],
  ];
  for (const [name, bytes] of inputs) {
    for (const pieceBytes of [7, 4096, bytes.length])
      test(`${name}, in pieces of ${pieceBytes}`, () =>
        assert.deepEqual(plain(bytes, pieceBytes), { text: TEXT, cutLines: 0 }));
  }
});

test("a binary file is refused, a log with zero bytes of a crash is not", () => {
  assert.throws(() => plain(Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0])), {
    message: /^x\.log is a binary file \(byte 7 is zero\); expected the text/,
  });
  assert.throws(() => plain(new Uint8Array(100_000)), /binary/);
  assert.deepEqual(plain(Buffer.from("abcdefgh\0\0\0\nabc")).text, "abcdefgh   \nabc");
});

describe("a line longer than the bound is cut and counted", () => {
  const long = "a".repeat(MOST_LINE_BYTES);
  const input = Buffer.from(`${long}\n${long}b\nshort\n${long}${long}${long}\nend\n${long}c`);
  const text = `${long}\n${long}\nshort\n${long}\nend\n${long}`;
  for (const pieceBytes of [1000, MOST_LINE_BYTES, MOST_LINE_BYTES + 1, MOST_LINE_BYTES + 2, 200_000, input.length])
    test(`in pieces of ${pieceBytes}`, () => assert.deepEqual(plain(input, pieceBytes), { text, cutLines: 3 }));
});
