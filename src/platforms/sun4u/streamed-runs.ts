/**
 * Fixed-capacity list of entry runs with equal streaming attributes, stored as columns to avoid allocation.
 */

/** Capacity of a list in runs. */
export const MOST_RUNS = 64;

/** Run i has the entries [first[i], end[i]). `streaming[i]` is their streaming attribute, a result of `streamingOf`. */
export class StreamedRuns {
  length = 0;
  readonly first: Int32Array = new Int32Array(MOST_RUNS);
  readonly end: Int32Array = new Int32Array(MOST_RUNS);
  readonly streaming: Int32Array = new Int32Array(MOST_RUNS);

  /** Adds a run, or extends the last one that it continues. False: the list is full, and nothing was added. */
  add(first: number, end: number, streaming: number): boolean {
    const last = this.length - 1;
    if (last >= 0 && this.end[last] === first && this.streaming[last] === streaming) {
      this.end[last] = end;
      return true;
    }
    if (this.length === MOST_RUNS) return false;
    this.first[this.length] = first;
    this.end[this.length] = end;
    this.streaming[this.length] = streaming;
    this.length++;
    return true;
  }

  /** Removes the runs that overlap [first, end). */
  drop(first: number, end: number): void {
    let kept = 0;
    for (let i = 0; i < this.length; i++) {
      if ((this.first[i] as number) < end && first < (this.end[i] as number)) continue;
      this.first[kept] = this.first[i] as number;
      this.end[kept] = this.end[i] as number;
      this.streaming[kept] = this.streaming[i] as number;
      kept++;
    }
    this.length = kept;
  }
}
