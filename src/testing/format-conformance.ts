/**
 * The conformance suite of formats: requirements of every format of table entries, as cases that any test runner can run.
 *
 * The oracle is `entryBits`: the entry as one 64-bit number, in bigint arithmetic straight from the platform's manual. It is slow and short, and
 * shares no code with the format. The examples are bytes written by hand, which also detect a misread manual.
 */
import { ENTRY_BYTES, ENTRY_WORDS, type EntryFormat } from "../formats/contract.ts";
import type { EntryValue } from "../table/contract.ts";
import type { Access } from "../units/numbers.ts";
import { expect } from "./expect.ts";

/** One entry, byte for byte as it stands in memory. */
export interface FormatExample {
  /** log2 of the IO page size in bytes. */
  readonly pageShift: number;
  /** Physical address divided by the IO page size. */
  readonly page: number;
  /** The requested access. */
  readonly access: Access;
  /** The bytes of the entry in memory, in ascending order of addresses. */
  readonly bytes: readonly number[];
}

/** A second description of a format's entries, from the platform's manual. */
export interface FormatOracle {
  /** Byte order of entries in memory. */
  readonly byteOrder: "big" | "little";
  /** The entry of a page, as a number of 64 bits. `pageShift`: log2 of the IO page size in bytes. */
  entryBits(page: bigint, access: Access, pageShift: bigint): bigint;
  /** Entries written by hand; at least one. */
  readonly examples: readonly FormatExample[];
  /** Seed of the random pages; the case's name has it. Default: from the clock. */
  readonly seed?: number;
  /** Random pages for each page size. Default 20,000. */
  readonly rounds?: number;
}

/** A case that any test runner can run. */
export interface ConformanceCase {
  /** Name of the format or board, and a sentence. */
  readonly name: string;
  /** Runs the case. Throws InvariantError with the values found if it fails. */
  run(): void;
}

const ACCESSES: readonly Access[] = [1, 2, 3];
/** Pages below this, and as many below the largest, are tried exhaustively. */
const EXHAUSTIVE_PAGES = 4096;
/** Value of untouched words, which no format writes by chance. */
const UNTOUCHED = 0xdeadbeef;

/**
 * The cases for one format. Each `run` throws InvariantError, with the values found, if the format fails it.
 *
 * @example
 * The format of pseries against its description in PAPR. In tests use your runner: `test(name, run)`.
 *
 * ```ts
 * import { pseriesTce } from "iova/platform";
 * import { type FormatOracle, formatConformance } from "iova/testing";
 *
 * const oracle: FormatOracle = {
 *   byteOrder: "big",
 *   entryBits: (page, access, pageShift) => (page << pageShift) | (access === 1 ? 1n : 3n), // writes imply reads
 *   examples: [{ pageShift: 12, page: 0x1234_5678, access: 3, bytes: [0, 0, 1, 0x23, 0x45, 0x67, 0x80, 3] }],
 *   rounds: 200,
 * };
 * for (const { run } of formatConformance(pseriesTce, oracle)) run();
 * ```
 */
export function formatConformance(format: EntryFormat, oracle: FormatOracle): readonly ConformanceCase[] {
  const seed = oracle.seed ?? Date.now() % 2 ** 31;
  const each = (name: string, run: (pageShift: number) => void): ConformanceCase => ({
    name: `${format.name}: ${name}`,
    run: () => format.pageShifts.forEach(run),
  });
  return [
    { name: `${format.name}: describes itself`, run: () => checkDescription(format) },
    { name: `${format.name}: examples stand in memory byte for byte`, run: () => checkExamples(format, oracle) },
    each("the empty entry decodes to page 0, access 0", (pageShift) => checkEmpty(format, pageShift)),
    each(`the first and last ${EXHAUSTIVE_PAGES} pages of every page size, each access`, (pageShift) =>
      checkEnds(format, oracle, pageShift),
    ),
    each("pages around every power of two, each access", (pageShift) => checkPowersOfTwo(format, oracle, pageShift)),
    each(`random pages, seed ${seed}`, (pageShift) => checkRandom(format, oracle, pageShift, seed)),
    each("a run of consecutive pages", (pageShift) => checkRuns(format, pageShift)),
    each("an entry without its valid word is empty", (pageShift) => checkValidWord(format, pageShift)),
    each("a page that does not fit is refused, and nothing is written", (pageShift) =>
      checkRefusals(format, pageShift),
    ),
  ];
}

function checkDescription(format: EntryFormat): void {
  expect(format.name.length > 0, () => "a format has no name");
  expect(format.pageShifts.length > 0, () => `${format.name} has no page sizes`);
  format.pageShifts.forEach((pageShift, i) => {
    const ascending = i === 0 || pageShift > (format.pageShifts[i - 1] as number);
    expect(ascending && pageShift >= 12 && pageShift <= 34, () => `${format.name}: page shifts ${format.pageShifts}`);
    const largest = format.largestPage(pageShift);
    expect(Number.isSafeInteger(largest) && largest > 0 && largest < 2 ** 52, () => `largest page is ${largest}`);
  });
  for (const access of ACCESSES) {
    const granted = format.grants[access];
    expect((granted & access) === access && granted <= 3, () => `${format.name}: asked ${access}, grants ${granted}`);
  }
}

/** The two words of `bits` as memory holds them. */
function wordsOf(bits: bigint, byteOrder: "big" | "little"): readonly [number, number] {
  const view = new DataView(new ArrayBuffer(ENTRY_BYTES));
  view.setBigUint64(0, bits, byteOrder === "little");
  return [view.getUint32(0, true), view.getUint32(4, true)];
}

function hex(words: ArrayLike<number>): string {
  return Array.from(words, (word) => (word >>> 0).toString(16).padStart(8, "0")).join(" ");
}

const value: EntryValue = { page: -1, access: 0 };

/** Encodes in the middle of four words, compares every word with the oracle's, and decodes. */
function checkEntry(
  format: EntryFormat,
  wanted: readonly [number, number],
  page: number,
  access: Access,
  pageShift: number,
): void {
  const what = (): string => `${format.name}, page shift ${pageShift}, page ${page}, access ${access}`;
  const words = new Uint32Array(2 * ENTRY_WORDS).fill(UNTOUCHED);
  const taken = format.encode(page, 1, access, pageShift, words.subarray(1));
  expect(taken, () => `${what()}: refused`);
  expect(
    words[0] === UNTOUCHED && words[1] === wanted[0] && words[2] === wanted[1] && words[3] === UNTOUCHED,
    () => `${what()}: encoded as ${hex(words)}; expected ${hex([UNTOUCHED, ...wanted, UNTOUCHED])}`,
  );
  format.decode(words, 1, pageShift, value);
  expect(
    value.page === page && value.access === format.grants[access],
    () => `${what()}: decoded as page ${value.page}, access ${value.access}; expected access ${format.grants[access]}`,
  );
}

/** Checks that a run of entries equals the entries of its pages, and that no further word is written. */
function checkRuns(format: EntryFormat, pageShift: number): void {
  const largest = format.largestPage(pageShift);
  const single = new Uint32Array(ENTRY_WORDS);
  for (const count of [1, 2, 3, 7, 64]) {
    for (const page of [0, 5, 2 ** 20 - 3, 2 ** 32 - 3, largest - count + 1]) {
      if (page < 0 || page + count - 1 > largest) continue;
      const run = new Uint32Array((count + 1) * ENTRY_WORDS).fill(UNTOUCHED);
      format.encode(page, count, 3, pageShift, run);
      for (let i = 0; i < count; i++) {
        format.encode(page + i, 1, 3, pageShift, single);
        const same = run[i * ENTRY_WORDS] === single[0] && run[i * ENTRY_WORDS + 1] === single[1];
        expect(same, () => `${format.name}: page ${page + i} differs in a run of ${count} from ${page}`);
      }
      const end = run.subarray(count * ENTRY_WORDS);
      expect(end[0] === UNTOUCHED && end[1] === UNTOUCHED, () => `${format.name}: a run of ${count} is too long`);
    }
  }
}

function checkPage(format: EntryFormat, oracle: FormatOracle, page: number, pageShift: number): void {
  for (const access of ACCESSES) {
    const wanted = wordsOf(oracle.entryBits(BigInt(page), access, BigInt(pageShift)), oracle.byteOrder);
    checkEntry(format, wanted, page, access, pageShift);
  }
}

function checkExamples(format: EntryFormat, oracle: FormatOracle): void {
  expect(oracle.examples.length > 0, () => `${format.name}: no examples`);
  for (const { bytes, page, access, pageShift } of oracle.examples) {
    expect(bytes.length === ENTRY_BYTES, () => `an example of ${format.name} has ${bytes.length} bytes`);
    const view = new DataView(Uint8Array.from(bytes).buffer);
    checkEntry(format, [view.getUint32(0, true), view.getUint32(4, true)], page, access, pageShift);
  }
}

function checkEmpty(format: EntryFormat, pageShift: number): void {
  const decoded: EntryValue = { page: -1, access: 3 };
  format.decode(Uint32Array.from(format.empty), 0, pageShift, decoded);
  const { page, access } = decoded;
  expect(page === 0 && access === 0, () => `${format.name}: empty decodes to page ${page}, access ${access}`);
}

function checkEnds(format: EntryFormat, oracle: FormatOracle, pageShift: number): void {
  const largest = format.largestPage(pageShift);
  for (let page = 0; page < EXHAUSTIVE_PAGES && page <= largest; page++) {
    checkPage(format, oracle, page, pageShift);
    checkPage(format, oracle, largest - page, pageShift);
  }
}

function checkPowersOfTwo(format: EntryFormat, oracle: FormatOracle, pageShift: number): void {
  const largest = format.largestPage(pageShift);
  for (let power = 1; power <= largest; power *= 2) {
    for (const page of [power - 1, power, power + 1]) {
      if (page <= largest) checkPage(format, oracle, page, pageShift);
    }
  }
}

/** Uniform in the number of bits, then in the bits: small and large pages alike. */
function checkRandom(format: EntryFormat, oracle: FormatOracle, pageShift: number, seed: number): void {
  const random = generator(seed + pageShift);
  const bits = Math.floor(Math.log2(format.largestPage(pageShift))) + 1;
  for (let round = 0; round < (oracle.rounds ?? 20_000); round++) {
    const scale = 2 ** (1 + Math.floor(random() * bits));
    const page = Math.min(Math.floor(random() * scale), format.largestPage(pageShift));
    checkPage(format, oracle, page, pageShift);
  }
}

/** Numbers in [0, 1) with 53 random bits: two steps of a 32-bit Weyl sequence, mixed. */
function generator(seed: number): () => number {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  return () => (next() * 2 ** 21 + (next() >>> 11)) / 2 ** 53;
}

/** Checks that an entry without its valid word is empty: the order of stores relies on it. */
function checkValidWord(format: EntryFormat, pageShift: number): void {
  const words = new Uint32Array(ENTRY_WORDS);
  for (const page of [0, 1, 12345, format.largestPage(pageShift)]) {
    for (const access of ACCESSES) {
      format.encode(page, 1, access, pageShift, words);
      words[format.validWord] = format.empty[format.validWord];
      format.decode(words, 0, pageShift, value);
      expect(value.access === 0, () => `${format.name}: ${hex(words)} grants ${value.access} without its valid word`);
    }
  }
}

function checkRefusals(format: EntryFormat, pageShift: number): void {
  const beyond = format.largestPage(pageShift) + 1;
  for (const page of [beyond, beyond * 2, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    checkRefusal(format, page, 1, pageShift);
  }
  // Only the last page of the run is too large.
  checkRefusal(format, beyond - 3, 4, pageShift);
}

function checkRefusal(format: EntryFormat, page: number, count: number, pageShift: number): void {
  const words = new Uint32Array(count * ENTRY_WORDS).fill(UNTOUCHED);
  const pages = `${count} from page ${page} at shift ${pageShift}`;
  expect(!format.encode(page, count, 3, pageShift, words), () => `${format.name} takes ${pages}`);
  expect(
    words.every((word) => word === UNTOUCHED),
    () => `${format.name} refused ${pages}, yet wrote ${hex(words)}`,
  );
}
