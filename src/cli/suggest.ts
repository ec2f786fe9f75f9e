/** The probable meaning of an unknown word: `--sec` is `--seconds`, `replya` is `replay`. */
import { smallest } from "../units/lists.ts";

/** More slips than these make another word; short words bear fewer: one in three letters. */
const MOST_SLIPS = 3;

/** The known words that begin as `word` does; without any, those that differ by the fewest slips of the keyboard. */
export function similar(word: string, known: readonly string[]): string[] {
  if (!/\w/.test(word)) return [];
  const begun = known.filter((candidate) => candidate.startsWith(word));
  if (begun.length > 0) return begun;
  const letters = word.replace(/^-+/, "").length;
  const slips = known.map((candidate) => slipsBetween(word, candidate));
  const fewest = smallest(slips);
  if (fewest > Math.min(MOST_SLIPS, Math.ceil(letters / 3))) return [];
  return known.filter((_, at) => slips[at] === fewest);
}

/** Letters left out, added or changed, and neighbours exchanged, that make `b` of `a` (optimal string alignment). */
function slipsBetween(a: string, b: string): number {
  // rows[i][j]: slips between the first i letters of a and the first j of b.
  const rows = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : i)),
  );
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const changed = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const exchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      (rows[i] as number[])[j] = Math.min(
        at(i - 1, j) + 1,
        at(i, j - 1) + 1,
        changed,
        exchanged ? at(i - 2, j - 2) + 1 : changed,
      );
    }
  }
  return at(a.length, b.length);
}
