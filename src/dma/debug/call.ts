/** One call of a device under debug: the method, and where it was called. The stack is captured only if it is needed. */
import type { DebuggedCall, Place } from "./misuse.ts";
import { type Places, type PlaceText, placeOf } from "./places.ts";

export class Call {
  readonly name: DebuggedCall;
  /** True with the attribute `noWarning`: misuse by this call is not reported. */
  readonly silent: boolean;
  readonly #places: Places;
  readonly #method: (...args: never[]) => unknown;
  #text: PlaceText | undefined;

  /** `method`: the public method that was called; the captured stack begins with its caller. */
  constructor(name: DebuggedCall, silent: boolean, places: Places, method: (...args: never[]) => unknown) {
    this.name = name;
    this.silent = silent;
    this.#places = places;
    this.#method = method;
  }

  /** Where the method was called, as text to store. Valid only while the method runs. */
  get text(): PlaceText {
    this.#text ??= this.#places.capture(this.#method);
    return this.#text;
  }

  /** Where the method was called, for a report. */
  get place(): Place {
    return placeOf(this.text);
  }
}
