/**
 * Lines → messages. A message of the kernel is one line of the log, but a mail program may have wrapped it, and a paste may have run two
 * together. So messages are sought in a *window*: a line that may hold one, and the lines that follow it without a prefix of their own. The
 * window's text keeps a line feed where a line ended; shapes accept it wherever they accept a blank.
 */
import type { CleanLine } from "./clean.ts";
import { CutLines } from "./cut-lines.ts";
import type { Clock } from "./facts.ts";
import { type Prefixed, splitPrefix } from "./prefix.ts";
import { isSourceCode } from "./source-code.ts";
import { type Part, Window, WRAPPED_COLUMNS } from "./window.ts";

/** More lines than this do not belong to one message. */
const MOST_LINES = 8;
/** Lines kept when a window is full: a message that begins in its last lines is read with the next ones. */
const KEPT_LINES = 3;
/** A line break that quoted-printable put in (RFC 2045, 6.7): such lines have at most 76 characters. */
const SOFT_BREAK = /^.{0,74}[^=]=\r?$/;
/**
 * Seeks the messages of a window that begin in [from, before) of its text.
 * @returns the end of the last one found, or `from`
 */
export type Search = (window: Window, from: number, before: number) => number;

/** Gathers lines into windows, and hands each on with the offset from which it has not been searched yet. */
export class Windows {
  readonly #search: Search;
  readonly #cutLines = new CutLines();
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
    // A line that a mail program wrapped after quoting it: its rest has no quote marks.
    const isSpilled = last !== undefined && clean.depth < last.depth && last.raw.length >= WRAPPED_COLUMNS;
    const isApart =
      hasPrefix || text === "" || isCode || (last !== undefined && clean.depth !== last.depth && !isSpilled);
    if (last !== undefined && !goesOn && isApart) this.flush();
    if (isCode) return;
    if (text === "" || (!begins && !this.isOpen)) return;
    if (this.#parts.length === MOST_LINES) this.#shift();
    const before = this.#parts.at(-1);
    if (before !== undefined) {
      before.isBeforeBlank = /^[ \t]/.test(whole);
      before.isCut = before.isSoft && !before.isBeforeBlank;
    }
    this.#parts.push({
      line,
      text: text.trimEnd(),
      depth: goesOn || (isSpilled && this.isOpen) ? last.depth : clean.depth,
      raw,
      hasPrefix,
      time: hasPrefix ? time : before?.time,
      clock: hasPrefix ? clock : before?.clock,
      isSoft: isSoft && !/\s$/.test(text),
      isBeforeBlank: false,
      isCut: false,
      isDoubtful: false,
    });
  }

  /** Searches what has been gathered. */
  flush(): void {
    if (this.#parts.length === 0) return;
    if (this.#parts.length > 1) this.#cutLines.join(this.#parts, this.#searched);
    else this.#cutLines.note((this.#parts[0] as Part).raw.length);
    this.#search(new Window(this.#parts), this.#searched, Number.POSITIVE_INFINITY);
    this.#parts = [];
    this.#searched = 0;
  }

  /** Makes room in a full window: searches it, and keeps its last lines. A message that begins in them may end in the next line. */
  #shift(): void {
    this.#cutLines.join(this.#parts, this.#searched);
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
