/**
 * Maps the physical memory of a trace to a small arena. Runs of pages that the trace uses are placed one after another in their order. So a
 * piece stays contiguous and keeps its offset in an IO page, and pieces that share memory still share it. If the runs exceed the arena,
 * addresses are folded onto it instead.
 */
const MIN_PAGE_BYTES = 4096;

/** First `note` every piece, then `settle`, then `place` them. */
export class Arena {
  /** Size of the arena, after `settle`. */
  bytes = 0;
  readonly #pageBytes: number;
  readonly #most: number;
  readonly #noted: { first: number; end: number }[] = [];
  #firsts: Float64Array = new Float64Array(0);
  /** Position of each run in the arena. */
  #moved: Float64Array = new Float64Array(0);
  #folded = false;

  /** `most`: the most bytes that the arena may have; at least one IO page is granted. */
  constructor(pageShift: number, most: number) {
    this.#pageBytes = Math.max(MIN_PAGE_BYTES, 2 ** pageShift);
    this.#most = Math.max(1, Math.floor(most / this.#pageBytes)) * this.#pageBytes;
  }

  note(address: number, bytes: number): void {
    const first = Math.floor(address / this.#pageBytes) * this.#pageBytes;
    const end = Math.ceil((address + bytes) / this.#pageBytes) * this.#pageBytes;
    const last = this.#noted.at(-1);
    if (last?.first === first && last.end === end) return;
    this.#noted.push({ first, end });
  }

  settle(): void {
    this.#noted.sort((a, b) => a.first - b.first);
    const runs: { first: number; end: number }[] = [];
    for (const { first, end } of this.#noted) {
      const last = runs.at(-1);
      if (last !== undefined && first <= last.end) last.end = Math.max(last.end, end);
      else runs.push({ first, end });
    }
    this.#noted.length = 0;
    const total = runs.reduce((sum, { first, end }) => sum + end - first, 0);
    this.#folded = total > this.#most;
    this.bytes = Math.max(this.#pageBytes, this.#folded ? this.#most : total);
    this.#firsts = Float64Array.from(runs, ({ first }) => first);
    let moved = 0;
    this.#moved = Float64Array.from(runs, ({ first, end }) => {
      moved += end - first;
      return moved - (end - first);
    });
  }

  /** Appends the position of a piece in the arena; a piece longer than the arena, or than an element of a scatterlist, is split. */
  place(address: number, bytes: number, addresses: number[], lengths: number[]): void {
    const longest = Math.min(this.bytes, 2 ** 31);
    const offset = address % this.#pageBytes;
    for (let done = 0; done < bytes; ) {
      // Only the first part begins inside a page; the others begin at a page border.
      const within = done === 0 ? offset : 0;
      const length = Math.min(longest - within, bytes - done);
      addresses.push(this.#folded ? this.#fold(address + done, within + length) : this.#move(address + done));
      lengths.push(length);
      done += length;
    }
  }

  #move(address: number): number {
    const run = lastAtMost(this.#firsts, address);
    return (this.#moved[run] as number) + address - (this.#firsts[run] as number);
  }

  #fold(address: number, bytes: number): number {
    const first = Math.floor(address / this.#pageBytes) * this.#pageBytes;
    const rounded = Math.ceil(bytes / this.#pageBytes) * this.#pageBytes;
    return Math.min(first % this.bytes, this.bytes - rounded) + (address - first);
  }
}

/** Index of the last value that is at most `wanted`; the first is. */
function lastAtMost(ascending: Float64Array, wanted: number): number {
  let low = 0;
  let high = ascending.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] as number) <= wanted) low = middle;
    else high = middle;
  }
  return low;
}
