/**
 * The verdict on a fault, proved from the lives of mappings. The order of questions: was the page mapped for this device when the fault was
 * reported? Else: had it been mapped before? Else: what lies near it?
 *
 * A report comes after its DMA, so the DMA happened at the time of the report or shortly before.
 */

import type { LineRef } from "../../log/facts.ts";
import { BIDIRECTIONAL, FROM_DEVICE, TO_DEVICE } from "../../trace/events.ts";
import { UNCLAIMED } from "../../trace/join.ts";
import type { MappingLife, Statement } from "../contract.ts";
import type { Weight } from "../rules/rule.ts";
import type { TraceAnalysis } from "./analysis.ts";
import { AnswerBuilder, type FaultQuestion, type TraceAnswer } from "./answer.ts";
import { NO_ROW } from "./lives.ts";
import type { Neighbours } from "./neighbours.ts";
import { type Requester, requesterOf } from "./requester.ts";
import { unmappedAnswer } from "./unmapped.ts";

/** Between a DMA and its report: an interrupt, a thread, a console. Measured: 0.2 to 5 ms, in emulators too. */
const REPORT_SECONDS = 0.05;
/** A mapping that replaced another one so shortly before the report may not be the one that the DMA met. */
const REPLACED_SECONDS = 1;
const PAGE_BYTES = 4096;

/** A fault and what the trace holds around it. */
export interface Case {
  readonly question: FaultQuestion;
  readonly analysis: TraceAnalysis;
  readonly near: Neighbours;
  readonly requester: Requester;
  readonly page: number;
  /** When the fault was reported, by the trace's clock. */
  readonly seconds: number;
}

export function answer(question: FaultQuestion, analysis: TraceAnalysis, near: Neighbours): TraceAnswer | undefined {
  const requester = requesterOf(question, analysis);
  const page = Number(question.iova >> 12n);
  if (requester === undefined) return undefined;
  if (question.seconds === undefined) return withoutClock(question, analysis, near, requester);
  const first = ruling({ question, analysis, near, requester, page, seconds: question.seconds }, requester.limit);
  if (question.otherSeconds === undefined || requester.limit !== "certain") return first;
  // The relation of the clocks is an assumption: it must not decide the verdict.
  const other = ruling({ question, analysis, near, requester, page, seconds: question.otherSeconds }, requester.limit);
  if (verdictOf(first) === verdictOf(other)) return first;
  return ruling({ question, analysis, near, requester, page, seconds: question.seconds }, "strong");
}

function verdictOf({ conclusions }: TraceAnswer): string | undefined {
  const candidate = conclusions.find((one) => one.says === "candidate");
  return candidate?.says === "candidate" ? candidate.verdict : undefined;
}

function ruling(it: Case, limit: Weight): TraceAnswer {
  const { near, seconds, requester, question } = it;
  if (seconds < requester.knownFromSeconds - question.withinSeconds) return tooEarly(it);
  const own = near.here.filter((life) => requester.owns(life));
  const within = question.withinSeconds;
  const active = own.filter((life) => mappedAt(it, life) < seconds + within && endedAt(it, life) > seconds - within);
  const ended = own.filter((life) => endedAt(it, life) <= seconds - within);
  const former = latest(ended, (life) => endedAt(it, life));
  const live = latest(active, (life) => mappedAt(it, life));
  if (live !== undefined) return liveAnswer(it, live, former, limit);
  if (former !== undefined) return endedAnswer(it, former, own, limit);
  return unmappedAnswer(it, limit);
}

/** A life covers the page at the time of the report, or about that time. */
function liveAnswer(it: Case, live: number, former: number | undefined, limit: Weight): TraceAnswer {
  const { seconds, question } = it;
  if (endedAt(it, live) <= seconds + question.withinSeconds) return endedAnswer(it, live, it.near.here, weaker(limit));
  const isNew = mappedAt(it, live) > seconds - REPORT_SECONDS;
  const wasReplaced = former !== undefined && endedAt(it, former) > mappedAt(it, live) - REPLACED_SECONDS;
  if (isNew && wasReplaced) return replacedAnswer(it, live, former, limit);
  return mappedAnswer(it, live, isNew ? weaker(limit) : limit);
}

function mappedAnswer(it: Case, life: number, limit: Weight): TraceAnswer {
  const { question } = it;
  const allows = allowance(it, life);
  const mapped = say(
    `The address is mapped when the fault is reported: ${lifeText(it, life)}.`,
    ...question.lines.slice(0, 1),
    ...linesOf(it, life),
  );
  const builder = new AnswerBuilder(limit, it.question.lines).follows(mapped);
  builder.excluded("not-mapped", mapped).excluded("use-after-unmap", mapped);
  const part = `live ${claimOrRow(it, life)}`;
  const mapping = mappingOf(it, life);
  if (allows === "no") {
    const text = `The mapping is made for ${directionText(it, life)} only, and the device ${accessText(question)}.`;
    return builder.candidate("permission", "certain", say(text, ...directionLines(it, life))).build(part, mapping);
  }
  const stale = "A stale entry of the IOTLB, an erratum or a fault of the IOMMU's driver would explain it.";
  if (allows === "yes") {
    builder.candidate("mapped-but-faulted", "strong", say(stale, ...directionLines(it, life)));
    return builder
      .candidate("permission", "hint", say("The table may allow less than the DMA API was asked for."))
      .build(part, mapping);
  }
  const untold = say(
    question.cause === "absent-or-permission"
      ? "The IOMMU's code means that the address is not mapped or the access not allowed, and the address is mapped."
      : "No line says which accesses the mapping allows.",
    ...question.lines.slice(0, 1),
    ...linesOf(it, life),
  );
  if (question.cause === "absent" && question.domain !== undefined && question.domain !== 0n) {
    builder.candidate(
      "mapped-but-faulted",
      "strong",
      say("The IOMMU reports no entry, and the recording shows one.", ...linesOf(it, life)),
    );
    return builder.candidate("permission", "hint", untold).build(part, mapping);
  }
  const reported = say("The IOMMU reports that an entry forbids the access.", ...question.lines.slice(0, 1));
  if (question.cause === "permission") builder.candidate("permission", "certain", reported);
  else builder.candidate("permission", "strong", untold);
  return builder.candidate("mapped-but-faulted", "hint", say(stale)).build(part, mapping);
}

/** The page's mapping was replaced just before the report: the DMA may have met either, or the gap. */
function replacedAnswer(it: Case, live: number, former: number, limit: Weight): TraceAnswer {
  const fault = say(
    `The page got a new mapping ${micros(it.seconds - mappedAt(it, live))} before the fault was reported. Its former mapping ended ` +
      `${micros(it.seconds - endedAt(it, former))} before.`,
    ...linesOf(it, former),
    ...linesOf(it, live),
  );
  const builder = new AnswerBuilder(limit, it.question.lines).follows(fault);
  const mapping = { ...mappingOf(it, former), reusedBy: reuseText(it, live) };
  const isGap = allowance(it, live) === "yes" || it.question.cause === "absent";
  builder.candidate("use-after-unmap", isGap ? "strong" : "hint", fault);
  builder.candidate(
    isGap ? "mapped-but-faulted" : "permission",
    "hint",
    say("The DMA may have met the new mapping.", ...linesOf(it, live)),
  );
  return builder.build(`ended ${it.analysis.lives.unmapRow[former]}`, mapping);
}

/** The page was mapped, and was unmapped before the report. */
function endedAnswer(it: Case, life: number, own: readonly number[], limit: Weight): TraceAnswer {
  const { analysis, requester, seconds } = it;
  const unmapRow = analysis.lives.unmapRow[life] as number;
  const after = seconds - endedAt(it, life);
  const ended = say(
    `The address belonged to a mapping (${lifeText(it, life)}) that was unmapped ${micros(Math.max(0, after))} before the fault was reported.`,
    ...it.question.lines.slice(0, 1),
    ...linesOf(it, life),
  );
  const bound = say(
    "The access came at the time of the report or shortly before. Under lazy invalidation, accesses right after the unmap may have succeeded without a message.",
    analysis.lineOf(unmapRow),
  );
  const rivals = it.near.below.filter((other) => isNextTo(it, other));
  const unknown = it.near.here.filter((other) => analysis.isOfUnknown(other) && isActive(it, other));
  const isOpen = rivals.length > 0 || (unknown.length > 0 && !requester.isTask) || analysis.history.ambiguousUnmaps > 0;
  const builder = new AnswerBuilder(isOpen ? weaker(limit) : limit, it.question.lines).follows(bound);
  const sameLives = own.filter((other) => requester.owns(other) && mappedAt(it, other) <= seconds);
  if (sameLives.length > 1) {
    const order = sameLives.filter((other) => mappedAt(it, other) <= mappedAt(it, life)).length;
    builder.follows(
      say(
        `It was mapping number ${order} of this page in the recording: the address is used again and again.`,
        ...linesOf(it, life),
      ),
    );
  }
  builder.candidate("use-after-unmap", "certain", ended);
  builder.excluded("not-mapped", say("The address had been mapped for the device before.", ...linesOf(it, life)));
  addFreedBy(it, unmapRow, builder);
  for (const other of rivals.slice(0, 1)) {
    builder.candidate(
      "past-end",
      "hint",
      say(`It is also the page after the end of another mapping (${lifeText(it, other)}).`, ...linesOf(it, other)),
    );
  }
  builder.candidate("mapped-but-faulted", "hint", say("The recording may lack a later mapping of the page."));
  const next = nextLife(it, life, own);
  const mapping = mappingOf(it, life);
  const micro = Math.max(0, Math.round(after * 1e6));
  return builder.build(`ended ${unmapRow}`, {
    ...mapping,
    afterUnmapMicroseconds: micro,
    ...(next === undefined ? {} : { reusedBy: reuseText(it, next) }),
  });
}

/** The code that unmapped: from a stack; else the task, unless it was interrupted. */
function addFreedBy(it: Case, row: number, builder: AnswerBuilder): void {
  const { events, stacks } = it.analysis.trace;
  const stack = stacks[events.stack[row] as number];
  const task = it.analysis.taskOf(row);
  const line = it.analysis.lineOf(row);
  if (stack !== undefined) {
    const callers = stack
      .filter((name) => !/^(?:__?|)(?:iommu|dma|arm|intel|amd|trace|ftrace)_/.test(name))
      .slice(0, 4);
    builder.follows(say(`It was unmapped by ${callers.join(", called by ") || stack[0]}.`, line));
  } else if (events.context[row] !== 0) {
    builder.follows(
      say(`It was unmapped in an interrupt; the task that the line names (${task ?? "?"}) was only interrupted.`, line),
    );
  } else if (task !== undefined) builder.follows(say(`It was unmapped by the task ${task} (name and number).`, line));
}

/** The clocks can't be related: what the trace shows orders the candidates and proves none. */
function withoutClock(
  question: FaultQuestion,
  analysis: TraceAnalysis,
  near: Neighbours,
  requester: Requester,
): TraceAnswer {
  const it: Case = {
    question,
    analysis,
    near,
    requester,
    page: Number(question.iova >> 12n),
    seconds: Number.POSITIVE_INFINITY,
  };
  const own = near.here.filter((life) => requester.owns(life));
  const builder = new AnswerBuilder("hint", it.question.lines);
  builder.follows(
    say(
      "The clocks of the log and of the recording can't be related, so it is unknown whether the address was mapped at the time of the fault.",
      ...question.lines,
    ),
  );
  const last = latest(own, (life) => mappedAt(it, life));
  if (last === undefined) return builder.build("unclocked");
  const lines = linesOf(it, last);
  if (endedAt(it, last) < Number.POSITIVE_INFINITY)
    builder.candidate(
      "use-after-unmap",
      "hint",
      say("The address was mapped and unmapped in the recording.", ...lines),
    );
  builder.candidate("permission", "hint", say("The address was mapped in the recording.", ...lines));
  return builder.build("unclocked", mappingOf(it, last));
}

function tooEarly(it: Case): TraceAnswer {
  return new AnswerBuilder("hint", it.question.lines)
    .follows(
      say(
        "The recording began after this fault: it does not show whether the address was mapped.",
        ...it.question.lines.slice(0, 2),
      ),
    )
    .build("early");
}

// Lives, for people and for other files of this folder.

export function mappedAt({ analysis }: Case, life: number): number {
  const row = analysis.lives.mapRow[life] as number;
  return row === NO_ROW ? Number.NEGATIVE_INFINITY : analysis.secondsOf(row);
}

export function endedAt({ analysis }: Case, life: number): number {
  const row = analysis.lives.unmapRow[life] as number;
  return row === NO_ROW ? Number.POSITIVE_INFINITY : analysis.secondsOf(row);
}

export function isActive(it: Case, life: number): boolean {
  return mappedAt(it, life) < it.seconds && endedAt(it, life) > it.seconds;
}

/** A live mapping of the requester that ends right before the page. */
export function isNextTo(it: Case, life: number): boolean {
  return it.requester.owns(life) && isActive(it, life) && it.analysis.lives.end[life] === it.page;
}

function nextLife(it: Case, life: number, own: readonly number[]): number | undefined {
  const after = own.filter((other) => it.requester.owns(other) && mappedAt(it, other) >= endedAt(it, life));
  return latest(after, (other) => -mappedAt(it, other));
}

function latest(lives: readonly number[], time: (life: number) => number): number | undefined {
  let best: number | undefined;
  for (const life of lives) if (best === undefined || time(life) > time(best)) best = life;
  return best;
}

function weaker(limit: Weight): Weight {
  return limit === "certain" ? "strong" : limit;
}

export function say(text: string, ...proof: readonly LineRef[]): Statement {
  return { text, proof: proof.slice(0, 6) };
}

export function linesOf({ analysis }: Case, life: number): LineRef[] {
  const rows = [analysis.lives.mapRow[life] as number, analysis.lives.unmapRow[life] as number];
  return rows.filter((row) => row !== NO_ROW).map((row) => analysis.lineOf(row));
}

export function lifeText({ analysis }: Case, life: number): string {
  const { lives } = analysis;
  const row = lives.mapRow[life] as number;
  const range = `0x${bytesAt(lives.first[life] as number)} to 0x${bytesAt(lives.end[life] as number)}`;
  return row === NO_ROW
    ? `${range}, mapped before the recording began`
    : `${range}, mapped at ${analysis.secondsOf(row).toFixed(6)} s of the recording`;
}

function bytesAt(page: number): string {
  return (BigInt(page) * BigInt(PAGE_BYTES)).toString(16);
}

export function mappingOf(it: Case, life: number): MappingLife {
  const { lives } = it.analysis;
  const [map, unmap] = [lives.mapRow[life] as number, lives.unmapRow[life] as number];
  const by = map === NO_ROW || it.analysis.trace.events.context[map] !== 0 ? undefined : it.analysis.taskOf(map);
  return {
    iova: `0x${bytesAt(lives.first[life] as number)}`,
    bytes: ((lives.end[life] as number) - (lives.first[life] as number)) * PAGE_BYTES,
    access: directionText(it, life),
    ...(map === NO_ROW ? {} : { mappedAt: it.analysis.secondsOf(map) }),
    ...(unmap === NO_ROW ? {} : { unmappedAt: it.analysis.secondsOf(unmap) }),
    ...(by === undefined ? {} : { by }),
  };
}

function reuseText(it: Case, life: number): string {
  const owner = it.analysis.history.owners.nameOf(it.analysis.lives.owner[life] as number) ?? "another mapping";
  return `${owner}, mapped at ${mappedAt(it, life).toFixed(6)} s`;
}

function micros(seconds: number): string {
  const value = Math.round(seconds * 1e6);
  return value < 10_000 ? `${value} µs` : `${(value / 1000).toFixed(1)} ms`;
}

/** A whole request of the DMA API is one mapping, however many `map` lines it makes. */
function claimOrRow({ analysis }: Case, life: number): number {
  const row = analysis.lives.mapRow[life] as number;
  if (row === NO_ROW) return analysis.lives.unmapRow[life] as number;
  const claim = analysis.history.claim[row] as number;
  return claim === UNCLAIMED ? row : claim;
}

function directionOf({ analysis }: Case, life: number): number | undefined {
  const row = analysis.lives.mapRow[life] as number;
  const claim = row === NO_ROW ? UNCLAIMED : (analysis.history.claim[row] as number);
  const direction = claim === UNCLAIMED ? -1 : (analysis.trace.events.direction[claim] as number);
  return direction < 0 ? undefined : direction;
}

function directionLines(it: Case, life: number): LineRef[] {
  const row = it.analysis.lives.mapRow[life] as number;
  const claim = row === NO_ROW ? UNCLAIMED : (it.analysis.history.claim[row] as number);
  return claim === UNCLAIMED ? linesOf(it, life) : [it.analysis.lineOf(claim)];
}

function directionText(it: Case, life: number): string {
  switch (directionOf(it, life)) {
    case TO_DEVICE:
      return "reads by the device";
    case FROM_DEVICE:
      return "writes by the device";
    case BIDIRECTIONAL:
      return "reads and writes";
    default:
      return "unknown";
  }
}

function accessText({ access }: FaultQuestion): string {
  return access === "write" ? "wrote" : access === "read" ? "read" : "made another access";
}

/** True if the mapping allows the access. A read of a write-only mapping is refused only by tables that know write-only. */
function allowance(it: Case, life: number): "yes" | "no" | "unknown" {
  const direction = directionOf(it, life);
  const { access } = it.question;
  if (direction === undefined || access === undefined || access === "execute") return "unknown";
  if (direction === BIDIRECTIONAL) return "yes";
  if (direction === TO_DEVICE) return access === "read" ? "yes" : "no";
  if (direction === FROM_DEVICE) return access === "write" ? "yes" : "no";
  return "unknown";
}
