import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fact } from "./facts.ts";
import { factsOf } from "./facts-of.model.ts";
import { FAMILIES } from "./families/index.ts";
import type { Shape } from "./shape.ts";

const REPEATING = FAMILIES.flatMap(({ shapes }) => shapes).filter(({ repeats }) => repeats !== undefined);
/** Addresses that may mean something else to a shape: zero, interrupts of x86, doorbells, the end of 32 bits, the highest one. */
const ADDRESSES = ["0", "fee00000", "08020040", "fffff000", "100000000", "FFFFFFFFFFFFF000", "ffffffffffffffff"];

/** The example of a shape with another address. */
function withAddress({ example, pattern, repeats }: Shape, digits: string): string {
  const printed = pattern.exec(example)?.groups?.[repeats ?? ""]?.replace(/^0x/, "") ?? "";
  assert.equal(example.split(printed).length, 2, example);
  return example.replace(printed, digits);
}

/** The facts of one line as if it stood alone. */
function alone(line: string, number: number): Fact[] {
  return factsOf(`${"\n".repeat(number - 1)}${line}\n`);
}

test("some shapes say that bursts of their messages differ in the address", () => {
  assert.deepEqual(
    REPEATING.map(({ name }) => name),
    ["intel-fault", "amd-event", "smmu-context-fault"],
  );
});

for (const shape of REPEATING) {
  test(`${shape.name}: a message that differs in its address alone states what it states by itself`, () => {
    const lines = [shape.example, ...ADDRESSES.map((digits) => withAddress(shape, digits)), shape.example].map(
      (message, at) => `[    ${at}.000001] ${message}`,
    );
    const expected = lines.flatMap((line, at) => alone(line, at + 1));
    assert.equal(expected.length, lines.length);
    assert.deepEqual(factsOf(lines.join("\n")), expected);
  });

  test(`${shape.name}: a masked address, another clock and a line without a time are read by the pattern`, () => {
    const lines = [
      `[    1.000001] ${shape.example}`,
      `[    2.000001] ${withAddress(shape, "xxxxxxxx")}`,
      `2026-11-30T10:00:00Z host kernel: ${withAddress(shape, "2000")}`,
      // An empty line: the next one does not go on with the one before.
      "",
      withAddress(shape, "3000"),
    ];
    const expected = lines.flatMap((line, at) => alone(line, at + 1));
    assert.deepEqual(factsOf(lines.join("\n")), expected);
  });
}

test("what later lines add to a message is not added to those that repeat it", () => {
  const text = [
    "[    1.000001] AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=01:00.0 pasid=0x00000 address=0xfffffffdf8000000 flags=0x0a00]",
    "[    1.000002] AMD-Vi: DTE[0]: 6190000000000003",
    "[    2.000001] AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=01:00.0 pasid=0x00000 address=0xfffffffdf8001000 flags=0x0a00]",
  ].join("\n");
  const [first, second] = factsOf(text);
  assert.notDeepEqual(first?.lines, [{ file: "-", line: 1 }]);
  assert.deepEqual(second, alone(text.split("\n")[2] as string, 3)[0]);
});

test("a message with other flags or of another device is no repetition", () => {
  const lines = [
    "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]",
    "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0020]",
    "nvme 0000:02:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]",
  ].map((message, at) => `[    ${at}.000001] ${message}`);
  assert.deepEqual(
    factsOf(lines.join("\n")),
    lines.flatMap((line, at) => alone(line, at + 1)),
  );
});
