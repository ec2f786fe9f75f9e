/**
 * `iova`: for programs that share an address range among threads, or map memory for devices. Runs in Node, browsers, Deno and Bun, with
 * SharedArrayBuffer. `iova/platform` has platforms and machines.
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
