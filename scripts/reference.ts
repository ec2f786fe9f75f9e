/**
 * The API reference: all exports of the package's entries, with the comments of the sources. `npm run docs` builds it into build/reference
 * and prints the number of names without a comment; a test holds that there is no such name and no warning.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Application, Logger, LogLevel, type ProjectReflection, ReflectionKind, type TypeDocOptions } from "typedoc";
import { ROOT } from "./root.ts";

const OUTPUT = "build/reference";

/** Kinds of names that need a comment of their own. Parameters are described in the comment of their function. */
const DOCUMENTED = [
  "Variable",
  "Function",
  "Class",
  "Interface",
  "Property",
  "Method",
  "Accessor",
  "TypeAlias",
  "Module",
] as const;

/** Warnings of a run of TypeDoc. */
class Warnings extends Logger {
  readonly lines: string[] = [];
  override log(message: string, level: LogLevel): void {
    if (level >= LogLevel.Warn) this.lines.push(message);
  }
}

export interface Reference {
  readonly project: ProjectReflection;
  /** Exported names and their members. */
  readonly names: number;
  /** TypeDoc's messages about names without a comment. */
  readonly undocumented: readonly string[];
  /** All other warnings: types that a signature names and no entry exports, links that lead nowhere. */
  readonly warnings: readonly string[];
  /** Writes the pages. */
  write(): Promise<void>;
}

/** Reads the sources. Throws Error when they do not compile. */
export async function reference(): Promise<Reference> {
  const app = await Application.bootstrap(options());
  const logger = new Warnings();
  app.logger = logger;
  const project = await app.convert();
  if (project === undefined) throw new Error(`the sources do not compile:\n${logger.lines.join("\n")}`);
  app.validate(project);
  const isUndocumented = (line: string): boolean => line.endsWith("does not have any documentation");
  return {
    project,
    names: namesOf(project),
    undocumented: logger.lines.filter(isUndocumented),
    warnings: logger.lines.filter((line) => !isUndocumented(line)),
    write: () => app.generateDocs(project, join(ROOT, OUTPUT)),
  };
}

function options(): TypeDocOptions {
  return {
    name: "iova",
    entryPoints: entryFiles(),
    tsconfig: join(ROOT, "tsconfig.json"),
    readme: join(ROOT, "docs/reference.md"),
    excludePrivate: true,
    excludeInternal: true,
    // Members that classes inherit from Error are described by the runtime.
    excludeExternals: true,
    validation: { notExported: true, invalidLink: true, notDocumented: true, invalidPath: true },
    requiredToBeDocumented: [...DOCUMENTED],
    disableSources: true,
    githubPages: false,
    sort: ["source-order"],
  };
}

/** The source of each entry of package.json's `exports`: "./debug" is src/debug.ts, "./devices" src/devices/index.ts. */
function entryFiles(): string[] {
  const { exports: entries } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { exports: object };
  return Object.keys(entries)
    .filter((entry) => !entry.endsWith(".json"))
    .map((entry) => join(ROOT, "src", entry === "." ? "index" : entry))
    .map((path) => (existsSync(`${path}.ts`) ? `${path}.ts` : join(path, "index.ts")));
}

function namesOf(project: ProjectReflection): number {
  const kinds = DOCUMENTED.reduce((all, name) => all | ReflectionKind[name], 0);
  return project.getReflectionsByKind(kinds).length;
}

async function main(): Promise<number> {
  const { names, undocumented, warnings, write } = await reference();
  for (const line of [...warnings, ...undocumented]) console.error(line);
  await write();
  console.log(`${OUTPUT}/index.html: ${names} names, ${undocumented.length} of them without a comment`);
  return warnings.length + undocumented.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await main();
