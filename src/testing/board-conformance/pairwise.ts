/**
 * Pairwise rows: few combinations of many options in which every two values of two options meet at least once. Bugs that need
 * three options at a time are rarer by far than those that need one or two, and all combinations would be thousands.
 *
 * Greedy: each row starts from a missing pair, and takes, option by option, the value that makes the most new pairs with the values in the row.
 */

/** The options by name, each with its values (at least one). */
export type Choices = Readonly<Record<string, readonly unknown[]>>;
/** One value of each option. */
export type Row<C extends Choices> = { readonly [Name in keyof C]: C[Name][number] };

/** Few rows in which all pairs of values of different options occur. The same options give the same rows. */
export function pairwise<C extends Choices>(choices: C): Row<C>[] {
  const names = Object.keys(choices);
  const counts = names.map((name) => (choices[name] as readonly unknown[]).length);
  const missing = pairsOf(counts);
  const rows: number[][] = [];
  if (missing.size === 0) rows.push(counts.map(() => 0));
  for (const pair of missing) {
    const row = completeRow(counts, pair, missing);
    for (const met of pairsIn(row)) missing.delete(met);
    rows.push(row);
  }
  return rows.map((row) => {
    const values = names.map((name, option) => [name, choices[name]?.[row[option] as number]]);
    return Object.fromEntries(values) as Row<C>;
  });
}

/** Number of pairs of values of different options. */
export function pairCount(choices: Choices): number {
  return pairsOf(Object.values(choices).map((values) => values.length)).size;
}

/** A row that has `pair`; with one option only there are no pairs. */
function completeRow(counts: readonly number[], pair: string, missing: ReadonlySet<string>): number[] {
  const row: (number | undefined)[] = counts.map(() => undefined);
  const [optionA, valueA, optionB, valueB] = pair.split(",").map(Number) as [number, number, number, number];
  row[optionA] = valueA;
  row[optionB] = valueB;
  counts.forEach((values, option) => {
    row[option] ??= bestValue(row, option, values, missing);
  });
  return row as number[];
}

function bestValue(
  row: readonly (number | undefined)[],
  option: number,
  values: number,
  missing: ReadonlySet<string>,
): number {
  let best = 0;
  let most = -1;
  for (let value = 0; value < values; value++) {
    const met = row.filter(
      (other, at) => other !== undefined && missing.has(pairName(option, value, at, other)),
    ).length;
    if (met > most) [best, most] = [value, met];
  }
  return best;
}

function pairsOf(counts: readonly number[]): Set<string> {
  const pairs = new Set<string>();
  for (let a = 0; a < counts.length; a++)
    for (let b = a + 1; b < counts.length; b++)
      for (let valueA = 0; valueA < (counts[a] as number); valueA++)
        for (let valueB = 0; valueB < (counts[b] as number); valueB++) pairs.add(pairName(a, valueA, b, valueB));
  return pairs;
}

function pairsIn(row: readonly number[]): string[] {
  return row.flatMap((valueA, a) => row.slice(a + 1).map((valueB, i) => pairName(a, valueA, a + 1 + i, valueB)));
}

/** The same for both orders. */
function pairName(a: number, valueA: number, b: number, valueB: number): string {
  return a < b ? `${a},${valueA},${b},${valueB}` : `${b},${valueB},${a},${valueA}`;
}
