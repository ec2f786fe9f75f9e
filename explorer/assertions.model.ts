/** Assertions about explorations: no failure, or a planted bug is found. Each prints its counts. */

import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Crew, ReclaimScope } from "../src/crew/crew.ts";
import { type Exploration, explore, formatReport, type Report } from "./explore.ts";

/** Explores all schedules of `exploration` and asserts that none fails. */
export function assertSound<State>(t: TestContext, name: string, exploration: Exploration<State>): Report {
  const report = explore({ ...exploration, stopAtFailure: true });
  t.diagnostic(formatReport(name, report));
  assert.equal(report.first, undefined, described(name, report));
  assert.equal(report.complete, true, `${name}: not all schedules were explored`);
  return report;
}

/** Asserts that a schedule fails, with this kind of failure if one is given. */
export function assertFound<State>(
  t: TestContext,
  name: string,
  exploration: Exploration<State>,
  kinds: readonly (keyof Report["failures"])[],
): Report {
  const report = explore({ ...exploration, stopAtFailure: true });
  t.diagnostic(formatReport(name, report));
  assert.ok(report.first !== undefined, `${name}: not found`);
  assert.ok(kinds.includes(report.first.kind), described(name, report));
  return report;
}

function described(name: string, { first }: Report): string {
  if (first === undefined) return name;
  return `${name}: ${first.kind}: ${first.message}\n${first.trace}\nreplay with ${JSON.stringify(first.schedule)}`;
}

/** Recovers the dead, unless the recovery of a reclaimer has gone on with them. */
export function reclaimDead(crew: Crew | undefined, dead: readonly number[], scope: ReclaimScope = "everything"): void {
  for (const thread of dead) if (crew?.threadsInUse().includes(thread)) crew.reclaim(thread, scope);
}
