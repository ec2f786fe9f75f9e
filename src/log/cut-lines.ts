/**
 * Lines that a terminal or a mail program cut at its edge, inside a word or a number, without a mark. Whether a line was cut is tried: it is when a
 * message is read whole only without a break. Where both readings make a message, and differ in a number only, the number counts as whole, as
 * one that goes on, or as unknown, by the widths of other lines: no line of a text that was cut is longer than its edge.
 */
import { shownLine } from "./clean.ts";
import { betterJoin, type Match, matchesIn, UNSPECIFIC } from "./matches.ts";
import { isOfMonitor, type Part, Window } from "./window.ts";

/** A message that was cut into more lines than this is not put together. */
const MOST_JOINED = 4;
/** No terminal is narrower. */
const LEAST_COLUMNS = 30;
/** So many lines of one width that were cut for certain show the edge. */
const ENOUGH_CUT = 2;
/** `arm-smmu-v3 a.iommu: `, `DMAR: `: the beginning of a message. */
const BEGINS_MESSAGE = /^[\w./@-]+(?:\s[\w./@:-]+)?:\s/;
/** Characters that may follow the last number of a message. */
const ENDS_MESSAGE = /^[\])}]{0,2}$/;
/** Digits at the beginning of a line that may be the rest of a number. */
const REST_OF_NUMBER = /^[0-9a-f]+(?=$|[\s,;)\]])/i;

/** Columns of most terminals. */
const TERMINAL_COLUMNS = 80;

/** The gain of a reading without the break over the reading with it. */
type Gain = "nothing" | "digits" | "message";

export class CutLines {
  #longest = 0;
  /** Width in columns → number of lines of this width that were certainly cut. */
  readonly #cut = new Map<number, number>();

  /** Notes the columns of a line that stands alone. */
  note(columns: number): void {
    if (columns > this.#longest) this.#longest = columns;
  }

  /**
   * Decides which lines of a window were cut.
   * @param from - where the window has not been searched yet
   */
  join(parts: readonly Part[], from: number): void {
    const columns = parts.map(columnsOf);
    const longest = Math.max(...columns);
    this.note(longest);
    if (longest < LEAST_COLUMNS) return;
    // Whether a line was wrapped counts only where it was not cut.
    const wrapped = parts.filter(({ isWrapped }) => isWrapped);
    for (const part of wrapped) part.isWrapped = false;
    this.#joinAtEdge(parts, from, columns, longest);
    joinWords(parts, from, columns);
    for (const part of wrapped) part.isWrapped = !part.isCut;
  }

  #joinAtEdge(parts: readonly Part[], from: number, columns: readonly number[], longest: number): void {
    // A line that was quoted first and cut then was cut with its quote marks.
    const edge = longest - 2 * (parts[0]?.depth ?? 0);
    let found: readonly Match[] | undefined;
    for (let at = 0; at < parts.length - 1; at++) {
      if ((columns[at] as number) < edge || !isOpen(parts, at) || isProse(parts, at)) continue;
      const plain = new Window(parts);
      const end = plain.endOf(at);
      if (end <= from) continue;
      found ??= matchesIn(plain.text, from);
      const across = found.find((match) => match.first < end && match.end > end);
      if (across !== undefined) {
        if (!leavesDigits(across, end, (parts[at + 1] as Part).text)) continue;
        (parts[at] as Part).isCut = true;
        found = undefined;
        continue;
      }
      this.#try(parts, { at, edge, from, found, columns });
      if (parts[at]?.isCut === true) found = undefined;
    }
  }

  /** Tries to read on without a break behind the line, and behind the next ones of the same width. */
  #try(parts: readonly Part[], { at, edge, from, found, columns }: Trial): void {
    const joined: Part[] = [];
    for (
      let last = at;
      joined.length < MOST_JOINED && isOpen(parts, last) && (columns[last] as number) >= edge;
      last++
    ) {
      const part = parts[last] as Part;
      part.isCut = true;
      joined.push(part);
      const gain = gainOf(new Window(parts), at, from, found);
      if (gain === "message") {
        const width = columns[at] as number;
        this.#cut.set(width, (this.#cut.get(width) ?? 0) + joined.length);
        return;
      }
      if (gain === "digits") break;
    }
    const [first] = joined;
    const isNumber = joined.length > 0 && gainOf(new Window(parts), at, from, found) === "digits";
    for (const part of joined) part.isCut = false;
    if (first !== undefined && isNumber) this.#weigh(first, columns[at] as number, (parts[at + 1] as Part).text);
  }

  /** A message ends in a number, and the next line begins with digits. */
  #weigh(part: Part, columns: number, next: string): void {
    const digits = REST_OF_NUMBER.exec(next)?.[0];
    if (digits === undefined || BEGINS_MESSAGE.test(next)) return;
    const isAlone = ENDS_MESSAGE.test(next.slice(digits.length));
    // A word of prose: `a few lines later`.
    if (!isAlone && !/\d/.test(digits) && /^\s[a-z]/i.test(next.slice(digits.length))) return;
    const isLongest = columns >= this.#longest;
    if ((this.#cut.get(columns) ?? 0) >= ENOUGH_CUT || (isAlone && isLongest)) part.isCut = true;
    else if (isAlone || isLongest) part.isDoubtful = true;
  }
}

interface Trial {
  /** Index of the line. */
  readonly at: number;
  /** Columns of each line, and of the narrowest that may have been cut. */
  readonly columns: readonly number[];
  readonly edge: number;
  readonly from: number;
  /** The messages that are read with the break. */
  readonly found: readonly Match[];
}

/**
 * A line of exactly 80 columns was cut there by a terminal, unless the messages say less without the break. Where lines have prefixes, the next one
 * can't be a message of its own.
 */
function joinWords(parts: readonly Part[], from: number, columns: readonly number[]): void {
  for (const [at, part] of parts.entries()) {
    if (columns[at] !== TERMINAL_COLUMNS || !isOpen(parts, at) || parts[at + 1]?.isSpilled === true) continue;
    const plain = new Window(parts).text;
    part.isCut = true;
    const better = betterJoin(new Window(parts).text, plain, from);
    const goesOn = parts[0]?.hasPrefix === true && !isOfMonitor(parts[at + 1]?.text ?? "");
    part.isCut = better === "cut" || (better === "equal" && goesOn);
    if (part.isCut) part.isDoubtful = false;
  }
}

/** Characters of the line as it was cut. */
function columnsOf({ raw }: Part): number {
  return shownLine(raw).length;
}

/** True if the line may have been cut at its end. */
function isOpen(parts: readonly Part[], at: number): boolean {
  const part = parts[at];
  if (part === undefined || at >= parts.length - 1 || part.isCut || part.isBeforeBlank) return false;
  return !/[ \t]$/.test(shownLine(part.raw));
}

/** Messages that are cut have numbers, in front of the cut or behind it. */
function isProse(parts: readonly Part[], at: number): boolean {
  return !/\d/.test(`${parts[at]?.text}${parts[at + 1]?.text}`);
}

function gainOf(joined: Window, at: number, from: number, found: readonly Match[]): Gain {
  const edge = joined.endOf(at);
  const whole = matchesIn(joined.text, from).find(({ first, end }) => first < edge && end > edge);
  if (whole === undefined) return "nothing";
  const before = found.find(({ shape, first }) => shape === whole.shape && first === whole.first);
  if (before === undefined) return isOfNext(whole, edge, found) ? "nothing" : "message";
  const [short, long] = [before.match.groups ?? {}, whole.match.groups ?? {}];
  const names = Object.keys(whole.shape.fields);
  if (names.some((name) => short[name] === undefined && long[name] !== undefined)) return "message";
  const isNumber = (name: string): boolean => whole.shape.fields[name]?.radix !== "text";
  return names.some((name) => isNumber(name) && short[name] !== long[name]) ? "digits" : "nothing";
}

/** True if the message is one of the next line alone, preceded by the last word of this line. */
function isOfNext(whole: Match, edge: number, found: readonly Match[]): boolean {
  if (!found.some(({ first }) => first >= edge && first <= whole.end)) return false;
  if (UNSPECIFIC.has(whole.shape)) return true;
  const device = whole.match.groups?.["device"];
  return device === undefined || whole.first + whole.match[0].indexOf(device) >= edge;
}

/** True if a number of the message ends at the break, and digits follow the break that the message does not include. */
function leavesDigits(match: Match, end: number, next: string): boolean {
  if (!REST_OF_NUMBER.test(next)) return false;
  const places = Object.entries(placesOf(match)).flatMap(([name, place]) =>
    place === undefined || match.shape.fields[name]?.radix === "text" ? [] : [place],
  );
  return places.some(([, last]) => last === end - 1) && !places.some(([first]) => first === end);
}

/** Where the fields of a match begin and end. */
function placesOf({ shape, match }: Match): Readonly<Record<string, [number, number] | undefined>> {
  const pattern = new RegExp(shape.pattern.source, `${shape.pattern.flags.replace(/[gy]/g, "")}dy`);
  pattern.lastIndex = match.index;
  return pattern.exec(match.input)?.indices?.groups ?? {};
}

/** The fields of a match, without numbers that may have lost digits. */
export function fieldsOf(one: Match, { doubts }: Window): Readonly<Record<string, string | undefined>> {
  const { shape, match } = one;
  const groups = match.groups ?? {};
  if (doubts.length === 0) return groups;
  const places = placesOf(one);
  const sure = Object.entries(groups).filter(
    ([name]) => shape.fields[name]?.radix === "text" || !doubts.includes(places[name]?.[1] ?? -1),
  );
  return Object.fromEntries(sure);
}
