/**
 * The contract of a rule: one step from what lines say to what follows. Rules stand apart from the reading of lines, and each knows how safe it
 * is. `docs/explain.md` lists them; the page is made from these objects.
 */
import type { Fact } from "../../log/facts.ts";
import type { Kind, Statement } from "../contract.ts";
import type { Evidence } from "../evidence.ts";
import type { Group } from "../groups.ts";
import { statement } from "../statement.ts";

/** Strength of a conclusion: `certain` follows from the lines, `strong` leads and has rivals, `hint` only orders the list. */
export type Weight = "certain" | "strong" | "hint";

export type Conclusion =
  | { readonly says: "follows"; readonly because: Statement }
  | {
      readonly says: "candidate";
      readonly verdict: string;
      readonly weight: Weight;
      readonly because: Statement;
      /** A recording shows it. */
      readonly from?: "trace";
      /** Rarer than the usual verdicts of the kind: it stands after them. */
      readonly isRare?: true;
    }
  | { readonly says: "excluded"; readonly verdict: string; readonly because: Statement; readonly from?: "trace" }
  /** An earlier event of the same device is the cause. */
  | { readonly says: "consequence"; readonly because: Statement };

export interface Rule {
  /** Unique, and a name that people can talk about: `null-address`. */
  readonly name: string;
  /** One sentence. */
  readonly title: string;
  readonly kinds: readonly Kind[];
  /** Required contents of the input. */
  readonly needs: string;
  readonly concludes: string;
  /** Strength of the conclusion. */
  readonly safety: Weight;
  /** Evidence that would refute the conclusion. */
  readonly excludedBy: string;
  /** Lines of a log to which the rule applies; a test runs it on them. */
  readonly example: string;
  apply(group: Group, evidence: Evidence): readonly Conclusion[];
}

/** Something with lines: a fact. */
type Proof = { readonly lines: Fact["lines"] };

export function follows(text: string, ...proof: readonly Proof[]): Conclusion {
  return { says: "follows", because: statement(text, ...proof) };
}

export function candidate(verdict: string, weight: Weight, text: string, ...proof: readonly Proof[]): Conclusion {
  return { says: "candidate", verdict, weight, because: statement(text, ...proof) };
}

/** A hint at something that is rarer than the usual verdicts of the kind. */
export function rareCandidate(verdict: string, text: string, ...proof: readonly Proof[]): Conclusion {
  return { says: "candidate", verdict, weight: "hint", because: statement(text, ...proof), isRare: true };
}

export function excluded(verdict: string, text: string, ...proof: readonly Proof[]): Conclusion {
  return { says: "excluded", verdict, because: statement(text, ...proof) };
}

export function consequence(text: string, ...proof: readonly Proof[]): Conclusion {
  return { says: "consequence", because: statement(text, ...proof) };
}
