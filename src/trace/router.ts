/**
 * Hands on what stands in an input beside a trace: the lines of a log, and the log's messages that the trace itself holds
 * (`printk:console`). Runs of lines go on in one piece, so that a log without events costs no call a line.
 */

/** Gets the lines of an input that are no events, in order. */
export interface LineSink {
  /** Whole lines, [first, end) of the bytes, which may be reused afterwards. */
  text(bytes: Uint8Array, first: number, end: number): void;
  /** So many lines of the trace stand here. */
  skip(lines: number): void;
  /** One line of the trace is a message of the log, at a time of the trace's clock. */
  console(message: string, seconds: number): void;
}

export class LineRouter {
  readonly #sink: LineSink | undefined;
  /** A run of text lines of the bytes that are being read; -1: none is open. */
  #first = -1;
  #end = -1;
  #skipped = 0;

  constructor(sink: LineSink | undefined) {
    this.#sink = sink;
  }

  /** The line [first, end) has been read. */
  take(bytes: Uint8Array, first: number, end: number, isText: boolean): void {
    if (this.#sink === undefined) return;
    if (!isText) {
      this.flush(bytes);
      this.#skipped++;
      return;
    }
    if (this.#first < 0) {
      this.#skip();
      this.#first = first;
    }
    this.#end = end;
  }

  /** The line that is being read is a message of the log; `take` follows. */
  console(bytes: Uint8Array, message: string, seconds: number): void {
    this.flush(bytes);
    this.#skip();
    this.#sink?.console(message, seconds);
    // The sink counts the line itself; `take` counts it once more.
    this.#skipped--;
  }

  /** The bytes end. */
  flush(bytes: Uint8Array): void {
    if (this.#first < 0) return;
    this.#sink?.text(bytes, this.#first, this.#end);
    this.#first = -1;
  }

  finish(): void {
    this.#skip();
  }

  #skip(): void {
    if (this.#skipped > 0) this.#sink?.skip(this.#skipped);
    this.#skipped = 0;
  }
}
