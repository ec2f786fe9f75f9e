/** Compares explanations of generated logs with the generator's truth. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { FaultFact } from "../log/facts.ts";
import { type GeneratedLog, type GeneratedMessage, generatedLog } from "../log/generated.model.ts";
import type { Explanation, Finding } from "./contract.ts";
import { kindOf, type Reported } from "./groups.ts";
import { explainTexts } from "./texts.ts";
import { malformed } from "./truth.model.ts";

/** Errors in the explanations of `count` logs, with the seed of each. */
function objectionsToGenerated(seed: number, count: number): string[] {
  return Array.from({ length: count }, (_, at) => seed + at).flatMap((one) => {
    const log = generatedLog(one);
    const wrong = objectionsTo(log);
    return wrong.length === 0 ? [] : [`seed ${one} (${log.how}): ${wrong.join("; ")}\n${log.text}`];
  });
}

function explained(text: string): Explanation {
  return explainTexts([{ file: "log.txt", text }]);
}

function objectionsTo({ text, plain, messages, isWhole }: GeneratedLog): string[] {
  const explanation = explained(text);
  return [
    ...malformed(explanation),
    ...messages.flatMap((message) => contradictions(message, explanation)),
    ...(isWhole ? differences(explained(plain), explanation) : []),
  ];
}

/** The parts of an answer that a damage must not change. */
function summaryOf({ findings, lost }: Explanation): string[] {
  return [
    ...findings.map(({ kind, verdict, certainty, device, streamId, iova, access, count }) =>
      [kind, verdict, certainty, device, streamId, iova, access, `${count} times`].filter(Boolean).join(" "),
    ),
    ...lost.map(({ what, count }) => `${count ?? "some"} ${what} lost`),
  ];
}

function differences(undamaged: Explanation, damaged: Explanation): string[] {
  const left = summaryOf(damaged);
  const missing = summaryOf(undamaged).filter((one) => {
    const at = left.indexOf(one);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  return [...missing.map((one) => `misses ${one}`), ...left.map((one) => `says ${one}`)];
}

/** Verdicts that contradict what a fault's own message says of its cause. */
const NEVER: Readonly<Partial<Record<FaultFact["cause"], readonly string[]>>> = {
  absent: ["permission"],
  permission: ["not-mapped"],
};
/** Causes that only a trace or a dump of the tables can show, for a message that leaves the cause open. */
const OPEN_CAUSES: ReadonlySet<FaultFact["cause"]> = new Set(["absent-or-permission", "unknown"]);

/** Messages without a finding, and findings about the message's requester that say more than the message does, or the contrary. */
function contradictions(message: GeneratedMessage, { findings }: Explanation): string[] {
  return message.facts.flatMap((fact) => {
    if (fact.kind === "host" || fact.kind === "event" || fact.kind === "loss" || fact.kind === "mapping") return [];
    const kind = kindOf(fact);
    const isAbout = (found: Finding): boolean => found.kind === kind && isOf(found, fact);
    const about = findings.filter(isAbout);
    if (about.length === 0) return message.isReadable ? [`no finding of ${message.kind}`] : [];
    // Findings can't be assigned to several messages that name nothing.
    const isNamed =
      fact.device !== undefined || fact.streamId !== undefined || ("iova" in fact && fact.iova !== undefined);
    if (fact.kind !== "fault" || (!isNamed && about.length > 1)) return [];
    const isTold = fact.cause !== "permission" || about.some(({ verdict }) => verdict === "permission");
    if (message.isReadable && !isTold) return [`does not say that ${message.kind} is a permission`];
    const isOpen = OPEN_CAUSES.has(fact.cause) && fact.dump === undefined;
    return about.flatMap(({ verdict, certainty }) => [
      ...(certainty !== "undecided" && NEVER[fact.cause]?.includes(verdict) === true
        ? [`says ${verdict} as ${certainty} of ${fact.cause}`]
        : []),
      ...(certainty === "certain" && isOpen ? [`says ${verdict} as certain of a cause that is ${fact.cause}`] : []),
    ]);
  });
}

/** By the device, else by the stream, else by the address, else by the IOMMU. */
function isOf(found: Finding, { device, streamId, ...rest }: Reported): boolean {
  if (device !== undefined) return found.device === device;
  if (streamId !== undefined) return found.streamId !== undefined && BigInt(found.streamId) === streamId;
  const { iova } = rest as { readonly iova?: bigint };
  // A message without a requester is not that of a finding with one.
  if (found.device !== undefined || found.streamId !== undefined) return false;
  if (iova === undefined) return found.iommu === rest.iommu;
  return [found.iova, ...(found.otherAddresses ?? [])].includes(`0x${iova.toString(16)}`);
}

/** The test of a run of `logs` logs. SEED and IOVA_LOGS, when they are set, say another run. */
export function testGenerated(usual: { readonly seed: number; readonly logs: number }): void {
  const { SEED, IOVA_LOGS } = process.env;
  const { seed, logs } = SEED === undefined ? usual : { seed: Number(SEED), logs: Number(IOVA_LOGS ?? usual.logs) };
  test(`${logs} generated logs are explained as they were meant, seed ${seed}`, () => {
    const wrong = objectionsToGenerated(seed, logs);
    const first = wrong.slice(0, 3).join("\n");
    assert.equal(wrong.length, 0, `${wrong.length} logs; SEED=… IOVA_LOGS=1 repeats one:\n${first}`);
  });
}
