/** Counters of a hypervisor model. */

/** Sums over all threads since the hypervisor was created. */
export interface HypervisorStatistics {
  /** Invalidations of the IOTLB. */
  readonly invalidations: number;
  /** Hypercalls of its guests. */
  readonly hypercalls: number;
}
