/**
 * What a device is made of: a *route*, by which it comes to memory, and memory of this layer's own that stands in for a driver's
 * (memory/). There are two routes: through a table, whose entries are written for each mapping (translated/), and through a window that
 * shows memory as it is (direct.ts). `RoutedDevice` is the rest: what drivers call is the same by either.
 *
 * A route identifies a mapping by its *key*, a number: its first entry, or on a route without entries its physical address.
 */
import type { Failure } from "../units/failure.ts";
import type { EntryAccess } from "../units/numbers.ts";
import type { Mapping } from "./contract.ts";
import type { ScatterList } from "./scatter-list.ts";

export interface Route extends CoherentRoute {
  /** Scatterlists take the same route. */
  readonly lists: ListMapper;
  /** Which memory is bounced, on a device with bounce buffers; undefined: none. */
  readonly bouncing: BounceRule | undefined;
  /** Did the last failed `map` leave what a device may still reach? */
  readonly isStranded: boolean;
  /** Maps `bytes` bytes of physical memory from `address` on. Returns its key, or a failure code. */
  map(address: bigint, bytes: number, access: EntryAccess): number;
  /** The bus address of what was mapped under `key`: the byte that is, or stands in for, the one at `address`. */
  iovaOf(key: number, address: bigint): bigint;
  /** The key of a mapping. Throws FreeError for bytes that this route can't have mapped. */
  keyOf(mapping: Mapping): number;
  /** Throws FreeError for what is not mapped like that, where this route can tell. */
  checkMapped(key: number, mapping: Mapping): void;
  /** When it returns undefined, the device no longer uses the mapping, or in lazy mode after `awaitInvalidation`. Throws FreeError. */
  unmap(key: number, mapping: Mapping): Failure | undefined;
  /** What lies between devices and memory comes to memory. Throws IovaError when it does not. */
  synchronize(key: number, mapping: Mapping): void;
  synchronizeList(list: ScatterList): void;
}

/** Maps scatterlists: `mapping.mappedWords` has the addresses. */
export interface ListMapper {
  /** As of a route. */
  readonly isStranded: boolean;
  /** Why this list can never be mapped. Nothing is touched. Throws as `map` does. */
  refusalFor(list: ScatterList): Failure | undefined;
  /** Maps the list and fills in its output. Throws InvalidArgumentError for one that is mapped, or holds nonsense. */
  map(list: ScatterList, access: EntryAccess): Failure | undefined;
  /** Throws FreeError, and changes nothing, unless this mapped the list, and its elements have not changed since. */
  unmap(list: ScatterList): Failure | undefined;
  /** Throws SyncError unless this mapped the list, and its elements have not changed since. */
  checkSync(list: ScatterList): void;
}

/** What a route does for coherent memory. */
export interface CoherentRoute {
  /** The unit in which memory is taken, so that a page which the device sees holds nobody else's data: a power of two from 4096 on. */
  readonly pageSize: number;
  /** Why so many bytes can never be had, whatever is free, or undefined. */
  coherentRefusal(bytes: number): Failure | undefined;
  /** Did the last failed `mapCoherent` leave what a device may still reach? */
  readonly isStranded: boolean;
  /** Maps pages under the coherent mask, at a multiple of `alignment` bytes. On failure nothing is mapped, unless it is stranded. */
  mapCoherent(address: number, bytes: number, alignment: number): bigint | Failure;
  /** When it returns undefined, the device no longer uses them, or in lazy mode after `awaitInvalidation`. */
  unmapCoherent(iova: bigint, bytes: number): Failure | undefined;
  /** When it returns undefined, no device uses what this thread has unmapped. */
  awaitInvalidation(): Failure | undefined;
}

/** Which memory a route can't give a device as it is, and what may stand in for it. Addresses and lengths are in bytes. */
export interface BounceRule {
  /** What the device can be given as one: a power of two from 4096 on. */
  readonly pageSize: number;
  /** May the device not have these bytes (at least 1) as they are? */
  isBounced(address: number, bytes: number): boolean;
  /** Can what is mapped so only be a bounce buffer? */
  isOnlyBounced(key: number, mapping: Mapping): boolean;
  /** Why nothing that stands in for these bytes could ever be mapped: a failure code; 0 when it could. */
  refusal(address: number, bytes: number): number;
  /** The alignment of the pages (so many bytes) that stand in for memory at `address`: a power of two, at least the page size. */
  alignment(address: number, pagesBytes: number): number;
}
