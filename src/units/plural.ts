/** Counts as sentences write them: in the singular or in the plural. */

/** 1 → "1 line", 3 → "3 lines". */
export function plural(count: number | bigint, singular: string, many: string = `${singular}s`): string {
  return `${count} ${count === 1 || count === 1n ? singular : many}`;
}
