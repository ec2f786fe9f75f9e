/**
 * The DMA API of drivers. `DmaDevice` implements it with a table, `DirectDevice` with a direct window. A decorator, such as the debug mode,
 * may wrap either; drivers see no difference. route.ts describes the parts of a device.
 *
 * `access` is what the device does: 1 reads memory (Linux: DMA_TO_DEVICE), 2 writes it (DMA_FROM_DEVICE), 3 both (DMA_BIDIRECTIONAL). One
 * object serves one device on one thread. Failures of a running system are returned; misuse throws a typed error and changes nothing.
 */
import type { HoldingState } from "../allocator/inspect/ranges.ts";
import type { Failure } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import type { ScatterList } from "./scatter-list.ts";

/** A piece of memory that the device can use at `iova`. Keep it: `unmap` takes it. */
export interface Mapping {
  /** Bus address of the first byte, in bytes. */
  readonly iova: bigint;
  /** Length in bytes: at least 1. */
  readonly bytes: number;
  /** Allowed accesses of the device. */
  readonly access: Access;
}

/** Memory that CPU and device both use all the time: zeroed, in one piece, aligned to the power of two that holds it. */
export interface CoherentMemory extends Mapping {
  /** Physical address of the first byte; `machine.memory` reads and writes it. */
  readonly address: number;
}

/** Where a bus address leads. */
export interface Translation {
  /** Physical address of the byte, or of its place in a bounce buffer. */
  readonly address: bigint;
  /** So many bytes follow in memory as on the bus: up to the end of the IO page, or of the direct window. At least 1. */
  readonly bytes: number;
  /** What the device may do, by the entry: on some platforms more than was mapped. */
  readonly access: Access;
}

/** What has a range of bus addresses. */
export interface BusHolder {
  /** Bus address of its first byte, in bytes: a multiple of the IO page size. */
  readonly iova: bigint;
  /** Length of the range in bytes: a multiple of the IO page size. */
  readonly bytes: number;
  /** "live": a mapping; "reserved": a hole; others: see HoldingState. */
  readonly state: HoldingState;
  /** The number of the thread that mapped, reserved or keeps it. */
  readonly owner: number;
}

/** Attributes of one mapping. */
export interface MappingAttributes {
  /**
   * `map` and `unmap` do not copy between bounce buffer and memory: the driver calls `sync…` itself. Memory that the device may write is
   * copied in nevertheless, so that bytes which the device does not write survive `syncForCpu`.
   */
  readonly skipSync?: boolean;
  /** A failure is expected: the debug mode does not report misuse by the call that makes this mapping. */
  readonly noWarning?: boolean;
  /** The device's accesses may be reordered (PCI relaxed ordering), if the platform's entries have a bit for that. */
  readonly weaklyOrdered?: boolean;
}

/** Part of a mapping, for `sync…`: bytes from its start on. */
export interface MappingPart {
  /** Offset of the part from the start of the mapping, in bytes. */
  readonly offset: number;
  /** Length of the part in bytes. */
  readonly bytes: number;
}

/**
 * The calls of a driver. `DmaDevice`, `DirectDevice` and `debugged` devices have them. One object serves one device
 * on one thread.
 */
export interface DmaOperations {
  /** Maps `bytes` (at least 1) bytes of physical memory from `address` on. */
  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure;
  /** As `map`, at the bus address `iova`. "in-use" if a part of the range is not free: `holderOf` says who has it. */
  mapAt(
    iova: bigint,
    address: bigint,
    bytes: number,
    access: Access,
    attributes?: MappingAttributes,
  ): Mapping | Failure;
  /** What has the lowest part of these bus addresses; undefined if all are free, or nothing is recorded. */
  holderOf(iova: bigint, bytes: number): BusHolder | undefined;
  /** Where the device gets at this bus address; undefined if nothing is mapped there. */
  translate(iova: bigint): Translation | undefined;
  /** Unmaps what `map` or `mapAt` returned. Afterwards the device can't use it, at the latest when lazy invalidation is done. */
  unmap(mapping: Mapping): Failure | undefined;
  /** Maps a scatterlist and fills in its output; on failure nothing is mapped. */
  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined;
  /** Unmaps a list as it was given to `mapSg`: same length, same elements. */
  unmapSg(list: ScatterList): Failure | undefined;
  /** Maps registers of a peer device. These addresses are not memory: they are never bounced, copied or counted as pinned. */
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure;
  /** Unmaps registers that `mapResource` mapped. Throws FreeError for any other mapping. */
  unmapResource(mapping: Mapping): Failure | undefined;
  /** Takes and maps `bytes` bytes of zeroed memory, for both directions, under the device's coherent mask. */
  allocateCoherent(bytes: number): CoherentMemory | Failure;
  /** Unmaps and frees memory of `allocateCoherent`. Throws FreeError for any other memory. */
  freeCoherent(memory: CoherentMemory): Failure | undefined;
  /** Makes the device's writes visible to the CPU. Call it before the CPU reads memory that stays mapped. */
  syncForCpu(mapping: Mapping, part?: MappingPart): void;
  /** Makes the CPU's writes visible to the device. Call it before telling the device to read. */
  syncForDevice(mapping: Mapping, part?: MappingPart): void;
  /** As `syncForCpu`, for all elements of a mapped list. */
  syncSgForCpu(list: ScatterList): void;
  /** As `syncForDevice`, for all elements of a mapped list. */
  syncSgForDevice(list: ScatterList): void;
  /**
   * Returns the failure, or undefined if `result` is a mapping. For results of `map`, `mapResource` and `allocateCoherent`. (Linux:
   * `dma_mapping_error`.)
   */
  failureOf(result: Mapping | Failure): Failure | undefined;
}
