/** The analysis of texts that are in memory: what a page calls. */
import type { Explanation } from "./contract.ts";
import { Explainer } from "./explainer.ts";

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}

/** `file` is the name that line references have. */
export interface InputText {
  /** Name of the input, for the answer. */
  readonly file: string;
  /** Its text. */
  readonly text: string;
}

/** Explains kernel logs and traces together, such as a trace and the log of the same machine. */
export function explainTexts(inputs: readonly InputText[]): Explanation {
  return explainerOf(inputs).explain();
}

/** An explainer that has read the texts. */
export function explainerOf(inputs: readonly InputText[]): Explainer {
  const explainer = new Explainer();
  for (const { file, text } of inputs) {
    const input = explainer.input(file);
    input.write(new TextEncoder().encode(text));
    input.end();
  }
  return explainer;
}
