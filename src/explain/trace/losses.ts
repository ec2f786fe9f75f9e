/** Losses of a trace: the ring buffer overran, or a reader came too late. */
import type { LossFact } from "../../log/facts.ts";
import type { Trace } from "../../trace/events.ts";

export function lossesOf(file: string, trace: Trace): LossFact[] {
  const losses: LossFact[] = [];
  const { entriesInBuffer, entriesWritten, overrunLine, lostEvents } = trace;
  const { lost } = trace.classes;
  if (entriesWritten > entriesInBuffer) {
    losses.push(loss(file, overrunLine, "entries-in-buffer/entries-written", entriesWritten - entriesInBuffer));
  }
  if (lost.count > 0) losses.push(loss(file, lost.firstLine, lost.firstText, lostEvents));
  return losses;
}

function loss(file: string, line: number, text: string, count: number): LossFact {
  const base = { kind: "loss", what: "events", shape: "trace-loss", lines: [{ file, line }], text } as const;
  return count > 0 ? { ...base, lines: [...base.lines], count } : { ...base, lines: [...base.lines] };
}
