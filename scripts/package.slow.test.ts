/** The package as npm packs it and users install it. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join, posix, sep } from "node:path";
import { after, test } from "node:test";
import ts from "typescript";
import { ROOT } from "./root.ts";
import { run, runNpm, runTool } from "./tool.ts";

const folder = mkdtempSync(join(tmpdir(), "iova-package-"));
after(() => rmSync(folder, { recursive: true }));

const packed = runNpm(["pack", "--ignore-scripts", "--json", "--loglevel=error", "--pack-destination", folder]);
assert.equal(packed.status, 0, packed.said);
const tarball = join(folder, JSON.parse(packed.output)[0].filename);
/** The package installed alone, without other packages beside it. */
const installed = join(folder, "node_modules", "iova");
mkdirSync(installed, { recursive: true });
assert.equal(run("tar", ["-xzf", tarball, "-C", installed, "--strip-components=1"]).status, 0);
const files = readdirSync(installed, { recursive: true, encoding: "utf8" }).map((path) => path.split(sep).join("/"));
/** The command line, whose bundle has the packages that it uses. */
const COMMAND = "dist/iova-cli.js";
const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));

test("publint finds nothing to mend", () => {
  const { status, said } = runTool("publint", ["run", tarball, "--strict"]);
  assert.equal(status, 0, said);
});

test("every entry has its types where ES modules look for them", () => {
  const { status, said } = runTool("@arethetypeswrong/cli", [tarball, "--profile", "esm-only", "--no-color"]);
  assert.equal(status, 0, said);
});

test("the library entry, and what a program gets that only maps, stay small", () => {
  const { status, said } = runTool("size-limit", []);
  assert.equal(status, 0, said);
});

test("nothing else need be installed", () => {
  for (const field of ["dependencies", "peerDependencies", "optionalDependencies", "bundledDependencies"]) {
    assert.deepEqual(manifest[field] ?? {}, {}, field);
  }
});

test("the package holds entries, command, licences and documents, and neither tests nor benchmarks", () => {
  for (const path of [...entries(), "LICENSE", "README.md", "CHANGELOG.md", "dist/THIRD-PARTY-LICENSES.txt"]) {
    assert.ok(files.includes(path), `${path} is packed`);
  }
  assert.deepEqual(
    files.filter((path) => /\.(test|model)\.|tsbuildinfo|fixtures|^(build|src|scripts|bench|explorer)\//.test(path)),
    // Readers of docs/writing-a-platform.md copy this test.
    ["examples/own-platform.slow.test.ts"],
  );
});

test("ready.js knows every file of dist, so that it bundles again when one is missing", () => {
  const known = readFileSync(join(ROOT, "build", ".bundled"), "utf8")
    .trim()
    .split("\n");
  const found = readdirSync(join(ROOT, "dist")).map((name) => `dist/${name}`);
  const licences = "dist/THIRD-PARTY-LICENSES.txt";
  assert.deepEqual(found.sort(), [...known.filter((path) => path.startsWith("dist/")), licences].sort());
});

test("the package has at most 60 files", () => {
  const packedFiles: readonly { readonly path: string }[] = JSON.parse(packed.output)[0].files;
  assert.ok(
    packedFiles.length <= 60,
    `${packedFiles.length} files:\n${packedFiles.map(({ path }) => path).join("\n")}`,
  );
});

test("all code in the package is reached from its entries, and imports only the package and Node", () => {
  const seen = new Set<string>();
  for (const path of entries()) if (/\.[jt]s$/.test(path)) reach(path, seen);
  // A module of types alone is reached by its declarations, or holds no code: its users' declarations need not name it.
  const isReached = (path: string) => seen.has(path) || seen.has(path.replace(/\.js$/, ".d.ts")) || !hasCode(path);
  assert.deepEqual(
    files.filter((path) => path.endsWith(".js") && !isReached(path)),
    [],
  );
});

test("a program that does not import the debug mode does not load it", () => {
  for (const [name, target] of Object.entries<{ readonly default?: string }>(manifest.exports)) {
    if (name === "./debug" || target.default === undefined) continue;
    const seen = new Set<string>();
    reach(posix.normalize(target.default), seen);
    assert.deepEqual(
      [...seen].filter((path) => mapOf(path)?.sources.some((source) => source.startsWith("../src/dma/debug/"))),
      [],
      name,
    );
  }
});

test("the entries load, and the command starts, with nothing else installed", () => {
  assert.ok(moduleNames().length >= 5);
  printedByUser(
    moduleNames()
      .map((name) => `import ${JSON.stringify(name)};\n`)
      .join(""),
  );
  const helped = run(process.execPath, [join(installed, manifest.bin.iova), "--help"], folder);
  assert.equal(helped.status, 0, helped.said);
  assert.match(helped.output, /replay/);
});

test("all entries share one copy of each class and function", () => {
  const program = `
    const [first, ...others] = await Promise.all(names.map(async (name) => [name, await import(name)]));
    const seen = new Map(), different = [];
    for (const [entry, module] of [first, ...others])
      for (const [name, value] of Object.entries(module)) {
        if (seen.has(name) && seen.get(name) !== value) different.push(name + " of " + entry);
        seen.set(name, value);
      }
    const { InvalidArgumentError, IommuTable } = first[1];
    const { BOARD_KINDS } = await import("iova/platform");
    const board = BOARD_KINDS[0].create({ memoryBytes: 2 ** 24, entries: 1024 });
    let thrown;
    try { BOARD_KINDS[0].create({ memoryBytes: -1, entries: 1024 }); } catch (error) { thrown = error; }
    console.log(JSON.stringify({
      different, names: seen.size > 100, error: thrown instanceof InvalidArgumentError, table: board.table instanceof IommuTable,
      name: thrown.constructor.name, code: thrown.code,
    }));`;
  assert.deepEqual(JSON.parse(printedByUser(`const names = ${JSON.stringify(moduleNames())};${program}`)), {
    different: [],
    names: true,
    error: true,
    table: true,
    name: "InvalidArgumentError",
    code: "invalid-argument",
  });
});

test("a stack trace with source maps names the TypeScript sources, whose text the maps hold", () => {
  const program = `
    import { PooledAllocator } from "iova";
    import { SoftwareMachine } from "iova/platform";
    for (const make of [() => PooledAllocator.create({ entries: 0 }), () => SoftwareMachine.create({ memoryBytes: -1 })])
      try { make(); } catch (error) { console.log(error.stack); }`;
  const printed = printedByUser(program, ["--enable-source-maps"]);
  assert.match(printed, /at .*\.create \(.*[/\\]src[/\\]allocator[/\\]pooled-allocator\.ts:\d+:\d+\)/);
  assert.match(printed, /at .*\.create \(.*[/\\]src[/\\]machines[/\\]software[/\\]machine\.ts:\d+:\d+\)/);
  let count = 0;
  for (const path of files.filter((name) => name.startsWith("dist/") && name.endsWith(".js"))) {
    const { sources, sourcesContent } = mapOf(path) ?? { sources: [], sourcesContent: [] };
    count += sources.length;
    sources.forEach((source, i) => {
      if (source.endsWith("/vendor.js")) return;
      assert.equal(sourcesContent[i], readFileSync(join(ROOT, "dist", source), "utf8"), `${path}: ${source}`);
    });
  }
  assert.ok(count > 300, `${count} sources`);
});

test("the debug mode reports the driver's line, not one of the package", () => {
  const program = `
    import { DmaDevice, DmaPool } from "iova";
    import { debugged } from "iova/debug";
    import { LinearPlatform, PhysicalPages, SoftwareMachine } from "iova/platform";
    const machine = SoftwareMachine.create({ memoryBytes: 2 ** 22, devices: ["nic"] });
    const window = { base: 0x8000_0000n, pageShift: 12, entries: 64 };
    const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
    const coherentPages = PhysicalPages.create({ address: 2 ** 20, bytes: 2 ** 20 });
    const device = debugged(new DmaDevice(table, {}, { memory: machine.memory, coherentPages }), { stackFrames: 3 });
    const pool = new DmaPool(device, machine.memory, { blockBytes: 64 });
    const driver = () => pool.allocate();
    driver();
    device.deviceRemoved();
    console.log(JSON.stringify(device.reports[0].example.mapped.stack));`;
  for (const options of [[], ["--enable-source-maps"]]) {
    const stack: readonly string[] = JSON.parse(printedByUser(program, options));
    assert.equal(stack.length, 2, stack.join("; "));
    assert.match(stack[0] as string, /^driver \(.*user\.mjs:\d/);
    assert.match(stack[1] as string, /user\.mjs:\d/);
  }
});

test("the types of all entries have the comments of the sources", () => {
  const names = moduleNames();
  const written = names.map((name) => {
    const module = name === "iova" ? "index" : posix.relative("iova", name);
    const paths = [module, `${module}/index`].map((path) => join(ROOT, "build", "src", `${path}.d.ts`));
    return paths.find((path) => existsSync(path)) as string;
  });
  const bundled = names.map((name) =>
    join(installed, manifest.exports[name === "iova" ? "." : name.replace("iova", ".")].types),
  );
  const [expected, found] = [written, bundled].map((paths) => documentedIn(paths));
  names.forEach((name, i) => {
    assert.ok((expected?.[i]?.size ?? 0) > 0, name);
    assert.deepEqual(found?.[i], expected?.[i], name);
  });
});

test("a class is one type, whichever entries it comes from, in a program that knows nothing but ES2022", () => {
  const user = join(folder, "user.ts");
  writeFileSync(
    user,
    `import { DmaDevice, IommuTable, InvalidArgumentError } from "iova";
     import { debugged } from "iova/debug";
     import { SpaprContainer } from "iova/containers";
     import { LinearPlatform, type Memory, SoftwareMachine } from "iova/platform";
     export const machine: SoftwareMachine = SoftwareMachine.create({ memoryBytes: 2 ** 24, devices: ["nic"] });
     const window = { base: 0n, pageShift: 12, entries: 64 };
     export const table: IommuTable = LinearPlatform.create(machine, { format: "powernv-tce", window }).generic;
     export const device: DmaDevice = new DmaDevice(table);
     export const memory: Memory = machine.memory;
     export const checked = debugged(device);
     export type Container = SpaprContainer;
     export const isKnown = (error: unknown): boolean => error instanceof InvalidArgumentError;
     // @ts-expect-error: the types are not any
     table.noSuchMethod();`,
  );
  assert.deepEqual(errorsOf(programOf([user], "lib.es2022.d.ts")), []);
});

function programOf(paths: readonly string[], lib: string): ts.Program {
  return ts.createProgram(paths, {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: [lib],
    types: [],
    strict: true,
    noEmit: true,
  });
}

function errorsOf(program: ts.Program): readonly string[] {
  return ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

/** The comments of all exports and their members, by name, for each declaration file. */
function documentedIn(paths: readonly string[]): readonly Map<string, string>[] {
  const program = programOf(paths, "lib.es2023.d.ts");
  const checker = program.getTypeChecker();
  return paths.map((path) => {
    const found = new Map<string, string>();
    const note = (name: string, symbol: ts.Symbol): void => {
      found.set(name, ts.displayPartsToString(symbol.getDocumentationComment(checker)).replaceAll(REPOSITORY, ""));
    };
    const module = checker.getSymbolAtLocation(program.getSourceFile(path) as ts.SourceFile);
    for (const exported of checker.getExportsOfModule(module as ts.Symbol)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      note(exported.name, symbol);
      const members = [...(symbol.members?.values() ?? []), ...(symbol.exports?.values() ?? [])];
      for (const member of members) if (!member.name.startsWith("__")) note(`${exported.name}.${member.name}`, member);
    }
    return found;
  });
}

/** The source map of a bundle: a file beside it, or the end of the bundle. Undefined if it has none. */
function mapOf(
  path: string,
): { readonly sources: readonly string[]; readonly sourcesContent: readonly string[] } | undefined {
  const [, url] = /\n\/\/# sourceMappingURL=(\S+)\n$/.exec(readFileSync(join(installed, path), "utf8")) ?? [];
  if (url === undefined) return undefined;
  const [, inline] = /^data:application\/json;base64,(.*)$/.exec(url) ?? [];
  return JSON.parse(
    inline === undefined
      ? readFileSync(join(installed, posix.dirname(path), url), "utf8")
      : Buffer.from(inline, "base64").toString(),
  );
}

/** Entries as programs import them. */
function moduleNames(): readonly string[] {
  const names = Object.keys(manifest.exports).map((path) => posix.join("iova", path));
  return names.filter((name) => !name.endsWith(".json"));
}

/** Output of a user's program, in the folder where the package is installed. */
function printedByUser(program: string, options: readonly string[] = []): string {
  const user = join(folder, "user.mjs");
  writeFileSync(user, program);
  const { status, said, output } = run(process.execPath, [...options, user], folder);
  assert.equal(status, 0, said);
  return output;
}

test("every relative link of a shipped document leads to a shipped file", () => {
  const documents = files.filter((path) => path.endsWith(".md"));
  assert.ok(documents.includes("docs/threads.md"));
  assert.deepEqual(
    documents.flatMap((path) => brokenLinks(path, readFileSync(join(installed, path), "utf8"))),
    [],
  );
  assert.deepEqual(brokenLinks("docs/a.md", "[a](../src/index.ts) [b](#c) [d](manual.md#e) [f](https://g.h)"), [
    "docs/a.md: ../src/index.ts",
  ]);
});

test("every pointer of the types to a document leads to a shipped file, or to the repository", () => {
  const types = files
    .filter((path) => path.endsWith(".d.ts"))
    .map((path) => readFileSync(join(installed, path), "utf8"));
  const named = types.join("").matchAll(/((?:https:[^\s()]*)?)\b((?:docs|examples)\/[\w./-]+\.(?:md|json|ts))/g);
  const pointers = [...named].map(([, before, path]) => ({ before, path: path as string }));
  assert.ok(pointers.length > 1);
  for (const { before, path } of pointers) {
    if (before === REPOSITORY) assert.ok(existsSync(join(ROOT, path)), path);
    else assert.ok(files.includes(path), `${before}${path}`);
  }
});

test("every import of a shipped example is an entry, a shipped file, or Node's", () => {
  const examples = files.filter((path) => /^examples\/.*\.ts$/.test(path));
  assert.ok(examples.length > 5);
  for (const path of examples) {
    const text = readFileSync(join(installed, path), "utf8");
    for (const { fileName: name } of ts.preProcessFile(text, true, true).importedFiles) {
      if (name.startsWith(".")) assert.ok(files.includes(posix.join("examples", name)), `${path} imports ${name}`);
      else assert.ok(moduleNames().includes(name) || name.startsWith("node:"), `${path} imports ${name}`);
    }
  }
});

/** Where the package's documents that are not shipped are read. */
const REPOSITORY = `${manifest.repository.url.replace(/^git\+|\.git$/g, "")}/blob/main/`;

/**
 * Relative links of a document that lead to no shipped file. README's may lead to any file of the repository: npm's site, where it is
 * read, resolves them by `repository`; that they lead somewhere is another test.
 */
function brokenLinks(path: string, text: string): readonly string[] {
  if (path === "README.md") return [];
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => (target ?? "").replace(/#.*$/, ""));
  return targets
    .filter((target) => target !== "" && !/^[a-z]+:/.test(target))
    .filter((target) => !files.includes(posix.join(posix.dirname(path), target)))
    .map((target) => `${path}: ${target}`);
}

/** The files that users name, directly or by `import "iova/…"`. */
function entries(): string[] {
  const targets = Object.values<string | Record<string, string>>(manifest.exports);
  const paths = [
    manifest.bin.iova,
    ...targets.flatMap((target) => (typeof target === "string" ? target : Object.values(target))),
  ];
  return paths.map((path) => posix.normalize(path));
}

function hasCode(path: string): boolean {
  const { statements } = ts.createSourceFile(path, readFileSync(join(installed, path), "utf8"), ts.ScriptTarget.Latest);
  return statements.some(
    (node) =>
      !(
        ts.isExportDeclaration(node) &&
        node.exportClause !== undefined &&
        ts.isNamedExports(node.exportClause) &&
        node.exportClause.elements.length === 0 &&
        node.moduleSpecifier === undefined
      ),
  );
}

/** Follows imports and workers from `path` on; adds all files to `seen`. */
function reach(path: string, seen: Set<string>): void {
  if (seen.has(path)) return;
  assert.ok(files.includes(path), `${path} is imported, but not packed`);
  seen.add(path);
  const text = readFileSync(join(installed, path), "utf8");
  const imported = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
  const workers = [...text.matchAll(/new URL\(\s*"([^"]+\.js)",\s*import\.meta\.url/g)].map(([, url]) => url ?? "");
  for (const name of [...imported, ...workers]) {
    if (name.startsWith(".")) reach(fileOf(posix.join(posix.dirname(path), name), path), seen);
    // CommonJS inside of the bundle names Node's modules without `node:`.
    else assert.ok(path === COMMAND ? isBuiltin(name) : name.startsWith("node:"), `${path} imports ${name}`);
  }
}

/** Declarations name each other as their sources do. */
function fileOf(module: string, importer: string): string {
  return importer.endsWith(".d.ts") ? module.replace(/(\.d)?\.[jt]s$/, ".d.ts") : module;
}
