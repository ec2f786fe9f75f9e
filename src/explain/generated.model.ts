/** Holds explanations of generated logs against what the generator knows of them. */
import { type GeneratedLog, type GeneratedMessage, generatedLog } from "../log/generated.model.ts";
import type { Explanation, Finding } from "./contract.ts";
import { explainTexts } from "./texts.ts";
import { objections } from "./truth.model.ts";

/** What is wrong with the explanations of `count` logs, with the seed of each. */
export function objectionsToGenerated(seed: number, count: number): string[] {
  return Array.from({ length: count }, (_, at) => seed + at).flatMap((one) => {
    const log = generatedLog(one);
    const wrong = objectionsTo(log, explainTexts([{ file: "log.txt", text: log.text }]));
    return wrong.length === 0 ? [] : [`seed ${one} (${log.how}): ${wrong.join("; ")}\n${log.text}`];
  });
}

function objectionsTo({ messages }: GeneratedLog, explanation: Explanation): string[] {
  const findings = messages.map(({ never: _never, isOpen: _isOpen, kind, ...rest }) => ({ kind: [kind], ...rest }));
  return [
    ...objections({ findings, only: true, lost: false }, explanation),
    ...messages.flatMap((message) => contradictions(message, explanation)),
  ];
}

/** Findings about the message's requester that say more than the message does, or the contrary. */
function contradictions(message: GeneratedMessage, { findings }: Explanation): string[] {
  const isAbout = (found: Finding): boolean =>
    message.device === undefined
      ? message.streamId !== undefined && found.streamId === message.streamId
      : found.device === message.device;
  return findings
    .filter(isAbout)
    .flatMap(({ verdict, certainty }) => [
      ...(certainty !== "undecided" && message.never.includes(verdict) ? [`says ${verdict} as ${certainty}`] : []),
      ...(certainty === "certain" && message.isOpen
        ? [`says ${verdict} as certain of a message that leaves it open`]
        : []),
    ]);
}
