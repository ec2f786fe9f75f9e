/**
 * The matrix: the settings with which the suite runs. Full over kind of board × page size × levels: each of these cells runs every
 * behaviour, in both modes and with two threads. Pairwise over the rest (CHOICES): on each kind, every two values of two options meet
 * at least once. The rows of options are dealt out to the kind's cells.
 */

import { type BoardKind, levelsOf } from "../../machines/board.ts";
import { largest } from "../../units/lists.ts";
import { type Behaviour, lacks, NEEDS, type Need } from "./case.ts";
import { pairCount, pairwise } from "./pairwise.ts";
import { type BoardSetting, CHOICES, type Choice, hasSeveralPages, PLAIN, sizeText, threadsOf } from "./setting.ts";
import { BOARD_CASES, type BoardConformanceCase } from "./suite.ts";

/** A page size and a number of levels of one kind, with the settings to run. */
export interface MatrixCell {
  /** The kind of board. */
  readonly kind: BoardKind;
  /** log2 of the IO page size in bytes. */
  readonly pageShift: number;
  /** Levels of the table. */
  readonly levels: number;
  /** Settings with which the suite runs in this cell; at least one. */
  readonly settings: readonly BoardSetting[];
}

/** A cell, and the cases that ran in it. */
export interface CellCount {
  /** The cell. */
  readonly cell: MatrixCell;
  /** The cases that ran in it. */
  readonly cases: readonly BoardConformanceCase[];
}

/** Cells of a kind: each page size with each number of levels. Each cell has at least one setting. */
export function cellsOf(kind: BoardKind): readonly MatrixCell[] {
  const all = kind.pageShifts.flatMap((pageShift) =>
    levelsOf(kind, pageShift).map((levels) => ({ levels, pageShift })),
  );
  const cells = all.toSorted((a, b) => a.levels - b.levels);
  const rows = pairwise(CHOICES) as readonly Choice[];
  // Some cases do not apply if memory holds only one page: rows that ran only there would lack them.
  const whole = cells.filter(({ pageShift }) => hasSeveralPages(pageShift));
  const dealt = whole.length > 0 ? whole : cells;
  return cells.map((cell, i) => {
    const own = rows.filter((_, row) => dealt[row % dealt.length] === cell);
    const choices = own.length > 0 ? own : [rows[i % rows.length] as Choice];
    return { kind, ...cell, settings: [...choices, ...complement(choices)].map((choice) => ({ ...choice, ...cell })) };
  });
}

/** Two threads' views, strict and plain, or lazy with a cache. */
const FEW: readonly Choice[] = [
  { ...PLAIN, threads: 2 },
  { ...PLAIN, threads: 2, invalidate: "lazy", cache: "fifo" },
];

/**
 * The cells with one setting each, strict and lazy in turn, so that each page size and each number of levels (where there are two) has
 * both: for machines on which the full choice takes minutes.
 */
export function fewCellsOf(kind: BoardKind): readonly MatrixCell[] {
  return kind.pageShifts.flatMap((pageShift, j) =>
    levelsOf(kind, pageShift).map((levels, i) => {
      const choice = FEW[(i + j) % FEW.length] as Choice;
      return { kind, levels, pageShift, settings: [{ ...choice, levels, pageShift }] };
    }),
  );
}

/** Settings to add so that every behaviour runs: each mode, and two threads. */
function complement(choices: readonly Choice[]): readonly Choice[] {
  const modes = CHOICES.invalidate.filter((mode) => !choices.some(({ invalidate }) => invalidate === mode));
  const added: Choice[] = modes.map((invalidate) => ({ ...PLAIN, invalidate, threads: 2 }));
  const hasTwo = [...choices, ...added].some(({ threads }) => threads === 2);
  return hasTwo ? added : [...added, { ...PLAIN, threads: 2 }];
}

/** Columns of the printed table, short: by behaviour. */
const HEADS: Readonly<Record<Behaviour, string>> = {
  map: "map",
  unmap: "unmap",
  scatterlists: "lists",
  coherent: "coherent",
  faults: "faults",
  permissions: "access",
  exhaustion: "full",
  rollback: "undo",
  ownership: "owner",
  threads: "threads",
  "lazy flush": "lazy",
  invalidation: "IOTLB",
  platform: "platform",
};

/**
 * The matrix as text: the number of cases that ran in each cell, which options are combined fully and which pairwise, and the cases that do not apply,
 * with reasons.
 */
export function matrixText(counts: readonly CellCount[]): string {
  const behaviours = Object.keys(HEADS) as Behaviour[];
  const kinds = new Set(counts.map(({ cell }) => cell.kind));
  const heads = behaviours.map((behaviour) => HEADS[behaviour]);
  const numbers = behaviours.map((wanted) => `${BOARD_CASES.filter(({ behaviour }) => behaviour === wanted).length}`);
  const rows = [
    ["board", "pages", "levels", "settings", ...heads, "all"],
    ["cases for each setting:", "", "", "", ...numbers, `${BOARD_CASES.length}`],
    ...joinEqual(counts.map((count) => rowOf(count, behaviours))),
  ];
  const ran = counts.reduce((sum, { cases }) => sum + cases.length, 0);
  const could = counts.reduce((sum, { cell }) => sum + cell.settings.length * BOARD_CASES.length, 0);
  return [
    `Conformance of ${kinds.size} boards: ${BOARD_CASES.length} cases of behaviour, judged by a device's DMA. The numbers are of`,
    "cases that ran, all settings of a cell together; -: none, see below.",
    ...aligned(rows),
    `Short heads: ${legend(behaviours)}`,
    "",
    `Full: board × page size × levels. Each of these ${counts.length} cells runs every behaviour that it can show${inBoth(counts)}.`,
    "Pairwise: the rest, which is",
    ...Object.entries(CHOICES).map(([name, values]) => `  ${name}: ${values.join(", ")}`),
    ...pairsText(counts),
    "",
    "Left out, since a board or a setting has nothing to show there:",
    ...leftOut(counts),
    "",
    `${ran} of ${could} cases ran, ${could - ran} were left out.`,
  ].join("\n");
}

function aligned(rows: readonly string[][]): string[] {
  // A row with only a first cell may span the other columns.
  const wide = rows.filter((row) => row[1] !== "");
  const [head = []] = rows;
  const widths = head.map((_, column) => largest(wide.map((row) => (row[column] as string).length)));
  return rows.map((row) => {
    const [first = "", pages = "", ...others] = row;
    const [boardWidth = 0, pagesWidth = 0, ...otherWidths] = widths;
    const begin =
      pages === ""
        ? first.padEnd(boardWidth + 2 + pagesWidth)
        : `${first.padEnd(boardWidth)}  ${pages.padEnd(pagesWidth)}`;
    return `  ${[begin, ...others.map((text, i) => text.padStart(otherWidths[i] as number))].join("  ")}`;
  });
}

function legend(behaviours: readonly Behaviour[]): string {
  return behaviours
    .filter((behaviour) => HEADS[behaviour] !== behaviour)
    .map((behaviour) => `${HEADS[behaviour]} = ${behaviour}`)
    .join(", ");
}

/** Whether all cells run in both modes, and each with a setting of two threads. */
function inBoth(counts: readonly CellCount[]): string {
  const all = counts.every(({ cell: { kind, settings } }) => {
    const modes = new Set(settings.map(({ invalidate }) => invalidate));
    return modes.size === CHOICES.invalidate.length && settings.some((setting) => threadsOf(kind, setting) === 2);
  });
  return all ? ", strict and lazy, and with two threads" : ", in one mode or the other";
}

/** The boards on which all pairs have occurred, and the number of pairs on the others. */
function pairsText(counts: readonly CellCount[]): string[] {
  const all = pairCount(CHOICES);
  const of = byKind(counts).map(([kind, own]) => {
    const settings = own.flatMap(({ cell }) => cell.settings);
    return { name: kind.name, settings: settings.length, met: pairsMet(settings) };
  });
  const fewer = of.filter(({ met }) => met < all);
  const rest =
    fewer.length === 0
      ? "every board"
      : of
          .filter(({ met }) => met === all)
          .map(({ name }) => name)
          .join(", ");
  const everywhere = `On ${rest} all ${all} pairs of two values of two options meet, in ${pairwise(CHOICES).length} settings that are dealt out to its cells.`;
  return [
    ...(rest === "" ? [] : [everywhere]),
    ...fewer.map(
      ({ name, settings, met }) => `On ${name} ${met} of ${all} pairs of two values meet, in ${settings} settings.`,
    ),
  ];
}

function pairsMet(settings: readonly Choice[]): number {
  const names = Object.keys(CHOICES) as (keyof Choice)[];
  const pairs = settings.flatMap((setting) =>
    names.flatMap((a, i) => names.slice(i + 1).map((b) => `${a} ${setting[a]}, ${b} ${setting[b]}`)),
  );
  return new Set(pairs).size;
}

/** A line for each reason: how many cases, of which behaviours, on which boards. */
function leftOut(counts: readonly CellCount[]): string[] {
  const found = counts.flatMap(({ cell: { kind, settings } }) =>
    settings.flatMap((setting) =>
      BOARD_CASES.map((one) => ({ need: lacks(one, kind, setting), kind: kind.name, behaviour: one.behaviour })),
    ),
  );
  const boards = new Set(found.map(({ kind }) => kind)).size;
  const rows = (Object.keys(NEEDS) as Need[]).flatMap((need) => {
    const those = found.filter((one) => one.need === need);
    const names = [...new Set(those.map(({ kind }) => kind))];
    const behaviours = [...new Set(those.map(({ behaviour }) => behaviour))].join(", ");
    if (those.length === 0) return [];
    return [
      [`${those.length}`, NEEDS[need], `${behaviours}; ${names.length === boards ? "every board" : names.join(", ")}`],
    ];
  });
  const widths = [0, 1].map((column) => largest(rows.map((row) => (row[column] as string).length)));
  return rows.map(([count = "", why = "", where = ""]) => {
    return `  ${count.padStart(widths[0] as number)}  ${why.padEnd(widths[1] as number)}  ${where}`;
  });
}

function byKind(counts: readonly CellCount[]): (readonly [BoardKind, readonly CellCount[]])[] {
  const kinds = [...new Set(counts.map(({ cell }) => cell.kind))];
  return kinds.map((kind) => [kind, counts.filter(({ cell }) => cell.kind === kind)] as const);
}

function rowOf({ cell, cases }: CellCount, behaviours: readonly Behaviour[]): string[] {
  const counts = behaviours.map((wanted) => cases.filter(({ behaviour }) => behaviour === wanted).length || "-");
  const { kind, levels, pageShift, settings } = cell;
  return [kind.name, sizeText(pageShift), `${levels}`, `${settings.length}`, ...counts.map(String), `${cases.length}`];
}

/** Merges rows that differ only in the page size: "256 KiB … 4 MiB". */
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
