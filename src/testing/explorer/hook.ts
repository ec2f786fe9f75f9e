/**
 * A module hook (Node's `module.register`) that makes explored copies of the library's modules: those asked for with
 * `?explored=NAME`, and what they import. In a copy, src/shared/memory.js is the explorer's, and single modules may have a source
 * of their own (planted bugs). Modules without state or accesses (units) are shared with everybody, so that `instanceof` works.
 */
import type { InitializeHook, LoadHook, ResolveHook } from "node:module";

export interface HookData {
  /** NAME: which copies this hook makes. */
  readonly name: string;
  /** URL of build/src/, with a slash at the end. */
  readonly root: string;
  /** Sources by URL, without the query. */
  readonly sources: ReadonlyMap<string, string>;
}

let data: HookData;
let query: string;

export const initialize: InitializeHook<HookData> = (given) => {
  data = given;
  query = `?explored=${given.name}`;
};

export const resolve: ResolveHook = async (specifier, context, nextResolve) => {
  const resolved = await nextResolve(specifier, context);
  const path = resolved.url.split("?")[0] as string;
  const isCopy = context.parentURL?.endsWith(query) === true || specifier.endsWith(query);
  if (!isCopy || !path.startsWith(data.root) || path.startsWith(`${data.root}units/`)) return resolved;
  if (path === `${data.root}shared/memory.js`) return { ...resolved, url: `${data.root}testing/explorer/memory.js` };
  return { ...resolved, url: path + query };
};

export const load: LoadHook = async (url, context, nextLoad) => {
  const source = url.endsWith(query) ? data.sources.get(url.slice(0, -query.length)) : undefined;
  return source === undefined ? nextLoad(url, context) : { format: "module", source, shortCircuit: true };
};
