/**
 * Faults wait until all inputs are read: a trace that explains one may come last. A fault that both a log and a trace
 * report is one fault, with the words of the log and the time of the trace.
 */
import type { Fact, FaultFact, LineRef } from "../../log/facts.ts";
import { addressOf, IO_PAGE_FAULT } from "../../trace/events.ts";
import { kindOf, type Reported } from "../groups.ts";
import type { TraceAnalysis } from "./analysis.ts";
import type { CommonEvent } from "./clocks.ts";

/** Facts that wait; further ones are grouped without a trace's answer. */
const MOST_WAITING = 20_000;
/** Faults of a trace that are looked at: a device that fails without end says the same again and again. */
const MOST_TRACE_FAULTS = 20_000;

export interface Waiting {
  readonly fact: Reported;
  /** When it was reported, by the trace's clock, where the trace itself shows it. */
  traceSeconds?: number;
}

export class PendingFacts {
  readonly waiting: Waiting[] = [];
  /** Facts of the log that the trace shows, too. */
  readonly consoles: CommonEvent[] = [];
  readonly faults: CommonEvent[] = [];

  /** False: there is no room. */
  add(fact: Reported): boolean {
    if (this.waiting.length === MOST_WAITING) return false;
    this.waiting.push(fact.clock === "trace" && fact.time !== undefined ? { fact, traceSeconds: fact.time } : { fact });
    return true;
  }

  /** Nothing waits any longer. */
  clear(): void {
    this.waiting.length = 0;
  }

  /** Finds messages that stand in the log and, as `printk:console`, in a trace; keeps one of each. */
  mergeConsoles(): void {
    const ofTrace = this.waiting.filter(({ fact }) => fact.clock === "trace");
    if (ofTrace.length === 0) return;
    const ofLog = byKey(
      this.waiting.filter(({ fact }) => fact.clock === "uptime"),
      ({ fact }) => messageKey(fact),
    );
    const merged = new Set<Waiting>();
    for (const [key, seen] of byKey(ofTrace, ({ fact }) => messageKey(fact))) {
      const logged = ofLog.get(key) ?? [];
      // The trace may hold a part of what the log holds: without equal counts only single messages can be matched.
      if (logged.length !== seen.length) continue;
      seen.forEach((one, at) => {
        const other = logged[at] as Waiting;
        this.#note(this.consoles, other, one);
        other.traceSeconds = one.traceSeconds as number;
        merged.add(one);
      });
    }
    this.#drop(merged);
  }

  /** Adds the `io_page_fault` events of a trace; those that the log reports, too, give it their time. */
  mergeTraceFaults(analysis: TraceAnalysis): void {
    const { events } = analysis.trace;
    const logged = byKey(this.waiting.filter(isFault), ({ fact }) => faultKey(fact as FaultFact));
    const added: Waiting[] = [];
    for (let row = 0; row < events.length && added.length < MOST_TRACE_FAULTS; row++) {
      if (events.kind[row] !== IO_PAGE_FAULT) continue;
      const one: Waiting = { fact: traceFault(analysis, row), traceSeconds: analysis.secondsOf(row) };
      const other = logged.get(faultKey(one.fact as FaultFact))?.shift();
      if (other === undefined) {
        added.push(one);
        continue;
      }
      this.#note(this.faults, other, one);
      other.traceSeconds = one.traceSeconds as number;
      other.fact.lines.push(...one.fact.lines);
    }
    for (const one of added) this.waiting.push(one);
  }

  #note(events: CommonEvent[], log: Waiting, trace: Waiting): void {
    if (log.fact.clock !== "uptime" || log.fact.time === undefined || events.length >= MOST_WAITING) return;
    const lines: LineRef[] = [log.fact.lines[0] as LineRef, trace.fact.lines[0] as LineRef];
    events.push({ logSeconds: log.fact.time, traceSeconds: trace.traceSeconds as number, lines });
  }

  #drop(merged: ReadonlySet<Waiting>): void {
    const kept = this.waiting.filter((one) => !merged.has(one));
    this.waiting.length = 0;
    for (const one of kept) this.waiting.push(one);
  }
}

/** True if a trace may explain the fault: it is a DMA to an address. */
export function isFault({ fact }: Waiting): boolean {
  return fact.kind === "fault" && kindOf(fact) === "dma-fault" && fact.iova !== undefined;
}

function traceFault(analysis: TraceAnalysis, row: number): FaultFact {
  const { events, devices } = analysis.trace;
  const low = events.iovaLow[row] as number;
  const high = events.iovaHigh[row] as number;
  const iova = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  const device = devices[events.device[row] as number];
  return {
    kind: "fault",
    family: "trace",
    shape: "io-page-fault",
    lines: [analysis.lineOf(row)],
    text: `io_page_fault ${device ?? ""} ${addressOf(low, high).toString(16)}`,
    time: analysis.secondsOf(row),
    clock: "trace",
    cause: "unknown",
    granule: 1,
    iova,
    // IOMMU_FAULT_WRITE of the kernel's report: bit 0.
    access: ((events.bytes[row] as number) & 1) === 1 ? "write" : "read",
    ...(device === undefined ? {} : { device: fullName(device) }),
  };
}

/** `0000:00:04.0`, whether the line has the segment or not. */
function fullName(device: string): string {
  return /^[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(device) ? `0000:${device}` : device;
}

function faultKey({ device, iova, access }: FaultFact): string {
  return `${device ?? ""} ${iova} ${access ?? ""}`;
}

function messageKey(fact: Fact): string {
  return `${fact.shape} ${fact.text.replace(/\s+/g, " ").trim()}`;
}

function byKey(all: readonly Waiting[], keyOf: (one: Waiting) => string): Map<string, Waiting[]> {
  const groups = new Map<string, Waiting[]>();
  for (const one of all) {
    const key = keyOf(one);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  return groups;
}
