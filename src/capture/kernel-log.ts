/**
 * The kernel's log, read from /dev/kmsg: one record a read, with a number that shows which are lost. Records become lines as `dmesg` prints them.
 *
 * The kernel keeps the newest records only. A long capture would lose the boot's lines, so those that were there at its start are kept.
 */
import { codeOf, type HostFiles, type OpenFile } from "./host-files.ts";

const KERNEL_LOG = "/dev/kmsg";
/** A record is at most that long; a shorter buffer is refused. */
const MOST_RECORD_BYTES = 2 ** 14;

interface Entry {
  readonly number: number;
  /** With the line feed. */
  readonly text: string;
}

export class KernelLog {
  readonly #files: HostFiles;
  readonly #file: OpenFile;
  readonly #atStart: readonly Entry[];

  /** Reads what is there; `news` begins after it. */
  constructor(files: HostFiles) {
    this.#files = files;
    this.#file = files.open(KERNEL_LOG);
    this.#atStart = entriesOf(this.#file);
  }

  /** Lines since the last call. */
  news(): string[] {
    return entriesOf(this.#file).map(({ text }) => text);
  }

  /** Adds a line to the log. */
  write(line: string): void {
    this.#files.write(KERNEL_LOG, `${line}\n`);
  }

  /** The whole log: what was there at the start, and what is there now. */
  text(): string {
    const file = this.#files.open(KERNEL_LOG);
    const now = entriesOf(file);
    file.close();
    const first = now[0]?.number ?? Number.POSITIVE_INFINITY;
    const before = this.#atStart.filter(({ number }) => number < first);
    const lost = now.length > 0 && before.length > 0 ? first - (before.at(-1)?.number ?? 0) - 1 : 0;
    const gap = lost > 0 ? [`** ${lost} printk messages dropped **\n`] : [];
    return [...before.map(({ text }) => text), ...gap, ...now.map(({ text }) => text)].join("");
  }

  close(): void {
    this.#file.close();
  }
}

/** All records that can be read at the moment. */
function entriesOf(file: OpenFile): Entry[] {
  const bytes = new Uint8Array(MOST_RECORD_BYTES);
  const decoder = new TextDecoder();
  const entries: Entry[] = [];
  for (;;) {
    try {
      const length = file.read(bytes);
      if (length === 0) return entries;
      const entry = entryOf(decoder.decode(bytes.subarray(0, length)));
      if (entry !== undefined) entries.push(entry);
    } catch (error) {
      // Records were overwritten before they were read; the next read goes on after them.
      if (codeOf(error) !== "EPIPE") throw error;
    }
  }
}

/** `6,1234,5678901,-;text`, then lines that begin with a blank: properties. */
function entryOf(record: string): Entry | undefined {
  const found = /^\d+,(\d+),(\d+),[^;]*;([^\n]*)/.exec(record);
  if (found === null) return undefined;
  const [, number, microseconds, message = ""] = found;
  const time = (Number(microseconds) / 1e6).toFixed(6).padStart(12);
  const lines = unescaped(message).split("\n");
  return { number: Number(number), text: lines.map((line) => `[${time}] ${line}\n`).join("") };
}

/** Control characters and backslashes stand as `\x0a`. */
function unescaped(message: string): string {
  return message.replace(/\\x([0-7][0-9a-f])/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}
