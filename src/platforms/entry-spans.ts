/**
 * Ranges of entries as ops mind them: spans that ops whose calls can fail have to remember, and the error about a range that is not in
 * the table.
 */
import { InvalidArgumentError, inWords } from "../units/errors.ts";

/** Entries [first, end). */
export interface EntrySpan {
  readonly first: number;
  readonly end: number;
}

/**
 * Entries about which something is still to be done: they were lost on the way to the hypervisor, or could not be emptied. Of one thread; empty
 * but for failures, which is why every question is cheap then.
 */
export class EntrySpans {
  #spans: EntrySpan[] = [];

  get isEmpty(): boolean {
    return this.#spans.length === 0;
  }

  add(first: number, end: number): void {
    this.#spans.push({ first, end });
  }

  /** What is remembered about [first, end) is settled: of a span that goes on outside of it, the rest stays. */
  remove(first: number, end: number): void {
    if (this.isEmpty) return;
    this.#spans = this.#spans.flatMap((span) => {
      const before = { first: span.first, end: Math.min(span.end, first) };
      const behind = { first: Math.max(span.first, end), end: span.end };
      return [before, behind].filter((part) => part.first < part.end);
    });
  }

  /** The spans that have entries in [first, end), whole. They are forgotten: whoever fails with one again adds it again. */
  take(first: number, end: number): readonly EntrySpan[] {
    if (this.isEmpty) return this.#spans;
    const taken = this.#spans.filter((span) => overlap(span, first, end));
    this.#spans = this.#spans.filter((span) => !overlap(span, first, end));
    return taken;
  }
}

function overlap(span: EntrySpan, first: number, end: number): boolean {
  return span.first < end && first < span.end;
}

/** The error about a range that is not in the table. Made out of line: a check that is to be inlined stays small. */
export function beyondTable(first: number, count: number, entries: number): InvalidArgumentError {
  const range = `[${first}, ${first + count})`;
  return new InvalidArgumentError("range of entries", inWords(range), `at least one entry in [0, ${entries})`);
}
