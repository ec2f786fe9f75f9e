/**
 * Finds the messages in a text: which shapes match where. A shape's pattern is tried only when the text holds a word that each of its matches
 * contains.
 */
import { EVENTS } from "./families/events.ts";
import { HOST } from "./families/host.ts";
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

/** Shapes that read almost any line of a driver. */
export const UNSPECIFIC: ReadonlySet<Shape> = new Set([...EVENTS.shapes, ...HOST.shapes]);

interface Said {
  /** A message is read that not every line of a driver could be. */
  readonly isSpecific: boolean;
  readonly messages: number;
  /** Messages that begin a line, but not the first. */
  readonly beginLines: number;
  /** Characters of the messages, blanks left out. */
  readonly characters: number;
  /** Fields that the messages have. */
  readonly fields: number;
}

function saidIn(text: string, from: number): Said {
  const all = matchesIn(text, from);
  const specific = all.filter(({ shape }) => !UNSPECIFIC.has(shape));
  const matches = specific.length > 0 ? specific : all;
  const fields = matches.flatMap(({ match }) => Object.values(match.groups ?? {}));
  const words = matches.map(({ match }) => match[0]).join("");
  return {
    isSpecific: specific.length > 0,
    messages: matches.length,
    beginLines: matches.filter(({ first }) => first > from && text[first - 1] === "\n").length,
    characters: words.replace(/\s+/g, "").length,
    fields: fields.filter((field) => field !== undefined).length,
  };
}

/**
 * Which of two ways to join the lines of a text makes more of it: without blanks (`cut`: a terminal cut a word), or with them (`wrapped`)? Equal when
 * the same messages have the same fields: a field that is longer by what follows it says no more.
 */
export function betterJoin(cut: string, wrapped: string, from: number): "cut" | "wrapped" | "equal" {
  const [one, other] = [saidIn(cut, from), saidIn(wrapped, from)];
  if (one.isSpecific !== other.isSpecific) return one.isSpecific ? "cut" : "wrapped";
  if (one.characters < other.characters) return "wrapped";
  if (one.messages < other.messages) return one.beginLines < other.beginLines ? "wrapped" : "cut";
  if (one.messages > other.messages || one.fields > other.fields) return "cut";
  return one.fields < other.fields ? "wrapped" : "equal";
}

function settle(ofFamily: Match[], found: Match[]): void {
  if (ofFamily.length > 1) ofFamily.sort((a, b) => a.first - b.first);
  for (const one of ofFamily) {
    const over = found.find((other) => one.first < other.end && other.first < one.end);
    if (over === undefined) found.push(one);
    else if (one.first < over.first) shorten(one, over.first, found);
  }
}

/** A message that goes on to the end of the line may stand before another one with which it was run together. */
function shorten({ shape, match: { input }, first }: Match, end: number, found: Match[]): void {
  const pattern = new RegExp(shape.pattern.source, `${shape.pattern.flags}y`);
  pattern.lastIndex = first;
  const match = pattern.exec(input.slice(0, end));
  if (match === null || found.some((other) => first < other.end && other.first < first + match[0].length)) return;
  found.push({ shape, match, first, end: first + match[0].length });
}

function matchAll({ shape, pattern }: Entry, text: string, from: number, found: Match[]): void {
  pattern.lastIndex = from;
  for (let match = pattern.exec(text); match !== null && match[0] !== ""; match = pattern.exec(text)) {
    found.push({ shape, match, first: match.index, end: match.index + match[0].length });
  }
}
