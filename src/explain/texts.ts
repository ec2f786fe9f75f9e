/** The analysis of texts that are in memory: what a page calls. */
import type { Explanation } from "./contract.ts";
import { Explainer } from "./explainer.ts";

/** Part of every runtime (WHATWG Encoding); the library is compiled without the types of any of them. */
declare class TextEncoder {
  encode(text: string): Uint8Array;
}

/** A text to explain: a kernel log, a trace, or a log with lines of a trace in it. */
export interface InputText {
  /** Name of the input, for references to its lines. */
  readonly file: string;
  /** The text, with lines that end in a line feed. */
  readonly text: string;
}

/**
 * Explains kernel logs and traces of one machine together. Lines about other things are skipped. A text without messages of an IOMMU gives an
 * answer without findings.
 *
 * @example
 * ```ts
 * import { explainTexts, headlineOf, meaningOf } from "iova/explain";
 *
 * const text =
 *   "[   93.1] DMAR: [DMA Write NO_PASID] Request device [02:00.0] fault addr 0xfe7f8000 [fault reason 0x05] PTE Write access is not set\n";
 * const { findings } = explainTexts([{ file: "dmesg", text }]);
 * for (const finding of findings) {
 *   console.log(headlineOf(finding));
 *   for (const { verdict, weight } of finding.candidates) console.log(weight, meaningOf(finding.kind, verdict));
 * }
 * ```
 * ```text output
 * Device 0000:02:00.0 tried to write to page 0xfe7f8000, and the IOMMU refused it.
 * hint the address was not mapped for the device (a mapping is missing, or the address is wrong)
 * hint the address had been mapped, and was unmapped before the device was done with it
 * hint the address is mapped, but not for this kind of access
 * ```
 */
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
