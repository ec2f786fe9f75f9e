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

/** A mapping: memory that the device finds at `iova`. `unmap` takes this object. */
export interface Mapping {
  /** Bus address of the first byte, in bytes. */
  readonly iova: bigint;
  /** Length in bytes: at least 1. */
  readonly bytes: number;
  /** Allowed accesses of the device. */
  readonly access: Access;
}

/**
 * Coherent memory, which CPU and device both use while it is mapped. It is zeroed, contiguous, and aligned to the next power of two of its
 * length.
 */
export interface CoherentMemory extends Mapping {
  /** Physical address of the first byte; `machine.memory` reads and writes it. */
  readonly address: number;
}

/** Translation of a bus address. */
export interface Translation {
  /** Physical address of the byte, or of its place in a bounce buffer. */
  readonly address: bigint;
  /** Bytes from here on that are contiguous in memory and on the bus: up to the end of the IO page, or of the direct window. At least 1. */
  readonly bytes: number;
  /** Allowed accesses of the device, as in the entry. On some platforms it allows more than was asked for. */
  readonly access: Access;
}

/** The holder of a range of bus addresses that is not free. */
export interface BusHolder {
  /** Bus address of its first byte, in bytes: a multiple of the IO page size. */
  readonly iova: bigint;
  /** Length of the range in bytes: a multiple of the IO page size. */
  readonly bytes: number;
  /** State of the range: "live" is a mapping, "reserved" a hole. */
  readonly state: HoldingState;
  /** Number of the thread that mapped, reserved or caches it. */
  readonly owner: number;
}

/** Attributes of one mapping. */
export interface MappingAttributes {
  /**
   * True: `map` and `unmap` do not copy between bounce buffer and memory, and the driver calls `sync…` itself. Memory that the device may write
   * is copied in nevertheless, so that bytes which the device does not write survive `syncForCpu`. Default false.
   */
  readonly skipSync?: boolean;
  /** True: the debug mode does not report misuse by the call that makes this mapping. Default false. */
  readonly noWarning?: boolean;
  /** True: the device's accesses may be reordered (PCI relaxed ordering), if the platform's entries have a bit for that. Default false. */
  readonly weaklyOrdered?: boolean;
}

/** Part of a mapping, for `sync…`. */
export interface MappingPart {
  /** Offset of the part from the start of the mapping, in bytes. */
  readonly offset: number;
  /** Length of the part in bytes. */
  readonly bytes: number;
}

/**
 * The DMA API of a driver, which `DmaDevice`, `DirectDevice` and `debugged` devices implement. One object serves one device on one thread.
 * Failures of a running system are returned; misuse throws an error and changes nothing.
 */
export interface DmaOperations {
  /** Maps `bytes` (at least 1) bytes of physical memory from `address` on. Returns the mapping, or a failure. */
  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure;
  /** As `map`, at the bus address `iova`. Returns "in-use" if a part of the range is not free; `holderOf` returns its holder. */
  mapAt(
    iova: bigint,
    address: bigint,
    bytes: number,
    access: Access,
    attributes?: MappingAttributes,
  ): Mapping | Failure;
  /**
   * Returns the holder of the lowest part of these bus addresses that is not free. Undefined: all are free, or the device's route records
   * nothing.
   */
  holderOf(iova: bigint, bytes: number): BusHolder | undefined;
  /** Translates a bus address. Undefined: nothing is mapped there. */
  translate(iova: bigint): Translation | undefined;
  /** Unmaps a mapping of `map` or `mapAt`. Afterwards the device can't use it; in lazy mode, after the next flush of the IOTLB. */
  unmap(mapping: Mapping): Failure | undefined;
  /** Maps a scatterlist and writes its segments into the list's output. On failure nothing is mapped. */
  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined;
  /** Unmaps a list as it was given to `mapSg`: same length, same elements. */
  unmapSg(list: ScatterList): Failure | undefined;
  /** Maps registers of a peer device. These addresses are not memory: they are never bounced, copied or counted as pinned. */
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure;
  /** Unmaps registers that `mapResource` mapped. Throws FreeError for any other mapping. */
  unmapResource(mapping: Mapping): Failure | undefined;
  /** Allocates and maps `bytes` bytes of zeroed memory, for both directions, below the device's coherent mask. */
  allocateCoherent(bytes: number): CoherentMemory | Failure;
  /** Unmaps and frees memory that `allocateCoherent` returned. Throws FreeError for any other memory. */
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
