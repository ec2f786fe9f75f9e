/**
 * What one thread has emptied and must still flush from the streaming cache: runs of entries, each with the context that they
 * carried. Bounded: of more runs than that, and of runs that overlap, only that there are some is known; then pages are flushed.
 */
import { NOT_STREAMED } from "../../formats/sun4u-iopte.ts";

const MOST_RUNS = 64;

export interface EmptiedRun {
  first: number;
  end: number;
  /** 0: none, its pages are flushed one by one. NOT_STREAMED: there is nothing to flush. */
  readonly context: number;
  /** The device may have written: what it wrote must have reached memory. */
  readonly written: boolean;
}

/** One per thread. */
export class PendingFlushes {
  #runs: EmptiedRun[] = [];
  #lost = false;

  /** Entry after entry: one that goes on with the run before joins it. */
  add(entry: number, context: number, written: boolean): void {
    const last = this.#runs.at(-1);
    if (last !== undefined && last.end === entry && last.context === context && last.written === written) last.end++;
    else if (this.#runs.length < MOST_RUNS) this.#runs.push({ first: entry, end: entry + 1, context, written });
    else {
      this.#runs = [];
      this.#lost = true;
    }
  }

  /** Takes all. Undefined: there were more than are known. */
  takeAll(): readonly EmptiedRun[] | undefined {
    const runs = this.#lost ? undefined : this.#runs;
    this.#runs = [];
    this.#lost = false;
    return runs;
  }

  /** Takes the parts of runs that lie in [first, end), if they fill it exactly; else they are dropped, and it is undefined. */
  take(first: number, end: number): readonly EmptiedRun[] | undefined {
    const inside: EmptiedRun[] = [];
    const kept: EmptiedRun[] = [];
    let entries = 0;
    for (const run of this.#runs) {
      const from = Math.max(first, run.first);
      const to = Math.min(end, run.end);
      if (from >= to) {
        kept.push(run);
        continue;
      }
      entries += to - from;
      inside.push({ ...run, first: from, end: to });
      if (run.first < from) kept.push({ ...run, end: from });
      if (to < run.end) kept.push({ ...run, first: to });
    }
    this.#runs = kept;
    return entries === end - first && !overlap(inside) ? inside : undefined;
  }
}

function overlap(runs: EmptiedRun[]): boolean {
  runs.sort((a, b) => a.first - b.first);
  return runs.some((run, i) => i > 0 && run.first < (runs[i - 1] as EmptiedRun).end);
}

/** Does the device write through any of these? */
export function anyWritten(runs: readonly EmptiedRun[]): boolean {
  return runs.some(({ written, context }) => written && context !== NOT_STREAMED);
}
