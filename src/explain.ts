/**
 * The entry `iova/explain`: the analysis behind `iova explain`, as a library. Texts or streams of bytes in, an explanation out; it opens no file and
 * prints nothing, so it runs in a page as well.
 *
 * ```ts
 * import { explainTexts } from "iova/explain";
 * const { findings } = explainTexts([{ file: "dmesg", text }]);
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
