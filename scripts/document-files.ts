/** The documents of this clone: its Markdown files and the sources of the package. Installed and built files are left out. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, sep } from "node:path";
import { ROOT } from "./root.ts";

/** Markdown files: text by path from the root, with `/`. */
export function documentFiles(): Map<string, string> {
  return filesOf((path) => path.endsWith(".md"));
}

/** Sources of the package, without tests: text by path from the root, with `/`. Their docstrings have examples. */
export function sourceFiles(): Map<string, string> {
  return filesOf((path) => path.startsWith("src/") && /^[^.]*\.ts$/.test(path));
}

function filesOf(isWanted: (path: string) => boolean): Map<string, string> {
  const left = ["node_modules", "build", "dist", ".git"];
  const top = readdirSync(ROOT).filter((name) => !left.includes(name));
  const inside = top
    .filter((name) => statSync(join(ROOT, name)).isDirectory())
    .flatMap((name) =>
      readdirSync(join(ROOT, name), { recursive: true, encoding: "utf8" }).map((path) => join(name, path)),
    );
  const paths = [...top, ...inside].map((path) => path.split(sep).join("/")).filter(isWanted);
  return new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), "utf8")]));
}
