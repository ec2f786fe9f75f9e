/** One call of a device under debug: which method, and where it was called from, found out when that is needed. */
import type { DebuggedCall, Place } from "./misuse.ts";
import { type Places, type PlaceText, placeOf } from "./places.ts";

export class Call {
  readonly name: DebuggedCall;
  /** Attribute `noWarning`: what is wrong about this mapping is not reported. */
  readonly silent: boolean;
  readonly #places: Places;
  readonly #method: (...args: never[]) => unknown;
  #text: PlaceText | undefined;

  /** `method`: the public one that was called; the stack begins above it. */
  constructor(name: DebuggedCall, silent: boolean, places: Places, method: (...args: never[]) => unknown) {
    this.name = name;
    this.silent = silent;
    this.#places = places;
    this.#method = method;
  }

  /** Where it was called from, to be kept. While the method runs. */
  get text(): PlaceText {
    this.#text ??= this.#places.capture(this.#method);
    return this.#text;
  }

  /** Where it was called from, to be read. */
  get place(): Place {
    return placeOf(this.text);
  }
}
