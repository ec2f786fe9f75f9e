/**
 * `iova`: what programs use that share an address range among threads, or map memory for devices. Runs wherever there is
 * SharedArrayBuffer: Node, browsers, Deno, Bun. Platforms and machines are made with `iova/platform`.
 */
export type { AreaConstraints, AreaLimits } from "./allocator/constraints.ts";
export { areaConstraints, UNCONSTRAINED } from "./allocator/constraints.ts";
export type { FreeMisuse } from "./units/errors.ts";
export { FormatError, FreeError, InvalidArgumentError, InvariantError, IovaError } from "./units/errors.ts";
export type { Failure, FailureCode } from "./units/failure.ts";
export { failureCode, failureOf } from "./units/failure.ts";
export type { Access, DmaWindow, Entry, EntryCount, EntryRange, Iova, PhysicalAddress } from "./units/numbers.ts";
export { DEVICE_READS, DEVICE_READS_AND_WRITES, DEVICE_WRITES, MAX_ENTRIES } from "./units/numbers.ts";
