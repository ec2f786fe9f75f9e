/**
 * The context that one thread gives to all entries that it sets between two calls of `publish`, so that a scatterlist is flushed by one write.
 *
 * From the second call on, more entries are held in advance than are set, so that a list of hundreds does not meet the other
 * threads at the shared count for each of its elements; what was not used is released with the context. A thread that dies in between
 * leaves a count that is too high: `recount` lowers it. Where a recount met this living thread, it holds less than it believes: the
 * context is then shared for a while, which costs needless flushes.
 */
import { NO_CONTEXT, type StreamingContexts } from "./contexts.ts";

/** Entries held in advance. */
const IN_ADVANCE = 256;
/** None has been asked for since the last `publish`; NO_CONTEXT says that there was none. */
const NOT_OPEN = -1;

/** One per thread. */
export class OpenContext {
  readonly #contexts: StreamingContexts;
  #context = NOT_OPEN;
  /** Held, and carried by no entry yet. */
  #spare = 0;

  constructor(contexts: StreamingContexts) {
    this.#contexts = contexts;
  }

  /** The context for so many entries, which are to be written next; NO_CONTEXT when all are taken. */
  hold(entries: number): number {
    if (this.#spare >= entries) this.#spare -= entries;
    else if (this.#context !== NO_CONTEXT) this.#holdMore(entries);
    return this.#context;
  }

  /** These entries, the last that were held, were not written: nobody else can know them. Leaves the context. */
  undo(entries: number): void {
    if (this.#context !== NO_CONTEXT) this.#spare += entries;
    this.leave();
  }

  /** What is set from now on gets another context. */
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
    // Nobody has it any more: a recount took it away.
    this.#spare = 0;
    this.#context = this.#contexts.take(entries);
  }
}
