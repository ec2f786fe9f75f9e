/**
 * `--json [FILE]` and `--csv [FILE]`: the one way in which verbs write their numbers for programs. Without FILE, or with `-`, they go to standard
 * output. FILE is checked while options are read, so that nothing runs for long and then has nowhere to put its result.
 */
import {
  accessSync,
  closeSync,
  constants,
  openSync,
  readSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { IovaError } from "../units/errors.ts";
import { messageOfSystem } from "./system-errors.ts";
import type { Terminal } from "./terminal.ts";
import { InvalidArgumentError, Option } from "./vendor.ts";

/** How the CSV files of all verbs begin. */
const CSV_BEGIN = /^device,/;

/** In place of FILE: standard output. */
export const STANDARD_OUTPUT = "-";

const checkedJsonFile = (path: string): string => checkedOutputFile(path, "--json", "JSON", /^\s*[{[]/);
const checkedCsvFile = (path: string): string => checkedOutputFile(path, "--csv", "CSV of ours", CSV_BEGIN);

/** The option: its value is a path that can be written, or `-`. */
export function jsonOption(): Option {
  return new Option(
    "--json [FILE]",
    "write the answer as JSON to FILE; without it or with -, to standard output, alone",
  )
    .preset(STANDARD_OUTPUT)
    .argParser(checkedJsonFile);
}

/** The same for a table of comma-separated values. */
export function csvOption(): Option {
  return new Option(
    "--csv [FILE]",
    "write a line a device as CSV to FILE; without it or with -, to standard output, alone",
  )
    .preset(STANDARD_OUTPUT)
    .argParser(checkedCsvFile);
}

/** True if the option names a file that is written at the end. */
export function writesFile(option: Option): boolean {
  return option.parseArg === checkedJsonFile || option.parseArg === checkedCsvFile;
}

/**
 * Writes `value` to `target`, indented.
 * @throws IovaError (`output-failed`): a new file that could not be written whole is gone again
 */
export function writeJson(target: string, value: object, terminal: Terminal): void {
  const text = `${JSON.stringify(value, undefined, 2)}\n`;
  write("--json", target, text, terminal);
}

/**
 * Writes rows of comma-separated values (RFC 4180, lines end with a newline alone); the first row names the columns, and begins with `device`.
 * @throws IovaError (`output-failed`) as `writeJson`
 */
export function writeCsv(target: string, rows: readonly (readonly (string | number)[])[], terminal: Terminal): void {
  write("--csv", target, rows.map((row) => `${row.map(csvCell).join(",")}\n`).join(""), terminal);
}

function csvCell(value: string | number): string {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function write(flag: string, target: string, text: string, terminal: Terminal): void {
  if (target === STANDARD_OUTPUT) terminal.out(text);
  else writeFile(flag, target, text);
}

function writeFile(flag: string, target: string, text: string): void {
  const before = statSync(target, { throwIfNoEntry: false });
  try {
    writeFileSync(target, text);
  } catch (error) {
    if (before === undefined) removeQuietly(target);
    throw new IovaError("output-failed", `${flag} ${target}: ${messageOfSystem(error)}`);
  }
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was never made, or its folder has changed meanwhile; the error that is under way says what matters.
  }
}

function checkedOutputFile(path: string, flag: string, form: string, begin: RegExp): string {
  if (path === STANDARD_OUTPUT) return path;
  if (path === "") throw new InvalidArgumentError("Found an empty name; expected a file name or -.");
  const found = statOf(path);
  if (found === undefined) checkFolder(path);
  else checkExisting(path, found, flag, form, begin);
  return path;
}

/** A path that a file is to be written to, or `-`: the file is not there yet, or empty, or no regular file. */
export function checkedNewFile(path: string): string {
  if (path === STANDARD_OUTPUT) return path;
  if (path === "") throw new InvalidArgumentError("Found an empty name; expected a file name or -.");
  const found = statOf(path);
  // It grows beside its place, so the folder is what must be writable.
  if (found === undefined || found.isFile()) checkFolder(path);
  if (found?.isDirectory()) throw new InvalidArgumentError(`${path} is a directory; expected a file name.`);
  if (found?.isFile() && found.size > 0) throw new InvalidArgumentError(`${path} is there; choose another name.`);
  return path;
}

function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw new InvalidArgumentError(`${path}: ${messageOfSystem(error)}.`);
  }
}

function checkFolder(path: string): void {
  const folder = dirname(path);
  const found = statOf(folder);
  if (found === undefined) throw new InvalidArgumentError(`There is no folder ${folder} to write in.`);
  if (!found.isDirectory()) throw new InvalidArgumentError(`${folder} is a file; expected a folder to write in.`);
  if (!isWritable(folder)) throw new InvalidArgumentError(`No permission to write in the folder ${folder}.`);
}

function checkExisting(path: string, found: Stats, flag: string, form: string, begin: RegExp): void {
  if (found.isDirectory()) throw new InvalidArgumentError(`${path} is a directory; expected a file name.`);
  if (!isWritable(path)) throw new InvalidArgumentError(`No permission to write the file ${path}.`);
  // `--json trace.txt` takes the trace for FILE: it must not be the end of the trace.
  if (found.isFile() && found.size > 0 && !beginsAs(begin, path)) {
    throw new InvalidArgumentError(
      `${path} is there and is no ${form}, so it is not overwritten; for standard output, write ${flag} last or as ${flag} -.`,
    );
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** A file that may be written but not read is taken for what it should be. */
function beginsAs(begin: RegExp, path: string): boolean {
  const head = Buffer.alloc(64);
  try {
    const file = openSync(path, "r");
    const bytes = readSync(file, head, 0, head.length, 0);
    closeSync(file);
    return begin.test(head.toString("latin1", 0, bytes));
  } catch {
    return true;
  }
}
