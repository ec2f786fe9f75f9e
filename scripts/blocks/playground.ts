/** Compiles and runs the programs and commands of documents as a user does, in a folder with the package installed. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import ts from "typescript";
import { ROOT } from "../root.ts";
import { run, type ToolResult } from "../tool.ts";
import type { Program } from "./programs.ts";
import { differenceOf } from "./shown.ts";

/** Printed between the parts of a program, so that the output of each is known. */
const END_OF_PART = "-- end of part --";

/** Stands in for npx, which takes a second to find the command of an installed package. It downloads nothing. */
const NPX = '#!/bin/sh\nPATH="./node_modules/.bin:$PATH" exec "$@"\n';

/**
 * Folders in which programs and commands of documents run, one for each document. A folder has the files of the clone, the clone itself as
 * `iova`, and the installed package.
 */
export class Playground {
  readonly #root = mkdtempSync(join(tmpdir(), "iova-documents-"));
  readonly #folders = new Map<string, string>();

  /** The folder of a document, made when first asked for. */
  folder(path: string): string {
    const known = this.#folders.get(path);
    if (known !== undefined) return known;
    const folder = join(this.#root, path.replace(/\W+/g, "-"));
    const modules = join(folder, "node_modules");
    mkdirSync(join(modules, ".bin"), { recursive: true });
    for (const name of readdirSync(ROOT)) {
      if (!/^(\.git|node_modules|package.*\.json)$/.test(name)) symlinkSync(join(ROOT, name), join(folder, name));
    }
    for (const link of [join(folder, "iova"), join(modules, "iova")]) symlinkSync(ROOT, link);
    symlinkSync(join(ROOT, "bin", "iova.js"), join(modules, ".bin", "iova"));
    writeFileSync(join(modules, ".bin", "npx"), NPX, { mode: 0o755 });
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
    this.#folders.set(path, folder);
    return folder;
  }

  /** Runs a command in the folder of a document. Standard error is a part of the output, as in a terminal. */
  run(path: string, command: string): ToolResult {
    const folder = this.folder(path);
    const commands = [join(folder, "node_modules", ".bin"), join(ROOT, "node_modules", ".bin"), process.env["PATH"]];
    // The variables of a test's process are not a user's.
    const variables = ["-u", "NODE_OPTIONS", "-u", "NODE_TEST_CONTEXT", "LC_ALL=C", `PATH=${commands.join(delimiter)}`];
    return run("env", [...variables, "bash", "-c", `exec 2>&1\n${command}`], folder);
  }

  remove(): void {
    rmSync(this.#root, { recursive: true });
  }
}

/** Writes programs to their folders, and returns the compiler's errors, by path and line of the document. */
export function prepare(playground: Playground, programs: readonly Program[]): string[] {
  const byFile = new Map<string, Program>();
  for (const program of programs) {
    const folder = playground.folder(program.parts[0]!.block.path);
    const file = join(folder, program.file);
    const source = sourceOf(program);
    writeFileSync(file, source);
    if (file.endsWith(".ts"))
      writeFileSync(
        file.replace(/ts$/, "js"),
        ts.transpile(source, { ...COMPILER_OPTIONS, module: ts.ModuleKind.ESNext }),
      );
    byFile.set(file, program);
  }
  const compiled = ts.createProgram([...byFile.keys()], { ...COMPILER_OPTIONS, noEmit: true });
  return ts
    .getPreEmitDiagnostics(compiled)
    .filter((diagnostic) => !isMissingType(diagnostic))
    .map((diagnostic) => objectionOf(diagnostic, byFile));
}

/** True for errors about missing types of parameters: JavaScript has no annotations. */
function isMissingType({ file, code }: ts.Diagnostic): boolean {
  const [parameter, element] = [7006, 7031];
  return file !== undefined && /\.m?js$/.test(file.fileName) && (code === parameter || code === element);
}

/** The options of a user with a strict compiler. */
const COMPILER_OPTIONS: ts.CompilerOptions = {
  allowJs: true,
  checkJs: true,
  strict: true,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  moduleDetection: ts.ModuleDetectionKind.Force,
  target: ts.ScriptTarget.ES2023,
  lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts", "lib.dom.d.ts"],
  typeRoots: [join(ROOT, "node_modules", "@types")],
  types: ["node"],
  skipLibCheck: true,
};

/** One line for each line of the blocks, and one for each end of a part. */
function sourceOf({ parts }: Program): string {
  if (parts.length === 1) return parts[0]!.block.code;
  return parts.map(({ block }) => `${block.code}console.log(${JSON.stringify(END_OF_PART)});\n`).join("");
}

function objectionOf({ file, start, messageText }: ts.Diagnostic, programs: ReadonlyMap<string, Program>): string {
  const message = ts.flattenDiagnosticMessageText(messageText, "\n");
  const program = programs.get(file?.fileName ?? "");
  if (file === undefined || program === undefined) return `${file?.fileName ?? "the compiler"}: ${message}`;
  let line = file.getLineAndCharacterOfPosition(start ?? 0).line;
  for (const { block } of program.parts) {
    const lines = block.code.split("\n").length;
    if (line < lines) return `${block.path}:${block.line + 1 + line} ${message}`;
    line -= lines;
  }
  return `${program.where} ${message}`;
}

/** Runs a prepared program; throws if it fails, or if its output is not the one that the document shows. */
export function runProgram(playground: Playground, program: Program): void {
  const { path } = program.parts[0]!.block;
  const { status, output } = playground.run(path, `node ${program.file.replace(/\.ts$/, ".js")}`);
  if (status !== 0) throw new Error(`${program.where} ends with exit code ${status}:\n${output}`);
  const printed = program.parts.length === 1 ? [output] : output.split(`${END_OF_PART}\n`);
  for (const [index, part] of program.parts.entries()) {
    const isMeasured = part.output?.flags.has("measured") ?? false;
    const difference = differenceOf(part.output?.code ?? "", printed[index] ?? "", isMeasured);
    const shown = part.output ?? part.block;
    if (difference !== undefined) throw new Error(`${shown.path}:${shown.line} shows another output: ${difference}`);
  }
}
