/**
 * The parts of a device: a *route* to memory, and memory of this layer that replaces a driver's (memory/). There are two routes: through a
 * table, whose entries are written for each mapping (translated/), and through a direct window (direct.ts). `RoutedDevice` adds the API of
 * drivers, which is the same for both.
 *
 * A route identifies a mapping by its *key*, a number: its first entry, or on a route without entries its physical address.
 */
import type { Failure } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";
import type { BusHolder, Mapping, Translation } from "./contract.ts";
import type { ScatterList } from "./scatter-list.ts";

export interface Route extends CoherentRoute {
  /** Maps scatterlists on this route. */
  readonly lists: ListMapper;
  /** Decides which memory is bounced; undefined if no memory ever is. */
  readonly bouncing: BounceRule | undefined;
  /** True if the last failed `map` left entries that could not be invalidated. */
  readonly isStranded: boolean;
  /** Maps `bytes` bytes of physical memory from `address` on. Returns its key, or a failure code. */
  map(address: bigint, bytes: number, access: EntryAccess): number;
  /** As `map`, at the bus address `iova`. Throws InvalidArgumentError for a bus address that this route does not have. */
  mapAt(iova: bigint, address: bigint, bytes: number, access: EntryAccess): number;
  /** Returns the holder of the lowest part of these bus addresses that is not free; undefined if all are free, or nothing is recorded. */
  holderOf(iova: bigint, bytes: number): BusHolder | undefined;
  /** Where a bus address leads; undefined if nothing is mapped there. */
  translate(iova: bigint): Translation | undefined;
  /** The bus address of the byte at `address` (or of its bounce buffer) in the mapping with this key. */
  iovaOf(key: number, address: bigint): bigint;
  /** The key of a mapping. Throws FreeError for a range that this route can't have mapped. */
  keyOf(mapping: Mapping): number;
  /** Throws FreeError if this mapping does not exist, as far as this route can tell. */
  checkMapped(key: number, mapping: Mapping): void;
  /** When it returns undefined, the device no longer uses the mapping, or in lazy mode after `awaitInvalidation`. Throws FreeError. */
  unmap(key: number, mapping: Mapping): Failure | undefined;
  /** Moves data between device and memory, such as a streaming cache's, to memory. Throws IovaError if that fails. */
  synchronize(key: number, mapping: Mapping): void;
  synchronizeList(list: ScatterList): void;
}

/** Maps scatterlists: `mapping.mappedWords` has the addresses. */
export interface ListMapper {
  /** See `Route.isStranded`. */
  readonly isStranded: boolean;
  /** The failure if this list can never be mapped. Changes nothing. Throws as `map` does. */
  refusalFor(list: ScatterList): Failure | undefined;
  /** Maps the list and fills in its output. Throws InvalidArgumentError for a list that is mapped or has invalid elements. */
  map(list: ScatterList, access: EntryAccess): Failure | undefined;
  /** Throws FreeError, and changes nothing, unless this object mapped the list and its elements have not changed since. */
  unmap(list: ScatterList): Failure | undefined;
  /** Throws SyncError unless this object mapped the list and its elements have not changed since. */
  checkSync(list: ScatterList): void;
}

/** Operations of a route on coherent memory. */
export interface CoherentRoute {
  /** The unit of allocation in bytes, a power of two from 4096 on. A page that the device sees holds no other data. */
  readonly pageSize: number;
  /** Returns the failure if `bytes` bytes can never be mapped, or undefined. */
  coherentRefusal(bytes: number): Failure | undefined;
  /** True if the last failed `mapCoherent` left entries that could not be invalidated. */
  readonly isStranded: boolean;
  /** Maps pages under the coherent mask, at a multiple of `alignment` bytes. On failure nothing is mapped, unless it is stranded. */
  mapCoherent(address: number, bytes: number, alignment: number): bigint | Failure;
  /** After it has returned undefined, the device no longer uses the pages; in lazy mode after `awaitInvalidation`. */
  unmapCoherent(iova: bigint, bytes: number): Failure | undefined;
  /** After it has returned undefined, no device uses memory that this thread has unmapped. */
  awaitInvalidation(): Failure | undefined;
}

/** Which memory must be bounced on a route, and where its bounce buffers may lie. Addresses and lengths are in bytes. */
export interface BounceRule {
  /** The unit of a bounce buffer in bytes: a power of two from 4096 on. */
  readonly pageSize: number;
  /** True if these bytes (at least 1) must be bounced. */
  isBounced(address: number, bytes: number): boolean;
  /** True if such a mapping must be a bounce buffer. */
  isOnlyBounced(key: number, mapping: Mapping): boolean;
  /** A failure code if a bounce buffer for these bytes can never be mapped, else 0. */
  refusal(address: number, bytes: number): number;
  /** The alignment in bytes of the `pagesBytes` bytes that replace memory at `address`: a power of two, at least the page size. */
  alignment(address: number, pagesBytes: number): number;
}
