/** Readers of option values: each says what it found and what it expects. */
import { InvalidArgumentError } from "./vendor.ts";

/** Reads a whole number in [low, high]; `1_000` and `1e3` are none. */
export function integer(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= low && value <= high)) {
      throw new InvalidArgumentError(`Found '${text}'; expected a whole number from ${low} to ${high}.`);
    }
    return value;
  };
}

/** Reads a number above `above`, up to `most`; decimals are welcome. */
export function positive(above: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (!(value > above && value <= most)) {
      throw new InvalidArgumentError(`Found '${text}'; expected a number above ${above} and up to ${most}.`);
    }
    return value;
  };
}

/** Reads a comma-separated list of different words. */
export function listOf<Word extends string>(words: readonly Word[]): (text: string) => readonly Word[] {
  return (text) => {
    const found = text.split(",");
    const unknown = found.find((word) => !words.includes(word as Word));
    if (unknown !== undefined)
      throw new InvalidArgumentError(`Found '${unknown}'; expected a list of: ${words.join(", ")}.`);
    if (new Set(found).size < found.length) throw new InvalidArgumentError(`Found a word twice in '${text}'.`);
    return found as Word[];
  };
}

/** Reads one of some words. */
export function oneOf<Word extends string>(words: readonly Word[]): (text: string) => Word {
  return (text) => {
    if (!words.includes(text as Word)) {
      const expected = words.length > 2 ? `one of ${words.join(", ")}` : words.join(" or ");
      throw new InvalidArgumentError(`Found '${text}'; expected ${expected}.`);
    }
    return text as Word;
  };
}
