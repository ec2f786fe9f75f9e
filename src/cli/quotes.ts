/**
 * The lines of the inputs that an answer quotes. Files are read a second time for them, so that a large log need not be kept; standard input,
 * which can't be read twice, is kept up to a bound.
 */
import type { LineRef } from "../explain/contract.ts";
import type { InputReader } from "../explain/explainer.ts";
import { type InputProgress, readPieces } from "./input.ts";
import { filesOf } from "./tar-reader.ts";
import type { Terminal } from "./terminal.ts";

/** Bytes of standard input that are kept. */
const MOST_KEPT = 64 * 2 ** 20;
/** A longer line is shown cut. */
const MOST_COLUMNS = 400;

export class Quoter {
  readonly #terminal: Terminal;
  /** Standard input, as far as it is kept. */
  readonly #kept: Uint8Array[] = [];
  #keptBytes = 0;
  readonly #texts = new Map<string, string>();
  /** The inputs that files of archives come from. */
  readonly #inputs = new Map<string, string>();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Reads an input for the first time; `begin` is asked for a reader for each file in it: the input itself, or those of an archive. */
  async read(input: string, begin: (file: string) => InputReader): Promise<void> {
    const progress = this.#terminal.progress(`reading ${input === "-" ? "standard input" : input}`);
    let current: { readonly file: string; readonly reader: InputReader } | undefined;
    try {
      for await (const { file, bytes } of filesOf(input, this.#firstPieces(input, progress.at))) {
        if (current?.file !== file) {
          current?.reader.end();
          current = { file, reader: begin(file) };
          this.#inputs.set(file, input);
        }
        current.reader.write(bytes);
      }
    } finally {
      progress.stop();
    }
    // An input without a byte is an input.
    (current?.reader ?? begin(input)).end();
  }

  async *#firstPieces(input: string, at: (done: number) => void): AsyncGenerator<Uint8Array> {
    for await (const piece of piecesOf(input, (bytes, total) => {
      if (total > 0) at(Math.min(1, bytes / total));
    })) {
      if (input === "-" && this.#keptBytes < MOST_KEPT) {
        this.#kept.push(piece.slice());
        this.#keptBytes += piece.length;
      }
      yield piece;
    }
  }

  /** Finds the texts of the lines, and of `around` lines before and after each. */
  async gather(lines: readonly LineRef[], around: number): Promise<void> {
    const wanted = new Map<string, Set<number>>();
    for (const { file, line } of lines) {
      const ofFile = wanted.get(file) ?? new Set<number>();
      for (let near = line - around; near <= line + around; near++) ofFile.add(near);
      wanted.set(file, ofFile);
    }
    for (const [file, numbers] of wanted) await this.#gatherFrom(file, numbers);
  }

  async #gatherFrom(wanted: string, numbers: ReadonlySet<number>): Promise<void> {
    const decoder = new TextDecoder();
    let carry = "";
    let number = 0;
    const take = (text: string): void => {
      number++;
      if (numbers.has(number)) this.#texts.set(`${wanted}:${number}`, text.replace(/\r$/, "").slice(0, MOST_COLUMNS));
    };
    const input = this.#inputs.get(wanted) ?? wanted;
    for await (const { file, bytes } of filesOf(input, input === "-" ? this.#kept : piecesOf(input))) {
      if (file !== wanted) continue;
      const lines = (carry + decoder.decode(bytes, { stream: true })).split("\n");
      carry = lines.pop() ?? "";
      lines.forEach(take);
    }
    if (carry !== "") take(carry);
  }

  textOf({ file, line }: LineRef): string | undefined {
    return this.#texts.get(`${file}:${line}`);
  }

  /** The lines of a proof, with those around them; `>` marks the proof. */
  quote(proof: readonly LineRef[], around: number): string[] {
    const marked = new Set(proof.map(({ file, line }) => `${file}:${line}`));
    const all = new Map<string, LineRef>();
    for (const { file, line } of proof) {
      for (let near = line - around; near <= line + around; near++) all.set(`${file}:${near}`, { file, line: near });
    }
    return [...all.entries()]
      .sort(([, a], [, b]) => a.file.localeCompare(b.file) || a.line - b.line)
      .flatMap(([key, { line }]) => {
        const text = this.#texts.get(key);
        return text === undefined ? [] : [`${marked.has(key) ? ">" : " "} ${String(line).padStart(6)}  ${text}`];
      });
  }
}

function piecesOf(file: string, progress: InputProgress = () => {}): AsyncGenerator<Uint8Array> {
  return readPieces(file, { what: "a kernel log or a trace", code: "input", progress });
}
