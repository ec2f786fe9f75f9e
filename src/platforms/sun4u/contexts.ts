/**
 * The contexts of a streaming cache: 12 bits that stand in an entry, so that all lines of a mapping are flushed by one write. Threads
 * share them: a bitmap of those that are taken, and how many entries carry each.
 *
 * Nothing ever depends on a context being one mapping's alone: what is to be flushed is read from the entries themselves, and a
 * context that two mappings share costs them needless flushes, never one that is missing. So counts may err, but only to be too low:
 * a taken context has its count before its first entry, and gives it up after its last.
 *
 * A thread that dies in between leaves one context taken, or its count too high: `recount` lowers counts to what stands in the table,
 * and gives back what no entry carries. Until somebody calls it that context is lost, no more: who finds none free is flushed page by
 * page. Where a recount meets a living thread in between, it takes away what that one is about to use: then the context is shared
 * for a while, and whoever finds its count gone gives it back once more. So in the end, once nothing runs and the dead have been
 * recovered, none is taken: the explorer's tests show it for a death at any access, of the recovery too.
 */
import type { SharedBuffer, SharedWords } from "../../shared/memory.ts";
import * as memory from "../../shared/memory.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { compareExchange, createShared, load, store, wordsOf } = memory;

/** Of 12 bits. Context 0 is none. */
export const CONTEXTS = 4096;
const BITMAP_WORDS: number = CONTEXTS / 32;
/** Not handed out: entries that carry it are flushed page by page. */
export const NO_CONTEXT = 0;

/** One thread's view. */
export class StreamingContexts {
  readonly buffer: SharedBuffer;
  readonly #words: SharedWords;
  /** The bitmap's word where the next search begins. */
  #hint = 0;

  constructor(buffer: SharedBuffer) {
    this.buffer = buffer;
    this.#words = wordsOf(buffer);
  }

  /** All free. */
  static create(): StreamingContexts {
    const buffer = createShared((BITMAP_WORDS + CONTEXTS) * 4);
    // NO_CONTEXT is taken for good.
    store(wordsOf(buffer), 0, 1);
    return new StreamingContexts(buffer);
  }

  /** Takes a context for `entries` entries, which are to be written next. NO_CONTEXT: all are taken. */
  take(entries: number): number {
    for (let i = 0; i < BITMAP_WORDS; i++) {
      const word = (this.#hint + i) % BITMAP_WORDS;
      for (let bits = load(this.#words, word); bits !== -1; bits = load(this.#words, word)) {
        const free = ~bits & -~bits;
        if (compareExchange(this.#words, word, bits, bits | free) !== bits) continue;
        this.#hint = word;
        const context = word * 32 + 31 - Math.clz32(free);
        store(this.#words, BITMAP_WORDS + context, entries);
        return context;
      }
    }
    return NO_CONTEXT;
  }

  /** More entries are to carry a taken context. False: nobody has it any more. */
  hold(context: number, entries: number): boolean {
    const at = BITMAP_WORDS + context;
    for (;;) {
      const held = load(this.#words, at);
      if (held === 0) return false;
      if (compareExchange(this.#words, at, held, held + entries) === held) return true;
    }
  }

  /**
   * So many entries no longer carry it. The last gives it back; so does who finds that a recount has taken the count away, since that
   * one may have died before it gave the context back.
   */
  release(context: number, entries: number): void {
    const at = BITMAP_WORDS + context;
    for (;;) {
      const held = load(this.#words, at);
      if (held > 0 && compareExchange(this.#words, at, held, Math.max(0, held - entries)) !== held) continue;
      if (held <= entries) this.#give(context);
      return;
    }
  }

  /** How many contexts are taken. Exact when nothing runs. */
  get taken(): number {
    return this.#takenNow().length;
  }

  /**
   * Gives back what dead threads have taken and no entry carries. `carried` counts, for each context, the entries that carry it: it is
   * called once the counts of now are known. Who dies in it leaves nothing that the next one does not give back.
   */
  recount(carried: () => Uint32Array): void {
    const taken = this.#takenNow();
    const before = taken.map((context) => load(this.#words, BITMAP_WORDS + context));
    const found = carried();
    for (const [i, context] of taken.entries()) {
      const held = before[i] as number;
      const wanted = found[context] as number;
      // Who has changed it meanwhile is alive, or the next recount's.
      if (held > wanted && compareExchange(this.#words, BITMAP_WORDS + context, held, wanted) !== held) continue;
      if (wanted === 0) this.#give(context);
    }
  }

  #takenNow(): number[] {
    const taken: number[] = [];
    for (let word = 0; word < BITMAP_WORDS; word++) {
      for (let bits = load(this.#words, word); bits !== 0; bits &= bits - 1) {
        const context = word * 32 + 31 - Math.clz32(bits & -bits);
        if (context !== NO_CONTEXT) taken.push(context);
      }
    }
    return taken;
  }

  #give(context: number): void {
    const word = context >>> 5;
    const bit = 1 << (context & 31);
    for (let bits = load(this.#words, word); (bits & bit) !== 0; bits = load(this.#words, word)) {
      if (compareExchange(this.#words, word, bits, bits & ~bit) === bits) return;
    }
  }
}
