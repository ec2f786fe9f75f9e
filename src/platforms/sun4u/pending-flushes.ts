/**
 * The entries that one thread has emptied and not yet flushed from the streaming cache. The list is bounded: if it overflows, pages are
 * flushed instead of contexts. Allocates nothing.
 */
import { StreamedRuns } from "./streamed-runs.ts";

/** One object per thread. */
export class PendingFlushes {
  #runs: StreamedRuns = new StreamedRuns();
  /** Receives the remaining runs while a part is taken; then the two lists are swapped. */
  #kept: StreamedRuns = new StreamedRuns();
  readonly #taken: StreamedRuns = new StreamedRuns();
  #lost = false;

  /** Adds runs of entries that were emptied. */
  add(runs: StreamedRuns): void {
    for (let i = 0; i < runs.length; i++) {
      this.#note(this.#runs, runs.first[i] as number, runs.end[i] as number, runs.streaming[i] as number);
    }
  }

  /** Takes all runs. The result is valid until the next call. Undefined: the list had overflowed. */
  takeAll(): StreamedRuns | undefined {
    const lost = this.#lost;
    this.#lost = false;
    const taken = this.#exchange(0);
    return lost ? undefined : taken;
  }

  /**
   * Takes the runs in [first, end), if they cover it consecutively, as the calls that emptied the entries leave them. The result is valid
   * until the next call. Undefined: they do not cover it, and are dropped.
   */
  take(first: number, end: number): StreamedRuns | undefined {
    const runs = this.#runs;
    if (fill(runs, first, end)) return this.#exchange(0);
    const taken = this.#taken;
    taken.length = 0;
    this.#kept.length = 0;
    for (let i = 0; i < runs.length; i++) this.#split(runs, i, first, end);
    this.#exchange(this.#kept.length);
    return fill(taken, first, end) ? taken : undefined;
  }

  /** Swaps the lists. `kept`: number of runs in the new one. */
  #exchange(kept: number): StreamedRuns {
    const taken = this.#runs;
    this.#runs = this.#kept;
    this.#runs.length = kept;
    this.#kept = taken;
    return taken;
  }

  /** Splits run i: the part in [first, end) is taken, the parts before and after are kept. */
  #split(runs: StreamedRuns, i: number, first: number, end: number): void {
    const from = runs.first[i] as number;
    const to = runs.end[i] as number;
    const streaming = runs.streaming[i] as number;
    if (from < first) this.#note(this.#kept, from, Math.min(to, first), streaming);
    if (from < end && to > first) this.#taken.add(Math.max(from, first), Math.min(to, end), streaming);
    if (to > end) this.#note(this.#kept, Math.max(from, end), to, streaming);
  }

  #note(list: StreamedRuns, first: number, end: number, streaming: number): void {
    if (list.add(first, end, streaming)) return;
    this.#lost = true;
    // The runs of these entries are no longer complete, so they must not be used.
    list.drop(first, end);
  }
}

/** True if the runs cover [first, end) consecutively. */
function fill(runs: StreamedRuns, first: number, end: number): boolean {
  let at = first;
  let i = 0;
  while (i < runs.length && runs.first[i] === at) at = runs.end[i++] as number;
  return i === runs.length && at === end;
}
