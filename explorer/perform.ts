/** The effect of an access of a word or halfword on the memory, without the explorer's bookkeeping. */
import * as kinds from "./accesses.ts";
import type { View } from "./storage.ts";

/** The answer of a compareExchange that has found another value. No access answers with this number. */
export const NOT_STORED: number = 2 ** 40;

/** Performs an access. Returns its result; without a result, the value stored or found. `before`: the element's value. */
export function perform(kind: number, view: View, at: number, before: number, first: number, second: number): number {
  switch (kind) {
    case kinds.STORE:
    case kinds.POKE:
    case kinds.POKE_HALF:
    case kinds.HINT:
      view.storage.write(view.array, at, first);
      return first;
    case kinds.ADD:
      view.storage.write(view.array, at, before + first);
      return before;
    case kinds.EXCHANGE:
      view.storage.write(view.array, at, first);
      return before;
    case kinds.COMPARE_EXCHANGE:
      if (before !== (first | 0)) return NOT_STORED;
      view.storage.write(view.array, at, second);
      return before;
    case kinds.COMPARE_EXCHANGE_HALF:
      if (before !== (first & 0xffff)) return NOT_STORED;
      view.storage.write(view.array, at, second);
      return before;
    default:
      return before;
  }
}
