/** Loads copies of the library's modules for exploration, with bugs planted if wanted. */
import { readFileSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import type { HookData } from "./hook.ts";

/** A change of a built module's text: how a test plants a bug in the real code. */
export interface Plant {
  /** Path below build/src, such as "allocator/pool.js". */
  readonly module: string;
  /** Text that occurs in it exactly once. */
  readonly from: string;
  readonly to: string;
}

/** Copies of the library's modules. */
export interface ExploredCopy {
  /** Imports a module by its path below build/src. `Module`: such as `typeof import("../src/shared/lock.ts")`. */
  load<Module>(module: string): Promise<Module>;
}

const root = new URL("../src/", import.meta.url).href;
const memory = new URL("./memory.js", import.meta.url).href;
let copies = 0;

/** A copy of the library in which the explorer stands in for shared memory. Throws if a bug can't be planted as stated. */
export function exploredCopy(plants: readonly Plant[] = []): ExploredCopy {
  const sources = new Map<string, string>();
  for (const { module, from, to } of plants) {
    const url = root + module;
    const source = sources.get(url) ?? readFileSync(fileURLToPath(url), "utf8");
    const found = source.split(from).length - 1;
    if (found !== 1) throw new Error(`${module} holds the text to replace ${found} times; expected once:\n${from}`);
    sources.set(
      url,
      source.replace(from, () => to),
    );
  }
  const name = `copy-${++copies}`;
  const data: HookData = { name, root, memory, sources };
  register("./hook.js", { parentURL: import.meta.url, data });
  return { load: (module) => import(`${root}${module}?explored=${name}`) };
}
