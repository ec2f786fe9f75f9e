/**
 * Errors that are thrown: misuse, bad input, broken invariants. Each names the thing, what was found and what was expected. Failures of a
 * running system are returned as `Failure` values instead (failure.ts).
 */

/** Base class of all errors that this package throws. `code` is stable, `message` is for people. */
export class IovaError extends Error {
  /** Name of the class. */
  override readonly name: string = "IovaError";
  /** Stable name of the error: "view-closed", "no-thread-slot". The documentation of each call names its codes. */
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** An argument or option outside its range. The message shows the value with its type: 10, 10n, "10", an array. Its code is "invalid-argument". */
export class InvalidArgumentError extends IovaError {
  /** Name of the class. */
  override readonly name = "InvalidArgumentError";
  /** `found`: the value, or a description of it (`inWords`). */
  constructor(what: string, found: unknown, expected: string) {
    super(
      "invalid-argument",
      `${what} is ${found instanceof InWords ? found.text : shown(found)}; expected ${expected}`,
    );
  }
}

class InWords {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** A description as `found`, which messages show without quotation marks. */
export function inWords(text: string): unknown {
  return new InWords(text);
}

/** A value as text that shows its type: 10, 10n, "10", undefined, an array, a Uint8Array. */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null) return String(value);
  const name = Array.isArray(value) ? "array" : (value.constructor?.name ?? "Object");
  return name === "Object" || name === "" ? "an object" : `${/^[AEIO]/i.test(name) ? "an" : "a"} ${name}`;
}

/** A handle, snapshot or file that is foreign, truncated, or of another version. Its code is "format". */
export class FormatError extends IovaError {
  /** Name of the class. */
  override readonly name = "FormatError";
  constructor(message: string) {
    super("format", message);
  }
}

/**
 * Kinds of wrong frees and syncs: an entry outside of the table; no live range; another length; the range of another thread, which this thread
 * may not free.
 */
export type FreeMisuse = "out-of-range" | "not-allocated" | "wrong-length" | "wrong-owner";

/** A wrong free, unmap or commit. Nothing has been changed. `code` is the FreeMisuse. */
export class FreeError extends IovaError {
  /** Name of the class. */
  override readonly name = "FreeError";
  constructor(misuse: FreeMisuse, message: string) {
    super(misuse, message);
  }
}

/** A wrong `sync…` call. Nothing has been copied. `code` is the FreeMisuse. */
export class SyncError extends IovaError {
  /** Name of the class. */
  override readonly name = "SyncError";
  constructor(misuse: FreeMisuse, message: string) {
    super(misuse, message);
  }
}

/**
 * A broken invariant: a bug in this package, or memory that other code has overwritten. Its code is "invariant". No code of this package
 * catches it.
 */
export class InvariantError extends IovaError {
  /** Name of the class. */
  override readonly name = "InvariantError";
  constructor(message: string) {
    super("invariant", message);
  }
}

/** A hint for errors about a handle, if a view was posted instead; else "". */
export function postHint(found: unknown): string {
  const isView = typeof found === "object" && found !== null && ("handle" in found || "allocator" in found);
  return isView ? ". It is a view: post its `.handle`" : "";
}

/** Throws unless the entry and the count are numbers. Which numbers they may be, the caller checks. */
export function checkNumbers(first: number, count: number): void {
  if (typeof first !== "number") throw new InvalidArgumentError("first entry", first, "an integer");
  if (typeof count !== "number") throw new InvalidArgumentError("count", count, "an integer");
}

/** Throws unless `value` is an object of this class. `expected`: "a PinnedMemory". */
export function checkInstance(
  what: string,
  value: unknown,
  type: { readonly [Symbol.hasInstance]: (value: unknown) => boolean },
  expected: string,
): void {
  if (!type[Symbol.hasInstance](value)) throw new InvalidArgumentError(what, value, expected);
}

/** Throws unless `value` is an object with these functions. `expected`: "the memory of a process". */
export function checkFunctions(what: string, value: unknown, names: readonly string[], expected: string): void {
  const object = (typeof value === "object" ? value : undefined) as
    | Readonly<Record<string, unknown>>
    | null
    | undefined;
  const missing = names.find((name) => typeof object?.[name] !== "function");
  if (missing !== undefined) throw new InvalidArgumentError(what, value, `${expected}, with a function ${missing}`);
}

/** Throws unless `value` is an integer in [low, high]. */
export function checkInteger(what: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new InvalidArgumentError(what, value, `an integer from ${low} to ${high}`);
  }
}
