/** Losses of the answer: messages and events that the input does not hold, and messages for which the analysis had no room. */
import type { LineRef, LossFact } from "../log/facts.ts";
import type { Loss } from "./contract.ts";

/** Lines kept of each kind of loss. */
const MOST_LINES = 8;

const EFFECTS: Readonly<Record<Loss["what"], string>> = {
  faults:
    "More accesses were refused than are counted, perhaps of other devices, and the first one printed may not be the first.",
  messages: "Counts are too low, and the cause of a finding may have been among them.",
  events: "Mappings may be missing, so nothing is concluded from the absence of one.",
};

/** The effect of a loss in the log on one finding. */
export const LOST_OF_FINDING =
  "Faults or messages were lost: there may have been more than are counted, and the first one printed may not be the first.";

/** A sum of losses of one kind. */
interface Sum {
  count: number;
  readonly proof: LineRef[];
}

export class Losses {
  readonly #sums = new Map<Loss["what"], Sum>();

  add({ what, count = 0, lines }: LossFact): void {
    let sum = this.#sums.get(what);
    if (sum === undefined) {
      sum = { count: 0, proof: [] };
      this.#sums.set(what, sum);
    }
    sum.count += count;
    for (const line of lines) if (sum.proof.length < MOST_LINES) sum.proof.push(line);
  }

  /** Lines that say that something was lost of what a log holds; empty: nothing was. */
  get ofLog(): LineRef[] {
    return [...(this.#sums.get("faults")?.proof ?? []), ...(this.#sums.get("messages")?.proof ?? [])];
  }

  /** @param unexplained - messages of more findings than are kept */
  all(unexplained: { readonly count: number; readonly proof: readonly LineRef[] }): Loss[] {
    const losses = (["faults", "messages", "events"] as const).flatMap((what): Loss[] => {
      const sum = this.#sums.get(what);
      if (sum === undefined) return [];
      return [{ what, ...(sum.count === 0 ? {} : { count: sum.count }), proof: sum.proof, effect: EFFECTS[what] }];
    });
    if (unexplained.count === 0) return losses;
    const effect =
      "They were read and are not explained: the input leads to more findings than are kept. Explain a part of it, or one device at a time.";
    return [...losses, { what: "messages", ...unexplained, effect }];
  }
}
