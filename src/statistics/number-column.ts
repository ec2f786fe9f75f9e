/** Plain numbers that are gathered one by one, without an object for each. */
import { grown } from "../trace/events.ts";

export class NumberColumn {
  length = 0;
  #values = new Float64Array(256);

  push(value: number): void {
    if (this.length === this.#values.length) this.#values = grown(this.#values, this.length + (this.length >>> 1));
    this.#values[this.length++] = value;
  }

  /** A view of what was gathered. What is pushed afterwards may not show in it. */
  get values(): Float64Array {
    return this.#values.subarray(0, this.length);
  }
}
