/**
 * Conclusions of rules → one verdict. A certain conclusion decides; else a single strong one leads, with its rivals named; else the
 * finding is undecided and its candidates are ranked.
 */
import { type Candidate, type Certainty, type Exclusion, type Kind, type Statement, UNDECIDED } from "./contract.ts";
import { PRIORS } from "./findings/priors.ts";
import type { Conclusion, Weight } from "./rules/rule.ts";

export interface Decision {
  readonly verdict: string;
  readonly certainty: Certainty;
  readonly follows: readonly Statement[];
  readonly candidates: readonly Candidate[];
  readonly excluded: readonly Exclusion[];
  readonly consequenceOf?: Statement;
}

interface Ranked {
  readonly verdict: string;
  weight: Weight;
  readonly because: Statement[];
}

const ORDER: readonly Weight[] = ["certain", "strong", "hint"];

export function decide(kind: Kind, all: readonly Conclusion[]): Decision {
  const conclusions = withProofs(all);
  const excluded = exclusions(conclusions);
  const open = ranked(kind, conclusions).filter(({ verdict }) => !excluded.some((other) => other.verdict === verdict));
  const follows = distinct(conclusions.flatMap((one) => (one.says === "follows" ? [one.because] : [])));
  const consequence = conclusions.find((one) => one.says === "consequence")?.because;
  const certain = mostSpecific(open.filter(({ weight }) => weight === "certain"));
  const strong = open.filter(({ weight }) => weight === "strong");
  const rest = { follows, excluded, ...(consequence === undefined ? {} : { consequenceOf: consequence }) };
  const [only] = certain;
  if (only !== undefined && certain.length === 1) {
    return {
      verdict: only.verdict,
      certainty: "certain",
      candidates: [],
      ...rest,
      follows: distinct([...follows, ...only.because]),
    };
  }
  const candidates = open.map(({ verdict, weight, because }): Candidate => {
    return { verdict, weight: weight === "hint" ? "hint" : "strong", because };
  });
  const [leader] = strong;
  const leads = leader !== undefined && certain.length === 0 && strong.length === 1 && candidates.length > 1;
  return { verdict: leads ? leader.verdict : UNDECIDED, certainty: leads ? "strong" : UNDECIDED, candidates, ...rest };
}

/**
 * A recording's proofs outweigh a line's hints: hints and leads of the log step back behind them. What follows from a line for certain stays,
 * except that there is no entry: each thing that a recording can show of an address without one is a finer word for it.
 */
function withProofs(conclusions: readonly Conclusion[]): readonly Conclusion[] {
  const proved = new Set<string>();
  for (const one of conclusions) {
    if (one.says === "candidate" && one.from === "trace" && one.weight !== "hint") proved.add(one.verdict);
  }
  if (proved.size === 0) return conclusions;
  const heard = conclusions.filter(
    (one) => one.says !== "excluded" || one.from === "trace" || !proved.has(one.verdict),
  );
  return heard.map((one) => {
    if (one.says !== "candidate" || one.from === "trace" || proved.has(one.verdict)) return one;
    return one.weight === "certain" && one.verdict !== "not-mapped" ? one : { ...one, weight: "hint" };
  });
}

/** That an address is not mapped says less than each of the other verdicts. */
function mostSpecific(certain: readonly Ranked[]): readonly Ranked[] {
  return certain.length > 1 ? certain.filter(({ verdict }) => verdict !== "not-mapped") : certain;
}

/** Candidates, best first; those of the kind's priors that no rule names come last. */
function ranked(kind: Kind, conclusions: readonly Conclusion[]): Ranked[] {
  const byVerdict = new Map<string, Ranked>();
  const candidates = conclusions.filter((one) => one.says === "candidate");
  for (const one of candidates) if (one.isRare !== true) rank(byVerdict, one);
  for (const verdict of PRIORS[kind])
    if (!byVerdict.has(verdict)) byVerdict.set(verdict, { verdict, weight: "hint", because: [] });
  for (const one of candidates) if (one.isRare === true) rank(byVerdict, one);
  return [...byVerdict.values()].sort((a, b) => ORDER.indexOf(a.weight) - ORDER.indexOf(b.weight));
}

function rank(byVerdict: Map<string, Ranked>, one: Extract<Conclusion, { says: "candidate" }>): void {
  const known = byVerdict.get(one.verdict);
  if (known === undefined) {
    byVerdict.set(one.verdict, { verdict: one.verdict, weight: one.weight, because: [one.because] });
    return;
  }
  // Two rules may say the same of the same lines.
  if (known.because.every(({ text }) => text !== one.because.text)) known.because.push(one.because);
  if (ORDER.indexOf(one.weight) < ORDER.indexOf(known.weight)) known.weight = one.weight;
}

function distinct(statements: readonly Statement[]): Statement[] {
  return [...new Map(statements.map((one) => [one.text, one])).values()];
}

function exclusions(conclusions: readonly Conclusion[]): Exclusion[] {
  const byVerdict = new Map<string, Statement[]>();
  for (const one of conclusions) {
    if (one.says !== "excluded") continue;
    byVerdict.set(one.verdict, [...(byVerdict.get(one.verdict) ?? []), one.because]);
  }
  return [...byVerdict].map(([verdict, because]) => ({ verdict, because }));
}
