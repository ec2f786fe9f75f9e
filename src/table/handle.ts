/**
 * Checks of handles, which arrive by message from other threads or other versions of this library. Each field that `attach` reads is
 * checked before anything is attached. A missing or wrong field would otherwise surface later as an out-of-bounds access.
 */
import { isShared } from "../shared/memory.ts";
import { FormatError, postHint, shown } from "../units/errors.ts";

/** The type of a field. A "count" is an integer from 0 on (an address, a number of entries); "?": it may be left out. */
export type HandleField = HandleKind | `${HandleKind}?`;
type HandleKind = "count" | "boolean" | "string" | "object" | "list" | "shared" | "table";

const EXPECTED: Readonly<Record<HandleKind, string>> = {
  count: "an integer from 0 on",
  boolean: "true or false",
  string: "a string",
  object: "an object",
  list: "a list",
  shared: "shared memory",
  table: "the handle of a table",
};

const IS: Readonly<Record<HandleKind, (value: unknown) => boolean>> = {
  count: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  boolean: (value) => typeof value === "boolean",
  string: (value) => typeof value === "string",
  object: isObject,
  list: Array.isArray,
  shared: isShared,
  table: (value) => isObject(value) && isWindow(value["window"]),
};

/** Throws FormatError unless this is a handle of `whose` ("a sun4v platform") with these fields. Extra fields are ignored. */
export function checkHandle(whose: string, handle: unknown, fields: Readonly<Record<string, HandleField>>): void {
  if (!isObject(handle)) throw new FormatError(`the handle is not that of ${whose}: it is ${shown(handle)}`);
  for (const [name, field] of Object.entries(fields)) {
    const value = handle[name];
    const kind = field.replace("?", "") as HandleKind;
    if (IS[kind](value) || (field.endsWith("?") && value === undefined)) continue;
    throw new FormatError(
      `the handle is not that of ${whose}: its ${name} is ${shown(value)}; expected ${EXPECTED[kind]}${postHint(handle)}`,
    );
  }
}

function isWindow(value: unknown): boolean {
  return (
    isObject(value) && typeof value["base"] === "bigint" && IS.count(value["pageShift"]) && IS.count(value["entries"])
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
