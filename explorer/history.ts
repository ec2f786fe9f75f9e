/**
 * The values that a relaxed read may see. A glance is unordered: it may return any value that is not overwritten by a write ordered before
 * the glance. Every write of a place is therefore kept, with its writer's clock; a value becomes invisible once a later
 * write of the place is ordered before the reader.
 */
import type { HappensBefore } from "./happens-before.ts";

interface Write {
  readonly value: number;
  readonly thread: number;
  /** The writer's clock at the write. */
  readonly clock: number;
}

export class History {
  readonly #order: HappensBefore;
  /** By unit, oldest first. The value from before the schedule is the first one's `before`. */
  readonly #writes: Map<number, { readonly before: number; readonly writes: Write[] }> = new Map();

  constructor(order: HappensBefore) {
    this.#order = order;
  }

  restart(): void {
    this.#writes.clear();
  }

  /** Records a write. `before`: the previous value. */
  add(unit: number, thread: number, before: number, value: number): void {
    let place = this.#writes.get(unit);
    if (place === undefined) {
      place = { before, writes: [] };
      this.#writes.set(unit, place);
    }
    place.writes.push({ value, thread, clock: this.#order.clockOf(thread, thread) });
  }

  /** The values that a relaxed read by `reader` may see, newest first, each once. `now`: the current value. */
  visible(unit: number, reader: number, now: number): number[] {
    const values = [now];
    const place = this.#writes.get(unit);
    if (place === undefined) return values;
    for (const { value, thread, clock } of place.writes.toReversed()) {
      if (!values.includes(value)) values.push(value);
      if (thread === reader || clock <= this.#order.clockOf(reader, thread)) return values;
    }
    if (!values.includes(place.before)) values.push(place.before);
    return values;
  }
}
