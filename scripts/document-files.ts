/** The documents of this clone: its Markdown files, but for what is installed or built. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, sep } from "node:path";
import { ROOT } from "./root.ts";

/** Text by path from the root, with `/`. */
export function documentFiles(): Map<string, string> {
  const left = ["node_modules", "build", "dist", ".git"];
  const top = readdirSync(ROOT).filter((name) => !left.includes(name));
  const inside = top
    .filter((name) => statSync(join(ROOT, name)).isDirectory())
    .flatMap((name) =>
      readdirSync(join(ROOT, name), { recursive: true, encoding: "utf8" }).map((path) => join(name, path)),
    );
  const paths = [...top, ...inside].map((path) => path.split(sep).join("/")).filter((path) => path.endsWith(".md"));
  return new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), "utf8")]));
}
