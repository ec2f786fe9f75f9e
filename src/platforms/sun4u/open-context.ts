/**
 * The context of all entries that one thread sets between two calls of `publish`. So a scatterlist is flushed by one write.
 *
 * From the second `set` on, entries are counted in advance, so that a long list does not access the shared count for each element. Unused
 * ones are released with the context. A thread that dies in between leaves a count that is too high, which `recount` lowers. If a recount
 * runs while this thread lives, the count may become too low: the context is then shared for a while, which costs redundant flushes.
 */
import { NO_CONTEXT, type StreamingContexts } from "./contexts.ts";

/** Entries counted in advance. */
const IN_ADVANCE = 256;
/** No context was requested since the last `publish`. (NO_CONTEXT: one was requested, but all were taken.) */
const NOT_OPEN = -1;

/** One object per thread. */
export class OpenContext {
  readonly #contexts: StreamingContexts;
  #context = NOT_OPEN;
  /** Entries counted in advance and not written yet. */
  #spare = 0;

  constructor(contexts: StreamingContexts) {
    this.#contexts = contexts;
  }

  /** The context for `entries` entries that the caller writes next; NO_CONTEXT if all are taken. */
  hold(entries: number): number {
    if (this.#spare >= entries) this.#spare -= entries;
    else if (this.#context !== NO_CONTEXT) this.#holdMore(entries);
    return this.#context;
  }

  /** Undoes the last `hold`: its entries were not written. Leaves the context. */
  undo(entries: number): void {
    if (this.#context !== NO_CONTEXT) this.#spare += entries;
    this.leave();
  }

  /** Ends the use of this context: entries that are set later get another one. */
  leave(): void {
    if (this.#spare > 0) this.#contexts.release(this.#context, this.#spare);
    this.#spare = 0;
    this.#context = NOT_OPEN;
  }

  #holdMore(entries: number): void {
    if (this.#context !== NOT_OPEN && this.#contexts.hold(this.#context, entries + IN_ADVANCE)) {
      this.#spare += IN_ADVANCE;
      return;
    }
    // A recount has freed the context.
    this.#spare = 0;
    this.#context = this.#contexts.take(entries);
  }
}
