/**
 * Bundles the build for users of the package, from build/src into dist/: a file for each entry of package.json's `exports`, one for the
 * command line, one for each worker, and the parts that several of them share; the types of all entries in one file beside them. Part of
 * `node scripts/ready.js`, which runs it after the compiler: `node scripts/bundle.js ROOT`.
 *
 * rolldown makes the code, and rollup the types: its plug-in keeps all comments. esbuild is no choice for the code: it turns `const` into
 * `var`, which V8 does not fold (docs/decisions/local-constants.md).
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";

/** All files in dist begin with it. */
const PREFIX = "iova";
/** The command line: the one file of dist that `exports` does not name, and that bin/iova.js starts. */
const COMMAND = { [`${PREFIX}-cli`]: "cli/main" };
/**
 * Modules that several entries share, by their path below src: few files, and `import "iova"` loads the core alone. A module that is not named
 * here is in the file of the one entry that has it.
 */
const PARTS = [
  { name: `${PREFIX}-core`, modules: /^(units|shared|crew|allocator|machine|table|memory|formats|dma(?!\/debug))\// },
  {
    name: `${PREFIX}-machines`,
    // The last ones: what the worker of a replay shares with the command line, and QEMU's boards with their watchdog.
    modules:
      /^((pinned|platforms|machines(?!\/qemu)|devices|rivals)\/|replay\/(check|player|tables|worker)\.|machines\/qemu\/state\.)/,
  },
  { name: `${PREFIX}-logs`, modules: /^((log|trace|explain|statistics)\/|stat\.)/ },
];
/** Modules without local constants: they are on no hot path, or not part of the package (benchmarks). */
const NOT_HOT = /^(\.\.|capture|cli|explain|log|statistics|testing|trace)\//;
/** The name of a class. Classes keep their names in the bundle: `error.constructor.name` says what it is. */
const CLASS = /^[A-Z]+[a-z]/;
/** Declarations name `Symbol.dispose`. */
const REFERENCE = '/// <reference lib="esnext.disposable" preserve="true" />';

/** Makes dist/ of the clone at `root`, which is compiled. A clone whose package.json has no `exports` (a test's) needs none. */
async function bundle(root) {
  const { exports: targets } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  if (targets === undefined) return;
  const entries = entriesOf(root, targets);
  const made = await Promise.all([bundlePackage(root, entries), bundleBenchmarks(root), bundleTypes(root, entries)]);
  // ready.js bundles again when one of these is missing.
  const files = made.flat().map((path) => below(root, path));
  writeFileSync(join(root, "build", ".bundled"), `${files.join("\n")}\n`);
}

/** Modules below src by the name of their bundle: "./debug" of `exports` is src/debug, "./devices" src/devices/index. */
function entriesOf(root, targets) {
  const entries = Object.entries(targets).filter(([, target]) => target.default?.startsWith("./dist/"));
  return Object.fromEntries(
    entries.map(([path, target]) => {
      const name = path === "." ? "index" : path.slice(2);
      const isFile = existsSync(join(root, "build", "src", `${name}.js`));
      return [basename(target.default, ".js"), isFile ? name : `${name}/index`];
    }),
  );
}

// Code.

async function bundlePackage(root, entries) {
  const source = join(root, "build", "src");
  const workers = workersOf(source);
  const input = { ...pathsIn(source, { ...entries, ...COMMAND }), ...workers };
  const into = join(root, "dist");
  return writeAll(into, /\.js(\.map)?$/, await bundleCode(root, { input, into, workers, external: /^node:/ }));
}

/** The threads of the benchmarks, with the package's modules as users get them: bench/build.ts says which build it plays. */
async function bundleBenchmarks(root) {
  const workers = workersOf(join(root, "build", "bench"));
  const into = join(root, "build", "bench", "bundled");
  // What the package is compared with is loaded from node_modules.
  return writeAll(into, /\.js(\.map)?$/, await bundleCode(root, { input: workers, into, workers, external: /^[^./]/ }));
}

/** The files of a bundle, by name. `input`, `workers`: modules by the name of their bundle. */
async function bundleCode(root, { input, into, workers, external }) {
  const source = join(root, "build", "src");
  const bundled = await rolldown({
    input,
    cwd: root,
    platform: "node",
    external,
    plugins: [sourceMaps(), places(root, into, workers), pureInitialisers(), localConstants(source)],
    // Timings depend on the machine.
    checks: { bundlerTimings: false },
    // Any other warning is a defect of the bundle: an import that is missing, a cycle of its parts.
    onwarn: (warning) => {
      throw new Error(`the bundle of the package: ${warning.message}`);
    },
  });
  const { output } = await bundled.generate({
    format: "es",
    sourcemap: true,
    comments: { legal: true, annotation: true, jsdoc: false },
    chunkFileNames: ({ name }) => (name.startsWith(PREFIX) ? `${name}.js` : `${PREFIX}-${name}.js`),
    minifyInternalExports: false,
    codeSplitting: {
      groups: PARTS.map(({ name, modules }) => ({
        name,
        test: (id) => !isWorker(id) && modules.test(below(source, id)),
      })),
    },
  });
  await bundled.close();
  for (const { fileName, imports = [], modules = {} } of output) {
    const worker = imports.find(isWorker) ?? (isWorker(fileName) ? undefined : Object.keys(modules).find(isWorker));
    if (worker !== undefined)
      throw new Error(`the bundle of the package: ${fileName} has ${worker}, which is for threads`);
  }
  const chunks = output.filter(({ fileName }) => !fileName.endsWith(".map"));
  return chunks.flatMap((chunk) => filesOf(chunk, below(into, root)));
}

/** True if a thread starts with this file. It must not be merged into another file, where its work would begin at the import. */
function isWorker(path) {
  return path.endsWith(".worker.js");
}

/**
 * A chunk's code, and its source map: that of a part that entries share is a file, others stand at the end of the code, which keeps the
 * package small in files. A chunk without code of its own, which only exports what a part has, needs none.
 */
function filesOf({ fileName, name, code, map, modules }, root) {
  const hasCode = Object.values(modules).some(({ code: text }) => text?.trim());
  const plain = code.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
  if (!hasCode || map === null) return [[fileName, plain]];
  const sources = map.sources.map((path) => path.replace(/^.*?\b(src|bench|node_modules)\//, `${root}/$1/`));
  const text = JSON.stringify({ ...map, sources });
  const isPart = PARTS.some((part) => part.name === name);
  const url = isPart ? `${fileName}.map` : `data:application/json;base64,${Buffer.from(text).toString("base64")}`;
  const file = [fileName, `${plain}//# sourceMappingURL=${url}\n`];
  return isPart ? [file, [`${fileName}.map`, text]] : [file];
}

/** Modules that threads start with, by the name of their bundle. */
function workersOf(source) {
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).map((path) => path.split(sep).join("/"));
  const modules = files
    .filter((path) => /(?<!\.test)\.worker\.js$/.test(path))
    .map((path) => path.slice(0, -".js".length));
  return pathsIn(source, Object.fromEntries(modules.map((path) => [`${PREFIX}-${basename(path)}`, path])));
}

/** The built files of modules below `source`. */
function pathsIn(source, modules) {
  return Object.fromEntries(Object.entries(modules).map(([name, module]) => [name, join(source, `${module}.js`)]));
}

/** Gives the compiler's source maps to the bundler, so that the bundle's lead to the TypeScript sources, which they hold. */
function sourceMaps() {
  const load = (id) => {
    const map = `${id}.map`;
    if (!existsSync(map)) return null;
    const code = readFileSync(id, "utf8").replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");
    return { code, map: JSON.parse(readFileSync(map, "utf8")) };
  };
  return { name: "source-maps", load: { filter: { id: /\.js$/ }, handler: load } };
}

/** `new URL(path, import.meta.url)` names the same file from the bundle as it does from the module: a worker's bundle, or what is no part of the build. */
function places(root, into, workers) {
  const handler = (code, id) => ({
    code: code.replace(/new URL\("(\.[^"]+)",\s*import\.meta\.url\)/g, (_, path) => {
      const worker = `${PREFIX}-${basename(path, ".js")}`;
      const target = join(dirname(id), path);
      if (!(worker in workers) && below(root, target).startsWith("build/"))
        throw new Error(`the bundle of the package: ${id} names ${path}, which is no part of it`);
      const file = worker in workers ? `./${worker}.js` : `${below(into, target)}${path.endsWith("/") ? "/" : ""}`;
      return `new URL("${file}", import.meta.url)`;
    }),
    map: null,
  });
  return { name: "places", transform: { filter: { code: "import.meta.url" }, handler } };
}

/**
 * Makes the initialisers of a module's constants calls that are marked as pure: a user's bundler drops what the user's program does not
 * need only if it knows that. (package.json says `sideEffects: false`, but bundlers take that for whole files, and a file of dist has many modules.)
 */
function pureInitialisers() {
  const handler = function (code) {
    const declarations = this.parse(code).body.flatMap((node) => (node.declaration ?? node).declarations ?? []);
    let text = code;
    for (const { id, init } of declarations.reverse()) {
      if (id.type !== "Identifier" || init === null || isPlainlyPure(init)) continue;
      text = `${text.slice(0, init.start)}/* @__PURE__ */ (() => (${text.slice(init.start, init.end)}))()${text.slice(init.end)}`;
    }
    return { code: text, map: null };
  };
  return { name: "pure-initialisers", transform: { filter: { id: /\.js$/ }, handler } };
}

/** True if every bundler can see that the expression has no side effect. */
function isPlainlyPure({ type, argument, elements, properties }) {
  if (type === "UnaryExpression") return argument.type === "Literal";
  if (type === "ArrayExpression") return elements.every((part) => part !== null && isPlainlyPure(part));
  if (type === "ObjectExpression")
    return properties.every(({ computed, value }) => !computed && value !== undefined && isPlainlyPure(value));
  return ["ArrowFunctionExpression", "FunctionExpression", "Identifier", "Literal"].includes(type);
}

/**
 * Gives each hot module constants of its own for what it imports, on the line of the import: `import { peek as peek$import } from …; const
 * peek = peek$import;`. V8 of Node 20 folds a module's own constants, and loads imported ones at each use.
 */
function localConstants(source) {
  const handler = (code, id) => {
    if (NOT_HOT.test(below(source, id))) return null;
    const named = (text, from, end) => {
      const locals = [];
      const list = text.replace(/([\w$]+)(?: as ([\w$]+))?/g, (all, name, local = name) => {
        if (CLASS.test(name)) return all;
        locals.push(`${local} = ${local}$import`);
        return `${name} as ${local}$import`;
      });
      return locals.length === 0 ? end : `import {${list}} from ${from}; const ${locals.join(", ")};`;
    };
    const own = code.replace(/^import \{([^}]*)\} from ("\.[^"]*");/gm, (all, list, from) => named(list, from, all));
    // Lines stay where they were, so the source map does too.
    return { code: own, map: null };
  };
  return { name: "local-constants", transform: { filter: { code: /^import \{/m }, handler } };
}

// Types.

/** Takes a second or two, and is left out while no declaration has changed. */
async function bundleTypes(root, entries) {
  const source = join(root, "build", "src");
  const stamp = join(root, "build", ".types");
  const wanted = fingerprintOf(source, entries);
  const outputs = [...Object.keys(entries), `${PREFIX}-types`].map((name) => join(root, "dist", `${name}.d.ts`));
  if (outputs.every((path) => existsSync(path)) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted)
    return outputs;
  rmSync(stamp, { force: true });
  const input = Object.fromEntries(Object.entries(entries).map(([k, v]) => [k, join(source, `${v}.d.ts`)]));
  const inputs = new Set(Object.values(input));
  const bundled = await rollup({ input, external: /^node:/, plugins: [withoutHeaders(), dts()] });
  const { output } = await bundled.generate({
    format: "es",
    banner: REFERENCE,
    entryFileNames: "[name].d.ts",
    chunkFileNames: "[name].d.ts",
    minifyInternalExports: false,
    // One file, so that a class is one type, whichever entries it is imported from.
    manualChunks: (id) => (inputs.has(id) ? undefined : `${PREFIX}-types`),
  });
  await bundled.close();
  const pointed = output.map(({ fileName, code }) => [fileName, withPointers(root, code)]);
  writeAll(join(root, "dist"), /\.d\.ts$/, pointed);
  writeFileSync(stamp, wanted);
  return outputs;
}

/** A file's opening comment is about the file: in the bundle it would become that of the first declaration, unless that has its own. */
function withoutHeaders() {
  const transform = (code) => ({
    code: code.replace(/^\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*(?=import|\/\/\/|\/\*\*|export (?:type )?[{*])/, ""),
    map: null,
  });
  return { name: "without-headers", transform };
}

/** Comments that point to a document that is not shipped point to the repository's. */
function withPointers(root, code) {
  const { files, repository } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const isShipped = (path) =>
    files.some((pattern) => path === pattern || path.startsWith(`${pattern}/`) || path.endsWith(".schema.json"));
  const base = `${repository.url.replace(/^git\+|\.git$/g, "")}/blob/main/`;
  return code.replace(/\bdocs\/[\w/-]+\.(?:md|json)/g, (path) => (isShipped(path) ? path : `${base}${path}`));
}

function fingerprintOf(source, entries) {
  const hash = createHash("sha256")
    .update(JSON.stringify(entries))
    .update(readFileSync(fileURLToPath(import.meta.url)));
  const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".d.ts"));
  for (const path of files.sort()) hash.update(`\0${path}\0`).update(readFileSync(join(source, path)));
  return hash.digest("hex");
}

// Files.

/** Writes files into a folder, and removes those that `kind` matches and that are not among them. Returns the paths of the files. */
function writeAll(folder, kind, files) {
  mkdirSync(folder, { recursive: true });
  const names = new Set(files.map(([name]) => name));
  for (const name of readdirSync(folder)) if (kind.test(name) && !names.has(name)) rmSync(join(folder, name));
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
  return files.map(([name]) => join(folder, name));
}

/** The path of a file from a folder above it, with slashes. */
function below(folder, path) {
  return relative(folder, path).split(sep).join("/");
}

await bundle(resolve(process.argv[2] ?? "."));
