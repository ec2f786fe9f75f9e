/** A group and what the rules conclude → a finding of the answer. */
import { type Finding, UNDECIDED } from "../contract.ts";
import type { Decision } from "../decide.ts";
import type { Evidence } from "../evidence.ts";
import type { Group } from "../groups.ts";
import { commandsFor } from "../record.ts";
import { hex } from "../statement.ts";

/** Writes the finding; fields that the lines do not give are absent. */
export function findingOf(group: Group, decision: Decision, evidence: Evidence): Finding {
  const { first } = group;
  const [iova, ...others] = group.addresses;
  const isFault = first.kind === "fault";
  const mapping = evidence.answerTo(first)?.mapping;
  return {
    kind: group.kind,
    verdict: decision.verdict,
    certainty: decision.certainty,
    ...requester(group),
    ...(iova === undefined ? {} : { iova: hex(iova) }),
    ...(isFault && first.access !== undefined ? { access: first.access } : {}),
    ...(isFault && iova !== undefined ? { granule: first.granule } : {}),
    ...(others.length === 0 ? {} : { otherAddresses: others.map(hex) }),
    ...("reason" in first && first.reason !== undefined ? { reason: first.reason } : {}),
    count: group.count,
    ...(group.firstTime === undefined ? {} : { firstTime: group.firstTime }),
    ...(group.lastTime === undefined ? {} : { lastTime: group.lastTime }),
    ...(group.firstTime === undefined || first.clock === undefined ? {} : { clock: first.clock }),
    follows: decision.follows,
    candidates: decision.candidates,
    excluded: decision.excluded,
    ...(decision.consequenceOf === undefined ? {} : { consequenceOf: decision.consequenceOf }),
    ...(mapping === undefined ? {} : { mapping }),
    proof: group.lines,
    record: decision.certainty === "certain" ? [] : commandsFor(group, decision, evidence),
  };
}

function requester({ facts }: Group): Partial<Finding> {
  const device = facts.find((fact) => fact.device !== undefined)?.device;
  const driver = facts.find((fact) => fact.driver !== undefined)?.driver;
  const streamId = facts.find((fact) => fact.streamId !== undefined)?.streamId;
  const iommu = facts.find((fact) => fact.iommu !== undefined)?.iommu;
  const domain = facts.find((fact) => fact.domain !== undefined)?.domain;
  const pasid = facts.find((fact) => fact.pasid !== undefined)?.pasid;
  return {
    ...(device === undefined ? {} : { device }),
    ...(driver === undefined ? {} : { driver }),
    ...(streamId === undefined ? {} : { streamId: hex(streamId) }),
    ...(iommu === undefined ? {} : { iommu }),
    ...(domain === undefined ? {} : { domain: hex(domain) }),
    ...(pasid === undefined ? {} : { pasid: hex(pasid) }),
  };
}

/** Findings in the order of their worth: what is certain and heavy first; a cause before its consequences. */
export function inOrder(findings: readonly Finding[]): Finding[] {
  const weight = ({ certainty }: Finding): number => ["certain", "strong", UNDECIDED].indexOf(certainty);
  return [...findings].sort((a, b) => weight(a) - weight(b));
}
