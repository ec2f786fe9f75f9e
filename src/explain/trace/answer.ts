/** A trace's statements about one fault. */

import type { Access, LineRef, ReportedCause } from "../../log/facts.ts";
import type { MappingLife, Statement } from "../contract.ts";
import type { Conclusion, Weight } from "../rules/rule.ts";

/** A fault, as a trace is asked about it. */
export interface FaultQuestion {
  /** As a finding names it. */
  readonly device?: string;
  readonly streamId?: bigint;
  readonly iova: bigint;
  readonly granule: 1 | 4096;
  readonly access?: Access;
  readonly cause: ReportedCause;
  /** AMD: 0 where the line's flags say nothing (a domain is never 0 for a driver's device). */
  readonly domain?: bigint;
  /** When it was reported, by the trace's clock; absent when the clocks can't be related. */
  readonly seconds?: number;
  /** The time is right within so much. */
  readonly withinSeconds: number;
  /** When it was reported if the trace's clock is not the local one. */
  readonly otherSeconds?: number;
  readonly lines: readonly LineRef[];
  /** The device's mask for DMA, where a line names it. */
  readonly mask?: { readonly bits: number; readonly lines: readonly LineRef[] };
}

export interface TraceAnswer {
  /** Faults with the same text belong to one finding. */
  readonly part: string;
  readonly conclusions: readonly Conclusion[];
  readonly mapping?: MappingLife;
}

/** Gathers conclusions; no weight gets above what the recording allows. */
export class AnswerBuilder {
  readonly #conclusions: Conclusion[] = [];
  readonly #limit: Weight;
  readonly #fault: readonly LineRef[];

  /** @param fault - lines of the fault: the proof of sentences that rest on no line of the trace */
  constructor(limit: Weight, fault: readonly LineRef[]) {
    this.#limit = limit;
    this.#fault = fault.slice(0, 2);
  }

  #proved(because: Statement): Statement {
    return because.proof.length > 0 ? because : { text: because.text, proof: this.#fault };
  }

  follows(because: Statement): this {
    this.#conclusions.push({ says: "follows", because: this.#proved(because) });
    return this;
  }

  candidate(verdict: string, weight: Weight, because: Statement): this {
    const order: readonly Weight[] = ["hint", "strong", "certain"];
    const limited = order[Math.min(order.indexOf(weight), order.indexOf(this.#limit))] as Weight;
    this.#conclusions.push({
      says: "candidate",
      verdict,
      weight: limited,
      because: this.#proved(because),
      from: "trace",
    });
    return this;
  }

  excluded(verdict: string, because: Statement): this {
    // A hint at a verdict excludes no other verdict.
    if (this.#limit !== "hint")
      this.#conclusions.push({ says: "excluded", verdict, because: this.#proved(because), from: "trace" });
    return this;
  }

  build(part: string, mapping?: MappingLife): TraceAnswer {
    const conclusions = this.#conclusions;
    return mapping === undefined ? { part, conclusions } : { part, conclusions, mapping };
  }
}
