/**
 * The contract of a message shape: one way in which one piece of software prints one thing. A family is a file of shapes. To
 * add a shape, add an entry to its family and a case to the family's test.
 */
import type { Clock, Fact, LineRef } from "./facts.ts";

/** How a field is written. `decimal`, `hex` and `c` (0x: hexadecimal, else decimal) give a bigint; `text` a string. */
export type Radix = "decimal" | "hex" | "c" | "text";

export interface Field {
  readonly radix: Radix;
  /** Unit of the number, or the kind of thing that the word names: `bytes`, `IO address`, `pages`, `reason code`. */
  readonly unit: string;
}

const BLANK = /\s/;
const HEXADECIMAL = /^[0-9a-f]+$/i;
const DECIMAL = /^[0-9]+$/;

/** The fields of a match that were printed, by name. */
export class Values {
  readonly #groups: Readonly<Record<string, string | undefined>>;
  readonly #fields: Readonly<Record<string, Field>>;
  /** The number that was asked for last. */
  #latest: { readonly name: string; readonly value: bigint | undefined } | undefined;

  constructor(groups: Readonly<Record<string, string | undefined>>, fields: Readonly<Record<string, Field>>) {
    this.#groups = groups;
    this.#fields = fields;
  }

  /** The same fields, except one. */
  with(name: string, text: string): Values {
    return new Values({ ...this.#groups, [name]: text }, this.#fields);
  }

  /** The field as printed, blanks that a mail program put inside taken out; undefined when the message has none. */
  text(name: string): string | undefined {
    const text = this.#groups[name];
    return text?.includes("\n") ? text.replace(/\s*\n\s*/g, " ").trim() : text?.trim();
  }

  /** The field as a number, by its radix; undefined when the message has none, a masked one (`xx`), or one of more than 64 bits: none is printed. */
  number(name: string): bigint | undefined {
    if (this.#latest?.name !== name) this.#latest = { name, value: this.#read(name) };
    return this.#latest.value;
  }

  #read(name: string): bigint | undefined {
    const printed = this.#groups[name];
    if (printed === undefined || printed === "") return undefined;
    const digits = BLANK.test(printed) ? printed.replace(/\s/g, "") : printed;
    const radix = this.#fields[name]?.radix ?? "text";
    const isMarked = digits[0] === "0" && (digits[1] === "x" || digits[1] === "X");
    const hexadecimal = radix === "hex" || (radix === "c" && isMarked);
    const bare = isMarked ? digits.slice(2) : digits;
    if (!(hexadecimal ? HEXADECIMAL : DECIMAL).test(bare)) return undefined;
    const value = BigInt(hexadecimal ? `0x${bare}` : bare);
    return value >> 64n === 0n ? value : undefined;
  }

  /** As `number`, for what fits a double. */
  small(name: string): number | undefined {
    const value = this.number(name);
    return value === undefined ? undefined : Number(value);
  }
}

/** The place of a shape's match. */
export interface Found {
  /** The fields that every fact has, ready to be spread into one. */
  readonly base: { shape: string; lines: LineRef[]; text: string; time?: number; clock?: Clock };
}

/** Where shapes put what they read. */
export interface Sink {
  /** A new fact. With a key it stays open: later lines can complete it until another fact takes the key. */
  add(fact: Fact, key?: string): void;
  /**
   * The latest fact of that key, when its last line is at most 40 lines back and not more than two seconds earlier. A shape that changes the fact
   * must have its lines noted: call `extend`.
   */
  open(key: string): Fact | undefined;
  /** Notes that the lines of `found` belong to `fact`, too. */
  extend(fact: Fact, found: Found): void;
  /** Keeps a line that states no fact by itself, but begins one (`soft lockup`, before its stack). A later one of that key takes its place. */
  note(key: string, found: Found): void;
  /** The latest noted line of that key, when it is at most 150 lines back and not more than two seconds earlier. */
  noted(key: string): Found | undefined;
}

export interface Shape {
  /** Unique: `intel-fault`. */
  readonly name: string;
  /** A line as printed, without prefix. The family's test reads it; several lines are joined by "\n". */
  readonly example: string;
  /** Which software prints it: `Linux 5.15 on`, `QEMU`. */
  readonly kernels: string;
  /**
   * Has a named group for each field. It may match anywhere in the text of a message: several messages can stand on one line. Write `\s+` for a
   * blank, since a mail program may have wrapped there; `[^\n]*` for the rest of a line.
   */
  readonly pattern: RegExp;
  readonly fields: Readonly<Record<string, Field>>;
  /**
   * The field with the address of a fault, in hexadecimal, when the fact's `iova` is that number and nothing else of the fact depends on it. A
   * message that differs from an earlier one in this field alone is then read without the pattern.
   */
  readonly repeats?: string;
  /**
   * The field with the 16 hexadecimal digits in which a message may end, when the message is the same whatever the digits are. A line that differs
   * from an earlier one in these digits alone is then read without the pattern.
   */
  readonly word?: string;
  /** Makes facts of the fields, or completes an earlier one. */
  read(values: Values, found: Found, sink: Sink): void;
}

export interface Family {
  readonly name: string;
  /** The family in one sentence, for the documents. */
  readonly about: string;
  /** Every message of the family contains it. Tried on each line that the prefilter lets pass. */
  readonly hint: RegExp;
  readonly shapes: readonly Shape[];
}

/** The properties of `values` that are not undefined, ready to be spread into a fact: facts have no undefined properties. */
export function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const kept: { [K in keyof T]?: Exclude<T[K], undefined> } = {};
  for (const name in values)
    if (values[name] !== undefined) kept[name] = values[name] as Exclude<T[typeof name], undefined>;
  return kept;
}

/** Fields that occur in many families. */
export const HEX_ADDRESS: Field = { radix: "hex", unit: "IO address" };
export const TEXT: Field = { radix: "text", unit: "text" };
export const DEVICE: Field = { radix: "text", unit: "device" };

/** The name before the colon of a driver's message, as a pattern: `15000000.iommu:`, `/smmuv3@9050000:`, `0000:00:01.0:`. */
export const SPEAKER: string = String.raw`(?<![\w./@-])(?<iommu>(?:[0-9a-f]{4}:[0-9a-f]{2}:)?[\w./@-]{1,64}):`;
export const SPEAKER_FIELD: Field = { radix: "text", unit: "IOMMU" };
