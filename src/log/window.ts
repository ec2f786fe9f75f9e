/** Text in which messages are sought: a line that may hold one, and the lines that may go on with it. */
import type { Clock, LineRef } from "./facts.ts";

/** No program wraps a line that is shorter together with the next word. */
export const WRAPPED_COLUMNS = 60;
/** A virtual machine monitor prints between the lines of the kernel, without their prefix; QEMU's traces begin with process and time. */
const MONITOR = /^(?:(?:qemu|kvm|cloud-hypervisor|crosvm|firecracker)[\w-]*:\s|\d+@\d+\.\d+:)/;
/** A pager that does not wrap marks a line that goes on beyond its edge, and people leave out what is long. */
const ELLIPSIS = /[0-9a-f](?<mark>>|…|\.\.\.)$/i;

/** A line of a window. */
export interface Part {
  /** Its first and its last number in the input: quoted-printable may have broken it. */
  readonly first: number;
  readonly last: number;
  /** Without prefix. */
  readonly text: string;
  /** Quote marks before it. */
  readonly depth: number;
  /** The line with everything that stands in it. */
  readonly raw: string;
  readonly hasPrefix: boolean;
  /** The time of the line, or of the line that it may continue. */
  readonly time: number | undefined;
  readonly clock: Clock | undefined;
  /** It has fewer quote marks than the line before: a mail program wrapped that one, at a blank. */
  readonly isSpilled: boolean;
  /** The next line begins with a blank. */
  isBeforeBlank: boolean;
  /** Goes on in the next line, behind a blank. */
  isWrapped: boolean;
  /** Goes on in the next line without a blank. */
  isCut: boolean;
  /** A number at its end may go on in the next line. */
  isDoubtful: boolean;
}

function textOf({ text, isCut, isWrapped }: Part): string {
  if (isCut) return text;
  return isWrapped ? `${text} ` : `${text}\n`;
}

/** True if the line is printed by a virtual machine monitor. */
export function isOfMonitor(text: string): boolean {
  return MONITOR.test(text);
}

/** Where a number ends that may have lost digits. */
function doubtIn({ text, isDoubtful }: Part): number | undefined {
  if (isDoubtful) return text.length;
  if (!/[>….]/.test(text.slice(-1))) return undefined;
  const mark = ELLIPSIS.exec(text)?.groups?.["mark"];
  // `<0x1000>` has a mark of its own.
  return mark === undefined || text.includes("<") ? undefined : text.length - mark.length;
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

export class Window {
  /** Quote marks before its first line. */
  readonly depth: number;
  readonly #parts: readonly Part[];
  #text: string | undefined;

  constructor(parts: readonly Part[]) {
    this.#parts = parts;
    this.depth = parts[0]?.depth ?? 0;
  }

  /** Put together when it is asked for: of most windows it never is. */
  get text(): string {
    this.#text ??= this.#parts.map(textOf).join("");
    return this.#text;
  }

  /** A number that ends at one of these characters of the text may have lost digits. */
  get doubts(): readonly number[] {
    const doubts: number[] = [];
    let first = 0;
    for (const part of this.#parts) {
      const doubt = doubtIn(part);
      if (doubt !== undefined) doubts.push(first + doubt);
      first += textOf(part).length;
    }
    return doubts;
  }

  /** True if its first line has the prefix of a log. */
  get hasPrefix(): boolean {
    return this.#parts[0]?.hasPrefix === true;
  }

  /** Its first line with everything that stands in it. */
  get raw(): string {
    return this.#parts[0]?.raw ?? "";
  }

  /** True if it is one line. */
  get isLine(): boolean {
    return this.#parts.length === 1;
  }

  /** Where the part of that index ends, its line feed included. */
  endOf(index: number): number {
    return this.#parts.slice(0, index + 1).reduce((sum, part) => sum + textOf(part).length, 0);
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

  /**
   * True if a message that begins in a part was printed at the part's time. A part without prefix has the time of the line before, if that line
   * was wrapped. A line that a hypervisor or a program printed in between has no time.
   */
  #isTimed(index: number, searched: number): boolean {
    const [before, own] = [this.#parts[index - 1], this.#parts[index]];
    if (before === undefined || own === undefined || own.hasPrefix || before.isCut) return true;
    const endsMessage = searched > (index > 1 ? this.endOf(index - 2) : 0);
    if (endsMessage || MONITOR.test(own.text)) return false;
    const [word = ""] = own.text.split(" ", 1);
    return before.raw.length + 1 + word.length > WRAPPED_COLUMNS;
  }

  /**
   * Lines, time and first line's text of what stands in [first, end) of the text; by default of all from `first` on.
   * @param searched - the end of the message before it
   */
  place(file: string, first: number, end: number = Number.POSITIVE_INFINITY, searched = 0): Place {
    const isLine = this.isLine;
    const from = isLine ? 0 : this.#partAt(first);
    const last = isLine ? 0 : this.#partAt(Math.max(first, end - 1));
    const lines: LineRef[] = [];
    for (let at = from; at <= last; at++) {
      const part = this.#parts[at] as Part;
      for (let line = part.first; line <= part.last; line++) lines.push({ file, line });
    }
    const { text, time, clock } = this.#parts[from] as Part;
    if (time === undefined || clock === undefined || !(isLine || this.#isTimed(from, searched))) return { lines, text };
    return { lines, text, time, clock };
  }
}
