/**
 * What one thread has emptied and must still flush from the streaming cache. Bounded: of more runs than a list holds, only that there
 * are some is known; then pages are flushed, whatever they carried. Makes no objects.
 */
import { StreamedRuns } from "./streamed-runs.ts";

/** One per thread. */
export class PendingFlushes {
  #runs: StreamedRuns = new StreamedRuns();
  /** What is kept while a part is taken: then the two lists change places. */
  #kept: StreamedRuns = new StreamedRuns();
  readonly #taken: StreamedRuns = new StreamedRuns();
  #lost = false;

  /** Notes runs of entries that have been emptied. */
  add(runs: StreamedRuns): void {
    for (let i = 0; i < runs.length; i++) {
      this.#note(this.#runs, runs.first[i] as number, runs.end[i] as number, runs.streaming[i] as number);
    }
  }

  /** Takes all; what is returned stands until the next call. Undefined: there were more than are known. */
  takeAll(): StreamedRuns | undefined {
    const lost = this.#lost;
    this.#lost = false;
    const taken = this.#exchange(0);
    return lost ? undefined : taken;
  }

  /**
   * Takes the parts of runs that lie in [first, end), if they fill it one after the other, as the calls that emptied them leave them; what
   * is returned stands until the next call. Undefined: they do not, and are dropped.
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

  /** The list gives its place to the other one, of which so many runs count. */
  #exchange(kept: number): StreamedRuns {
    const taken = this.#runs;
    this.#runs = this.#kept;
    this.#runs.length = kept;
    this.#kept = taken;
    return taken;
  }

  /** Of run i, what lies in [first, end) is taken, and what lies before and behind is kept. */
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
    // What was known of these entries is not all of it any more: it must not be taken for all.
    list.drop(first, end);
  }
}

/** Are these the entries [first, end), run after run? */
function fill(runs: StreamedRuns, first: number, end: number): boolean {
  let at = first;
  let i = 0;
  while (i < runs.length && runs.first[i] === at) at = runs.end[i++] as number;
  return i === runs.length && at === end;
}
