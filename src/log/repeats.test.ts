import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom } from "../allocator/random.model.ts";
import type { Fact } from "./facts.ts";
import { factsOf, readBy } from "./facts-of.model.ts";
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
  test(`${shape.name}: a repeated message with another address gives the same facts as the message alone`, () => {
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

test("additions by later lines to a message are not added to its repetitions", () => {
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

const ENDS = [
  "",
  "",
  "",
  "",
  "",
  " ",
  "\r",
  "\n[fault reason 05] PTE Write access is not set",
  "\nand more of it",
  "x",
  "=20",
  "=",
];

/** A flood of a few devices with other lines in it, and lines of it that are damaged. */
function flood(seed: number): string {
  const random = randomFrom(seed);
  const address = (): string =>
    ["", "0x"][random(2)] + (random(2) === 0 ? random(2 ** 28).toString(16) : `${random(2 ** 20).toString(16)}000`);
  const messages: readonly (() => string)[] = [
    () =>
      `nvme 0000:0${random(3)}:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0x${address()} flags=0x00${random(2)}0]`,
    () =>
      `DMAR: [DMA ${["Read", "Write"][random(2)]}] Request device [0${random(3)}:00.0] fault addr ${address()} [fault reason 05] PTE Write access is not set`,
    () => `DMAR: [DMA Write] Request device [03:00.0] fault addr ${address()}`,
    () => `DMAR: DRHD: handling fault status reg ${random(4)}`,
    () =>
      `arm-smmu 5000000.iommu: Unhandled context fault: fsr=0x402, iova=${address()}, fsynr=0x1, cbfrsynra=0x429, cb=5`,
    () => "br0: port 3(tap7) entered blocking state",
  ];
  let text = "";
  for (let line = 0; line < 400; line++) {
    const time = `${line >> 3}.${String(line & 7).padStart([3, 6, 9][random(3)] ?? 6, "0")}`;
    const prefix = ["[  ", "[  ", "[  ", "[  ", "<3>[  ", "> [ ", ""][random(7)] as string;
    const message = (messages[random(messages.length)] as () => string)();
    text += `${prefix === "" ? "" : `${prefix}${time}] `}${message}${ENDS[random(ENDS.length)]}\n`;
  }
  return text;
}

for (let seed = 1; seed <= 40; seed++) {
  test(`a flood is read alike by a reader that remembers messages and one that does not, seed ${seed}`, () => {
    const text = flood(seed);
    const expected = readBy(text, { remembers: false });
    assert.equal(expected.summary.isLog, true);
    assert.deepEqual(readBy(text, {}), expected);
    assert.deepEqual(readBy(text, { byLine: true }), expected);
  });
}

test("a line of lspci that comes again is the one that the lines behind it go on with (found in review, 2026-11-30)", () => {
  const nvme = "01:00.0 Non-Volatile memory controller [0108]: Samsung SM981 [144d:a808]";
  const network = "02:00.0 Ethernet controller [0200]: Intel I210 [8086:1533]";
  const lines = [nvme, network, nvme, "Kernel driver in use: nvme"];
  const facts = factsOf(lines.map((line, at) => `[    1.00000${at}] ${line}`).join("\n"));
  const drivers = facts.flatMap((fact) =>
    fact.kind === "host" && fact.about === "driver" ? [[fact.device, fact.driver]] : [],
  );
  assert.deepEqual(drivers, [["0000:01:00.0", "nvme"]]);
});
