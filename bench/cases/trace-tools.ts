/** Speed of `iova explain` and `iova stat` on a trace: from its text in memory to the whole answer. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { Explainer } from "../../src/explain/explainer.ts";
import { statisticsOf } from "../../src/statistics/statistics.ts";
import { repeatedTrace } from "../../src/trace/large-trace.model.ts";
import { TraceParser } from "../../src/trace/parser.ts";
import { type BenchCase, type Cell, NANOSECONDS, readingCell, type Work } from "../cell.ts";
import { FNV_BASIS, fold, measureSlices, median } from "../measure.ts";
import type { Scale } from "../scale.ts";

/** Rows. */
const EXPLAIN = "explain";
const STAT = "stat";

/** The trace that is shipped, of 12,741 events; this file is build/bench/cases/trace-tools.js. */
const FILE = fileURLToPath(new URL("../../../traces/nvme-io-612.txt.gz", import.meta.url));
const EVENTS = 12_741;
const REPETITIONS = 86;
const QUICK_REPETITIONS = 2;

export const traceTools: BenchCase = {
  name: "trace-tools",
  about:
    "traces/nvme-io-612.txt.gz repeated to 1,095,726 events, explained and measured end to end: the time of one event.",
  metrics: [NANOSECONDS, { key: "rate", title: "thousand events a second", digits: 0 }],
  operation: "event",
  cells(scale: Scale, seed: number): readonly Cell[] {
    const amount = { full: REPETITIONS, quick: QUICK_REPETITIONS };
    return [EXPLAIN, STAT].map((row) => readingCell("trace-tools", row, "a million events", amount, scale, seed));
  },
  async play(work: Work) {
    const text = gunzipSync(readFileSync(FILE)).toString("latin1");
    const pieces = [...repeatedTrace(text, work.amount ?? REPETITIONS)];
    const events = (work.amount ?? REPETITIONS) * EVENTS;
    const read = work.variant === STAT ? measured : explained;
    read(pieces);
    let hash = FNV_BASIS;
    const slices = measureSlices(work.slices, () => {
      hash = fold(hash, read(pieces));
    });
    const times = slices.ends.map((end, slice) => end - (slices.begins[slice] as number));
    return { slices, operations: events, hash, values: { rate: events / (median(times) / 1e9) / 1000 } };
  },
};

/** A number that depends on the whole answer. */
function explained(pieces: readonly Uint8Array[]): number {
  const explainer = new Explainer();
  const input = explainer.input("trace.txt", bytesOf(pieces));
  for (const piece of pieces) input.write(piece);
  input.end();
  const { inputs, findings } = explainer.explain();
  return (inputs[0]?.lines ?? 0) + findings.length;
}

function measured(pieces: readonly Uint8Array[]): number {
  const parser = new TraceParser();
  parser.expectedBytes = bytesOf(pieces);
  for (const piece of pieces) parser.write(piece);
  return statisticsOf(parser.finish()).devices.reduce((sum, { maps, unmaps }) => sum + maps + unmaps, 0);
}

function bytesOf(pieces: readonly Uint8Array[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}
