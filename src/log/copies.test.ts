import assert from "node:assert/strict";
import { test } from "node:test";
import { factsOf } from "./facts-of.model.ts";

function message(number: number, address: number): string {
  const time = `${Math.floor(number / 1000)}.${String(number % 1000).padStart(3, "0")}000`;
  return `[${time}] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0x${address.toString(16)} flags=0x0000]`;
}

function messages(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, at) => message(from + at, 0x1000 * (from + at)));
}

test("ten thousand different messages are all there, and their copies are not", () => {
  const lines = messages(10_000);
  assert.equal(factsOf(lines.join("\n")).length, 10_000);
  const latest = lines.slice(-8192);
  assert.equal(factsOf([...lines, ...latest, ...latest.map((line) => `> ${line}`)].join("\n")).length, 10_000);
});

test("the memory of messages is bounded: a copy of a message that 20,000 others follow counts again", () => {
  const lines = messages(20_001);
  assert.equal(factsOf([...lines, lines[0]].join("\n")).length, 20_002);
});

test("messages of one microsecond that differ in their address are different messages", () => {
  const lines = Array.from({ length: 1000 }, (_, at) => message(5, 0x1000 * at));
  assert.equal(factsOf(lines.join("\n")).length, 1000);
});

test("two equal messages without a time are one if the second is quoted, else two", () => {
  const line = message(1, 0x1000).replace(/^\[\S+\] /, "");
  assert.equal(factsOf(`${line}\n\n> ${line}\n`).length, 1);
  assert.equal(factsOf(`${line}\n${line}\n`).length, 2);
});
