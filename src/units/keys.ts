/**
 * Checks the keys of option objects: an unknown key is an error, not ignored. The code that uses an option checks its range.
 */
import { InvalidArgumentError } from "./errors.ts";

/** `typeof` of an option's value. "any": the code that uses the option checks all of it. */
type OptionType = "boolean" | "object" | "function" | "string" | "any";

/** The type of every option. It is a compile error if an option of the interface is missing. */
export type OptionTypes<Options> = { readonly [Key in keyof Required<Options>]: OptionType };

const EXPECTED: Readonly<Record<OptionType, string>> = {
  boolean: "true or false",
  object: "an object",
  function: "a function",
  string: "a string",
  any: "left out, or a value",
};

/** `whose`: "an allocator". Throws InvalidArgumentError unless `options` is an object with only keys of `types`, of these types. */
export function checkKeys<Options extends object>(whose: string, options: Options, types: OptionTypes<Options>): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new InvalidArgumentError(`options of ${whose}`, options, "an object");
  }
  const known: ReadonlyMap<string, unknown> = new Map(Object.entries(types));
  for (const [key, value] of Object.entries(options)) {
    const type = known.get(key) as OptionType | undefined;
    if (type === undefined)
      throw new InvalidArgumentError(`option of ${whose}`, key, expectedKey(key, [...known.keys()]));
    if (value === undefined || (value !== null && (type === "any" || typeof value === type))) continue;
    throw new InvalidArgumentError(`${key} of ${whose}`, value, EXPECTED[type]);
  }
}

function expectedKey(found: string, keys: readonly string[]): string {
  const text = found.toLowerCase();
  const near =
    keys.find((key) => isWithin(text, key.toLowerCase(), 2)) ??
    keys.find((key) => text.includes(key.toLowerCase()) || key.toLowerCase().includes(text));
  return `one of ${keys.join(", ")}${near === undefined ? "" : `; did you mean ${near}?`}`;
}

/** True if at most `edits` insertions, deletions or changes of letters convert one string to the other. */
function isWithin(a: string, b: string, edits: number): boolean {
  if (a === "" || b === "") return a.length + b.length <= edits;
  const [restOfA, restOfB] = [a.slice(1), b.slice(1)];
  if (a[0] === b[0]) return isWithin(restOfA, restOfB, edits);
  return (
    edits > 0 &&
    (isWithin(restOfA, b, edits - 1) || isWithin(a, restOfB, edits - 1) || isWithin(restOfA, restOfB, edits - 1))
  );
}
