/**
 * Readers of option values: numbers as people write them, and words. Each says what it found and what it expects.
 *
 *     64k, 1M, 0x1000    whole numbers; k, M and G are 1024, 1024 × 1024 and 1024 × 1024 × 1024
 *     200ms, 5s, 2m      times; a number alone is in seconds
 */
import { similar } from "./suggest.ts";
import { InvalidArgumentError } from "./vendor.ts";

const MULTIPLES: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
/** Below this, an upper limit leaves no room for 64k and 0x1000. */
const LARGE = 4096;
const SECONDS: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, "": 1, s: 1, m: 60, h: 3600 };

/** Reads a whole number in [low, high]: decimal, with k, M or G behind it, or hexadecimal. Refuses `1_000`, `1e3` and `1.5k`. */
export function integer(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = wholeNumber(text);
    if (!(value >= low && value <= high)) {
      const forms = high >= LARGE ? ", such as 4096, 64k, 1M or 0x1000" : "";
      throw new InvalidArgumentError(`Found '${text}'; expected a whole number from ${low} to ${high}${forms}.`);
    }
    return value;
  };
}

function wholeNumber(text: string): number {
  if (/^0x[\da-f]{1,12}$/i.test(text)) return Number(text);
  const [, digits, multiple = ""] = /^(\d{1,15})([kKMG]?)$/.exec(text) ?? [];
  const value = digits === undefined ? Number.NaN : Number(digits) * (MULTIPLES[multiple] ?? Number.NaN);
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/** Reads a time above 0, up to `most` seconds; the value is in seconds. Decimals are welcome, as in 1.5s. */
export function seconds(most: number): (text: string) => number {
  return (text) => {
    const [, digits, unit = ""] = /^(\d{1,15}(?:\.\d{1,15})?)(us|ms|s|m|h|)$/.exec(text) ?? [];
    const value = digits === undefined ? Number.NaN : Number(digits) * (SECONDS[unit] ?? Number.NaN);
    if (!(value > 0 && value <= most)) {
      throw new InvalidArgumentError(
        `Found '${text}'; expected a time above 0 and up to ${most} seconds, such as 0.5, 200ms, 5s or 2m.`,
      );
    }
    return value;
  };
}

/** A reader that knows all words there are; the shell's completion asks for them. */
export interface WordReader<Value> {
  (text: string): Value;
  readonly words: readonly string[];
  /** Several of the words, with commas between them. */
  readonly isList: boolean;
}

/** Reads a comma-separated list of different words. */
export function listOf<Word extends string>(words: readonly Word[]): WordReader<readonly Word[]> {
  const read = (text: string): readonly Word[] => {
    const found = text.split(",");
    const unknown = found.find((word) => !words.includes(word as Word));
    if (unknown !== undefined)
      throw new InvalidArgumentError(`Found '${unknown}'; expected a list of: ${words.join(", ")}.`);
    if (new Set(found).size < found.length) throw new InvalidArgumentError(`Found a word twice in '${text}'.`);
    return found as Word[];
  };
  return Object.assign(read, { words, isList: true });
}

/** Reads one of some words. */
export function oneOf<Word extends string>(words: readonly Word[]): WordReader<Word> {
  const read = (text: string): Word => {
    if (!words.includes(text as Word)) {
      const expected = words.length > 2 ? `one of ${words.join(", ")}` : words.join(" or ");
      const [meant] = similar(text, words);
      throw new InvalidArgumentError(
        `Found '${text}'; expected ${expected}${meant === undefined ? "" : ` (did you mean ${meant}?)`}.`,
      );
    }
    return text as Word;
  };
  return Object.assign(read, { words, isList: false });
}
