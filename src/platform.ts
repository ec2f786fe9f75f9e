/**
 * `iova/platform`: the contracts between the generic table, the platforms whose entries it writes, and the machines that
 * walk them. For those who bring a platform or a machine of their own.
 */
export type { EntryFormat } from "./formats/contract.ts";
export { createSun4uIopte, type Sun4uIopteOptions, sun4uIopte } from "./formats/sun4u-iopte.ts";
export { powernvTce } from "./formats/tce.ts";
export type { DmaMaster, Fault, Hypercall, Machine, Memory, Registers } from "./machine/contract.ts";
export { PhysicalPages, type PhysicalPagesHandle, type PhysicalPagesOptions } from "./machine/physical-pages.ts";
export {
  type IotlbOptions,
  SoftwareMachine,
  type SoftwareMachineHandle,
  type SoftwareMachineOptions,
  type SoftwareMachineStatistics,
} from "./machines/software/machine.ts";
export { LinearOps, type LinearOpsOptions } from "./platforms/linear/ops.ts";
export { LinearPlatform, type LinearPlatformHandle, type LinearPlatformOptions } from "./platforms/linear/platform.ts";
export type { EntryValue, MappingTable, TableOps } from "./table/contract.ts";
