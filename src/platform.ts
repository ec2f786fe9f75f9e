/**
 * `iova/platform`: platforms, the machines they run on, and the contracts between these and the generic table. For programs that run a
 * platform on a machine, and for authors of new platforms, machines and entry formats.
 *
 * - `boardNamed` makes a machine with a platform in one call; `attachBoard` attaches other threads.
 * - `SoftwareMachine`, `PaprHypervisor`, `Sun4vHypervisor` and `LdcHypervisor` are machines in software; `PhysicalMemory` and
 *   `PhysicalPages` are their memory.
 * - `LinearPlatform`, `PowernvPlatform`, `PseriesPlatform`, `Sun4uPlatform`, `Sun4vPlatform` and `LdcPlatform` are platforms. A new one
 *   extends `TablePlatform`.
 * - `Machine`, `Memory`, `Registers`, `TableOps`, `MappingTable` and `EntryFormat` are the contracts. `iova/testing` tests implementations.
 * - `PinnedMemory` and `PinnedTable` are for memory of user processes.
 *
 * @example
 * ```ts
 * import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
 * import { boardNamed } from "iova/platform";
 *
 * const board = boardNamed("powernv").create({ memoryBytes: 2 ** 24, devices: ["nvme0"] });
 * const driver = new DmaDevice(board.table);
 * const buffer = orThrow(driver.map(0x5000n, 4096, DEVICE_WRITES));
 * const nvme = board.machine.device("nvme0");
 * console.log("the device writes:", nvme.dmaWrite(buffer.iova, Uint8Array.of(1, 2, 3)));
 *
 * driver.unmap(buffer);
 * console.log("and after the unmap:", nvme.dmaWrite(buffer.iova, Uint8Array.of(4)), board.takeFaults()[0]?.reason);
 * board.close();
 * ```
 * ```text output
 * the device writes: true
 * and after the unmap: false not-mapped
 * ```
 *
 * @module
 */
/// <reference lib="esnext.disposable" preserve="true" />
export type { EntryFormat } from "./formats/contract.ts";
export { LDC_MAP, ldcMapEntry } from "./formats/ldc-map-entry.ts";
export { pseriesTce } from "./formats/pseries-tce.ts";
export { createSun4uIopte, type Sun4uDummyPage, type Sun4uIopteOptions, sun4uIopte } from "./formats/sun4u-iopte.ts";
export { sun4vTte } from "./formats/sun4v-tte.ts";
export { powernvTce } from "./formats/tce.ts";
export type { DmaMachine, DmaMaster, Fault, Hypercall, Machine, Memory, Registers } from "./machine/contract.ts";
export { WideRegisters } from "./machine/wide-registers.ts";
export type {
  Board,
  BoardHandle,
  BoardKind,
  BoardOptions,
  BoardStatistics,
} from "./machines/board.ts";
export { attachBoard, BOARD_KINDS, boardNamed } from "./machines/boards.ts";
export {
  LdcHypervisor,
  type LdcHypervisorHandle,
  type LdcHypervisorOptions,
} from "./machines/hypervisors/ldc/hypervisor.ts";
export {
  type DynamicWindowOptions,
  PaprHypervisor,
  type PaprHypervisorHandle,
  type PaprHypervisorOptions,
  type UserSpaceCall,
} from "./machines/hypervisors/papr/hypervisor.ts";
export type { InjectedAnswer } from "./machines/hypervisors/papr/injection.ts";
export type { PersonalityName } from "./machines/hypervisors/papr/personalities.ts";
export type { HypervisorStatistics } from "./machines/hypervisors/statistics.ts";
export {
  Sun4vHypervisor,
  type Sun4vHypervisorHandle,
  type Sun4vHypervisorOptions,
} from "./machines/hypervisors/sun4v/hypervisor.ts";
export type { SoftwareDevice } from "./machines/software/device.ts";
export type { Replacement } from "./machines/software/iotlb.ts";
export {
  type IotlbOptions,
  SoftwareMachine,
  type SoftwareMachineHandle,
  type SoftwareMachineOptions,
  type SoftwareMachineStatistics,
} from "./machines/software/machine.ts";
export { PhysicalMemory, type PhysicalMemoryHandle } from "./memory/physical-memory.ts";
export {
  PhysicalPages,
  type PhysicalPagesHandle,
  type PhysicalPagesOptions,
  type PhysicalRange,
} from "./memory/physical-pages.ts";
export type { CheckedRegion, MemoryRegion, SharedWebAssemblyMemory } from "./memory/regions.ts";
export {
  type OwnerOptions,
  PinnedMemory,
  type PinnedMemoryHandle,
  type PinnedMemoryOptions,
  type RegisterOptions,
} from "./pinned/pinned-memory.ts";
export { type PinnedEntry, PinnedTable, type PinnedTableHandle } from "./pinned/pinned-table.ts";
export type { Region } from "./pinned/regions.ts";
export { type UserMemory, type UserRange, userRange } from "./pinned/user-memory.ts";
export type { EehEvent, EehReport } from "./platforms/eeh.ts";
export { FlatTableOps, type FlatTableOptions } from "./platforms/flat-table.ts";
export type { LdcCookie } from "./platforms/ldc/cookies.ts";
export { type LdcErrno, LdcError } from "./platforms/ldc/errors.ts";
export { type CopyDirection, LdcLink, type LinkState, type MappedInPage } from "./platforms/ldc/link.ts";
export {
  type LdcPiece,
  LdcPlatform,
  type LdcPlatformHandle,
  type LdcPlatformOptions,
} from "./platforms/ldc/platform.ts";
export { LinearDirtyLog } from "./platforms/linear/dirty-log.ts";
export { LinearOps, type LinearOpsOptions } from "./platforms/linear/ops.ts";
export { LinearPlatform, type LinearPlatformHandle, type LinearPlatformOptions } from "./platforms/linear/platform.ts";
export { type Platform, type Resources, TablePlatform } from "./platforms/platform.ts";
export type { WindowShape } from "./platforms/powernv/geometry.ts";
export { type GroupOwnership, TableGroup, type TableGroupHandle } from "./platforms/powernv/group.ts";
export { Phb, type PhbDevice, type PhbHandle, type PhbOptions } from "./platforms/powernv/phb.ts";
export {
  PowernvPlatform,
  type PowernvPlatformHandle,
  type PowernvPlatformOptions,
} from "./platforms/powernv/platform.ts";
export type { BusRange } from "./platforms/powernv/reservations.ts";
export { PowernvTable, type PowernvTableHandle, type PowernvTableOptions } from "./platforms/powernv/table.ts";
export type { Patience } from "./platforms/pseries/calls.ts";
export type { MemoryRange } from "./platforms/pseries/direct-memory.ts";
export type { DynamicWindowRequest, NoDynamicWindow } from "./platforms/pseries/dynamic-windows.ts";
export type { DmaProperties, DynamicWindowTokens, EehTokens } from "./platforms/pseries/papr.ts";
export {
  PseriesPlatform,
  type PseriesPlatformHandle,
  type PseriesPlatformOptions,
} from "./platforms/pseries/platform.ts";
export type { MappedWindow, PseriesWindow, TableWindow } from "./platforms/pseries/window-view.ts";
export {
  type StreamingResources,
  Sun4uPlatform,
  type Sun4uPlatformHandle,
  type Sun4uPlatformOptions,
} from "./platforms/sun4u/platform.ts";
export type { Sun4vWindow } from "./platforms/sun4v/calls.ts";
export { Sun4vPlatform, type Sun4vPlatformHandle, type Sun4vPlatformOptions } from "./platforms/sun4v/platform.ts";
export type { EntryValue, MappingTable, TableOps } from "./table/contract.ts";
export { type Errno, errnoCode, errnoOf, isErrno } from "./units/errno.ts";
