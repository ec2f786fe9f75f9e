/**
 * The matrix: which settings the suite runs with. Full over kind of board × page size × levels: each of these cells runs every
 * behaviour, in both modes and with two threads. Pairwise over the rest (CHOICES): on each kind, every two values of two options meet
 * at least once. The rows of options are dealt out to the kind's cells.
 */
import { type BoardKind, levelsOf } from "../../machines/board.ts";
import { type BoardCase, lacks, NEEDS } from "./case.ts";
import { pairCount, pairwise } from "./pairwise.ts";
import { type BoardSetting, CHOICES, type Choice, hasSeveralPages, PLAIN, sizeText } from "./setting.ts";
import { BOARD_CASES, type BoardConformanceCase } from "./suite.ts";

/** One page size and one number of levels of one kind, and the settings that it runs with. */
export interface MatrixCell {
  readonly kind: BoardKind;
  readonly pageShift: number;
  readonly levels: number;
  readonly settings: readonly BoardSetting[];
}

/** What ran in a cell. */
export interface CellCount {
  readonly cell: MatrixCell;
  readonly cases: readonly BoardConformanceCase[];
}

/** The cells of a kind. Every one has at least one setting. */
export function cellsOf(kind: BoardKind): readonly MatrixCell[] {
  const all = kind.pageShifts.flatMap((pageShift) =>
    levelsOf(kind, pageShift).map((levels) => ({ levels, pageShift })),
  );
  const cells = all.toSorted((a, b) => a.levels - b.levels);
  const rows = pairwise(CHOICES) as readonly Choice[];
  // Where memory holds one page only some cases have nothing to say: rows that run there only would lack them.
  const whole = cells.filter(({ pageShift }) => hasSeveralPages(pageShift));
  const dealt = whole.length > 0 ? whole : cells;
  return cells.map((cell, i) => {
    const own = rows.filter((_, row) => dealt[row % dealt.length] === cell);
    const choices = own.length > 0 ? own : [rows[i % rows.length] as Choice];
    return { kind, ...cell, settings: [...choices, ...complement(choices)].map((choice) => ({ ...choice, ...cell })) };
  });
}

/** What a started machine runs with: two threads' views, strict and plain, or lazy with a cache. */
const FEW: readonly Choice[] = [
  { ...PLAIN, threads: 2 },
  { ...PLAIN, threads: 2, invalidate: "lazy", cache: "fifo" },
];

/**
 * The cells with one setting each, strict and lazy in turn, so that each page size and each number of levels (where there are two) has
 * both: for machines on which the full choice takes minutes.
 */
export function fewCellsOf(kind: BoardKind): readonly MatrixCell[] {
  return kind.levels.flatMap((levels, i) =>
    kind.pageShifts.map((pageShift, j) => {
      const choice = FEW[(i + j) % FEW.length] as Choice;
      return { kind, levels, pageShift, settings: [{ ...choice, levels, pageShift }] };
    }),
  );
}

/** What is still to be run so that every behaviour runs: each mode, and two threads. */
function complement(choices: readonly Choice[]): readonly Choice[] {
  const modes = CHOICES.invalidate.filter((mode) => !choices.some(({ invalidate }) => invalidate === mode));
  const added: Choice[] = modes.map((invalidate) => ({ ...PLAIN, invalidate, threads: 2 }));
  const hasTwo = [...choices, ...added].some(({ threads }) => threads === 2);
  return hasTwo ? added : [...added, { ...PLAIN, threads: 2 }];
}

/** The table that `npm test` prints: what is full, what is pairwise, and how many cases ran in each cell. */
export function matrixText(counts: readonly CellCount[]): string {
  const behaviours = [...new Set(counts.flatMap(({ cases }) => cases.map(({ behaviour }) => behaviour)))];
  const rows = [
    ["board", "pages", "levels", "settings", ...behaviours, "cases"],
    ...joinEqual(counts.map((count) => rowOf(count, behaviours))),
  ];
  const widths = (rows[0] as string[]).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] as string).length)),
  );
  const lines = rows.map((row) =>
    row.map((text, column) => pad(text, widths[column] as number, column < 2)).join("  "),
  );
  const options = Object.entries(CHOICES).map(([name, values]) => `${name} ${values.join("/")}`);
  const total = counts.reduce((sum, { cases }) => sum + cases.length, 0);
  return [
    "Full: every board × page size × levels runs every behaviour that it can show; cases run, by behaviour:",
    ...lines.map((line) => `  ${line.trimEnd()}`),
    `Pairwise, on every board: ${pairwise(CHOICES).length} settings in which all ${pairCount(CHOICES)} pairs meet of`,
    `  ${options.join(", ")}`,
    ...fewerPairs(counts),
    ...leftOut(counts),
    `${total} cases in ${counts.length} cells.`,
  ].join("\n");
}

/** Kinds on which not every two values of two options have met: a line for each. */
function fewerPairs(counts: readonly CellCount[]): string[] {
  const kinds = [...new Set(counts.map(({ cell }) => cell.kind))];
  return kinds.flatMap((kind) => {
    const settings = counts.filter(({ cell }) => cell.kind === kind).flatMap(({ cell }) => cell.settings);
    const met = pairsMet(settings);
    return met === pairCount(CHOICES) ? [] : [`But on ${kind.name}: ${settings.length} settings, in which ${met} meet`];
  });
}

function pairsMet(settings: readonly Choice[]): number {
  const names = Object.keys(CHOICES) as (keyof Choice)[];
  const pairs = settings.flatMap((setting) =>
    names.flatMap((a, i) => names.slice(i + 1).map((b) => `${a} ${setting[a]}, ${b} ${setting[b]}`)),
  );
  return new Set(pairs).size;
}

/** Cases that ran on no board of a kind, and why: a line for each kind that has any. */
function leftOut(counts: readonly CellCount[]): string[] {
  const kinds = [...new Set(counts.map(({ cell }) => cell.kind))];
  return kinds.flatMap((kind) => {
    const ofKind = counts.filter(({ cell }) => cell.kind === kind);
    const ran = new Set(
      ofKind.flatMap(({ cases }) => cases.map(({ behaviour, sentence }) => `${behaviour}: ${sentence}`)),
    );
    const never = BOARD_CASES.filter(({ behaviour, name }) => !ran.has(`${behaviour}: ${name}`));
    const why = never.map((one) => `${one.behaviour} (${reason(one, kind, ofKind)})`);
    const texts = [...new Set(why)].map((text) => `${why.filter((other) => other === text).length} of ${text}`);
    return texts.length === 0 ? [] : [`Not on ${kind.name}: ${texts.join(", ")}`];
  });
}

function reason(one: BoardCase, kind: BoardKind, counts: readonly CellCount[]): string {
  const settings = counts.flatMap(({ cell }) => cell.settings);
  const lacking = settings.map((setting) => lacks(one, kind, setting));
  // What only some settings lack is not why.
  const need = (one.needs ?? []).find((candidate) => lacking.every((found) => found === candidate)) ?? lacking.at(-1);
  return need === undefined ? "not run" : NEEDS[need];
}

function rowOf({ cell, cases }: CellCount, behaviours: readonly string[]): string[] {
  const ofBehaviour = (wanted: string): number => cases.filter(({ behaviour }) => behaviour === wanted).length;
  const counts = behaviours.map((behaviour) => ofBehaviour(behaviour) || "-");
  const { kind, levels, pageShift, settings } = cell;
  return [kind.name, sizeText(pageShift), `${levels}`, `${settings.length}`, ...counts.map(String), `${cases.length}`];
}

/** Rows that differ in the page size only are one: "256 KiB … 4 MiB". */
function joinEqual(rows: readonly string[][]): string[][] {
  const joined: string[][] = [];
  for (const row of rows) {
    const last = joined.at(-1);
    const same = last?.every((text, column) => column === 1 || text === row[column]) === true;
    if (last !== undefined && same) last[1] = `${(last[1] as string).split(" … ")[0]} … ${row[1]}`;
    else joined.push([...row]);
  }
  return joined;
}

function pad(text: string, width: number, left: boolean): string {
  return left ? text.padEnd(width) : text.padStart(width);
}
