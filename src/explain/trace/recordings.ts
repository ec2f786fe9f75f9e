/** The traces among the inputs, and what they say about what the log reports. */

import type { FaultFact } from "../../log/facts.ts";
import type { Trace } from "../../trace/events.ts";
import { ADD_DEVICE } from "../../trace/events.ts";
import type { Finding } from "../contract.ts";
import type { Evidence } from "../evidence.ts";
import { TraceAnalysis } from "./analysis.ts";
import type { FaultQuestion, TraceAnswer } from "./answer.ts";
import { type ClockRelation, type CommonEvent, clockRelation } from "./clocks.ts";
import { exhaustionIn } from "./exhaustion.ts";
import { leaksIn } from "./leaks.ts";
import { neighboursOf } from "./neighbours.ts";
import { isFault, type PendingFacts, type Waiting } from "./pending.ts";
import { slowIn } from "./slow.ts";
import { answer } from "./verdict.ts";

/** Maps and unmaps of a log have the log's own clock. */
const SAME_CLOCK: ClockRelation = {
  offsetSeconds: 0,
  withinSeconds: 0,
  assumesLocalClock: false,
  because: "",
  lines: [],
};

export class Recordings {
  readonly #traces: TraceAnalysis[] = [];
  /** Logs that record maps and unmaps themselves. */
  readonly #logs: TraceAnalysis[] = [];

  /** Adds the trace of an input; one without events says nothing. */
  add(file: string, trace: Trace): void {
    if (trace.events.length > 0) this.#traces.push(new TraceAnalysis(file, trace));
  }

  /** Adds what a log records of maps and unmaps, by its own clock. */
  addLog(file: string, trace: Trace): void {
    if (trace.events.length > 0) this.#logs.push(new TraceAnalysis(file, trace));
  }

  get all(): readonly TraceAnalysis[] {
    return this.#traces;
  }

  /** Ties the log's clock to that of the traces; undefined without a trace, or when nothing relates them. */
  relate(pending: PendingFacts, evidence: Evidence): ClockRelation | undefined {
    const [first] = this.#traces;
    if (first === undefined) return undefined;
    const marking = evidence.about("trace-clock").at(-1);
    const commandLine = evidence.about("command-line").at(-1)?.commandLine;
    const traceClock = /\btrace_clock=(\w+)/.exec(commandLine ?? "")?.[1];
    return clockRelation({
      consoles: pending.consoles,
      faults: pending.faults,
      groups: groupEvents(first, evidence),
      ...(marking === undefined ? {} : { marking: { seconds: marking.seconds, lines: marking.lines } }),
      ...(traceClock === undefined ? {} : { traceClock }),
      isArm: evidence.about("iommu").some(({ iommu }) => iommu.startsWith("smmu")),
    });
  }

  /** Findings of the traces alone: mappings that failed, leaks, and slow unmaps. */
  findings(evidence: Evidence): Finding[] {
    const invalidation = evidence.about("invalidation").at(-1)?.mode;
    return this.#traces.flatMap((trace) => [
      ...exhaustionIn(trace, evidence),
      ...leaksIn(trace),
      ...slowIn(trace, invalidation),
    ]);
  }

  /** The traces' statements about each fault; of several traces the one with the most. */
  answers(
    faults: readonly Waiting[],
    relation: ClockRelation | undefined,
    evidence: Evidence,
  ): Map<Waiting, TraceAnswer> {
    const answers = new Map<Waiting, TraceAnswer>();
    const asked = faults.filter(isFault);
    for (const analysis of this.#traces) ask(analysis, asked, (one) => questionOf(one, relation, evidence), answers);
    for (const analysis of this.#logs) {
      // Another log may be one of another boot.
      const own = asked.filter(({ fact }) => fact.clock === "uptime" && fact.lines[0]?.file === analysis.file);
      ask(analysis, own, ({ fact }) => questionOf({ fact }, SAME_CLOCK, evidence), answers);
    }
    return answers;
  }
}

/** Adds what a recording says about each fault to `answers`, where it says more than those before. */
function ask(
  analysis: TraceAnalysis,
  asked: readonly Waiting[],
  questionOn: (one: Waiting) => FaultQuestion,
  answers: Map<Waiting, TraceAnswer>,
): void {
  const near = neighboursOf(
    analysis,
    asked.map(({ fact }) => Number(((fact as FaultFact).iova ?? 0n) >> 12n)),
  );
  for (const one of asked) {
    const question = questionOn(one);
    const neighbours = near.get(Number(question.iova >> 12n));
    const found = neighbours === undefined ? undefined : answer(question, analysis, neighbours);
    const known = answers.get(one);
    if (found !== undefined && (known === undefined || worth(found) > worth(known))) answers.set(one, found);
  }
}

function questionOf(
  { fact, traceSeconds }: Waiting,
  relation: ClockRelation | undefined,
  evidence: Evidence,
): FaultQuestion {
  const { device, streamId, iova = 0n, granule, access, cause, domain, time, clock, lines } = fact as FaultFact;
  const logSeconds = clock === "uptime" ? time : undefined;
  const seconds =
    traceSeconds ??
    (logSeconds === undefined || relation === undefined ? undefined : logSeconds - relation.offsetSeconds);
  const mask = evidence.maskOf(device);
  const isAssumed = traceSeconds === undefined && relation?.assumesLocalClock === true;
  return {
    iova,
    granule,
    cause,
    lines,
    withinSeconds: traceSeconds !== undefined ? 0 : (relation?.withinSeconds ?? 0),
    ...(device === undefined ? {} : { device }),
    ...(streamId === undefined ? {} : { streamId }),
    ...(access === undefined ? {} : { access }),
    ...(domain === undefined ? {} : { domain }),
    ...(mask === undefined ? {} : { mask }),
    ...(seconds === undefined ? {} : { seconds }),
    ...(isAssumed && logSeconds !== undefined ? { otherSeconds: logSeconds } : {}),
  };
}

function worth({ conclusions }: TraceAnswer): number {
  const weights = conclusions.map((one) =>
    one.says === "candidate" ? ["hint", "strong", "certain"].indexOf(one.weight) : -1,
  );
  return Math.max(-1, ...weights);
}

/** Devices that both the log and the trace show when they are added to their group. */
function groupEvents(analysis: TraceAnalysis, evidence: Evidence): CommonEvent[] {
  const { events, devices } = analysis.trace;
  const common: CommonEvent[] = [];
  for (let row = 0; row < events.length; row++) {
    if (events.kind[row] !== ADD_DEVICE) continue;
    const facts = evidence.about("group").filter(({ device, time, clock }) => {
      return device === devices[events.device[row] as number] && time !== undefined && clock === "uptime";
    });
    const [fact] = facts;
    if (fact?.time === undefined || facts.length > 1) continue;
    const lines = [fact.lines[0], analysis.lineOf(row)].filter((line) => line !== undefined);
    common.push({ logSeconds: fact.time, traceSeconds: analysis.secondsOf(row), lines });
  }
  return common;
}
