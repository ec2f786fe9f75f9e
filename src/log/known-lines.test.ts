import assert from "node:assert/strict";
import { test } from "node:test";
import { randomFrom } from "../allocator/random.model.ts";
import { type Fact, SAID_ONCE } from "./facts.ts";
import { factsOf, readBy, type Way } from "./facts-of.model.ts";
import { FAMILIES } from "./families/index.ts";
import { KnownLines, type Reading } from "./known-lines.ts";
import { matchesIn } from "./matches.ts";
import { type Shape, Values } from "./shape.ts";

const SHAPES = FAMILIES.flatMap(({ shapes }) => shapes);
/** The value of MOST_KNOWN in known-lines.ts. */
const MOST_KNOWN = 4096;

/** Every way of reading gives the same facts as a reader without memory, except repetitions of earlier facts. */
function assertReadAlike(text: string): void {
  const expected = readOnce(text, { remembers: false });
  assert.deepEqual(readOnce(text, {}), expected);
  assert.deepEqual(readOnce(text, { byLine: true }), expected);
}

function readOnce(text: string, way: Way): ReturnType<typeof readBy> {
  const { facts, summary } = readBy(text, way);
  const said = new Set<string>();
  const isNew = (fact: Fact): boolean => {
    if (fact.kind !== "host" || !SAID_ONCE.has(fact.about)) return true;
    const { lines: _lines, text: _text, time: _time, clock: _clock, ...stated } = fact;
    const key = Object.values(stated).join(" ");
    if (said.has(key)) return false;
    said.add(key);
    return true;
  };
  return { facts: facts.filter(isNew), summary };
}

/** The messages as lines of a log, a second apart. */
function logOf(messages: readonly string[]): string {
  return messages.map((message, at) => `[${String(at).padStart(5)}.000001] ${message}\n`).join("");
}

test("a shape says in which field a word of 16 digits stands that may be any other", () => {
  const names = SHAPES.filter(({ word }) => word !== undefined).map(({ name }) => name);
  assert.deepEqual(names, ["smmu-v3-word"]);
});

for (const { name, example, word } of SHAPES) {
  if (word === undefined) continue;
  test(`${name}: the message is the same whatever the digits of its word are`, () => {
    const random = randomFrom(20_261_130);
    const before = example.slice(0, -16);
    const read = (digits: string): object[] =>
      matchesIn(before + digits, 0).map(({ shape, match, first, end }) => [
        shape.name,
        first,
        end,
        { ...match.groups },
      ]);
    const [[, first, end, groups] = []] = read("0123456789abcdef") as [string, number, number, object][];
    for (let run = 0; run < 2000; run++) {
      const digits = Array.from({ length: 16 }, () => random(16).toString(16)).join("");
      assert.deepEqual(read(digits), [[name, first, end, { ...groups, [word]: digits }]], digits);
    }
  });
}

const SPEAKERS = ["arm-smmu-v3 arm-smmu-v3.0.auto", "arm-smmu-v3 arm-smmu-v3.1.auto"];
const WORDS = [
  "0x0000000300000010",
  "0x0000000300000810",
  "0x0000020000000000",
  "0x0000000000000000",
  "0x00000003xxxxxxxx",
  "0x000000030000001G",
];

/** Lines of machines that boot, devices that fail, and registers. `#` is a number. */
const MESSAGES: readonly string[] = [
  "pci 0000:00:1f.3: [8086:a170] type 00 class 0x040300",
  "pci 0000:00:1f.3: reg 0x10: [mem 0xdf340000-0xdf343fff 64bit]",
  "pci 0000:02:00.0: Adding to iommu group #",
  "iwlwifi 0000:02:00.0: loaded firmware version 36.77d01142.0 op_mode iwlmvm",
  "iwlwifi 0000:02:00.0: Microcode SW error detected. Restarting 0x0.",
  "nvme nvme0: pci function 0000:01:00.0",
  "nvme nvme0: I/O # QID 2 timeout, reset controller",
  "01:00.0 Non-Volatile memory controller [0108]: Samsung SM981 [144d:a808]",
  "02:00.0 Ethernet controller [0200]: Intel I210 [8086:1533]",
  "Kernel driver in use: nvme",
  "Linux version 6.#.0 (gcc)",
  "Command line: root=/dev/sda1 iommu=pt",
  "DMAR: DRHD: handling fault status reg #",
  "DMAR: [DMA Write] Request device [03:00.0] fault addr 7d1f2000 [fault reason 05] PTE Write access is not set",
  "DMAR: hardware failed to do something #",
  "AMD-Vi: DTE[0]: 6190000000000003",
  "AMD-Vi: Event logged [IO_PAGE_FAULT device=01:00.0 domain=0x000b address=0xb6674000 flags=0x0000]",
  "arm-smmu-v3 arm-smmu-v3.0.auto: event: F_TRANSLATION client: 0001:06:00.0 sid: 0x3 ssid: 0x0 iova: 0x# ipa: 0x0",
  'arm-smmu-v3 arm-smmu-v3.0.auto: unpriv data write s1 "Input address caused fault" stag: 0x0',
  "br0: port 3(tap7) entered blocking state",
  "audit: a &lt; b &amp; c, iommu fault=3D#",
  "IO\\_PAGE\\_FAULT of the iommu",
];
const ENDS = [
  "",
  "",
  "",
  "",
  "",
  "",
  "",
  "",
  " ",
  "\t",
  "\r",
  "=",
  "=20",
  "f",
  "\nand more of it",
  "\n0x0000000000000000",
];
const PREFIXES = [
  "[ ",
  "[ ",
  "[ ",
  "[ ",
  "[ ",
  "[ ",
  "[ ",
  "[ ",
  " [ ",
  "<3>[ ",
  "> [ ",
  "Nov 30 12:00:0# host kernel: [ ",
  "[T12] [ ",
  "",
];

/** Other contents of a log of one seed: hunks of patches, times as differences, headers and parts of mails. */
const OTHERS: readonly string[] = [
  "",
  "@@ -1,9 +1,9 @@\n pci 0000:00:1f.3: [8086:a170] type 00 class 0x040300\n",
  "[  +0.001000] pci 0000:02:00.0: Adding to iommu group 1\n",
  "Content-Transfer-Encoding: quoted-printable\n\n",
  "Content-Transfer-Encoding: 7bit\n",
  "Subject: DMAR: [DMA Write] Request device [03:00.0] fault addr 7d1f2000 [fault reason 05] PTE Write access is not set\n",
];

/** A log that says most of its lines many times, and some of them damaged. */
function repeatingLog(seed: number): string {
  const random = randomFrom(seed);
  const one = <T>(all: readonly T[]): T => all[random(all.length)] as T;
  const digits = (): string =>
    one([...WORDS, `0x00000000${(random(2 ** 28) + 2 ** 28).toString(16).padStart(8, "0")}`]);
  const event = (): string[] => {
    const speaker = one(SPEAKERS);
    const words = Array.from(
      { length: one([4, 4, 4, 3, 5]) },
      () => `${speaker}: ${one(["\t", "\t", " "])}${digits()}`,
    );
    return [`${speaker}: event 0x${one(["10", "10", "02"])} received:`, ...words];
  };
  let time = 0;
  const printed = (message: string): string => {
    time += one([0, 0, 0.001, 0.001, 0.1, 3]);
    const prefix = one(PREFIXES);
    const stamped =
      prefix === "" ? message : `${prefix}${time.toFixed(one([3, 6, 6]))}]${one([" ", " ", " ", "  ", ""])}${message}`;
    return `${stamped}${one(ENDS)}\n`.replaceAll("#", () => String(random(4)));
  };
  const other = OTHERS[seed % OTHERS.length] as string;
  let text = "";
  for (let record = 0; record < 250; record++) {
    if (random(40) === 0) text += other;
    const messages = random(3) === 0 ? event() : [one(MESSAGES)];
    text += messages.map(printed).join("");
  }
  return text;
}

for (let seed = 1; seed <= 60; seed++) {
  test(`repeated lines, some of them damaged, are read like first occurrences, seed ${seed}`, () => {
    assertReadAlike(repeatingLog(seed));
  });
}

test("a flood of events of an SMMUv3 makes one fact of each event, with the lines and the time of its own", () => {
  const event = (address: string): string[] =>
    [
      "event 0x10 received:",
      "\t0x0000000300000010",
      "\t0x0000020000000000",
      `\t0x${address}`,
      "\t0x0000000000000000",
    ].map((text) => `arm-smmu-v3 arm-smmu-v3.0.auto: ${text}`);
  const addresses = Array.from({ length: 100 }, (_, at) => (0x1000 * at).toString(16).padStart(16, "0"));
  const facts = factsOf(logOf(addresses.flatMap(event)));
  assert.deepEqual(
    facts.map((fact) =>
      fact.kind === "fault" ? [fact.iova, fact.streamId, fact.time, fact.lines.map(({ line }) => line)] : [],
    ),
    addresses.map((_, at) => [BigInt(0x1000 * at), 3n, 5 * at + 1e-6, [1, 2, 3, 4, 5].map((line) => 5 * at + line)]),
  );
});

/** True if a line that came twice is known by the bytes behind its time. */
function isKnownByBytes(raw: string, text: string): boolean {
  const known = new KnownLines();
  const line = { text, readings: [], isUnread: false };
  known.learn(raw, line);
  known.learn(raw, line);
  assert.equal(known.ofText(text), line);
  const bytes = new TextEncoder().encode(text);
  return known.ofBytes(bytes, 0, bytes.length) === line;
}

test("a line is recognised by its bytes if it is a time and a text without parts to decode or remove", () => {
  const lines: readonly (readonly [raw: string, text: string])[] = [
    ["[    1.000001] iommu: a", "iommu: a"],
    ["[1.000]iommu: a", "iommu: a"],
    ["[    1.000001] iommu: &lt;", "iommu: <"],
    ["<3>[    1.000001] iommu: a", "iommu: a"],
    ["[    1.000001] iommu: a [    2.000001] iommu: b", "iommu: b"],
    ["[    1.000001] iommu: a=", "iommu: a="],
    ["[    1.000001] iommu: ä", "iommu: ä"],
    ["[    1.000001] iommu:\u00a0a", "iommu: a"],
    ["[    1.000001] iommu: a ", "iommu: a"],
    ["[    1.000001] a", "a"],
    ["[    1.000001] iommu subject: a", "iommu subject: a"],
    ["iommu: a", "iommu: a"],
  ];
  assert.deepEqual(
    lines.map(([raw, text]) => isKnownByBytes(raw, text)),
    [true, true, false, false, false, false, false, false, false, false, false, false],
  );
});

test("a line that is the beginning of one with any word is a line of its own, and so is one of the same hash", () => {
  const known = new KnownLines();
  const learn = (text: string, readings: readonly Reading[] = []): void => {
    for (let times = 0; times < 2; times++) known.learn(`[    1.000001] ${text}`, { text, readings, isUnread: false });
  };
  const textOf = (text: string): string | undefined => {
    const bytes = new TextEncoder().encode(text);
    return known.ofBytes(bytes, 0, bytes.length)?.text;
  };
  const shape = SHAPES.find(({ word }) => word !== undefined) as Shape;
  const word = "0000000300000010";
  learn(`arm-smmu-v3 a: 0x${word}`, [{ shape, values: new Values({ iommu: "a", word }, shape.fields) }]);
  const other = "arm-smmu-v3 a: 0x00000000ffffffff";
  assert.deepEqual([textOf(other), textOf("arm-smmu-v3 a: 0x")], [other, undefined]);
  // Two texts of one FNV-1a hash of 32 bits.
  learn("dma 002unw");
  assert.deepEqual([textOf("dma 002unw"), textOf("dma 00zwba")], ["dma 002unw", undefined]);
});

test("bytes that were decoded to a known text are not that text", () => {
  const line = "iommu: fault &lt;1&gt; &amp;lt;";
  assertReadAlike(logOf([line, line, line, "iommu: fault <1> &lt;", "iommu: fault <1> &lt;", line]));
});

test("when the store of known lines is full it is emptied, and the facts stay the same", () => {
  const messages = Array.from({ length: MOST_KNOWN + 100 }, (_, at) => `iommu: fault of device ${at}`);
  const text = logOf([...messages, ...messages, ...messages]);
  const { summary } = readBy(text, {});
  assert.deepEqual(summary, readBy(text, { remembers: false }).summary);
  assert.equal(summary.unread.count, 3 * messages.length);
});

test("a known message right behind the header of a mail is a message of its text", () => {
  const message = "arm-smmu-v3 arm-smmu-v3.0.auto: event 0x02 received:";
  const known = logOf(Array.from({ length: 4 }, () => message));
  const text = `${known}Subject: ${message}\n${logOf([message, "br0: port 3(tap7) entered blocking state"])}`;
  assertReadAlike(text);
  assert.equal(readBy(text, {}).summary.unread.count, 0);
});

test("two messages of one line have lines of their own, to which later lines are added", () => {
  const two =
    "AMD-Vi: Event logged [IO_PAGE_FAULT device=01:00.0 domain=0x000b address=0xb6674000 flags=0x0000] " +
    "AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=02:00.0 pasid=0x00000 address=0xfffffffdf8000000 flags=0x0a00]";
  const text = logOf(Array.from({ length: 4 }, () => [two, "AMD-Vi: DTE[0]: 6190000000000003"]).flat());
  const expected = [1, 3, 5, 7].flatMap((first) => [[first], [first, first + 1]]);
  for (const way of [{}, { byLine: true }, { remembers: false }]) {
    const lines = readBy(text, way).facts.map((fact) => fact.lines.map(({ line }) => line));
    assert.deepEqual(lines, expected);
  }
});
