/** Speed of `iova explain` on logs: from their text in memory to the whole answer. */
import { Explainer } from "../../src/explain/explainer.ts";
import { type LargeLog, largeLog } from "../../src/log/large-log.model.ts";
import { type BenchCase, type Cell, NANOSECONDS, readingCell, type Work } from "../cell.ts";
import { FNV_BASIS, fold, measureSlices } from "../measure.ts";
import type { Scale } from "../scale.ts";

/** Rows: the main content of the log. */
const KINDS: readonly LargeLog[] = ["journal", "boot", "reboot", "amd", "intel", "smmu", "smmu-v3"];
const BYTES = 24e6;
const QUICK_BYTES = 2e5;

export const logTools: BenchCase = {
  name: "log-tools",
  about:
    "Logs of 24 MB, explained end to end: a journal of a machine that runs, boots of machines (each line names a device), boots of one machine again and again, and floods of faults " +
    "as the IOMMUs of AMD and Intel and Arm's SMMUs print them (of SMMUv3: event and four words). Processor time of the thread.",
  metrics: [NANOSECONDS, { key: "rate", title: "MB a second of processor time", digits: 1 }],
  operation: "line",
  cells(scale: Scale, seed: number): readonly Cell[] {
    const amount = { full: BYTES, quick: QUICK_BYTES };
    return KINDS.map((row) => readingCell("log-tools", row, "whole log", amount, scale, seed));
  },
  async play(work: Work) {
    const pieces = [...largeLog(work.variant as LargeLog, work.amount ?? BYTES, work.seed)];
    const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
    let lines = explained(pieces);
    let hash = FNV_BASIS;
    const slices = measureSlices(work.slices, () => {
      lines = explained(pieces);
      hash = fold(hash, lines);
    });
    return {
      slices,
      operations: lines,
      hash,
      values: { rate: (bytes * work.slices * 1e3) / slices.cpuNanoseconds },
    };
  },
};

/** Lines of the input, as the answer counts them. */
function explained(pieces: readonly Uint8Array[]): number {
  const explainer = new Explainer();
  const input = explainer.input("log.txt");
  for (const piece of pieces) input.write(piece);
  input.end();
  return explainer.explain().inputs[0]?.lines ?? 0;
}
