/** `setPages` of ops that may lack it. */
import type { Failure } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";
import type { TableOps } from "./contract.ts";

/** Sets entry `first + i` to `pages[i]`, for `count` pages. All or nothing. */
export function setEachPage(
  ops: TableOps,
  first: number,
  pages: Float64Array,
  count: number,
  access: EntryAccess,
): Failure | undefined {
  for (let i = 0; i < count; i++) {
    const failure = ops.set(first + i, 1, pages[i] as number, access);
    if (failure !== undefined) {
      if (i > 0) ops.clear(first, i);
      return failure;
    }
  }
  return undefined;
}

/** `ops.setPages`, or calls of `set` where it is absent. */
export function setPages(
  ops: TableOps,
  first: number,
  pages: Float64Array,
  count: number,
  access: EntryAccess,
): Failure | undefined {
  return ops.setPages === undefined
    ? setEachPage(ops, first, pages, count, access)
    : ops.setPages(first, pages, count, access);
}
