/**
 * Verdicts of a finding of each kind when no rule applies, most usual first (docs/explain.md gives the counts of public reports). They end the
 * list of candidates, so that an undecided finding always names what it may be.
 */
import type { Kind } from "../contract.ts";

export const PRIORS: Readonly<Record<Kind, readonly string[]>> = {
  "dma-fault": ["not-mapped", "use-after-unmap"],
  "no-table": ["not-attached", "alias"],
  "table-error": ["reserved-bits", "hardware-error"],
  interrupt: ["not-remapped", "blocked"],
  "invalidation-timeout": ["device-silent", "iommu-silent"],
  "conflicting-entry": ["same-page", "two-owners"],
  "map-refused": ["memlock-limit", "cannot-pin"],
  "assignment-refused": ["group-not-viable", "reserved-region"],
  "bounce-refused": ["pool-full", "fragmented"],
  exhausted: ["full", "fragmented"],
  "dma-api-misuse": ["other", "not-allocated"],
  frozen: ["dma-error", "other"],
  leak: ["growing", "at-exit"],
  slow: ["slow-invalidation", "lock-contention"],
};
