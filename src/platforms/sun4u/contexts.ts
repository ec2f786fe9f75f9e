/**
 * The contexts of a streaming cache: 12 bits in an entry, by which one write flushes all lines of a mapping. Threads share them: a bitmap
 * of the taken contexts, and for each the number of entries that carry it.
 *
 * Two mappings may share a context: the flush reads contexts from the entries themselves, so sharing costs redundant flushes but never
 * omits one. So a count may be wrong for a while. A context is counted before its first entry is written, and released after its last entry
 * is cleared.
 *
 * A thread that dies in between leaves a context taken, or its count too high. `recount` lowers counts to the number of entries in the
 * table and frees contexts that no entry carries. Until then the context can't be taken; a mapping without a context is flushed page by
 * page. A recount may also lower the count of a live thread that is about to write its entries: the context is then shared for a while, and
 * a release that finds the count gone frees the context again. Once nothing runs and dead threads are recovered, no context is taken. The
 * explorer's tests show that for a death at any access, of the recovery too.
 */
import {
  compareExchange,
  createShared,
  load,
  type SharedBuffer,
  type SharedWords,
  store,
  wordsOf,
} from "../../shared/memory.ts";

/** Number of contexts, of 12 bits. Context 0 means no context. */
export const CONTEXTS = 4096;
const BITMAP_WORDS: number = CONTEXTS / 32;
/** Never taken: entries with it are flushed page by page. */
export const NO_CONTEXT = 0;

/** One thread's view. */
export class StreamingContexts {
  readonly buffer: SharedBuffer;
  readonly #words: SharedWords;
  /** Word of the bitmap at which the next search begins. */
  #hint = 0;

  constructor(buffer: SharedBuffer) {
    this.buffer = buffer;
    this.#words = wordsOf(buffer);
  }

  /** Makes the shared state, with all contexts free. */
  static create(): StreamingContexts {
    const buffer = createShared((BITMAP_WORDS + CONTEXTS) * 4);
    // NO_CONTEXT counts as taken.
    store(wordsOf(buffer), 0, 1);
    return new StreamingContexts(buffer);
  }

  /** Takes a context for `entries` entries that the caller writes next. Returns NO_CONTEXT if all are taken. */
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

  /** Counts more entries of a taken context, before they are written. False: the context is no longer taken. */
  hold(context: number, entries: number): boolean {
    const at = BITMAP_WORDS + context;
    for (;;) {
      const held = load(this.#words, at);
      if (held === 0) return false;
      if (compareExchange(this.#words, at, held, held + entries) === held) return true;
    }
  }

  /**
   * Uncounts entries after they were cleared. The last release frees the context. A release that finds the count gone frees it too: the
   * recount that lowered it may have died before freeing the context.
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

  /** Number of taken contexts. Exact while no other thread runs. */
  get taken(): number {
    return this.#takenNow().length;
  }

  /**
   * Frees contexts that dead threads have taken and no entry carries. `carried` counts the entries of each context; it is called after the
   * current counts were read. If this thread dies here, the next recount completes the work.
   */
  recount(carried: () => Uint32Array): void {
    const taken = this.#takenNow();
    const before = taken.map((context) => load(this.#words, BITMAP_WORDS + context));
    const found = carried();
    for (const [i, context] of taken.entries()) {
      const held = before[i] as number;
      const wanted = found[context] as number;
      // Another thread has changed it meanwhile: that one is alive, or the next recount corrects it.
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
