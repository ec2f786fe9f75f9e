/**
 * Lines → messages. A message of the kernel is one line of the log, but a mail program may have wrapped it, and a paste may have run two
 * together. So messages are sought in a *window*: a line that may hold one, and the lines that follow it without a prefix of their own. The
 * window's text keeps a line feed where a line ended; shapes accept it wherever they accept a blank.
 */
import { type CleanLine, withoutControlSequences } from "./clean.ts";
import type { Clock, LineRef } from "./facts.ts";
import { type Prefixed, splitPrefix } from "./prefix.ts";
import { isSourceCode } from "./source-code.ts";

/** More lines than this do not belong to one message. */
const MOST_LINES = 8;
/** Lines kept when a window is full: a message that begins in its last lines is read with the next ones. */
const KEPT_LINES = 3;
/** Mail programs wrap earlier, and at blanks; a terminal cuts at its edge, mostly here. */
const TERMINAL_COLUMNS = 80;
/** A line that a mail program wrapped after quoting it: its rest has no quote marks. */
const WRAPPED_COLUMNS = 60;
/** A line break that quoted-printable put in (RFC 2045, 6.7): such lines have at most 76 characters. */
const SOFT_BREAK = /^.{0,74}[^=]=\r?$/;
/** `arm-smmu-v3 a.iommu: `, `DMAR: `: a message without a prefix, not the rest of one that was cut. */
const BEGINS_MESSAGE = /^[\w./@-]+(?:\s[\w./@:-]+)?:\s/;
/** A virtual machine monitor prints between the lines of the kernel, without their prefix. */
const BEGINS_MONITOR_MESSAGE = /^(?:qemu|kvm|cloud-hypervisor|crosvm)[\w-]*:\s/;

/** How a line ends: `edge` at the usual edge of a terminal, `word` inside what may be a word, at another width. */
type End = "edge" | "word" | "whole";

/** Quote marks, which a mail program put before a line after a terminal had cut it. */
const QUOTE_MARKS = /^(?:[ \t]{0,12}>[ \t]?)+/;

/** Where a line without a soft break may have been cut inside a word. */
function endOf({ raw, text }: Part): End {
  if (raw.length < TERMINAL_COLUMNS) return "whole";
  // Colours take no column of a terminal.
  const shown = withoutControlSequences(raw).replace(QUOTE_MARKS, "");
  const columns = shown.endsWith("\r") ? shown.length - 1 : shown.length;
  if (columns < TERMINAL_COLUMNS || /[ \t]\r?$/.test(shown)) return "whole";
  if (columns === TERMINAL_COLUMNS) return "edge";
  return /\w$/.test(text) ? "word" : "whole";
}

/** Does the next line go on without a blank? Where lines have prefixes, one without can't begin a message of the kernel. */
function isCut(part: Part, beginsWithBlank: boolean, next: string): boolean {
  if (beginsWithBlank) return false;
  if (part.isSoft) return true;
  const end = endOf(part);
  if (end === "whole") return false;
  const beginning = part.hasPrefix ? BEGINS_MONITOR_MESSAGE : BEGINS_MESSAGE;
  return !beginning.test(next) && (end === "edge" || /^\w/.test(next));
}

interface Part {
  readonly line: number;
  readonly text: string;
  readonly depth: number;
  /** The line with everything that stands in it. */
  readonly raw: string;
  readonly time: number | undefined;
  readonly clock: Clock | undefined;
  /** It or the line that it goes on with has a prefix. */
  readonly hasPrefix: boolean;
  /** A line break of quoted-printable stands behind it. */
  readonly isSoft: boolean;
  /** Goes on in the next line without a blank. */
  cut: boolean;
}

function textOf({ text, cut }: Part): string {
  return cut ? text : `${text}\n`;
}

/** Where something stands in a log. */
export interface Place {
  readonly lines: LineRef[];
  /** The message of the first line. */
  readonly text: string;
  /** Seconds. */
  readonly time?: number;
  readonly clock?: Clock;
}

/** Text in which messages are sought. */
export class Window {
  readonly text: string;
  /** Quote marks before its first line. */
  readonly depth: number;
  readonly #parts: readonly Part[];

  constructor(parts: readonly Part[]) {
    this.#parts = parts;
    this.depth = parts[0]?.depth ?? 0;
    let text = "";
    for (const part of parts) text += textOf(part);
    this.text = text;
  }

  /** Does its first line have the prefix of a log? */
  get hasPrefix(): boolean {
    return this.#parts[0]?.hasPrefix === true;
  }

  /** Is it one line? */
  get isLine(): boolean {
    return this.#parts.length === 1;
  }

  /** The part in which the character at `offset` stands. */
  #partAt(offset: number): number {
    let end = 0;
    const index = this.#parts.findIndex((part) => {
      end += textOf(part).length;
      return offset < end;
    });
    return index < 0 ? this.#parts.length - 1 : index;
  }

  /** Lines, time and first line's text of what stands in [first, end) of the text. */
  place(file: string, first: number, end: number): Place {
    const isLine = this.isLine;
    const from = isLine ? 0 : this.#partAt(first);
    const last = isLine ? 0 : this.#partAt(Math.max(first, end - 1));
    const lines: LineRef[] = [];
    for (let at = from; at <= last; at++) lines.push({ file, line: (this.#parts[at] as Part).line });
    const { text, time, clock } = this.#parts[from] as Part;
    return time === undefined || clock === undefined ? { lines, text } : { lines, text, time, clock };
  }
}

/**
 * Seeks the messages of a window that begin in [from, before) of its text.
 * @returns the end of the last one found, or `from`
 */
export type Search = (window: Window, from: number, before: number) => number;

/** Gathers lines into windows, and hands each on with the offset from which it has not been searched yet. */
export class Windows {
  readonly #search: Search;
  #parts: Part[] = [];
  #searched = 0;

  constructor(search: Search) {
    this.#search = search;
  }

  /** Is a window open, to which the next line may belong? */
  get isOpen(): boolean {
    return this.#parts.length > 0;
  }

  /**
   * @param begins - the line may hold a message; others only go on with one
   * @param stamp - the time of the line, when it is not the one that stands in it
   */
  take(raw: string, clean: CleanLine, line: number, begins: boolean, stamp?: Stamp): void {
    const isSoft = hasSoftBreak(raw);
    const last = this.#parts.at(-1);
    const goesOn = last?.isSoft === true;
    const whole = isSoft ? clean.text.slice(0, -1) : clean.text;
    // The rest of a line that quoted-printable broke has neither quote marks nor a prefix of its own.
    const { text, hasPrefix, time, clock } = goesOn
      ? { text: whole.trimStart(), hasPrefix: false }
      : stamped(splitPrefix(whole), stamp);
    const isCode = !hasPrefix && !goesOn && isSourceCode(whole);
    const isSpilled = last !== undefined && clean.depth < last.depth && last.raw.length >= WRAPPED_COLUMNS;
    const isApart =
      hasPrefix || text === "" || isCode || (last !== undefined && clean.depth !== last.depth && !isSpilled);
    if (last !== undefined && !goesOn && isApart) this.flush();
    if (isCode) return;
    if (text === "" || (!begins && !this.isOpen)) return;
    if (this.#parts.length === MOST_LINES) this.#shift();
    // A line without prefix has the time of the line that it goes on with.
    const before = this.#parts.at(-1);
    if (before !== undefined) before.cut = isCut(before, /^[ \t]/.test(whole), text);
    this.#parts.push({
      line,
      text: text.trimEnd(),
      depth: goesOn || (isSpilled && this.isOpen) ? last.depth : clean.depth,
      raw,
      time: hasPrefix ? time : before?.time,
      clock: hasPrefix ? clock : before?.clock,
      hasPrefix: hasPrefix || before?.hasPrefix === true,
      isSoft: isSoft && !/\s$/.test(text),
      cut: false,
    });
  }

  /** Searches what has been gathered. */
  flush(): void {
    if (this.#parts.length === 0) return;
    this.#search(new Window(this.#parts), this.#searched, Number.POSITIVE_INFINITY);
    this.#parts = [];
    this.#searched = 0;
  }

  /** Makes room in a full window: searches it, and keeps its last lines. A message that begins in them may end in the next line. */
  #shift(): void {
    const gone = this.#parts.length - KEPT_LINES;
    const dropped = new Window(this.#parts.slice(0, gone)).text.length;
    const searched = this.#search(new Window(this.#parts), this.#searched, dropped);
    this.#parts = this.#parts.slice(gone);
    this.#searched = Math.max(0, searched - dropped);
  }
}

/** A time that does not stand in the line. */
export interface Stamp {
  readonly time: number;
  readonly clock: Clock;
}

function stamped(prefixed: Prefixed, stamp: Stamp | undefined): Prefixed {
  return stamp === undefined ? prefixed : { text: prefixed.text, hasPrefix: true, ...stamp };
}

/** Does the next line go on with this one, by quoted-printable? */
export function hasSoftBreak(raw: string): boolean {
  const end = raw.charCodeAt(raw.length - 1) === 13 ? raw.length - 2 : raw.length - 1;
  return raw[end] === "=" && SOFT_BREAK.test(raw);
}
