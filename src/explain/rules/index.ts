/** All rules, in the order in which the documents list them. The order does not matter for the answer. */
import { NULL_ADDRESS } from "./null-address.ts";
import type { Rule } from "./rule.ts";

export const RULES: readonly Rule[] = [NULL_ADDRESS];
