/**
 * Lines → messages. A message of the kernel is one line of the log, but a mail program may have wrapped it, and a paste may have run two
 * together. So messages are sought in a *window*: a line that may hold one, and the lines that follow it without a prefix of their own. The
 * window's text keeps a line feed where a line ended; shapes accept it wherever they accept a blank.
 */
import type { CleanLine } from "./clean.ts";
import { CutLines } from "./cut-lines.ts";
import type { Clock } from "./facts.ts";
import type { Prefixed } from "./prefix.ts";
import { isSourceCode } from "./source-code.ts";
import { isOfMonitor, type Part, Window, WRAPPED_COLUMNS } from "./window.ts";

/** More lines than this do not belong to one message. */
const MOST_LINES = 8;
/** Lines kept when a window is full: a message that begins in its last lines is read with the next ones. */
const KEPT_LINES = 3;
/** No mail program wraps earlier: where lines have prefixes, such a line goes on in the next one without. */
const MAIL_COLUMNS = 70;
/**
 * Seeks the messages of a window that begin in [from, before) of its text.
 * @returns the end of the last one found, or `from`
 */
export type Search = (window: Window, from: number, before: number) => number;

/** A line for the windows. */
export interface GivenLine {
  readonly raw: string;
  readonly clean: CleanLine;
  /** The cleaned text, its prefix split off. */
  readonly prefixed: Prefixed;
  /** Its numbers in the input: several where quoted-printable broke it. */
  readonly first: number;
  readonly last: number;
  /** It may hold a message; others only go on with one. */
  readonly begins: boolean;
  /** Its time, when that is not the one that stands in it. */
  readonly stamp: Stamp | undefined;
}

/** Gathers lines into windows, and hands each on with the offset from which it has not been searched yet. */
export class Windows {
  readonly #search: Search;
  readonly #cutLines = new CutLines();
  #parts: Part[] = [];
  /** Lines have prefixes here, so one without can't begin a message of the kernel. */
  #isPrefixed = false;
  #searched = 0;

  constructor(search: Search) {
    this.#search = search;
  }

  /** True if a window is open to which the next line may belong. */
  get isOpen(): boolean {
    return this.#parts.length > 0;
  }

  /** Takes the next line. */
  take({ raw, clean, prefixed, first, last, begins, stamp }: GivenLine): void {
    const before = this.#parts.at(-1);
    const { text, hasPrefix, time, clock } = stamped(prefixed, stamp);
    const isCode = !hasPrefix && isSourceCode(clean.text);
    // A line that a mail program wrapped after quoting it: its rest has no quote marks.
    const isSpilled =
      before !== undefined && clean.depth < before.depth && before.raw.length + 1 + wordLength(text) > WRAPPED_COLUMNS;
    const isApart =
      hasPrefix || text === "" || isCode || (before !== undefined && clean.depth !== before.depth && !isSpilled);
    if (isApart) this.flush();
    if (isCode || text === "" || (!begins && !this.isOpen)) return;
    if (this.#parts.length === MOST_LINES) this.#shift();
    const goesOn = this.isOpen ? before : undefined;
    if (goesOn !== undefined) {
      goesOn.isBeforeBlank = /^[ \t]/.test(clean.text);
      goesOn.isWrapped =
        this.#isPrefixed &&
        (clean.depth === goesOn.depth || clean.depth === 0) &&
        goesOn.raw.length + 1 + wordLength(text) > MAIL_COLUMNS &&
        !isOfMonitor(text);
    }
    this.#isPrefixed = hasPrefix || (goesOn !== undefined && this.#isPrefixed);
    this.#parts.push({
      first,
      last,
      text: text.trimEnd(),
      depth: isSpilled && goesOn !== undefined ? goesOn.depth : clean.depth,
      raw,
      hasPrefix,
      time: hasPrefix ? time : goesOn?.time,
      clock: hasPrefix ? clock : goesOn?.clock,
      isSpilled,
      isBeforeBlank: false,
      isWrapped: false,
      isCut: false,
      isDoubtful: false,
    });
  }

  /** A whole message of this width, with a prefix of its own, has been read. */
  pass(columns: number): void {
    this.flush();
    this.#cutLines.note(columns);
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

function wordLength(text: string): number {
  return text.search(/\s|$/);
}
