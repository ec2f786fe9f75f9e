/**
 * Ranges of entries that need a retry after a failed hypervisor call, and the error for a range outside of the table.
 */
import { InvalidArgumentError, inWords } from "../units/errors.ts";
import type { EntryRange } from "../units/numbers.ts";
import { overlaps, rangeOf, without } from "../units/ranges.ts";

/**
 * Entries that need further work: they were lost when handed to the hypervisor, or could not be emptied. Belongs to one thread. It is empty
 * unless calls have failed, so its queries are cheap.
 */
export class EntrySpans {
  #spans: EntryRange[] = [];

  get isEmpty(): boolean {
    return this.#spans.length === 0;
  }

  add(first: number, end: number): void {
    this.#spans.push(rangeOf(first, end));
  }

  /** Removes [first, end). Parts of spans outside of it stay. */
  remove(first: number, end: number): void {
    if (this.isEmpty) return;
    this.#spans = this.#spans.flatMap((span) => without(span, first, end));
  }

  /** Removes and returns the spans that overlap [first, end), whole. The caller adds a span again if its retry fails. */
  take(first: number, end: number): readonly EntryRange[] {
    if (this.isEmpty) return this.#spans;
    const taken = this.#spans.filter((span) => overlaps(span, first, end));
    this.#spans = this.#spans.filter((span) => !overlaps(span, first, end));
    return taken;
  }
}

/** The error for a range outside of the table. A separate function, so that the check stays small enough to be inlined. */
export function beyondTable(first: number, count: number, entries: number): InvalidArgumentError {
  const range = `[${first}, ${first + count})`;
  return new InvalidArgumentError("range of entries", inWords(range), `at least one entry in [0, ${entries})`);
}
