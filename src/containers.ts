/**
 * For authors of VMMs and of drivers in user space, and for tests of them: the calls by which a process gives its memory to devices, as VFIO,
 * iommufd and KVM have them, with their errors.
 *
 * | class | interface |
 * | --- | --- |
 * | `Type1Container` | VFIO container of type 1: x86 and Arm |
 * | `SpaprContainer` | VFIO container for PowerPC, versions 1 and 2 |
 * | `IoAddressSpace` | IO address space of iommufd |
 * | `GuestTables`, `GuestCalls` | KVM's TCE tables of a guest, and its hypercalls |
 *
 * All of them pin user memory in a `PinnedMemory` of `iova/platform`, and charge it to a process. Methods answer error numbers by name, such as
 * "ENOMEM"; `isErrno` recognises them, and `orThrow` of `iova` throws them. Each class has an example. The first steps:
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { orThrow } from "iova";
 * import { Type1Container } from "iova/containers";
 * import { LinearPlatform, PinnedMemory, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 24, threads: 2 });
 * const window = { base: 0x10_0000n, pageShift: 12, entries: 512 };
 * const { ops } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 *
 * // A process that may lock 1 MiB. Its memory begins at user address 0x7f000000, and at physical address 4 MiB.
 * const pinned = PinnedMemory.create({ memoryBytes: 2 ** 24, crew: machine.crew });
 * const memory = { pageOf: (page: number) => page - 0x7f000 + 1024, backingShift: () => 12 };
 * const owner = orThrow(pinned.addOwner({ limitBytes: 2 ** 20 }, memory));
 *
 * const container = orThrow(Type1Container.open({ pinned, owner }));
 * orThrow(container.attachGroup({ number: 7, domain: { window, ops } }));
 * orThrow(container.map({ iova: 0x10_0000n, userAddress: 0x7f00_0000n, bytes: 4096n, flags: 3 }));
 * assert.equal(machine.device(0).dmaWrite(0x10_0000n, Uint8Array.of(42)), true);
 * orThrow(container.close());
 * ```
 *
 * @module
 */
export { ContainerEnd, type ContainerHandle } from "./containers/container-end.ts";
export type { DirtyRange } from "./containers/dirty-pages.ts";
export type { AddressRange, DirtyLog, Domain, IommuGroup } from "./containers/domain.ts";
export {
  IoAddressSpace,
  type IoAddressSpaceOptions,
  type IoCopyRequest,
  type IoMapRequest,
  type IoPlace,
  type IoRanges,
} from "./containers/iommufd.ts";
export { type GuestCall, GuestCalls, type GuestCallsOptions } from "./containers/kvm/guest-calls.ts";
export type { GuestMemoryRange } from "./containers/kvm/guest-memory.ts";
export {
  type GuestTablePages,
  GuestTables,
  type GuestTablesHandle,
  type GuestTablesOptions,
  type GuestWindow,
} from "./containers/kvm/guest-tables.ts";
export type { UserMapping } from "./containers/mappings.ts";
export type { BusRange, MapRequest, UnmapRequest } from "./containers/requests.ts";
export { SpaprContainer, type SpaprInfo, type SpaprKind, type SpaprOptions } from "./containers/spapr/container.ts";
export type { DefaultWindow, SpaprGroup, SpaprTable, SpaprWindowShape, WindowOps } from "./containers/spapr/group.ts";
export { type PowernvGroupOptions, powernvSpaprGroup, powernvTableOf } from "./containers/spapr/powernv-group.ts";
export type {
  CreateWindowRequest,
  MemoryRequest,
  RemoveWindowRequest,
} from "./containers/spapr/requests.ts";
export { Type1Container, type Type1Info, type Type1Options } from "./containers/type1.ts";
export { type Errno, isErrno } from "./units/errno.ts";
