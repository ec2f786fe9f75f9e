/** Rules of the sources that compiler and linter do not check. Each rule is also tested with planted violations. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ROOT } from "../root.ts";
import { exportedNames } from "./exported-names.ts";
import { importOrder } from "./import-order.ts";
import { inspectOnlyReads } from "./inspect-only-reads.ts";
import { openingComment } from "./opening-comment.ts";
import { plainWords } from "./plain-words.ts";
import { sharedMemory } from "./shared-memory.ts";
import { switchedOff } from "./switched-off.ts";
import { type Finding, readTree, type Tree } from "./tree.ts";
import { unboundedSpread } from "./unbounded-spread.ts";

const sources = readTree(ROOT);

test("folders import only from those above them, and packages only in the module that is bundled", () => {
  assertNone(importOrder(sources));
});

test("an import against the order is found, however it is written", () => {
  assertFinds(
    importOrder,
    "src/units/a.ts",
    'import type { X } from "../shared/memory.ts";',
    /src\/shared, which comes later/,
  );
  assertFinds(importOrder, "src/dma/a.ts", 'export * from "../replay/b.ts";', /src\/replay, which comes later/);
  assertFinds(importOrder, "src/dma/a.ts", 'await import("../cli/b.ts");', /src\/cli, which comes later/);
  assertFinds(importOrder, "src/dma/a.ts", 'let x: import("../cli/b.ts").X;', /src\/cli, which comes later/);
  assertFinds(
    importOrder,
    "src/rivals/a.ts",
    'new URL("../replay/b.worker.js", import.meta.url);',
    /src\/replay, which/,
  );
  assertFinds(importOrder, "src/sundry/a.ts", "", /src\/sundry has no place/);
});

test("an import of a package, a test, a gathering module or a missing file is found", () => {
  assertFinds(importOrder, "src/cli/a.ts", 'import { Command } from "commander";', /imports the package commander/);
  assertFinds(importOrder, "src/dma/a.ts", 'import "./b.test.ts";', /only tests and src\/testing may/);
  assertFinds(importOrder, "src/dma/a.ts", 'import "../index.ts";', /only gathers/);
  assertFinds(importOrder, "src/dma/a.ts", 'import "../../explorer/b.ts";', /explorer\/b\.ts, which is not part of/);
  assertFinds(
    importOrder,
    "src/dma/a.ts",
    'new URL("./gone.js", import.meta.url);',
    /gone\.ts, which is not there/,
    [],
  );
});

test("imports from above, of Node's modules, in tests and in the bundled module pass", () => {
  assertPasses(importOrder, "src/dma/a.ts", 'import "../units/b.ts"; import "node:fs"; import "./c.ts";');
  assertPasses(importOrder, "src/units/a.test.ts", 'import "../cli/b.ts"; import fc from "fast-check";');
  assertPasses(importOrder, "src/cli/vendor.ts", 'export { Command } from "commander";');
  assertPasses(importOrder, "src/index.ts", 'export * from "./replay/b.ts";');
});

test("shared memory is touched only by src/shared/memory.ts", () => {
  assertNone(sharedMemory(sources));
});

test("an access of shared memory elsewhere is found; code that only passes buffers on passes", () => {
  const memory = sources.get("src/shared/memory.ts") ?? "";
  const found = (code: string) =>
    sharedMemory(planted("src/dma/a.ts", code, [["src/shared/memory.ts", memory]])).length;
  const opaque = 'import { type SharedBuffer, type SharedWords, wordsOf } from "../shared/memory.ts";';
  assert.equal(found("export const x = (words: Int32Array) => Atomics.load(words, 0);"), 1);
  assert.equal(found("export const make = () => new SharedArrayBuffer(8);"), 1);
  assert.equal(found("export const is = (x: unknown) => x instanceof SharedArrayBuffer;"), 1);
  assert.equal(found("export const get = () => globalThis.Atomics;"), 1);
  assert.equal(found("export const view = (handle: { state: SharedArrayBuffer }) => new Uint8Array(handle.state);"), 1);
  assert.equal(found("export const view = (state: SharedArrayBuffer) => new DataView(state, 4);"), 1);
  assert.equal(found(`${opaque} export const x = (words: SharedWords) => words as unknown as Int32Array;`), 1);
  assert.equal(found(`${opaque} export const x = (state: SharedBuffer) => new Uint8Array(state, 8);`), 1);
  assert.equal(found(`${opaque} export const x = (state: SharedArrayBuffer): SharedWords => wordsOf(state);`), 0);
  assert.equal(
    found("export const own = (state: ArrayBuffer) => new Uint8Array(state).length + new Int32Array(4).length;"),
    0,
  );
});

test("exported names use the field's terms, spelt out", () => {
  assertNone(exportedNames(sources));
});

test("an abbreviation in an exported name is found, whatever declares it", () => {
  assertFinds(exportedNames, "src/dma/a.ts", "export function ptePage(): void {}", /ptePage: not "pte" but entry/);
  assertFinds(exportedNames, "src/dma/a.ts", "export const TLB_SIZE = 1, b = 2;", /not "tlb" but IOTLB/);
  assertFinds(exportedNames, "src/dma/a.ts", "export interface A { readonly iovaLen: number }", /not "len" but length/);
  assertFinds(
    exportedNames,
    "src/dma/a.ts",
    "export class A { poolIdx(): number { return 0; } }",
    /not "idx" but index/,
  );
  assertFinds(exportedNames, "src/dma/a.ts", "export type AddrRange = { a: number };", /not "addr" but address/);
  assertFinds(exportedNames, "src/dma/a.ts", "const a = 1; export { a as bufCount };", /not "buf" but buffer/);
});

test("names that only contain such letters, or are not exported, pass", () => {
  assertPasses(exportedNames, "src/dma/a.ts", "export const iotlbLength = 1, buffered = 2, IOTLBSize = 3, lens = 4;");
  assertPasses(
    exportedNames,
    "src/dma/a.ts",
    "const idx = 1; export class A { #len = idx; get length() { return this.#len; } }",
  );
  assertPasses(exportedNames, "src/dma/a.ts", "export const constructor = 1;");
});

test("each source file opens with a comment that says what it is for", () => {
  assertNone(openingComment(sources));
});

test("a file that opens with code, or with a comment that says nothing, is found", () => {
  for (const text of [
    "export {};\n",
    "/** Numbers. */\nexport {};\n",
    "",
    "import a from 'a'; // what this file is for\n",
  ]) {
    assert.equal(openingComment(new Map([["src/a.ts", text]])).length, 1, JSON.stringify(text));
  }
  for (const text of ["/** Numbers with a unit. */\n", "#!/usr/bin/env node\n// Starts\n// the command line.\n"]) {
    assert.equal(openingComment(new Map([["src/a.ts", text]])).length, 0, JSON.stringify(text));
  }
});

test("comments, messages and test names are in plain words", () => {
  assertNone(plainWords(sources));
});

test("a phrase that hides the actor or the thing is found in a comment, a message or a test name, also across two lines", () => {
  for (const code of [
    "// Nobody reads it.",
    "/** For whoever comes by. */",
    'throw new Error("the handle is none");',
    'test("properties that are none are refused", () => {});',
    "/** A thread that was told of the fault. */",
    "/** Returns the address as it is. */",
    "// Waits in vain.",
    "/** Other threads of the same mind. */",
    "/** Clears what is not mapped. */",
    "/**\n * Waits in\n * vain.\n */",
    "  // Takes the lock in\n  // vain.",
  ]) {
    assertFinds(plainWords, "src/dma/a.ts", code, /^"[^"]+": (?:name|say|use) /);
  }
});

test("phrases that a revised folder has given up are found there, and pass elsewhere", () => {
  for (const code of [
    "/** What a line is worth. */",
    "/**\n * What a line is worth.\n */",
    "// What is left is freed.",
    "/** Of a thread that has ended. */",
    "/** One that is being unlinked. */",
    "/** Is the page mapped? */",
    "/** Threads are told. */",
    "/** Factors, for who makes a digest. */",
    "/** Writes so many entries. */",
    "/** It knows of the fault. */",
    "/** All pages but for the first. */",
    "// Made\n// anew.",
    'test("both come to the same end", () => {});',
    "/** Paths and the like. */",
    "/** It fails for want of a lock. */",
  ]) {
    assertFinds(plainWords, "src/log/a.ts", code, /^"[^"]+": (?:name|say|use) /);
    assertPasses(plainWords, "src/dma/a.ts", code);
  }
  assertPasses(plainWords, "src/log/a.ts", "// What a fault means? They can't be told apart. Of course.");
});

test("the line of a phrase is named, and the same words in another sense are let pass", () => {
  const [finding] = plainWords(new Map([["src/a.ts", "/**\n * One.\n * Two, in\n * vain.\n */\n"]]));
  assert.equal(finding?.line, 3);
  assertPasses(
    plainWords,
    "src/dma/a.ts",
    "// 0 when there is none. irq 16: nobody cared. It reads the table as it is now.",
  );
});

test("no test is switched off", () => {
  assertNone(switchedOff(sources));
});

test("a test that is switched off, or switches others off, is found; a skip with a reason of the moment is not", () => {
  for (const code of [
    'test.only("x", () => {});',
    'describe.skip("x", () => {});',
    'it.todo("x");',
    'test("x", { skip: true }, () => {});',
    'await t.test("x", { only: true }, () => {});',
    'test("x", { concurrency: 1, skip: "later" }, () => {});',
    'test("x", { todo: "later" });',
  ]) {
    assertFinds(switchedOff, "src/dma/a.test.ts", code, /only|skip|todo/);
  }
  assertPasses(switchedOff, "src/dma/a.test.ts", 'test("x", { skip: reason }, (t) => t.skip("no browser here"));');
  assertPasses(switchedOff, "src/dma/a.test.ts", 'trace.skip("header"); test("skip: true", () => {});');
});

test("no array without a bound is spread into a call", () => {
  assertNone(unboundedSpread(sources));
});

test("a spread of an array without a bound is found, and one with a bound is let pass", () => {
  for (const code of [
    "ranges.push(...taken);",
    "this.#list.unshift(0, ...more());",
    "const most = Math.max(0, ...lines.map((line) => line.length));",
    "String.fromCharCode(...bytes);",
    "all.push(...[1, ...taken]);",
    "all.push(...taken.slice(1));",
  ]) {
    assertFinds(unboundedSpread, "src/dma/a.ts", code, /without a bound/);
  }
  assertPasses(
    unboundedSpread,
    "src/dma/a.ts",
    "a.push(...[1, 2], b); a.push(...c.slice(0, 8)); const d = [...a, ...b];",
  );
  assertPasses(unboundedSpread, "src/dma/a.ts", "String.fromCharCode(...bytes.subarray(0, 8)); own(...a);");
  assertPasses(unboundedSpread, "src/dma/a.test.ts", "a.push(...b);");
});

test("code that inspects an allocator only reads shared memory", () => {
  assertNone(inspectOnlyReads(sources));
});

test("an import of a store is found in inspecting code, and one of a read passes", () => {
  const path = "src/allocator/inspect/a.ts";
  const from = 'from "../../shared/memory.ts";';
  for (const names of ["{ glance, poke }", "{ hintTo }", "* as memory"]) {
    assertFinds(inspectOnlyReads, path, `import ${names} ${from}`, /only reads/);
  }
  assertPasses(inspectOnlyReads, path, `import { glance, type SharedWords } ${from}`);
  assertPasses(inspectOnlyReads, "src/allocator/a.ts", `import { poke } ${from}`);
});

type Rule = (tree: Tree) => Finding[];

function assertNone(findings: readonly Finding[]): void {
  const lines = findings.map(({ path, line, message }) => `${path}:${line}: ${message}`);
  assert.equal(lines.join("\n"), "");
}

/** The files that planted code imports. */
const IMPORTED = [
  "src/units/b.ts",
  "src/shared/memory.ts",
  "src/dma/b.test.ts",
  "src/dma/c.ts",
  "src/replay/b.ts",
  "src/replay/b.worker.ts",
  "src/cli/b.ts",
  "src/index.ts",
  "explorer/b.ts",
].map((path): readonly [string, string] => [path, ""]);

function planted(path: string, code: string, others: readonly (readonly [string, string])[] = IMPORTED): Tree {
  return new Map([...others, [path, code]]);
}

function assertFinds(rule: Rule, path: string, code: string, message: RegExp, others = IMPORTED): void {
  const findings = rule(planted(path, code, others));
  assert.equal(findings.length, 1, `${code}: ${JSON.stringify(findings)}`);
  assert.equal(findings[0]?.path, path);
  assert.match(findings[0]?.message ?? "", message);
}

function assertPasses(rule: Rule, path: string, code: string): void {
  assertNone(rule(planted(path, code)));
}
