/**
 * `iova/explain` is for tools that read kernel logs and traces: it explains DMA faults and other problems of an IOMMU. It is the analysis
 * behind the command `iova explain`. Texts or streams of bytes go in, an Explanation comes out. It opens no file and prints nothing, so it
 * also runs in a page. docs/explain.md describes the findings.
 *
 * ```ts
 * import { explainTexts } from "iova/explain";
 *
 * const text = "[   93.1] pci 0000:02:00.0: swiotlb buffer is full (sz: 262144 bytes), total 32768 (slots), used 12 (slots)\n";
 * for (const { kind, verdict, certainty } of explainTexts([{ file: "dmesg", text }]).findings) console.log(kind, verdict, certainty);
 * ```
 * ```text output
 * bounce-refused fragmented strong
 * ```
 *
 * @module
 */
export {
  type Access,
  type Candidate,
  type Certainty,
  type Clock,
  type Exclusion,
  type Explanation,
  type Finding,
  type Host,
  type Input,
  type Kind,
  type LineRef,
  type Loss,
  type MappingLife,
  type ReportedReason,
  type Statement,
  UNDECIDED,
  type UnreadLines,
  VERDICTS,
  VERSION,
} from "./explain/contract.ts";
export { Explainer, type InputReader } from "./explain/explainer.ts";
export { explainTexts, type InputText } from "./explain/texts.ts";
export { headlineOf, meaningOf } from "./explain/words.ts";
