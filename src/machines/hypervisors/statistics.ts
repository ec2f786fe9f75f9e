/** Counters of a hypervisor model. */

/** Counts of a hypervisor, summed over all threads since it was created. */
export interface HypervisorStatistics {
  /** Invalidations of the IOTLB. */
  readonly invalidations: number;
  /** Hypercalls of the guest. */
  readonly hypercalls: number;
}
