/**
 * The events of devices and of the machine that an input names. Memory is bounded, so a log may hold more of them than are kept: those near
 * something that is to be explained stay, whatever follows, since a cause stands shortly before its fault.
 */
import type { EventFact } from "../log/facts.ts";

/** The latest events, kept until others come. */
const MOST_RECENT = 4096;
/** Events that stay. */
const MOST_NEAR = 4096;
/** So many before and after each thing that is to be explained. */
const NEAR = 256;

interface Numbered {
  /** Events before it. */
  readonly number: number;
  readonly event: EventFact;
}

export class Events {
  readonly #near: Numbered[] = [];
  #recent: Numbered[] = [];
  #count = 0;
  /** Further events that follow something that is to be explained. */
  #following = 0;
  #all: readonly EventFact[] | undefined;

  add(event: EventFact): void {
    const numbered = { number: this.#count++, event };
    this.#all = undefined;
    // That translation ended matters for all that comes later.
    const stays = this.#following > 0 || event.event === "translation-off";
    if (this.#following > 0) this.#following--;
    if (stays && this.#near.length < MOST_NEAR) this.#near.push(numbered);
    else this.#recent.push(numbered);
    if (this.#recent.length === 2 * MOST_RECENT) this.#recent = this.#recent.slice(MOST_RECENT);
  }

  /** Something that is to be explained stands here. */
  keepNear(): void {
    this.#following = NEAR;
    const from = this.#count - NEAR;
    for (let last = this.#recent.at(-1); last !== undefined && last.number >= from; last = this.#recent.at(-1)) {
      if (this.#near.length === MOST_NEAR) return;
      this.#near.push(last);
      this.#recent.pop();
    }
  }

  /** Those that were kept, in the order of the input. */
  get all(): readonly EventFact[] {
    this.#all ??= [...this.#near, ...this.#recent].sort((a, b) => a.number - b.number).map(({ event }) => event);
    return this.#all;
  }
}
