/**
 * Messages that differ from earlier ones in their address alone. A device that goes wild makes hundreds of thousands of these, and to compare what
 * stands round the address takes a small part of the time that a pattern takes.
 */
import { type Fact, type FaultFact, SAID_ONCE } from "./facts.ts";
import type { Match } from "./matches.ts";
import type { Found, Sink } from "./shape.ts";
import type { Place } from "./window.ts";

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}

const ENCODER = new TextEncoder();
/** Forms remembered: the latest ones that were met. */
const MOST_FORMS = 16;
/** Most digits of an address of 64 bits. */
const MOST_DIGITS = 16;

/** A message with a gap where its address stood. */
interface Form {
  readonly before: string;
  readonly after: string;
  readonly beforeBytes: Uint8Array;
  readonly afterBytes: Uint8Array;
  /** The fact that the shape read of it; lines, text, time and address are another message's. */
  readonly fact: FaultFact;
  readonly key: string | undefined;
}

/** A fact, and the key with which it is to be added. */
interface Repeated {
  readonly fact: FaultFact;
  readonly key: string | undefined;
}

export class Repeats {
  /** The form that was met last stands first. */
  readonly #forms: Form[] = [];

  /** Remembers the only message of a line; false when its shape does not allow it (`Shape.repeats`), or has done more than to add a fact. */
  learn(text: string, { shape, match }: Match, { only }: Watched): boolean {
    const printed = shape.repeats === undefined ? undefined : match.groups?.[shape.repeats];
    const fact = only?.fact;
    if (printed === undefined || fact?.kind !== "fault" || fact.time === undefined) return false;
    const digits = printed.replace(/^0x/i, "");
    const first = text.indexOf(digits);
    const end = first + digits.length;
    // The digits must stand at one place alone, and be the address as it was printed.
    if (!areHexDigits(text, first, end) || text.indexOf(digits, first + 1) >= 0 || isHexDigit(text.charCodeAt(end)))
      return false;
    if (BigInt(`0x${digits}`) !== fact.iova) return false;
    // Later lines complete the fact: the form keeps what this line states.
    const [before, after] = [text.slice(0, first), text.slice(end)];
    this.#forms.unshift({
      before,
      after,
      beforeBytes: ENCODER.encode(before),
      afterBytes: ENCODER.encode(after),
      fact: { ...fact },
      key: only?.key,
    });
    if (this.#forms.length > MOST_FORMS) this.#forms.pop();
    return true;
  }

  /**
   * The same for the message [first, end) of a log, printed this number of seconds after the boot: no string is made of it. Undefined for any other message,
   * and for those that end in their address, which may have been cut. The fact has no lines yet.
   */
  readMessage(bytes: Uint8Array, first: number, end: number, seconds: number): Repeated | undefined {
    for (const { before, after, beforeBytes, afterBytes, fact, key } of this.#forms) {
      const digitsEnd = end - afterBytes.length;
      const digitsFirst = first + beforeBytes.length;
      const count = digitsEnd - digitsFirst;
      if (count < 1 || count > MOST_DIGITS || afterBytes.length === 0 || fact.clock !== "uptime") continue;
      if (!standsAt(bytes, first, beforeBytes) || !standsAt(bytes, digitsEnd, afterBytes)) continue;
      const digits = hexDigits(bytes, digitsFirst, digitsEnd);
      if (digits === undefined || (fact.granule === 4096 && !digits.endsWith("000"))) return undefined;
      const text = before + digits + after;
      return { fact: { ...fact, lines: [], text, time: seconds, iova: BigInt(`0x${digits}`) }, key };
    }
    return undefined;
  }

  /** The fact of a message that differs from an earlier one in its address alone. */
  read({ text, lines, time, clock }: Place): Repeated | undefined {
    if (time === undefined || clock === undefined) return undefined;
    const form = this.#formOf(text);
    if (form === undefined || form.fact.clock !== clock) return undefined;
    const digits = text.slice(form.before.length, text.length - form.after.length);
    // An address that is no page has lost digits: the shape knows what to do.
    if (form.fact.granule === 4096 && !digits.endsWith("000")) return undefined;
    return { fact: { ...form.fact, lines, text, time, clock, iova: BigInt(`0x${digits}`) }, key: form.key };
  }

  #formOf(text: string): Form | undefined {
    const forms = this.#forms;
    for (let at = 0; at < forms.length; at++) {
      const form = forms[at] as Form;
      const { before, after } = form;
      if (!text.startsWith(before) || !text.endsWith(after)) continue;
      if (!areHexDigits(text, before.length, text.length - after.length)) continue;
      // The latest one is tried first.
      if (at > 0) forms.unshift(...forms.splice(at, 1));
      return form;
    }
    return undefined;
  }
}

/** Passes on what a shape says, and remembers whether that was one new fact alone. */
export class Watched implements Sink {
  readonly #sink: Sink;
  #calls = 0;
  #added: { readonly fact: Fact; readonly key: string | undefined } | undefined;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  /** The next shape's turn. */
  begin(): void {
    this.#calls = 0;
    this.#added = undefined;
  }

  /** The fact that the shape has added, when it has done nothing else. */
  get only(): { readonly fact: Fact; readonly key: string | undefined } | undefined {
    return this.#calls === 1 ? this.#added : undefined;
  }

  /** True if the shape stated nothing, or only facts without a key. Later lines continue a fact with a key at each of its repetitions. */
  get isSaidOnce(): boolean {
    if (this.#calls === 0) return true;
    const { fact, key } = this.only ?? {};
    return fact?.kind === "host" && key === undefined && SAID_ONCE.has(fact.about);
  }

  add(fact: Fact, key?: string): void {
    this.#calls++;
    this.#added = { fact, key };
    this.#sink.add(fact, key);
  }

  open(key: string): Fact | undefined {
    this.#calls++;
    return this.#sink.open(key);
  }

  extend(fact: Fact, found: Found): void {
    this.#calls++;
    this.#sink.extend(fact, found);
  }

  note(key: string, found: Found): void {
    this.#calls++;
    this.#sink.note(key, found);
  }

  noted(key: string): Found | undefined {
    this.#calls++;
    return this.#sink.noted(key);
  }
}

function standsAt(bytes: Uint8Array, first: number, expected: Uint8Array): boolean {
  for (let at = 0; at < expected.length; at++) if (bytes[first + at] !== expected[at]) return false;
  return true;
}

/** The bytes [first, end) as text; undefined when they are no hexadecimal digits. */
function hexDigits(bytes: Uint8Array, first: number, end: number): string | undefined {
  let digits = "";
  for (let at = first; at < end; at++) {
    const code = bytes[at] as number;
    if (!isHexDigit(code)) return undefined;
    digits += String.fromCharCode(code);
  }
  return digits;
}

/** True if the characters [first, end) are the digits of one number. */
function areHexDigits(text: string, first: number, end: number): boolean {
  if (end <= first || end - first > MOST_DIGITS) return false;
  for (let at = first; at < end; at++) if (!isHexDigit(text.charCodeAt(at))) return false;
  return true;
}

function isHexDigit(code: number): boolean {
  return (code >= 48 && code <= 57) || (code >= 97 && code <= 102) || (code >= 65 && code <= 70);
}
