/**
 * The lines of the inputs that an answer quotes. Files are read a second time for them, so that a large log need not be kept; standard input,
 * which can't be read twice, is kept up to a bound. Lines are counted in the same text that the analysis reads: UTF-16, carriage returns as
 * line ends and files of archives included.
 */
import type { LineRef } from "../explain/contract.ts";
import type { InputReader } from "../explain/explainer.ts";
import { PlainText } from "../log/plain-text.ts";
import { type InputOptions, readPieces, STANDARD_INPUT } from "./input.ts";
import { filesOf } from "./tar-reader.ts";
import type { Terminal } from "./terminal.ts";

/** Bytes of standard input that are kept for quotes. */
const MOST_KEPT = 32 * 2 ** 20;
/** A longer line is shown cut. */
const MOST_COLUMNS = 400;
/** A character of UTF-8 has up to four. */
const MOST_BYTES = 4 * MOST_COLUMNS;
const LINE_FEED = 10;

/** Picks the wanted lines out of a text that comes in pieces. */
class WantedLines {
  readonly #wanted: ReadonlySet<number>;
  readonly #last: number;
  readonly #take: (line: number, text: string) => void;
  #line = 1;
  /** The part of a wanted line that has been read. */
  #bytes: number[] = [];

  /** @param take - gets each wanted line of the text, from 1, without its end */
  constructor(wanted: ReadonlySet<number>, take: (line: number, text: string) => void) {
    this.#wanted = wanted;
    this.#last = [...wanted].reduce((last, line) => Math.max(last, line), 0);
    this.#take = take;
  }

  /** All wanted lines have been read. */
  get isComplete(): boolean {
    return this.#line > this.#last;
  }

  read(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.isComplete; ) {
      const feed = bytes.indexOf(LINE_FEED, at);
      const end = feed < 0 ? bytes.length : feed;
      if (this.#wanted.has(this.#line)) {
        const room = MOST_BYTES - this.#bytes.length;
        this.#bytes.push(...bytes.subarray(at, Math.min(end, at + room)));
      }
      if (feed >= 0) this.#endLine();
      at = end + 1;
    }
  }

  finish(): void {
    if (this.#bytes.length > 0) this.#endLine();
  }

  #endLine(): void {
    if (this.#wanted.has(this.#line)) {
      const text = new TextDecoder().decode(Uint8Array.from(this.#bytes));
      this.#take(this.#line, text.replace(/\r$/, "").slice(0, MOST_COLUMNS));
    }
    this.#bytes = [];
    this.#line++;
  }
}

export class Quoter {
  readonly #terminal: Terminal;
  readonly #mostKept: number;
  /** The first bytes of standard input. */
  readonly #kept: Uint8Array[] = [];
  #keptBytes = 0;
  readonly #texts = new Map<string, string>();
  /** The inputs that files of archives come from. */
  readonly #inputs = new Map<string, string>();

  /** @param mostKept - bytes of standard input that are kept; 0 when nothing will be quoted */
  constructor(terminal: Terminal, mostKept: number = MOST_KEPT) {
    this.#terminal = terminal;
    this.#mostKept = mostKept;
  }

  /** Reads an input for the first time; `begin` is asked for a reader for each file in it: the input itself, or those of an archive. It gets the file's length in bytes, or 0 when that is unknown. */
  async read(input: string, begin: (file: string, bytes: number) => InputReader): Promise<void> {
    const progress = this.#terminal.progress(`reading ${input === STANDARD_INPUT ? "standard input" : input}`);
    let current: { readonly file: string; readonly reader: InputReader } | undefined;
    let length = 0;
    const pieces = this.#firstPieces(input, progress.at, (bytes) => {
      length = bytes;
    });
    try {
      for await (const { file, bytes } of filesOf(input, pieces)) {
        if (current?.file !== file) {
          current?.reader.end();
          current = { file, reader: begin(file, file === input ? length : 0) };
          this.#inputs.set(file, input);
        }
        current.reader.write(bytes);
      }
    } finally {
      progress.stop();
    }
    // An input without a byte is an input.
    (current?.reader ?? begin(input, 0)).end();
  }

  async *#firstPieces(
    input: string,
    at: (done: number) => void,
    onLength: (bytes: number) => void,
  ): AsyncGenerator<Uint8Array> {
    const progress = (bytes: number, total: number): void => {
      if (total > 0) at(Math.min(1, bytes / total));
    };
    for await (const piece of piecesOf(input, { progress, onLength })) {
      if (input === STANDARD_INPUT && this.#keptBytes < this.#mostKept) {
        this.#kept.push(piece.slice());
        this.#keptBytes += piece.length;
      }
      yield piece;
    }
  }

  /** Finds the texts of the lines, and of `around` lines before and after each. */
  async gather(lines: readonly LineRef[], around: number): Promise<void> {
    for (const [file, numbers] of linesNear(lines, around)) await this.#gatherFrom(file, numbers);
  }

  async #gatherFrom(wanted: string, numbers: ReadonlySet<number>): Promise<void> {
    const lines = new WantedLines(numbers, (line, text) => this.#texts.set(`${wanted}:${line}`, text));
    const plain = new PlainText(wanted, (bytes) => lines.read(bytes));
    const input = this.#inputs.get(wanted) ?? wanted;
    for await (const { file, bytes } of filesOf(input, input === STANDARD_INPUT ? this.#kept : piecesOf(input))) {
      if (file === wanted) plain.write(bytes);
      if (lines.isComplete) return;
    }
    plain.finish();
    lines.finish();
  }

  /** The text of a line that was gathered, or a note why it can't be quoted. */
  textOf({ file, line }: LineRef): string | undefined {
    const text = this.#texts.get(`${file}:${line}`);
    const isCut = this.#inputs.get(file) === STANDARD_INPUT && this.#keptBytes >= this.#mostKept;
    return (
      text ?? (isCut ? `(not quoted: of standard input, ${inMiB(this.#mostKept)} are kept for quotes)` : undefined)
    );
  }

  /** The lines, with those around them: `>` marks the lines, `…` what is left out between; files have a heading where there are several. */
  quote(lines: readonly LineRef[], around: number): string[] {
    const marked = new Set(lines.map(({ file, line }) => `${file}:${line}`));
    const byFile = linesNear(lines, around);
    return [...byFile].flatMap(([file, numbers]) => {
      const quoted: string[] = byFile.size > 1 ? [`${file}:`] : [];
      let last: number | undefined;
      for (const line of [...numbers].sort((a, b) => a - b)) {
        const key = `${file}:${line}`;
        const text = marked.has(key) ? this.textOf({ file, line }) : this.#texts.get(key);
        if (text === undefined) continue;
        if (last !== undefined && line !== last + 1) quoted.push("       …");
        quoted.push(`${marked.has(key) ? ">" : " "} ${String(line).padStart(6)}  ${text}`);
        last = line;
      }
      return quoted;
    });
  }
}

function inMiB(bytes: number): string {
  return `the first ${bytes / 2 ** 20} MiB`;
}

/** The numbers of the lines and of `around` lines before and after each, by file. */
function linesNear(lines: readonly LineRef[], around: number): Map<string, Set<number>> {
  const byFile = new Map<string, Set<number>>();
  for (const { file, line } of lines) {
    const numbers = byFile.get(file) ?? new Set<number>();
    for (let near = line - around; near <= line + around; near++) numbers.add(near);
    byFile.set(file, numbers);
  }
  return byFile;
}

function piecesOf(file: string, options: Pick<InputOptions, "progress" | "onLength"> = {}): AsyncGenerator<Uint8Array> {
  return readPieces(file, { what: "a kernel log or a trace", code: "input", ...options });
}
