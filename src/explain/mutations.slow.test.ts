/**
 * Damaged inputs: whatever the bytes are, explaining them ends, throws nothing but a FormatError, and keeps the contract.
 *
 * SEED repeats a run; IOVA_MUTATIONS sets the number of inputs (100000 for a full run).
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FAMILIES } from "../log/families/index.ts";
import { generator, type Random } from "../log/generator/random.model.ts";
import { FormatError } from "../units/errors.ts";
import type { Explanation } from "./contract.ts";
import { Explainer } from "./explainer.ts";
import { malformed } from "./truth.model.ts";

const SEED = Number(process.env["SEED"] ?? Date.now() % 1e9);
const MUTATIONS = Number(process.env["IOVA_MUTATIONS"] ?? 2000);
/** Processor time beyond which an input counts as slow. */
const SLOW_MILLISECONDS_PER_KIB = 50;
const FILE = "input";
const ADDRESS = /^0x(?:0|[1-9a-f][0-9a-f]*)$/;
/** Properties of a finding, and of the mapping in it, that hold an address. */
const ADDRESSES = new Set(["iova", "otherAddresses", "reusedBy"]);
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

const root = fileURLToPath(new URL("../../../", import.meta.url));

function corpus(): Uint8Array[] {
  const reports = join(root, "src/explain/fixtures/reports");
  const traces = join(root, "traces/fixtures");
  const own = join(root, "src/explain/fixtures/own");
  const cases = readdirSync(own).flatMap((name) =>
    readFileSync(join(own, name), "utf8")
      .split(/^=== .*\n.*\n/m)
      .slice(1),
  );
  const examples = FAMILIES.flatMap(({ shapes }) => shapes.map(({ example }) => example));
  return [
    ...readdirSync(reports).map((name) => readFileSync(join(reports, name, "log.txt"))),
    ...cases.map((text) => Buffer.from(text)),
    readFileSync(join(root, "traces/wifi-crash.log")),
    ...readdirSync(traces)
      .filter((name) => name.endsWith(".txt"))
      .map((name) => readFileSync(join(traces, name))),
    ...examples.map((example) => Buffer.from(`[   12.345670] ${example.replaceAll("\n", "\n[   12.345670] ")}\n`)),
    Buffer.from(examples.join("\n")),
  ];
}

type Mutation = (bytes: Uint8Array, random: Random, other: Uint8Array) => Uint8Array;

/** Two places of the input, in order, at most 200 bytes apart. */
function range(bytes: Uint8Array, random: Random): [first: number, end: number] {
  const first = random(bytes.length + 1);
  return [first, Math.min(bytes.length, first + random(200))];
}

/** A change of the lines of a text. */
function ofLines(name: string, change: (lines: string[], random: Random) => string[]): Mutation {
  const mutation: Mutation = (bytes, random) =>
    Buffer.from(change(Buffer.from(bytes).toString("latin1").split("\n"), random).join("\n"), "latin1");
  return Object.defineProperty(mutation, "name", { value: name });
}

/** The same text in another encoding. */
function encodedAs(name: string, encode: (bytes: Buffer) => Uint8Array): Mutation {
  const mutation: Mutation = (bytes) => encode(Buffer.from(bytes));
  return Object.defineProperty(mutation, "name", { value: name });
}

const MUTATIONS_OF_LINES: readonly Mutation[] = [
  ofLines("dropLines", (lines, random) => lines.filter(() => random(8) > 0)),
  ofLines("dropRun", (lines, random) => {
    const first = random(lines.length);
    return [...lines.slice(0, first), ...lines.slice(first + 1 + random(lines.length))];
  }),
  ofLines("duplicateLines", (lines, random) => lines.flatMap((line) => (random(8) === 0 ? [line, line] : [line]))),
  ofLines("swapLines", (lines, random) => {
    const swapped = [...lines];
    for (let left = 1 + random(4); left > 0; left--) {
      const at = random(lines.length);
      const other = random(lines.length);
      [swapped[at], swapped[other]] = [swapped[other] ?? "", swapped[at] ?? ""];
    }
    return swapped;
  }),
  ofLines("cutLines", (lines, random) => {
    const columns = 20 + random(120);
    return lines.flatMap((line) => line.match(new RegExp(`.{1,${columns}}`, "g")) ?? [""]);
  }),
  ofLines("joinLines", (lines, random) =>
    lines.reduce<string[]>((joined, line) => {
      if (random(8) === 0 && joined.length > 0) joined.push(`${joined.pop()}${line}`);
      else joined.push(line);
      return joined;
    }, []),
  ),
  ofLines("quoteLines", (lines, random) => lines.map((line) => `${"> ".repeat(random(4))}${line}`)),
  function glue(bytes, _random, other) {
    return Buffer.concat([bytes, Buffer.from("\n"), other]);
  },
];

const MUTATIONS_OF_ENCODING: readonly Mutation[] = [
  encodedAs("utf16", (bytes) => Buffer.from(`\ufeff${bytes.toString("latin1")}`, "utf16le")),
  encodedAs("utf16BigEndian", (bytes) => Buffer.from(`\ufeff${bytes.toString("latin1")}`, "utf16le").swap16()),
  encodedAs("latin1AsUtf8", (bytes) => Buffer.from(bytes.toString("latin1"), "utf8")),
  encodedAs("carriageReturns", (bytes) => Buffer.from(bytes.toString("latin1").replaceAll("\n", "\r"), "latin1")),
  encodedAs("base64Mail", (bytes) => {
    const body = bytes.toString("base64").replace(/.{76}/g, "$&\n");
    return Buffer.from(`Subject: a\nContent-Transfer-Encoding: base64\n\n${body}\n`);
  }),
  encodedAs("quotedPrintable", (bytes) => {
    const text = bytes.toString("latin1").replaceAll("=", "=3D");
    return Buffer.from(text.replace(/[^\n]{72}(?=[^\n=]{3})/g, "$&=\n"), "latin1");
  }),
];

const MUTATIONS_OF_BYTES: readonly Mutation[] = [
  function flipBytes(bytes, random) {
    const flipped = Uint8Array.from(bytes);
    for (let left = 1 + random(8); left > 0; left--) flipped[random(bytes.length)] = random(256);
    return flipped;
  },
  function changeDigits(bytes, random) {
    return Uint8Array.from(bytes, (byte) => {
      const isDigit = byte >= 0x30 && byte <= 0x39;
      return isDigit && random(20) === 0 ? "0123456789abcdfx".charCodeAt(random(16)) : byte;
    });
  },
  function removeBytes(bytes, random) {
    const [first, end] = range(bytes, random);
    return Buffer.concat([bytes.subarray(0, first), bytes.subarray(end)]);
  },
  function repeatBytes(bytes, random) {
    const [first, end] = range(bytes, random);
    const piece = bytes.subarray(first, end);
    return Buffer.concat([bytes.subarray(0, first), ...Array(1 + random(20)).fill(piece), bytes.subarray(first)]);
  },
  function truncate(bytes, random) {
    return bytes.subarray(0, random(bytes.length));
  },
  function dropBeginning(bytes, random) {
    return bytes.subarray(random(bytes.length));
  },
  function splice(bytes, random, other) {
    return Buffer.concat([bytes.subarray(0, random(bytes.length)), other.subarray(random(other.length))]);
  },
  function shuffleLines(bytes, random) {
    const lines = Buffer.from(bytes).toString("latin1").split("\n");
    for (let at = lines.length - 1; at > 0; at--) {
      const from = random(at + 1);
      [lines[at], lines[from]] = [lines[from] ?? "", lines[at] ?? ""];
    }
    return Buffer.from(lines.join("\n"), "latin1");
  },
];

const KINDS = [MUTATIONS_OF_BYTES, MUTATIONS_OF_BYTES, MUTATIONS_OF_LINES, MUTATIONS_OF_LINES, MUTATIONS_OF_ENCODING];

/** One to three mutations of an input of the corpus. */
function mutated(inputs: readonly Uint8Array[], random: Random): { bytes: Uint8Array; how: string } {
  const pick = (): Uint8Array => inputs[random(inputs.length)] as Uint8Array;
  let bytes = pick();
  const how: string[] = [];
  for (let left = 1 + random(3); left > 0 && bytes.length > 0; left--) {
    const kind = KINDS[random(KINDS.length)] as readonly Mutation[];
    const mutation = kind[random(kind.length)] as Mutation;
    bytes = mutation(bytes, random, pick());
    how.push(mutation.name);
  }
  return { bytes, how: how.join(", ") };
}

/** Explains bytes that are written in pieces; undefined when they are refused as binary. */
function explained(bytes: Uint8Array, random: Random): Explanation | undefined {
  const explainer = new Explainer();
  try {
    const input = explainer.input(FILE);
    const piece = random(4) === 0 ? 1 + random(100) : bytes.length + 1;
    for (let at = 0; at < bytes.length; at += piece) input.write(bytes.subarray(at, at + piece));
    input.end();
    return explainer.explain();
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** Errors in an answer that no input excuses. */
function objectionsTo(explanation: Explanation, mostLines: number): string[] {
  const wrong = malformed(explanation);
  const lines = explanation.inputs[0]?.lines ?? 0;
  if (lines > mostLines) wrong.push(`${lines} lines are read of at most ${mostLines}`);
  const check = (name: string, value: unknown): void => {
    if (typeof value === "string" && ADDRESSES.has(name) && !ADDRESS.test(value)) wrong.push(`${name} is ${value}`);
    if (typeof value === "number" && !Number.isFinite(value)) wrong.push(`${name} is ${value}`);
    if (typeof value !== "object" || value === null) return;
    if ("line" in value && "file" in value) {
      const { line, file } = value as { line: number; file: string };
      if (file !== FILE || !Number.isInteger(line) || line < 1 || line > lines)
        wrong.push(`${name} names line ${line} of ${file}, which has ${lines}`);
    }
    for (const [key, inner] of Object.entries(value)) check(Array.isArray(value) ? name : key, inner);
  };
  check("answer", explanation);
  if (typeof JSON.stringify(explanation) !== "string") wrong.push("is no JSON");
  return wrong;
}

/** The most lines that the bytes can have: line feeds and carriage returns end one; text behind the last of them is a line, too. */
function mostLinesOf(bytes: Uint8Array): number {
  let lines = 1;
  for (const byte of bytes) if (byte === LINE_FEED || byte === CARRIAGE_RETURN) lines++;
  return lines;
}

test(`damaged inputs are explained without a crash, seed ${SEED}`, (t) => {
  const inputs = corpus();
  const wrong: string[] = [];
  const slowest = { perKiB: 0, text: "no input" };
  let slow = 0;
  // The first inputs would count the compiler's time.
  for (const bytes of inputs.slice(0, 40)) explained(bytes, generator(1));
  for (let number = 0; number < MUTATIONS; number++) {
    const random = generator(SEED + number);
    const { bytes, how } = mutated(inputs, random);
    const begin = process.cpuUsage();
    let found: string[];
    try {
      const explanation = explained(bytes, random);
      found = explanation === undefined ? [] : objectionsTo(explanation, mostLinesOf(bytes));
    } catch (error) {
      found = [String((error as Error).stack)];
    }
    const { user } = process.cpuUsage(begin);
    const perKiB = user / 1000 / Math.max(1, bytes.length / 1024);
    if (perKiB > SLOW_MILLISECONDS_PER_KIB) slow++;
    if (perKiB > slowest.perKiB) Object.assign(slowest, { perKiB, text: `SEED=${SEED + number}: ${how}` });
    if (found.length > 0) wrong.push(`SEED=${SEED + number} IOVA_MUTATIONS=1 (${how}): ${found.join("; ")}`);
  }
  t.diagnostic(
    `seed ${SEED}, ${MUTATIONS} inputs, ${slow} slow; slowest ${slowest.perKiB.toFixed(1)} ms/KiB, ${slowest.text}; at most ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB of memory`,
  );
  assert.deepEqual(wrong.slice(0, 10), [], `${wrong.length} of ${MUTATIONS} inputs`);
});
