/**
 * "iova/containers": how a process gets devices and lets them at its memory, as VFIO and iommufd do it: containers of type 1, IO address
 * spaces, and what they map in.
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
