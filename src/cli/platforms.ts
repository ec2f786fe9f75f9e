/**
 * `iova platforms`: which platforms there are, and what each can do.
 *
 *     $ iova platforms
 *     $ iova platforms pseries
 *     $ iova platforms --json | jq '.platforms[].name'
 *
 * The text below is the manual; `--help` prints it.
 */
import type { BoardKind } from "../machines/board.ts";
import { BOARD_KINDS, boardNamed } from "../machines/boards.ts";
import { QEMU_BOARDS } from "../machines/qemu/boards.ts";
import { counted, grouped } from "../units/counts.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { fitted, reflowed, wrapped } from "./columns.ts";
import { binarySize, compact, listed } from "./numbers.ts";
import { oneOf } from "./options.ts";
import { jsonOption, STANDARD_OUTPUT, writeJson } from "./output-file.ts";
import type { Terminal } from "./terminal.ts";
import { Argument, Command } from "./vendor.ts";

/** Raised when keys change their meaning or go away. */
const JSON_VERSION = 1;

const MANUAL = `
A platform is the generic table in the bits, registers or hypercalls of one kind of machine. Each
runs on the software machine; \`iova replay --platform NAME\` plays a trace on it there. Some run on
a QEMU too, where the tests try them.

Examples:
  $ iova platforms
  $ iova platforms powernv
  $ iova platforms --json

Exit codes:
  0 fine
  2 wrong use
  3 the output could not be written`;

const HEAD = ["platform", "IO pages", "levels", "entries", "format", "stray DMA", "hypercall"] as const;
/** Columns that a narrow screen leaves out, the first of these first. */
const LEAST_FIRST = ["hypercall", "levels", "entries", "stray DMA"] as const;

/** The verb; `finish` takes the exit code. */
export function platformsCommand(terminal: Terminal, finish: (code: number) => void): Command {
  return new Command("platforms")
    .summary("list the platforms, with page sizes, windows and levels")
    .description("Lists the platforms that there are: page sizes, levels, table sizes, formats, machines.")
    .addArgument(
      new Argument("[NAME]", "one platform, in detail").argParser(oneOf(BOARD_KINDS.map((kind) => kind.name))),
    )
    .addOption(jsonOption())
    .addHelpText("after", () => reflowed(MANUAL, terminal.width))
    .action((name: string | undefined, flags: { readonly json?: string }) => {
      checkTarget(flags.json);
      const kinds = name === undefined ? BOARD_KINDS : [boardNamed(name)];
      if (flags.json !== STANDARD_OUTPUT) {
        const lines = name === undefined ? listLines(terminal) : detailLines(kinds[0] as BoardKind, terminal.width);
        for (const line of lines) terminal.out(`${line}\n`);
      }
      if (flags.json !== undefined) writeJson(flags.json, jsonOf(kinds), terminal);
      finish(0);
    });
}

/** `--json pseries` means the platform, not a file of that name. */
function checkTarget(target: string | undefined): void {
  if (!BOARD_KINDS.some((kind) => kind.name === target)) return;
  throw new InvalidArgumentError(
    "FILE of --json",
    target,
    `a file name; for the platform: iova platforms ${target} --json`,
  );
}

function listLines(terminal: Terminal): string[] {
  const leastFirst = LEAST_FIRST.map((name) => HEAD.indexOf(name));
  const { lines, dropped } = fitted([HEAD, ...BOARD_KINDS.map(cells)], terminal.width, leastFirst);
  const [head = "", ...rows] = lines;
  const calls = dropped.includes(HEAD.indexOf("hypercall"))
    ? ""
    : "; hypercall: most entries that one call writes (-: entries are written to memory)";
  const legend =
    "entries: of the largest table, with the usual page; stray DMA: the effect of an access to an unmapped address" +
    `${calls}. All run on the software machine, ` +
    `${listed(BOARD_KINDS.filter((kind) => onQemu(kind) !== undefined).map(({ name }) => name))} on QEMU too`;
  return [
    terminal.paint("bold", head),
    ...rows,
    ...wrapped(legend, terminal.width).map((line) => terminal.paint("dim", line)),
  ];
}

function cells(kind: BoardKind): string[] {
  const usual = kind.pageShifts[0] as number;
  return [
    kind.name,
    sizes(kind),
    levels(kind),
    compact(kind.largestTable(usual)),
    kind.format,
    kind.strayAccess,
    kind.entriesPerHypercall === 0 ? "-" : grouped(kind.entriesPerHypercall),
  ];
}

function detailLines(kind: BoardKind, width: number): string[] {
  const usual = kind.pageShifts[0] as number;
  const stray = kind.strayAccess === "refused" ? "is refused, and is a fault" : "lands in a dummy page";
  const usually = kind.pageShifts.length === 1 ? "" : `; usually ${binarySize(2 ** usual)}`;
  const lines = [
    `${kind.name}: ${kind.summary}`,
    `machines: ${machinesOf(kind)}`,
    `IO pages: ${pagesOf(kind)}${usually}`,
    `tables: ${listed(levelsOf(kind).map(String))} ${levels(kind) === "1" ? "level" : "levels"}, ` +
      `up to ${counted(kind.largestTable(usual), "entry", "entries")} of the usual page, in the format ${kind.format}`,
    `access: mapped for writing, a device may ${kind.grants[2] === 3 ? "read too" : "only write"}; a DMA to an unmapped address ${stray}`,
    kind.hasIotlb
      ? "its IOTLB keeps a translation until it is invalidated: a forgotten invalidation shows"
      : "what is unmapped is out of reach at once: there is no IOTLB for the platform to invalidate",
  ];
  if (kind.entriesPerHypercall > 0) {
    lines.push(`entries go through the hypervisor, up to ${grouped(kind.entriesPerHypercall)} a call`);
  }
  return lines.flatMap((line) => wrapped(line, width, "  "));
}

/** The same platform on a machine of QEMU's, where there is one. */
function onQemu({ name }: BoardKind): BoardKind | undefined {
  return QEMU_BOARDS.find((board) => board.name === `${name}@qemu`);
}

function machinesOf(kind: BoardKind): string {
  const qemu = onQemu(kind);
  return qemu === undefined ? "software" : `software; QEMU (${qemu.name}) with IO pages of ${pagesOf(qemu)}`;
}

function pagesOf(kind: BoardKind): string {
  return listed(ascending(kind).map((shift) => binarySize(2 ** shift)));
}

function ascending(kind: BoardKind): number[] {
  return kind.pageShifts.toSorted((a, b) => a - b);
}

/** "4K 64K 2M", or "4K … 16G" for many. */
function sizes(kind: BoardKind): string {
  const names = ascending(kind).map((shift) => binarySize(2 ** shift).replace(/ (.)iB$/, "$1"));
  return names.length > 5 ? `${names[0]} … ${names.at(-1)}` : names.join(" ");
}

function levels(kind: BoardKind): string {
  const all = levelsOf(kind);
  return all.length < 2 ? all.join("") : `${all[0]} … ${all.at(-1)}`;
}

/** Levels that a table can have with some page size. */
function levelsOf(kind: BoardKind): number[] {
  const all = kind.pageShifts.flatMap((pageShift) => kind.levelsFor?.(pageShift) ?? kind.levels);
  return [...new Set(all)].toSorted((a, b) => a - b);
}

function jsonOf(kinds: readonly BoardKind[]): object {
  return {
    version: JSON_VERSION,
    platforms: kinds.map((kind) => ({
      name: kind.name,
      summary: kind.summary,
      machines: onQemu(kind) === undefined ? ["software"] : ["software", "qemu"],
      entryFormat: kind.format,
      pageBytes: ascending(kind).map((shift) => 2 ** shift),
      usualPageBytes: 2 ** (kind.pageShifts[0] as number),
      levels: levelsOf(kind),
      largestTableEntries: kind.largestTable(kind.pageShifts[0] as number),
      grants: kind.grants,
      strayAccess: kind.strayAccess,
      hasIotlb: kind.hasIotlb,
      entriesPerHypercall: kind.entriesPerHypercall,
    })),
  };
}
