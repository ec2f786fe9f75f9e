/**
 * The DMA API as drivers know it: what can be done with memory that a device is to see. `DmaDevice` does it through a table,
 * `DirectDevice` where the bus sees memory as it is; decorators (the debug mode) stand in front of either, and drivers can't tell.
 * What a device is made of: route.ts.
 *
 * Directions are the device's: `access` 1 is the kernels' TO_DEVICE, 2 FROM_DEVICE, 3 BIDIRECTIONAL. One object per device and
 * thread. Failures that a running system meets are values; misuse throws typed errors and changes nothing.
 */
import type { Failure } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import type { ScatterList } from "./scatter-list.ts";

/** A piece of memory that the device can use at `iova`. Keep it: `unmap` takes it. */
export interface Mapping {
  /** Bus address of the first byte, in bytes. */
  readonly iova: bigint;
  readonly bytes: number;
  readonly access: Access;
}

/** Memory that CPU and device both use all the time: zeroed, in one piece, aligned to the power of two that holds it. */
export interface CoherentMemory extends Mapping {
  /** Physical address of the first byte; `machine.memory` reads and writes it. */
  readonly address: number;
}

/** What a driver may say about one mapping. */
export interface MappingAttributes {
  /**
   * No copies between bounce buffer and memory at map and unmap: the driver calls `sync…` itself. (What the device may write is
   * copied in all the same: bytes that it leaves alone survive `syncForCpu`.)
   */
  readonly skipSync?: boolean;
  /** A failure is expected: the debug mode says nothing of how this mapping is made. */
  readonly noWarning?: boolean;
  /** The device's accesses may pass each other, where the platform's entries have a bit for it. */
  readonly weaklyOrdered?: boolean;
}

/** Part of a mapping, for `sync…`: bytes from its start on. */
export interface MappingPart {
  readonly offset: number;
  readonly bytes: number;
}

export interface DmaOperations {
  /** Maps `bytes` (at least 1) bytes of physical memory from `address` on. */
  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure;
  /** Unmaps what `map` returned. Afterwards the device can't use it, at the latest when lazy invalidation is done. */
  unmap(mapping: Mapping): Failure | undefined;
  /** Maps a scatterlist and fills in its output; on failure nothing is mapped. */
  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined;
  /** Unmaps a list as it was given to `mapSg`: same length, same elements. */
  unmapSg(list: ScatterList): Failure | undefined;
  /** Maps registers of a peer device: addresses that are no memory, never bounced, never copied, never counted as pinned. */
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure;
  unmapResource(mapping: Mapping): Failure | undefined;
  /** Takes and maps `bytes` bytes of zeroed memory, for both directions, under the device's coherent mask. */
  allocateCoherent(bytes: number): CoherentMemory | Failure;
  freeCoherent(memory: CoherentMemory): Failure | undefined;
  /** What the device has written becomes visible to the CPU: before the CPU reads a mapping that stays. */
  syncForCpu(mapping: Mapping, part?: MappingPart): void;
  /** What the CPU has written becomes visible to the device: before the device is told to read it. */
  syncForDevice(mapping: Mapping, part?: MappingPart): void;
  syncSgForCpu(list: ScatterList): void;
  syncSgForDevice(list: ScatterList): void;
  /** Why a result of `map`, `mapResource` or `allocateCoherent` is none; undefined when it is one. (Kernels: `dma_mapping_error`.) */
  failureOf(result: Mapping | Failure): Failure | undefined;
}
