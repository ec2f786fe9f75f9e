/**
 * When no pool has space: this thread returns what it holds to the pools, and asks the others to return theirs.
 *
 * Pairing: the asking thread raises a flag in each holder's area, then sleeps on a counter. A holder reads its flag by a relaxed read at
 * every operation (seen one operation later, it is answered one operation later), lowers it, returns what it holds, and adds
 * to the counter, which wakes the asking thread. It lowers the flag first, so that a thread that asks meanwhile asks again. A dead
 * thread does not answer: its ranges wait for a reclaim. A thread that dies before it has added leaves no trace but a wait of 1 ms.
 */

import type { Crew } from "../crew/crew.ts";
import { count as tally } from "../shared/counters.ts";
import { add, load, mayWait, milliseconds, notify, store, waitWhile } from "../shared/memory.ts";
import type { Holdings } from "./holdings.ts";
import { heldBy } from "./inspect/statistics.ts";
import { areaOf, HEADER, type Layout, THREAD } from "./layout.ts";
import type { View } from "./view.ts";

/** How long a thread that found no space waits for the others to return what they hold. */
const DRAIN_WAIT_MS = 1;

export class CallIn {
  readonly #view: View;
  readonly #layout: Layout;
  readonly #holdings: Holdings;
  readonly #crew: Crew;
  readonly #structure: number;

  /** `structure`: the table's number in the crew. */
  constructor(view: View, layout: Layout, holdings: Holdings, crew: Crew, structure: number) {
    this.#view = view;
    this.#layout = layout;
    this.#holdings = holdings;
    this.#crew = crew;
    this.#structure = structure;
  }

  /** Returns held ranges to the pools: this thread's, and those of the others that answer in time. False: no thread held any. */
  callIn(): boolean {
    const { words, threadAt } = this.#view;
    const own = this.#holdings.entries > 0 || this.#holdings.quarantinedEntries > 0;
    if (own) this.#holdings.returnAll();
    if (!this.#askOthers()) return own;
    tally(words, threadAt + THREAD.drains, 1);
    const began = milliseconds();
    for (let passed = 0; passed < DRAIN_WAIT_MS; passed = milliseconds() - began) {
      const drained = load(words, HEADER.drained);
      if (!this.#askOthers()) break;
      if (mayWait()) waitWhile(words, HEADER.drained, drained, DRAIN_WAIT_MS - passed);
    }
    return true;
  }

  /** Another thread has found no space: returns what this thread holds. */
  answer(): void {
    const { words, threadAt } = this.#view;
    store(words, threadAt + THREAD.drainAsked, 0);
    this.#holdings.returnAll();
    add(words, HEADER.drained, 1);
    notify(words, HEADER.drained, Number.POSITIVE_INFINITY);
  }

  /** Asks every other living thread that holds ranges. False: no thread holds any. */
  #askOthers(): boolean {
    const { threadsAt, threads } = this.#layout;
    const { words, thread: own } = this.#view;
    let asked = false;
    for (let thread = 0; thread < threads; thread++) {
      const at = areaOf(threadsAt, thread);
      if (thread === own || heldBy(words, at) === 0 || !this.#crew.isIn(thread, this.#structure)) continue;
      store(words, at + THREAD.drainAsked, 1);
      asked = true;
    }
    return asked;
  }
}
