/**
 * Only one module accesses shared memory. The explorer replaces that module and sees every access; an access elsewhere
 * would escape its tests.
 */
import ts from "typescript";
import { type Finding, findingAt, isTest, parse, type Tree, walk } from "./tree.ts";

const MEMORY = "src/shared/memory.ts";
/** The opaque views of memory.ts; a cast would expose the array behind them. */
const OPAQUE: readonly string[] = ["SharedWords", "SharedHalves", "SharedBytes"];
/** Where the virtual files lie for the compiler. */
const BASE = "/tree/";

/** Uses of Atomics, of SharedArrayBuffer as a value, of arrays over one, and casts of the opaque views. */
export function sharedMemory(tree: Tree): Finding[] {
  const looked = new Set([...tree.keys()].filter(isLookedAt));
  const types = compile(tree);
  return parse(tree)
    .filter((file) => looked.has(file.fileName))
    .flatMap((file) => {
      const typed = types.program.getSourceFile(BASE + file.fileName);
      return [...names(file), ...(typed === undefined ? [] : views(file, typed, types.checker))];
    });
}

/** True for the library. Examples are programs of users, which may have shared memory of their own. */
function isLookedAt(path: string): boolean {
  return path.startsWith("src/") && path !== MEMORY && !isTest(path);
}

function names(file: ts.SourceFile): Finding[] {
  const findings: Finding[] = [];
  walk(file, (node) => {
    if (!ts.isIdentifier(node) || (node.text !== "Atomics" && node.text !== "SharedArrayBuffer")) return;
    if (!isType(node) && !isMember(node)) {
      findings.push(findingAt(file, node, `${node.text}: only ${MEMORY} touches shared memory`));
    }
  });
  return findings;
}

function isType({ parent }: ts.Identifier): boolean {
  return ts.isTypeReferenceNode(parent) || ts.isExpressionWithTypeArguments(parent);
}

/** `x.Atomics`. */
function isMember(node: ts.Identifier): boolean {
  return ts.isPropertyAccessExpression(node.parent) && node.parent.name === node && !isGlobal(node.parent.expression);
}

function isGlobal(node: ts.Node): boolean {
  return ts.isIdentifier(node) && node.text === "globalThis";
}

/** Uses that only the types show: `new Uint8Array(handle.state)`, and `words as unknown as Int32Array`. */
function views(file: ts.SourceFile, typed: ts.SourceFile, checker: ts.TypeChecker): Finding[] {
  const findings: Finding[] = [];
  const nameOf = (node: ts.Node) => checker.typeToString(checker.getTypeAtLocation(node));
  walk(typed, (node) => {
    if (ts.isNewExpression(node) && /(Array|DataView)$/.test(node.expression.getText(typed))) {
      if (isOverSharedMemory(checker.getTypeAtLocation(node), checker)) {
        findings.push(at(node, `a view of shared memory: only ${MEMORY} makes them`));
      }
    } else if (ts.isAsExpression(node) && !ts.isAsExpression(node.expression)) {
      const name = nameOf(node.expression);
      if (OPAQUE.includes(name)) findings.push(at(node, `a cast of ${name}: only ${MEMORY} knows what is behind it`));
    }
  });
  return findings;

  function at(node: ts.Node, message: string): Finding {
    return { ...findingAt(typed, node, message), path: file.fileName };
  }
}

/** True for `Uint8Array<SharedArrayBuffer>` and aliases of such types. */
function isOverSharedMemory(type: ts.Type, checker: ts.TypeChecker): boolean {
  const [buffer] = checker.getTypeArguments(type as ts.TypeReference);
  return buffer?.symbol?.name === "SharedArrayBuffer";
}

/** Files of the compiler itself, such as its lib.es2023.d.ts: they are the same for all trees. */
const ownFiles = new Map<string, ts.SourceFile>();

function compile(tree: Tree): { program: ts.Program; checker: ts.TypeChecker } {
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2023,
    lib: ["lib.es2023.d.ts"],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    allowImportingTsExtensions: true,
    noEmit: true,
    strict: true,
    types: [],
  };
  const textOf = (path: string) => tree.get(path.slice(BASE.length)) ?? ts.sys.readFile(path);
  const host: ts.CompilerHost = {
    ...ts.createCompilerHost(options),
    getCurrentDirectory: () => BASE,
    // Otherwise the compiler takes the virtual folders for empty ones.
    directoryExists: () => true,
    realpath: (path) => path,
    fileExists: (path) => tree.has(path.slice(BASE.length)) || ts.sys.fileExists(path),
    readFile: textOf,
    getSourceFile: (path, version) => {
      const known = ownFiles.get(path);
      if (known !== undefined) return known;
      const text = textOf(path);
      if (text === undefined) return undefined;
      const file = ts.createSourceFile(path, text, version);
      if (!path.startsWith(BASE)) ownFiles.set(path, file);
      return file;
    },
  };
  const roots = [...tree.keys()].filter((path) => path === MEMORY || isLookedAt(path)).map((path) => BASE + path);
  const program = ts.createProgram(roots, options, host);
  return { program, checker: program.getTypeChecker() };
}
