/** The truth about a log, and how an explanation is compared with it. */
import type { Explanation, Finding } from "./contract.ts";

/** Fields that are absent are not judged. Lists: any of these. */
export interface WantedFinding {
  readonly kind: readonly string[];
  readonly verdict?: readonly string[];
  /** Accepted verdicts: one of them is the verdict, or among the first two candidates. */
  readonly leading?: readonly string[];
  readonly device?: string;
  readonly iova?: string;
  readonly access?: string;
  readonly streamId?: string;
  readonly count?: number;
  readonly consequence?: boolean;
}

export interface Truth {
  readonly findings: readonly WantedFinding[];
  /** No finding says one of these as certain or strong. */
  readonly never?: { readonly verdict: readonly string[] };
  /** True if the loss of faults or messages must be reported. */
  readonly lost?: boolean;
  /** No further finding is certain or strong. */
  readonly only?: boolean;
  /** No finding is the consequence of an earlier event. */
  readonly noConsequence?: boolean;
  /** So many lines that look like messages of an IOMMU are unread. */
  readonly unread?: number;
}

/** Errors in an explanation; empty when it is right. */
export function objections(truth: Truth, explanation: Explanation): string[] {
  const { findings, lost } = explanation;
  const server = served(truth.findings, findings);
  const wrong = truth.findings
    .filter((_, wanted) => ![...server.values()].includes(wanted))
    .map(
      (wanted) =>
        `missing ${JSON.stringify(wanted)}: ${findings.map((found) => objectionTo(wanted, found) ?? "serves another").join("; ")}`,
    );
  for (const [at, found] of findings.entries()) {
    if (!isSure(found)) continue;
    if (truth.never?.verdict.includes(found.verdict) === true)
      wrong.push(`says ${found.verdict} as ${found.certainty}`);
    if (truth.only === true && !server.has(at)) wrong.push(`also says ${found.kind} ${found.verdict}`);
  }
  const [consequence] = findings.flatMap(({ consequenceOf }) => (consequenceOf === undefined ? [] : [consequenceOf]));
  if (truth.noConsequence === true && consequence !== undefined) wrong.push(`blames: ${consequence.text}`);
  const unread = explanation.inputs.reduce((sum, input) => sum + input.unread.count, 0);
  if (truth.unread !== undefined && truth.unread !== unread) wrong.push(`${unread} lines unread`);
  if (truth.lost === true && lost.length === 0) wrong.push("reports no loss");
  if (truth.lost === false && lost.some(({ what }) => what === "faults")) wrong.push("reports a loss of faults");
  return [...wrong, ...malformed(explanation)];
}

/** Checks that every finding must pass. A command of `record` says behind a # what it decides. */
export function malformed({ findings }: Explanation): string[] {
  return findings.flatMap((found) => [
    ...(found.proof.length === 0 ? [`${found.kind} has no proof`] : []),
    ...(found.certainty === "undecided" && found.record.length === 0
      ? [`${found.kind} is undecided and records nothing`]
      : []),
    ...found.record.filter((command) => !/\S {3}# \S/.test(command)).map((command) => `${command} decides nothing`),
    ...(found.certainty === "strong" && found.candidates.length < 2
      ? [`${found.kind} is strong and names no rival`]
      : []),
  ]);
}

function isSure({ certainty }: Finding): boolean {
  return certainty === "certain" || certainty === "strong";
}

/** Index of a finding → index of the wanted one that it serves: as many as can be served at once. */
function served(wanted: readonly WantedFinding[], findings: readonly Finding[]): Map<number, number> {
  const server = new Map<number, number>();
  const serve = (want: number, tried: Set<number>): boolean =>
    findings.some((found, at) => {
      if (tried.has(at) || objectionTo(wanted[want] as WantedFinding, found) !== undefined) return false;
      tried.add(at);
      const other = server.get(at);
      if (other !== undefined && !serve(other, tried)) return false;
      server.set(at, want);
      return true;
    });
  for (const at of wanted.keys()) serve(at, new Set());
  return server;
}

function objectionTo(wanted: WantedFinding, found: Finding): string | undefined {
  if (!wanted.kind.includes(found.kind)) return `is ${found.kind}`;
  for (const field of ["device", "access", "count"] as const) {
    if (wanted[field] !== undefined && wanted[field] !== found[field]) return `${field} ${found[field]}`;
  }
  if (wanted.iova !== undefined && !isSameAddress(wanted.iova, found)) return `iova ${found.iova}`;
  if (wanted.streamId !== undefined && BigInt(wanted.streamId) !== BigInt(found.streamId ?? -1))
    return `stream ${found.streamId}`;
  if (wanted.verdict !== undefined && !wanted.verdict.includes(found.verdict)) return `verdict ${found.verdict}`;
  const named = [found.verdict, ...found.candidates.slice(0, 2).map(({ verdict }) => verdict)];
  if (wanted.leading !== undefined && !wanted.leading.some((verdict) => named.includes(verdict)))
    return `names ${named.join(", ")}`;
  return wanted.consequence === true && found.consequenceOf === undefined ? "names no earlier event" : undefined;
}

function isSameAddress(wanted: string, { iova, granule }: Finding): boolean {
  if (iova === undefined) return false;
  const [a, b] = [BigInt(wanted), BigInt(iova)];
  return a === b || (granule === 4096 && a >> 12n === b >> 12n);
}
