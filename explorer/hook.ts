/**
 * A module hook (Node's `module.register`) that makes explored copies of the library's modules: those asked for with
 * `?explored=NAME`, and what they import. In a copy, src/shared/memory.js is the explorer's, and single modules may have a source
 * of their own (planted bugs). Modules without state or accesses (units) are the same in all copies, so that `instanceof` works.
 *
 * Each copy registers it once more, so Node calls it several times for one URL. It changes a URL at most once.
 */
import type { InitializeHook, LoadHook, ResolveHook } from "node:module";

export interface HookData {
  /** NAME of the copy. */
  readonly name: string;
  /** URL of build/src/, with a slash at the end. */
  readonly root: string;
  /** URL of the explorer's module of shared memory. */
  readonly memory: string;
  /** Sources by URL, without the query. */
  readonly sources: ReadonlyMap<string, string>;
}

const QUERY = "?explored=";
const copies: Map<string, HookData> = new Map();

/** @public Called by Node, as the next two are. */
export const initialize: InitializeHook<HookData> = (data) => {
  copies.set(data.name, data);
};

/** @public */
export const resolve: ResolveHook = async (specifier, context, nextResolve) => {
  const resolved = await nextResolve(specifier, context);
  const name = nameIn(specifier) ?? nameIn(context.parentURL ?? "");
  const copy = copies.get(name ?? "");
  const path = resolved.url.split("?")[0] as string;
  if (copy === undefined || !path.startsWith(copy.root) || path.startsWith(`${copy.root}units/`)) return resolved;
  const isMemory = path === `${copy.root}shared/memory.js`;
  return { ...resolved, url: isMemory ? copy.memory : path + QUERY + name };
};

/** @public */
export const load: LoadHook = async (url, context, nextLoad) => {
  const source = copies.get(nameIn(url) ?? "")?.sources.get(url.split("?")[0] as string);
  return source === undefined ? nextLoad(url, context) : { format: "module", source, shortCircuit: true };
};

function nameIn(url: string): string | undefined {
  const at = url.lastIndexOf(QUERY);
  return at < 0 ? undefined : url.slice(at + QUERY.length);
}
