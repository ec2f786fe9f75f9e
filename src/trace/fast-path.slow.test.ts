/** The trace parser's fast path for map and unmap, against its general reader. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MAP_LINE, parse, read, row, UNMAP_LINE } from "./lines.model.ts";

describe("the fast path for map and unmap", () => {
  // A blank at the line's end is enough to leave the fast path: the general reader must find the same.
  const compare = (line: string): void => {
    const fast = parse(`${line}\n`);
    const general = parse(`${line} \n`);
    assert.equal(fast.events.length, general.events.length, line);
    assert.equal(fast.malformedReason, general.malformedReason, line);
    if (fast.events.length > 0) assert.equal(row(fast, 0), row(general, 0), line);
  };

  test("agrees with the general reader on lines with one to three changed bytes", () => {
    let seed = Number(process.env["SEED"] ?? 20150331);
    console.log(`seed ${seed}`);
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const letters = " =-:x0123456789abcdefgAFIOMUpsz_[].";
    for (let round = 0; round < 20_000; round++) {
      let line = random(2) === 0 ? MAP_LINE : UNMAP_LINE;
      for (let changes = random(3); changes >= 0; changes--) {
        const at = random(line.length);
        const letter = letters[random(letters.length)] as string;
        line = line.slice(0, at) + letter + line.slice(at + (random(4) === 0 ? 0 : 1));
      }
      compare(line);
    }
  });

  test("agrees with the general reader on every line of a recording", () => {
    for (const line of new TextDecoder().decode(read("fixtures/e1000e.txt")).trimEnd().split("\n")) compare(line);
  });
});
