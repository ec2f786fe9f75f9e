/**
 * Knows a message again that the input holds more than once: quoted in a mail, pasted twice, wrapped in another way. The latest messages are
 * remembered as numbers in typed arrays, so that a flood of messages leaves nothing for the garbage collector.
 */
import type { Clock, Fact } from "./facts.ts";

/** At least this many of the latest messages are remembered, at most twice as many. */
const REMEMBERED = 8192;
/** A power of two; half full at most. */
const SLOTS = 2 * REMEMBERED;
const FNV_PRIME = 0x01000193;
/** Two hashes of 32 bits, so that different messages are not taken for one. */
const FIRST_BASIS = 0x811c9dc5 | 0;
const SECOND_BASIS = 0x2545f491 | 0;
const BLANK = 32;

/** Properties of a fact that copies of it do not share. */
const OF_PLACE: ReadonlySet<string> = new Set(["lines", "text", "time", "clock"]);

/** Where a message was read: what tells a copy of it from a second one. */
export interface Origin {
  /** Quote marks before its first line. */
  readonly depth: number;
  /** Number of the run of lines: lines without a gap, of one time and depth. */
  readonly run: number;
  /** Number of times that the wall clock has gone back: a log that is pasted again begins again. */
  readonly pass: number;
}

export class Copies {
  #latest = new Generation();
  #before = new Generation();
  readonly #hash = new Hash();

  /** True if the message is a copy of an earlier one. Any other message is remembered. */
  isCopy(fact: Fact, origin: Origin): boolean {
    const hash = this.#hash;
    hash.ofFact(fact);
    const known = this.#latest.has(hash) ? this.#latest : this.#before.has(hash) ? this.#before : undefined;
    if (known?.isCopy(hash, fact.clock, origin) === true) return true;
    if (this.#latest.size === REMEMBERED) [this.#before, this.#latest] = [this.#latest, this.#before.emptied()];
    this.#latest.set(hash, origin);
    return false;
  }
}

/** A hash table with open addressing: two hashes → where the message was last seen. */
class Generation {
  size = 0;
  readonly #isUsed = new Uint8Array(SLOTS);
  readonly #first = new Int32Array(SLOTS);
  readonly #second = new Int32Array(SLOTS);
  readonly #depths = new Int32Array(SLOTS);
  readonly #runs = new Float64Array(SLOTS);
  readonly #passes = new Float64Array(SLOTS);

  has(hash: Hash): boolean {
    return this.#isUsed[this.#slotOf(hash)] === 1;
  }

  /**
   * True if a message with the same hashes is the same one, quoted or pasted again: always at another depth of quotes. The time since boot is
   * so exact that only lines of one run can have the same by chance. A wall clock often counts whole seconds: there, a copy is recognised by a
   * time that has gone back.
   */
  isCopy(hash: Hash, clock: Clock | undefined, { depth, run, pass }: Origin): boolean {
    const slot = this.#slotOf(hash);
    if (this.#depths[slot] !== depth) return true;
    if (clock === "uptime") return this.#runs[slot] !== run;
    return clock === "wall" && this.#passes[slot] !== pass;
  }

  set(hash: Hash, { depth, run, pass }: Origin): void {
    const slot = this.#slotOf(hash);
    if (this.#isUsed[slot] === 0) this.size++;
    this.#isUsed[slot] = 1;
    this.#first[slot] = hash.first;
    this.#second[slot] = hash.second;
    this.#depths[slot] = depth;
    this.#runs[slot] = run;
    this.#passes[slot] = pass;
  }

  emptied(): this {
    this.#isUsed.fill(0);
    this.size = 0;
    return this;
  }

  /** The slot that holds the hashes, or the free one where they belong. */
  #slotOf({ first, second }: Hash): number {
    let slot = first & (SLOTS - 1);
    while (this.#isUsed[slot] === 1 && (this.#first[slot] !== first || this.#second[slot] !== second)) {
      slot = (slot + 1) & (SLOTS - 1);
    }
    return slot;
  }
}

/** FNV-1a by 16-bit words, twice. */
class Hash {
  first = 0;
  second = 0;
  readonly #double = new Float64Array(1);
  readonly #words = new Int32Array(this.#double.buffer);

  /** Equal for copies of one message, however each of them was wrapped. */
  ofFact(fact: Fact): void {
    this.first = FIRST_BASIS;
    this.second = SECOND_BASIS;
    this.#text(fact.shape);
    this.#text(fact.clock);
    this.#number(fact.time ?? -1);
    if (fact.kind !== "fault" || fact.iova === undefined) {
      this.#properties(fact);
      return;
    }
    this.#bigint(fact.iova);
    this.#text(fact.device);
    this.#text(fact.iommu);
    this.#bigint(fact.streamId);
    this.#text(fact.access);
    this.#text(fact.reason?.code);
  }

  /** The statement of a fact, without its place. The text of a reason is left out: it ends where the line was broken. */
  #properties(values: object): void {
    for (const name in values) {
      const value = (values as Readonly<Record<string, unknown>>)[name];
      if (OF_PLACE.has(name) || value === undefined) continue;
      this.#text(name);
      if (typeof value === "bigint") this.#bigint(value);
      else if (typeof value === "object" && value !== null) this.#properties(value);
      else if (typeof value === "number") this.#number(value);
      else this.#text(String(value));
    }
  }

  #word(word: number): void {
    this.first = Math.imul(this.first ^ word, FNV_PRIME);
    this.second = Math.imul(this.second ^ word ^ (this.second >>> 15), FNV_PRIME);
  }

  /** A text without its blanks, which differ where it was wrapped. */
  #text(text: string | undefined): void {
    for (let at = 0; at < (text?.length ?? 0); at++) {
      const code = (text as string).charCodeAt(at);
      if (code > BLANK) this.#word(code);
    }
    this.#word(-1);
  }

  #number(value: number): void {
    this.#double[0] = value;
    this.#word(this.#words[0] as number);
    this.#word(this.#words[1] as number);
  }

  #bigint(value: bigint | undefined): void {
    this.#number(value === undefined ? -1 : Number(value >> 32n));
    this.#number(value === undefined ? -1 : Number(BigInt.asUintN(32, value)));
  }
}
