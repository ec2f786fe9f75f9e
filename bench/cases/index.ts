/** All cases, in the order of the report. */
import type { BenchCase } from "../cell.ts";
import { debug } from "./debug.ts";
import { failing } from "./failing.ts";
import { foreign } from "./foreign.ts";
import { latency } from "./latency.ts";
import { logTools } from "./log-tools.ts";
import { mapSg } from "./map-sg.ts";
import { mix } from "./mix.ts";
import { peers } from "./peers.ts";
import { pinned } from "./pinned.ts";
import { platforms } from "./platforms.ts";
import { recovery } from "./recovery.ts";
import { replay } from "./replay.ts";
import { single } from "./single.ts";
import { threads } from "./threads.ts";
import { traceTools } from "./trace-tools.ts";
import { traces } from "./traces.ts";

export const CASES: readonly BenchCase[] = [
  single,
  mix,
  latency,
  threads,
  foreign,
  failing,
  mapSg,
  replay,
  debug,
  platforms,
  pinned,
  recovery,
  peers,
  traces,
  logTools,
  traceTools,
];

/** Throws when there is none. */
export function caseNamed(name: string): BenchCase {
  const found = CASES.find((benchCase) => benchCase.name === name);
  if (found === undefined) {
    throw new Error(`no case ${name}; there are ${CASES.map((benchCase) => benchCase.name).join(", ")}`);
  }
  return found;
}
