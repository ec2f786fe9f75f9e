/**
 * The lines of the inputs that an answer quotes. Files are read a second time for them, so that a large log need not be kept; standard input,
 * which can't be read twice, is kept up to a bound.
 */
import type { LineRef } from "../explain/contract.ts";
import type { InputReader } from "../explain/explainer.ts";
import { type InputProgress, readPieces } from "./input.ts";
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

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /** Reads an input for the first time. */
  async read(file: string, input: InputReader): Promise<void> {
    const progress = this.#terminal.progress(`reading ${file === "-" ? "standard input" : file}`);
    try {
      for await (const piece of piecesOf(file, (bytes, total) => {
        if (total > 0) progress.at(Math.min(1, bytes / total));
      })) {
        if (file === "-" && this.#keptBytes < MOST_KEPT) {
          this.#kept.push(piece.slice());
          this.#keptBytes += piece.length;
        }
        input.write(piece);
      }
    } finally {
      progress.stop();
    }
    input.end();
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

  async #gatherFrom(file: string, numbers: ReadonlySet<number>): Promise<void> {
    const decoder = new TextDecoder();
    let carry = "";
    let number = 0;
    const take = (text: string): void => {
      number++;
      if (numbers.has(number)) this.#texts.set(`${file}:${number}`, text.replace(/\r$/, "").slice(0, MOST_COLUMNS));
    };
    for await (const piece of file === "-" ? this.#kept : piecesOf(file)) {
      const lines = (carry + decoder.decode(piece, { stream: true })).split("\n");
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
