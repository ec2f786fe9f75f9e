/**
 * Ranges of entries as ops mind them: spans that ops whose calls can fail have to remember, and the error about a range that is not in
 * the table.
 */
import { InvalidArgumentError, inWords } from "../units/errors.ts";
import type { EntryRange } from "../units/numbers.ts";
import { overlaps, rangeOf, without } from "../units/ranges.ts";

/**
 * Entries about which something is still to be done: they were lost on the way to the hypervisor, or could not be emptied. Of one thread; empty
 * but for failures, which is why every question is cheap then.
 */
export class EntrySpans {
  #spans: EntryRange[] = [];

  get isEmpty(): boolean {
    return this.#spans.length === 0;
  }

  add(first: number, end: number): void {
    this.#spans.push(rangeOf(first, end));
  }

  /** What is remembered about [first, end) is settled: of a span that goes on outside of it, the rest stays. */
  remove(first: number, end: number): void {
    if (this.isEmpty) return;
    this.#spans = this.#spans.flatMap((span) => without(span, first, end));
  }

  /** The spans that have entries in [first, end), whole. They are forgotten: whoever fails with one again adds it again. */
  take(first: number, end: number): readonly EntryRange[] {
    if (this.isEmpty) return this.#spans;
    const taken = this.#spans.filter((span) => overlaps(span, first, end));
    this.#spans = this.#spans.filter((span) => !overlaps(span, first, end));
    return taken;
  }
}

/** The error about a range that is not in the table. Made out of line: a check that is to be inlined stays small. */
export function beyondTable(first: number, count: number, entries: number): InvalidArgumentError {
  const range = `[${first}, ${first + count})`;
  return new InvalidArgumentError("range of entries", inWords(range), `at least one entry in [0, ${entries})`);
}
