/**
 * Reads the text of a log, in pieces of any size, and hands on the facts that it states. Memory does not grow with the log.
 *
 * The way of a line: *prefilter* (a word that some shape needs?) → *window* (cleaned, without prefix, with the lines it was wrapped into) →
 * *shapes* of the families whose hint is there → *assembly* (parts of one message) → fact.
 */
import { Assembly } from "./assembly.ts";
import { CANDIDATE } from "./candidates.ts";
import type { Fact, LineRef } from "./facts.ts";
import { FAMILIES } from "./families/index.ts";
import { type Window, Windows } from "./messages.ts";
import { splitPrefix } from "./prefix.ts";
import { type Shape, Values } from "./shape.ts";

/** A line that names an IOMMU and a failure: reported when no shape reads it. */
const LOOKS_LIKE_ONE =
  /(?:AMD-Vi|DMAR|iommu\b|smmu|IO_PAGE_FAULT|swiotlb|DMA-API|\bdart\b).{0,200}(?:\b(?:fault|error|fail|time-?out|timed out|refus|reject|unable|exceed|blocked|illegal|invalid\b|unhandled)|_FAULT|_ERROR|_TIMEOUT)/i;
/** Printed by the source of a program, not by a program: patches and code that mention a message. */
const SOURCE_CODE = /^\s*[+-]?\s*(?:pr_\w+|printk\w*|dev_\w+|WARN\w*|error_report|fprintf|RTE_LOG)\s*\(/;
const MOST_UNREAD_SHOWN = 5;
/** A candidate's wrapped message ends at most so many lines later. */
const FOLLOWERS = 6;

/** What was read beside the facts. */
export interface LogSummary {
  readonly lines: number;
  /** Lines that have the prefix of a log, or hold a message that a shape reads. */
  readonly logLines: number;
  /** Lines that look like messages of an IOMMU and that no shape reads. */
  readonly unread: { readonly count: number; readonly first: readonly LineRef[] };
}

export class LogReader {
  readonly #file: string;
  readonly #assembly: Assembly;
  readonly #windows: Windows;
  #carry = "";
  #line = 0;
  #followers = 0;
  #logLines = 0;
  #unread = 0;
  readonly #firstUnread: LineRef[] = [];

  /** @param file - the name that line references get */
  constructor(file: string, onFact: (fact: Fact) => void) {
    this.#file = file;
    this.#assembly = new Assembly(onFact);
    this.#windows = new Windows((window, from) => this.#search(window, from));
  }

  /** Reads the next piece of the text. */
  write(piece: string): void {
    const text = this.#carry === "" ? piece : this.#carry + piece;
    let first = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", first)) {
      this.#take(text.slice(first, end));
      first = end + 1;
    }
    this.#carry = text.slice(first);
  }

  /** So many lines of the input are no text of a log. */
  skip(lines: number): void {
    this.#line += lines;
  }

  /** The next line is a message of the log that a trace has recorded (`printk:console`), at a time of the trace's clock. */
  message(text: string, traceSeconds: number): void {
    this.#take(text, traceSeconds);
  }

  /** Ends the reading. */
  finish(): LogSummary {
    if (this.#carry !== "") this.#take(this.#carry);
    this.#carry = "";
    this.#windows.flush();
    this.#assembly.finish();
    return {
      lines: this.#line,
      logLines: this.#logLines,
      unread: { count: this.#unread, first: this.#firstUnread },
    };
  }

  #take(raw: string, traceSeconds?: number): void {
    this.#line++;
    const begins = CANDIDATE.test(raw);
    if (begins) this.#followers = FOLLOWERS;
    else if (this.#followers === 0 || --this.#followers === 0) {
      if (this.#windows.isOpen) this.#windows.flush();
      // A few lines are enough to know a log from a poem.
      if (this.#logLines < 100 && splitPrefix(raw).hasPrefix) this.#logLines++;
      return;
    }
    this.#windows.take(raw, this.#line, begins, traceSeconds);
  }

  #search(window: Window, from: number): number {
    const place = window.place(this.#file, from, window.text.length);
    this.#assembly.at(place.lines[0]?.line ?? this.#line, place.time, place.clock, window.depth);
    if (SOURCE_CODE.test(window.text)) return window.text.length;
    const matches = matchesIn(window.text, from);
    for (const { shape, match, first, end } of matches) {
      const base = { shape: shape.name, ...window.place(this.#file, first, end) };
      shape.read(new Values(match.groups ?? {}, shape.fields), { base }, this.#assembly);
    }
    if (matches.length > 0) this.#logLines++;
    else this.#noteUnread(window, from);
    return matches.at(-1)?.end ?? from;
  }

  #noteUnread(window: Window, from: number): void {
    if (!LOOKS_LIKE_ONE.test(window.text.slice(from))) return;
    this.#unread++;
    const [line] = window.place(this.#file, from, from + 1).lines;
    if (line !== undefined && this.#firstUnread.length < MOST_UNREAD_SHOWN) this.#firstUnread.push(line);
  }
}

interface Match {
  readonly shape: Shape;
  readonly match: RegExpExecArray;
  readonly first: number;
  readonly end: number;
}

/**
 * All messages of `text` from `from` on, in order, none over another. Of two that overlap the earlier family's counts, and inside a family the
 * one that begins first.
 */
function matchesIn(text: string, from: number): Match[] {
  const found: Match[] = [];
  for (const { hint, shapes } of FAMILIES) {
    if (!hint.test(text)) continue;
    const ofFamily = shapes.flatMap((shape) => matchesOf(shape, text, from)).sort((a, b) => a.first - b.first);
    for (const one of ofFamily) {
      if (!found.some((other) => one.first < other.end && other.first < one.end)) found.push(one);
    }
  }
  return found.sort((a, b) => a.first - b.first);
}

function matchesOf(shape: Shape, text: string, from: number): Match[] {
  const pattern = globalOf(shape);
  pattern.lastIndex = from;
  const found: Match[] = [];
  for (let match = pattern.exec(text); match !== null && match[0] !== ""; match = pattern.exec(text)) {
    found.push({ shape, match, first: match.index, end: match.index + match[0].length });
  }
  return found;
}

const GLOBAL = new Map<Shape, RegExp>();

function globalOf(shape: Shape): RegExp {
  let pattern = GLOBAL.get(shape);
  if (pattern === undefined) {
    pattern = new RegExp(shape.pattern.source, `${shape.pattern.flags.replace("g", "")}g`);
    GLOBAL.set(shape, pattern);
  }
  return pattern;
}
