/**
 * A thread's queue of lazily freed ranges that do not go into its cache: too long, or the table has none. They wait here, with
 * their stamps, for a flush that began after their entries were cleared. Only its thread touches it; in the ledger they are
 * `ending` by this thread, which is what recovery goes by.
 */
import { peek, poke, type SharedWords } from "../shared/memory.ts";
import { isFlushed } from "./flush.ts";
import { QUEUE_RANGES, THREAD } from "./layout.ts";
import type { View } from "./view.ts";

const POSITION_MASK = QUEUE_RANGES - 1;
const RANGE_WORDS = 3;

export class FlushQueue {
  readonly #words: SharedWords;
  readonly #at: number;
  readonly #headAt: number;
  readonly #tailAt: number;
  readonly #entriesAt: number;

  constructor(view: View) {
    this.#words = view.words;
    this.#at = view.threadAt + THREAD.queue;
    this.#headAt = view.threadAt + THREAD.queueHead;
    this.#tailAt = view.threadAt + THREAD.queueTail;
    this.#entriesAt = view.threadAt + THREAD.queuedEntries;
  }

  get isEmpty(): boolean {
    return peek(this.#words, this.#headAt) === peek(this.#words, this.#tailAt);
  }
  get isFull(): boolean {
    return ((peek(this.#words, this.#tailAt) - peek(this.#words, this.#headAt)) | 0) === QUEUE_RANGES;
  }
  /** Entries that wait. */
  get entries(): number {
    return peek(this.#words, this.#entriesAt);
  }

  /** There must be room. */
  push(first: number, count: number, stamp: number): void {
    const tail = peek(this.#words, this.#tailAt);
    const at = this.#at + RANGE_WORDS * (tail & POSITION_MASK);
    poke(this.#words, at, first);
    poke(this.#words, at + 1, count);
    poke(this.#words, at + 2, stamp);
    poke(this.#words, this.#tailAt, (tail + 1) | 0);
    poke(this.#words, this.#entriesAt, this.entries + count);
  }

  /** The oldest range; the queue must not be empty. */
  get first(): number {
    return peek(this.#words, this.#oldestAt());
  }
  get count(): number {
    return peek(this.#words, this.#oldestAt() + 1);
  }
  /** True if the oldest range still waits for a flush. */
  get waits(): boolean {
    return !isFlushed(this.#words, peek(this.#words, this.#oldestAt() + 2));
  }

  drop(): void {
    poke(this.#words, this.#entriesAt, this.entries - this.count);
    poke(this.#words, this.#headAt, (peek(this.#words, this.#headAt) + 1) | 0);
  }

  #oldestAt(): number {
    return this.#at + RANGE_WORDS * (peek(this.#words, this.#headAt) & POSITION_MASK);
  }
}
