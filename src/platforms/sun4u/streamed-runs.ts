/**
 * Runs of entries that go through the streaming cache alike, column by column: noting one makes no object. A list has room for so many, and
 * says when it is full.
 */

/** Runs that one list holds. */
export const MOST_RUNS = 64;

/** Entries [first, end) of run i: `first[i]` and `end[i]`. How they go through the cache: `streaming[i]`, as `streamingOf` says it. */
export class StreamedRuns {
  length = 0;
  readonly first: Int32Array = new Int32Array(MOST_RUNS);
  readonly end: Int32Array = new Int32Array(MOST_RUNS);
  readonly streaming: Int32Array = new Int32Array(MOST_RUNS);

  /** One that goes on with the run before joins it. False, and nothing is noted: there is no room. */
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

  /** Forgets the runs that have entries in [first, end). */
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
