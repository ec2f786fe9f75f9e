/**
 * How the times of a log relate to those of a trace. Both clocks may run seconds apart, so that a fault can seem to stand before its own
 * unmap. The relation is found from what both report; else from the boot line that says how far the clocks are apart; else it is unknown.
 */
import type { LineRef } from "../../log/facts.ts";

/** The same thing, as both saw it. */
export interface CommonEvent {
  readonly logSeconds: number;
  readonly traceSeconds: number;
  readonly lines: readonly LineRef[];
}

export interface ClockRelation {
  /** Take it from a time of the log to get a time of the trace. */
  readonly offsetSeconds: number;
  /** The true offset is at most so far away. */
  readonly withinSeconds: number;
  /** The relation rests on a clock that a trace has by default, not on an event that both show. */
  readonly assumesLocalClock: boolean;
  readonly because: string;
  readonly lines: readonly LineRef[];
}

export interface ClockEvidence {
  /** Messages that the trace holds, too: the log's stamp is at most a fraction of a millisecond older than the trace's. */
  readonly consoles: readonly CommonEvent[];
  /** Faults that both report. The trace's event comes first. */
  readonly faults: readonly CommonEvent[];
  /** Devices that were added to a group. */
  readonly groups: readonly CommonEvent[];
  /** `sched_clock: Marking stable`, its last number in seconds. */
  readonly marking?: { readonly seconds: number; readonly lines: readonly LineRef[] };
  /** `trace_clock=` of the command line. */
  readonly traceClock?: string;
  /** The machine is an Arm, whose log and local trace clock agree. */
  readonly isArm: boolean;
}

/** Common events of one kind that disagree by more than this are not the same events. */
const AGREE_SECONDS = 0.05;

export function clockRelation(evidence: ClockEvidence): ClockRelation | undefined {
  return (
    fromCommon(evidence.consoles, "latest", 0.0002, "messages that the trace holds, too") ??
    fromCommon(evidence.faults, "earliest", 0.002, "a fault that the trace holds, too") ??
    fromCommon(evidence.groups, "latest", 0.005, "devices that were added to their group") ??
    fromBoot(evidence)
  );
}

/**
 * The offset from common events. One of both stamps is late by a varying delay: the pair with the least delay is the best.
 *
 * @param best - which offset has the least delay: the `latest` (largest) where the trace is late, the `earliest` where the log is
 */
function fromCommon(
  events: readonly CommonEvent[],
  best: "latest" | "earliest",
  withinSeconds: number,
  what: string,
): ClockRelation | undefined {
  if (events.length === 0) return undefined;
  const offset = (event: CommonEvent): number => event.logSeconds - event.traceSeconds;
  const sorted = [...events].sort((a, b) => offset(a) - offset(b));
  const [lowest, highest] = [sorted[0] as CommonEvent, sorted.at(-1) as CommonEvent];
  if (offset(highest) - offset(lowest) > AGREE_SECONDS) return undefined;
  const chosen = best === "latest" ? highest : lowest;
  return {
    offsetSeconds: offset(chosen),
    withinSeconds,
    assumesLocalClock: false,
    because: `The clocks of the log and of the trace are ${shown(offset(chosen))} apart, by ${what}.`,
    lines: chosen.lines,
  };
}

function fromBoot({ marking, traceClock, isArm }: ClockEvidence): ClockRelation | undefined {
  if (traceClock !== undefined && traceClock !== "local" && traceClock !== "global") return undefined;
  if (marking !== undefined) {
    return {
      offsetSeconds: marking.seconds,
      withinSeconds: 0.001,
      assumesLocalClock: traceClock === undefined,
      because: `The log's clock is ${shown(marking.seconds)} from the trace's local clock, by its line of the boot.`,
      lines: marking.lines,
    };
  }
  if (!isArm) return undefined;
  return {
    offsetSeconds: 0,
    withinSeconds: 0.001,
    assumesLocalClock: traceClock === undefined,
    because: "On Arm, the log and the trace's local clock agree.",
    lines: [],
  };
}

function shown(seconds: number): string {
  return `${seconds.toFixed(6)} s`;
}
