/** All families of message shapes. Where two shapes match at one place of a text, the earlier family's counts. */
import type { Family } from "../shape.ts";
import { EVENTS } from "./events.ts";
import { HOST } from "./host.ts";
import { INTEL } from "./intel.ts";
import { SMMU_V3 } from "./smmu-v3.ts";

export const FAMILIES: readonly Family[] = [
  INTEL,
  SMMU_V3,
  // What other families don't read.
  EVENTS,
  HOST,
];
