/**
 * Finds the messages in a text: which shapes match where. A shape's pattern is tried only when the text holds a word that each of its matches
 * contains.
 */
import { FAMILIES } from "./families/index.ts";
import { requiredWords } from "./required-words.ts";
import type { Family, Shape } from "./shape.ts";
import { WordSearch } from "./word-search.ts";

export interface Match {
  readonly shape: Shape;
  readonly match: RegExpExecArray;
  readonly first: number;
  readonly end: number;
}

interface Entry {
  readonly shape: Shape;
  /** Its number. */
  readonly family: number;
  readonly pattern: RegExp;
}

/** All shapes, the earlier families first. */
const ENTRIES: readonly Entry[] = FAMILIES.flatMap((family, number) =>
  family.shapes.map((shape) => {
    const pattern = new RegExp(shape.pattern.source, `${shape.pattern.flags.replace("g", "")}g`);
    return { shape, family: number, pattern };
  }),
);
/** Words of each shape, then of each family's hint. */
const WORDS_OF: readonly ReturnType<typeof requiredWords>[] = [
  ...ENTRIES.map(({ shape }) => requiredWords(shape.pattern)),
  ...FAMILIES.map(({ hint }) => requiredWords(hint)),
];
const SEARCH = new WordSearch(WORDS_OF.flatMap((words, number) => (words ?? []).map((word) => ({ word, number }))));
/** 1: the text may match the shape, or the hint. */
const marks = new Uint8Array(WORDS_OF.length);
/** Shapes and hints without such words are tried on every text. */
const ALWAYS = Uint8Array.from(WORDS_OF, (words) => (words === undefined ? 1 : 0));
const mark = (number: number): void => {
  marks[number] = 1;
};

/**
 * All messages of `text` from `from` on, in order, none over another. Of two that overlap the earlier family's counts, and inside a family the
 * one that begins first.
 */
export function matchesIn(text: string, from: number): readonly Match[] {
  marks.set(ALWAYS);
  SEARCH.search(text, 0, text.length, mark);
  const found: Match[] = [];
  let ofFamily: Match[] = [];
  let family = -1;
  let isHinted = false;
  for (let number = marks.indexOf(1); number >= 0 && number < ENTRIES.length; number = marks.indexOf(1, number + 1)) {
    const entry = ENTRIES[number] as Entry;
    if (entry.family !== family) {
      settle(ofFamily, found);
      ofFamily = [];
      family = entry.family;
      isHinted = marks[ENTRIES.length + family] === 1 && (FAMILIES[family] as Family).hint.test(text);
    }
    if (isHinted) matchAll(entry, text, from, ofFamily);
  }
  settle(ofFamily, found);
  return found.length < 2 ? found : found.sort((a, b) => a.first - b.first);
}

function settle(ofFamily: Match[], found: Match[]): void {
  if (ofFamily.length > 1) ofFamily.sort((a, b) => a.first - b.first);
  for (const one of ofFamily) {
    if (!found.some((other) => one.first < other.end && other.first < one.end)) found.push(one);
  }
}

function matchAll({ shape, pattern }: Entry, text: string, from: number, found: Match[]): void {
  pattern.lastIndex = from;
  for (let match = pattern.exec(text); match !== null && match[0] !== ""; match = pattern.exec(text)) {
    found.push({ shape, match, first: match.index, end: match.index + match[0].length });
  }
}
