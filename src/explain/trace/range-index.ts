/**
 * Ranges of pages that are live, to find those that a page lies in. Ranges may overlap: mappings of different devices have the same
 * addresses. A range stands in the at most two buckets that it touches of the level that fits its length, so that a search looks into a few
 * buckets, however long the ranges are.
 */

/** A range of pages, [first, end). */
export interface PageRange {
  first: number;
  end: number;
}

const LEVEL_FACTOR = 8;

export class RangeIndex<Range extends PageRange> {
  /** For each level, bucket number → ranges. A bucket of level n is 8^n pages long. */
  readonly #levels: { pages: number; buckets: Map<number, Range[]>; count: number }[] = [];

  add(range: Range): void {
    const level = this.#levelOf(range.end - range.first);
    level.count++;
    for (const bucket of bucketsOf(range, level.pages)) {
      const ranges = level.buckets.get(bucket);
      if (ranges === undefined) level.buckets.set(bucket, [range]);
      else ranges.push(range);
    }
  }

  remove(range: Range): void {
    const level = this.#levelOf(range.end - range.first);
    level.count--;
    for (const bucket of bucketsOf(range, level.pages)) {
      const ranges = level.buckets.get(bucket);
      const at = ranges?.indexOf(range) ?? -1;
      if (ranges === undefined || at < 0) continue;
      ranges.splice(at, 1);
      if (ranges.length === 0) level.buckets.delete(bucket);
    }
  }

  /** The ranges that hold `page`, those added first first within a level. */
  at(page: number): Range[] {
    const found: Range[] = [];
    for (const { pages, buckets } of this.#levels) {
      for (const range of buckets.get(Math.floor(page / pages)) ?? []) {
        if (range.first <= page && page < range.end) found.push(range);
      }
    }
    return found;
  }

  /** The first page of [first, end) that a range begins at; undefined when none begins there. */
  nextBegin(first: number, end: number): number | undefined {
    let next = end;
    for (const { pages, buckets, count } of this.#levels) {
      if (count === 0) continue;
      const from = Math.floor(first / pages);
      const to = Math.floor((end - 1) / pages);
      const lists = to - from < buckets.size ? listsBetween(buckets, from, to) : buckets.values();
      for (const ranges of lists) {
        for (const range of ranges) if (range.first >= first && range.first < next) next = range.first;
      }
    }
    return next < end ? next : undefined;
  }

  #levelOf(length: number): { pages: number; buckets: Map<number, Range[]>; count: number } {
    let number = 0;
    for (let pages = 1; pages < length; pages *= LEVEL_FACTOR) number++;
    while (this.#levels.length <= number) {
      this.#levels.push({ pages: LEVEL_FACTOR ** this.#levels.length, buckets: new Map(), count: 0 });
    }
    return this.#levels[number] as { pages: number; buckets: Map<number, Range[]>; count: number };
  }
}

function bucketsOf({ first, end }: PageRange, pages: number): number[] {
  const from = Math.floor(first / pages);
  const to = Math.floor((end - 1) / pages);
  return from === to ? [from] : [from, to];
}

function* listsBetween<Range>(buckets: Map<number, Range[]>, from: number, to: number): Generator<Range[]> {
  for (let bucket = from; bucket <= to; bucket++) {
    const ranges = buckets.get(bucket);
    if (ranges !== undefined) yield ranges;
  }
}
