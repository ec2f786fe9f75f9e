/** All rules, in the order in which the documents list them. The order does not matter for the answer. */
import { ADDRESS } from "./address.ts";
import { INTERRUPTS } from "./interrupts.ts";
import { MISUSES } from "./misuse.ts";
import { PLACES } from "./places.ts";
import { REFUSALS } from "./refusals.ts";
import { REPORTED } from "./reported.ts";
import type { Rule } from "./rule.ts";
import { SURROUNDINGS } from "./surroundings.ts";
import { TABLES } from "./tables.ts";
import { TRACE_LIFE } from "./trace-life.ts";

export const RULES: readonly Rule[] = [
  ...REPORTED,
  ...ADDRESS,
  ...PLACES,
  ...SURROUNDINGS,
  ...TABLES,
  ...INTERRUPTS,
  ...REFUSALS,
  ...MISUSES,
  TRACE_LIFE,
];
