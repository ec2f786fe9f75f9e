/** A small chart of text: columns of values over time, drawn with block characters where the locale has them, else in ASCII. */

const BLOCKS = " ▁▂▃▄▅▆▇█";
const ASCII = " .:#";
const ROWS = 3;

/** Values as bars between `low` (an empty column) and `high`; all columns are full where the two are equal and not 0. */
export function chart(values: readonly number[], low: number, high: number, isUtf8: boolean): string[] {
  const marks = isUtf8 ? BLOCKS : ASCII;
  const steps = marks.length - 1;
  const heights = values.map((value) => {
    const share = high > low ? (value - low) / (high - low) : Number(value > 0);
    const height = Math.round(share * ROWS * steps);
    // Little is not the same as nothing.
    return value > low ? Math.max(1, height) : height;
  });
  return Array.from({ length: ROWS }, (_, row) => {
    const below = (ROWS - 1 - row) * steps;
    return heights.map((height) => marks[Math.min(steps, Math.max(0, height - below))] ?? "").join("");
  });
}

/** The values of a chart of `width` columns: each is `pick` of the parts that fall into it. */
export function columnsOf(
  parts: readonly number[],
  width: number,
  pick: (...values: number[]) => number,
): readonly number[] {
  const columns = Math.min(width, parts.length);
  return Array.from({ length: columns }, (_, column) => {
    const first = Math.floor((column * parts.length) / columns);
    return pick(...parts.slice(first, Math.floor(((column + 1) * parts.length) / columns)));
  });
}
