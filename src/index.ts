/**
 * `iova` is for programs whose threads share a range of numbers, and for drivers that map memory for devices. It runs in Node, Deno, Bun and in
 * cross-origin isolated pages, because all state is in a SharedArrayBuffer. It has no dependencies.
 *
 * - A range allocator for several threads: PooledAllocator, with Crew and reclaimOnExit for threads that die.
 * - The DMA API of a driver: DmaDevice, ScatterList, DmaPool. Platforms and machines to run it on are in `iova/platform`.
 * - Tables and what observes them: IommuTable, listen, FaultInjectingTable.
 *
 * Calls whose failure a correct program must expect return it, as a name (Failure) or a negative number (FailureCode). Misuse throws an
 * IovaError and changes nothing. Objects belong to one thread: other threads get the `handle` and attach to it.
 *
 * ```ts
 * import { orThrow, PooledAllocator } from "iova";
 *
 * const ids = PooledAllocator.create({ entries: 1024, threads: 2 });
 * const first = orThrow(ids.allocate(100)); // a hundred in a row
 * console.log(ids.holderOf({ first, end: first + 1 }));
 * ids.free(first);
 * ```
 * ```text output
 * { first: 0, end: 100, owner: 0, state: 'live' }
 * ```
 *
 * @module
 */
/// <reference lib="esnext.disposable" preserve="true" />
export type { AreaConstraints, AreaLimits } from "./allocator/constraints.ts";
export { areaConstraints, UNCONSTRAINED } from "./allocator/constraints.ts";
export type { Invalidator } from "./allocator/flush.ts";
export type { HeldRange, HoldingState, OwnedRange } from "./allocator/inspect/ranges.ts";
export type { AllocatorStatistics, PoolStatistics } from "./allocator/inspect/statistics.ts";
export type { AllocateOptions, AllocatorOptions } from "./allocator/options.ts";
export { type Enclosure, PooledAllocator } from "./allocator/pooled-allocator.ts";
export type { AllocatorHandle } from "./allocator/state.ts";
export type {
  Attachment,
  CrewHandle,
  CrewOptions,
  CrewSeat,
  Reclaimed,
  ReclaimScope,
  Recover,
  Recovered,
  Stage,
} from "./crew/crew.ts";
export { Crew } from "./crew/crew.ts";
export { type Ending, reclaimOnExit } from "./crew/reclaim-on-exit.ts";
export type {
  BusHolder,
  CoherentMemory,
  DmaOperations,
  Mapping,
  MappingAttributes,
  MappingPart,
  Translation,
} from "./dma/contract.ts";
export { DmaDevice } from "./dma/device.ts";
export type { BounceOptions, DmaDeviceOptions } from "./dma/device-options.ts";
export type { DeviceWindow, DirectWindow, TranslatedWindow } from "./dma/device-window.ts";
export { DirectDevice } from "./dma/direct.ts";
export { DmaPool, DmaPoolCorruption, type DmaPoolOptions } from "./dma/dma-pool.ts";
export type { FaultInjectionOptions, FaultSchedule, InjectedFaults } from "./dma/fault-injection.ts";
export { FaultInjectingTable } from "./dma/fault-injection.ts";
export type { DeviceLimits } from "./dma/limits.ts";
export { isDmaPossible, largestMapping, mergeBoundary, requiredMask } from "./dma/queries.ts";
export type { ScatterElement } from "./dma/scatter-list.ts";
export { ScatterList } from "./dma/scatter-list.ts";
export { createDevice } from "./dma/windows.ts";
export type { SharedBuffer } from "./shared/memory.ts";
export type { LiveMapping, RecoverAround, TableHandle, TableOptions } from "./table/iommu-table.ts";
export { IommuTable, iovaOf } from "./table/iommu-table.ts";
export { listen, type MappingListener } from "./table/listen.ts";
export type { FreeMisuse } from "./units/errors.ts";
export { FormatError, FreeError, InvalidArgumentError, InvariantError, IovaError, SyncError } from "./units/errors.ts";
export type { Failure, FailureCode } from "./units/failure.ts";
export { failureCode, failureOf, isFailure, orThrow } from "./units/failure.ts";
export type {
  Access,
  DmaWindow,
  EntryAccess,
  EntryRange,
  EntryRanges,
} from "./units/numbers.ts";
export { DEVICE_READS, DEVICE_READS_AND_WRITES, DEVICE_WRITES, MAX_ENTRIES, WEAKLY_ORDERED } from "./units/numbers.ts";
