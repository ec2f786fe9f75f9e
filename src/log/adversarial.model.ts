/** Texts that are hard on patterns: messages with one of their pieces repeated, almost-messages, and long runs of what prefixes and markup are made of. */
import { FAMILIES } from "./families/index.ts";

/** A text of any length. */
export interface Attack {
  readonly name: string;
  readonly text: (length: number) => string;
}

/** Characters that quantified parts of patterns accept, and those of markup and prefixes. */
const PUMPS = [
  " ",
  "a\n",
  "\t ",
  "a",
  "0",
  "f:",
  "a.",
  "0x0 ",
  "a=1, ",
  "[",
  "(",
  "\\",
  '"',
  "-",
  "> ",
  "| ",
  "&",
  "&gt;",
  "<",
  "<p ",
  "<br>",
  "=",
  "=3D",
  "[1.000000] ",
  "Jan 1 00:00:00 ",
  "1-",
  "kernel: ",
  "a a: ",
  "00:00.0 ",
  "0000 ",
] as const;

function repeated(before: string, pump: string): (length: number) => string {
  return (length) => (before + pump.repeat(Math.ceil((length - before.length) / pump.length))).slice(0, length);
}

/** Beginnings of a message, up to each of its words, and all of it. */
function beginningsOf(example: string): string[] {
  return [...example.matchAll(/[\w.]+|$/g)].map(({ index, 0: word }) => example.slice(0, index + word.length));
}

/** Runs that stand alone. */
export const RUNS: readonly Attack[] = PUMPS.map((pump) => ({ name: JSON.stringify(pump), text: repeated("", pump) }));

/** For each shape: every beginning of its example before each run, and each word and all of it again and again. */
export const MESSAGES: readonly Attack[] = FAMILIES.flatMap(({ shapes }) =>
  shapes.flatMap(({ name, example }) => {
    const beginnings = beginningsOf(example);
    const words = [...new Set(example.match(/\s*[\w.]+\W*/g) ?? []), example, `${example}\n`];
    return [
      ...beginnings.flatMap((before) => PUMPS.map((pump) => attack(name, before, pump))),
      ...words.map((word) => attack(name, "", word)),
      ...beginnings.map((before) => attack(name, "", before)),
    ];
  }),
);

function attack(shape: string, before: string, pump: string): Attack {
  return { name: `${shape}: ${JSON.stringify(before)}, then ${JSON.stringify(pump)}`, text: repeated(before, pump) };
}
