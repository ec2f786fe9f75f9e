/** Which of a trace's lives belong to the device that a fault names, and how far conclusions about it may go. */

import type { LineRef } from "../../log/facts.ts";
import { nameOfRequesterId } from "../../log/pci.ts";
import { UNKNOWN_DEVICE } from "../../trace/events.ts";
import type { Weight } from "../rules/rule.ts";
import type { TraceAnalysis } from "./analysis.ts";
import type { FaultQuestion } from "./answer.ts";
import { NO_ROW } from "./lives.ts";

export interface Requester {
  /** Device numbers of the trace; empty when the trace never names the device. */
  readonly devices: readonly number[];
  owns(life: number): boolean;
  /** No conclusion goes further. */
  readonly limit: Weight;
  /** Why it does not go further; empty when it may be certain. */
  readonly because: string;
  /** The trace holds all mappings of the device. */
  readonly isComplete: boolean;
  /** Line that shows the device before its first mapping. */
  readonly completeFrom?: LineRef;
  /** From then on, by the trace's clock, it can say what was mapped for the device. */
  readonly knownFromSeconds: number;
  /** A user-space task maps for the device. */
  readonly isTask: boolean;
}

/** Undefined when the trace says nothing about mappings. */
export function requesterOf(question: FaultQuestion, analysis: TraceAnalysis): Requester | undefined {
  if (!analysis.hasLives) return undefined;
  const named = namedDevices(question, analysis);
  if (named.length > 0 && hasLives(analysis, named)) return namedRequester(analysis, named);
  if (named.length > 0 && analysis.completeFrom(named[0] as number) !== NO_ROW) return namedRequester(analysis, named);
  return unnamedRequester(analysis, named);
}

function namedRequester(analysis: TraceAnalysis, devices: readonly number[]): Requester {
  const from = devices.map((device) => analysis.completeFrom(device)).find((row) => row !== NO_ROW) ?? NO_ROW;
  const { owners } = analysis.history;
  const isComplete = from !== NO_ROW && !analysis.isLossy;
  return {
    devices,
    owns: (life) => analysis.isOf(life, devices),
    limit: analysis.isLossy ? "strong" : "certain",
    because: analysis.isLossy ? "events of the recording were lost" : "",
    isComplete,
    ...(from === NO_ROW ? {} : { completeFrom: analysis.lineOf(from) }),
    knownFromSeconds: from === NO_ROW ? analysis.span.first : analysis.secondsOf(from),
    isTask: ownersOf(analysis, devices).some((owner) => owners.isTask(owner)),
  };
}

/** No line ties mappings to the device: those that no line ties to another device may be its own. */
function unnamedRequester(analysis: TraceAnalysis, devices: readonly number[]): Requester {
  const isOnly = !hasOwners(analysis);
  return {
    devices,
    owns: (life) => analysis.isOfUnknown(life),
    limit: isOnly && !analysis.isLossy ? "strong" : "hint",
    because: isOnly
      ? "no line of the recording says whose the mappings are"
      : "no line of the recording ties a mapping to this device",
    isComplete: false,
    knownFromSeconds: analysis.span.first,
    isTask: false,
  };
}

function namedDevices({ device, streamId }: FaultQuestion, analysis: TraceAnalysis): number[] {
  const names = device !== undefined ? [device] : [];
  // A stream id is a requester id on most PCI hosts.
  if (names.length === 0 && streamId !== undefined && streamId < 65_536n)
    names.push(nameOfRequesterId(Number(streamId)));
  const numbers = names.map((name) => analysis.deviceNumber(name)).filter((number) => number !== UNKNOWN_DEVICE);
  return [...new Set(numbers.flatMap((number) => analysis.sharers(number)))];
}

function hasLives(analysis: TraceAnalysis, devices: readonly number[]): boolean {
  return ownersOf(analysis, devices).length > 0;
}

function hasOwners({ owners, history }: TraceAnalysis): boolean {
  return [...owners].some((owner) => history.owners.nameOf(owner) !== undefined);
}

function ownersOf({ owners, history }: TraceAnalysis, devices: readonly number[]): number[] {
  return [...owners].filter((owner) => devices.some((device) => history.owners.has(owner, device)));
}
