/**
 * The API of drivers, on any route to memory (route.ts): checks arguments, bounces buffers, keeps coherent memory, and calls the route.
 * Coherent memory may use another route than mappings: a device with several windows chooses one for each mask.
 */

import { hexadecimal } from "../units/counts.ts";
import { FreeError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import type {
  BusHolder,
  CoherentMemory,
  DmaOperations,
  Mapping,
  MappingAttributes,
  MappingPart,
  Translation,
} from "./contract.ts";
import { type DmaDeviceOptions, memoryOf } from "./device-options.ts";
import type { Toward } from "./memory/bounce.ts";
import { BouncedTransfers } from "./memory/bounced-transfers.ts";
import { CoherentBlocks } from "./memory/coherent.ts";
import {
  checkAccess,
  checkAttributes,
  checkBusRange,
  checkedPart,
  checkList,
  checkMapping,
  checkRange,
  entryAccess,
  notSetUp,
  syncErrorFor,
} from "./requests.ts";
import type { ListMapper, Route } from "./route.ts";
import type { ScatterList } from "./scatter-list.ts";

export class RoutedDevice implements DmaOperations {
  readonly #route: Route;
  readonly #lists: ListMapper;
  /**
   * Undefined if nothing is ever bounced.
   *
   * @internal
   */
  protected readonly bounced: BouncedTransfers | undefined;
  readonly #coherentRoute: Route;
  /**
   * The coherent memory of this device.
   *
   * @internal
   */
  protected readonly coherent: CoherentBlocks | undefined;

  /** `coherentRoute`: the route of coherent memory. @throws InvalidArgumentError for options that need another one */
  constructor(route: Route, coherentRoute: Route, options: DmaDeviceOptions) {
    const { bounce, coherentPages } = options;
    const memory = memoryOf(options);
    this.#route = route;
    this.#lists = route.lists;
    this.#coherentRoute = coherentRoute;
    if (route.bouncing !== undefined && bounce !== undefined && memory !== undefined) {
      this.bounced = new BouncedTransfers(route, route.bouncing, memory, bounce.pages);
    }
    if (coherentPages !== undefined && memory !== undefined) {
      this.coherent = new CoherentBlocks(memory, coherentPages, coherentRoute);
    }
  }

  /**
   * Maps `bytes` (at least 1) bytes of physical memory from `address` on. The maximum segment size applies to scatterlists only.
   * @throws InvalidArgumentError for a range outside of 64 bits, no bytes, or an access other than 1, 2, 3; if it must be bounced, also for
   * addresses that are not memory
   */
  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    if (attributes !== undefined) checkAttributes(attributes);
    const { bounced } = this;
    if (bounced?.isBounced(Number(address), bytes) === true) {
      return this.#mapping(bounced.map(Number(address), bytes, access, attributes), address, bytes, access);
    }
    const key = this.#route.map(address, bytes, entryAccess(access, attributes));
    if (key >= 0) bounced?.forget(key);
    return this.#mapping(key, address, bytes, access);
  }

  /**
   * As `map`, at the bus address `iova`, which the caller chooses: for a guest, or a fixed layout. `unmap` ends the mapping. The segment
   * boundary and the alignment of the limits do not apply. If all addresses of a table are chosen, create it with `cache: "none"`.
   *
   * - "in-use": a part of the range is a mapping, a reserved hole, or cached by a thread; `holderOf(iova, bytes)` returns its holder. Cached
   *   ranges are called in: a thread returns them at its next call, so a later try may succeed.
   * - "mask-too-low": the range ends beyond the device's mask.
   * - "platform-refused": in a direct window, another bus address than that of the memory.
   * @throws InvalidArgumentError as `map`; for a range outside of the window; for another offset in the IO page than that of `address`
   * @throws IovaError "not-supported" on a table without `allocateAt`
   */
  mapAt(
    iova: bigint,
    address: bigint,
    bytes: number,
    access: Access,
    attributes?: MappingAttributes,
  ): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    checkBusRange(iova, bytes);
    if (attributes !== undefined) checkAttributes(attributes);
    const { bounced } = this;
    if (bounced?.isBounced(Number(address), bytes) === true) {
      return this.#mapping(bounced.map(Number(address), bytes, access, attributes, iova), address, bytes, access);
    }
    const key = this.#route.mapAt(iova, address, bytes, entryAccess(access, attributes));
    if (key >= 0) bounced?.forget(key);
    return this.#mapping(key, address, bytes, access);
  }

  /**
   * Returns the holder of the lowest part of these bus addresses that is not free: the reason of an "in-use". Undefined: all of them are free,
   * or the window is a direct one, which records nothing. Read without locks, so it may have changed.
   * @throws InvalidArgumentError for a range outside of the window
   * @throws IovaError "not-supported" on a table without `holderOf`
   */
  holderOf(iova: bigint, bytes: number): BusHolder | undefined {
    checkBusRange(iova, bytes);
    return this.#route.holderOf(iova, bytes);
  }

  /**
   * Translates a bus address by the table's entries; the IOTLB is not asked. For a bounced mapping it returns the address of the bounce buffer.
   * Undefined: nothing is mapped there, or the address is outside of the window. (Some platforms lead a stray access to a dummy page.)
   * @throws InvalidArgumentError for an address outside of 64 bits
   * @throws IovaError "not-supported" on a table without `get`
   */
  translate(iova: bigint): Translation | undefined {
    checkBusRange(iova, 1);
    const found = this.#route.translate(iova);
    return found === undefined && this.#coherentRoute !== this.#route ? this.#coherentRoute.translate(iova) : found;
  }

  /**
   * Unmaps a mapping that `map` or `mapAt` returned. Afterwards the device can't use it; in lazy mode, after the next flush of the IOTLB. A
   * failure: the IOTLB could not be invalidated, and the range stays quarantined.
   * @throws FreeError, and changes nothing, if this mapping does not exist, as far as the route can detect
   */
  unmap(mapping: Mapping): Failure | undefined {
    checkMapping(mapping);
    const key = this.#route.keyOf(mapping);
    if (this.coherent?.has(mapping.iova) === true) {
      throw new FreeError("not-allocated", `unmap at ${hexadecimal(mapping.iova)}: coherent memory, for freeCoherent`);
    }
    return this.bounced === undefined ? this.#route.unmap(key, mapping) : this.bounced.unmap(key, mapping);
  }

  /**
   * Maps a scatterlist, and fills in its output: the device sees the elements' bytes, in order, in the list's segments.
   * - Elements of 0 bytes are skipped. A list without bytes is mapped with no segments.
   * - Elements that are adjacent on the bus merge into one segment of at most the maximum segment size.
   * - A longer element becomes several segments. If the list's segment capacity may be too small for them, the call throws. Without such
   *   elements there are never more segments than elements.
   * - No segment crosses a segment boundary. An element that is longer than the boundary is refused: "longer-than-boundary".
   * - On failure nothing is mapped, and the list has no segments.
   * @throws InvalidArgumentError for a list that is mapped or has invalid elements
   */
  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined {
    checkAccess(access);
    checkList(list);
    if (attributes !== undefined) checkAttributes(attributes);
    if (this.bounced !== undefined) return this.bounced.mapSg(list, access, attributes);
    return this.#lists.map(list, entryAccess(access, attributes));
  }

  /**
   * Unmaps a list as it was given to `mapSg`: same length, same elements. Its output is gone. A failure is as in `unmap`.
   * @throws FreeError, and changes nothing, for a list that is not mapped, mapped by another device, or changed since
   */
  unmapSg(list: ScatterList): Failure | undefined {
    checkList(list);
    return this.bounced === undefined ? this.#lists.unmap(list) : this.bounced.unmapSg(list);
  }

  /** As `map`, for registers of a peer device. They are never bounced, even if they share a page with others. */
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    const key = this.#route.map(address, bytes, access);
    if (key >= 0) this.bounced?.forget(key);
    return this.#mapping(key, address, bytes, access);
  }

  /** As `unmap`, for a mapping that `mapResource` returned. */
  unmapResource(mapping: Mapping): Failure | undefined {
    checkMapping(mapping);
    const key = this.#route.keyOf(mapping);
    if (this.coherent?.has(mapping.iova) === true || this.bounced?.holds(key) === true) {
      throw new FreeError("not-allocated", `unmapResource at ${hexadecimal(mapping.iova)}: memory is mapped there`);
    }
    const failure = this.#route.unmap(key, mapping);
    return this.bounced === undefined ? failure : this.bounced.finish(key, failure);
  }

  /**
   * Allocates, zeroes and maps memory for both directions, under the coherent mask. Bus and physical address are multiples of the next
   * power of two of `bytes`. Its IO pages hold no other data. "out-of-memory" if no pages are left.
   * @throws IovaError "not-set-up" on a device without `memory` and `coherentPages`
   */
  allocateCoherent(bytes: number): CoherentMemory | Failure {
    return this.#coherentBlocks().allocate(bytes);
  }

  /**
   * Frees memory that `allocateCoherent` of this object returned. A failure is as in `unmap`; the memory stays allocated then.
   * @throws FreeError, and changes nothing, for another bus address, length or physical address
   */
  freeCoherent(memory: CoherentMemory): Failure | undefined {
    checkMapping(memory);
    return this.#coherentBlocks().free(memory);
  }

  /**
   * Copies the device's writes from the bounce buffer of a mapping, or of a part of it. Without a bounce buffer CPU and device share the
   * memory.
   * @throws SyncError for a part outside of the mapping, and if the mapping does not exist, as far as the route can tell
   */
  syncForCpu(mapping: Mapping, part?: MappingPart): void {
    this.#sync(mapping, part, "cpu");
  }

  /** As `syncForCpu`, in the other direction: copies the CPU's writes for the device. */
  syncForDevice(mapping: Mapping, part?: MappingPart): void {
    this.#sync(mapping, part, "device");
  }

  /** As `syncForCpu`, for all elements of a mapped list. @throws SyncError if this device did not map it, or it has changed */
  syncSgForCpu(list: ScatterList): void {
    checkList(list);
    this.#lists.checkSync(list);
    this.#route.synchronizeList(list);
    this.bounced?.syncSg(list, "cpu");
  }

  /** As `syncForDevice`, for all elements of a mapped list. */
  syncSgForDevice(list: ScatterList): void {
    checkList(list);
    this.#lists.checkSync(list);
    this.bounced?.syncSg(list, "device");
    this.#route.synchronizeList(list);
  }

  failureOf(result: Mapping | Failure): Failure | undefined {
    return typeof result === "string" ? result : undefined;
  }

  #mapping(key: number, address: bigint, bytes: number, access: Access): Mapping | Failure {
    return key < 0 ? failureOf(key) : { iova: this.#route.iovaOf(key, address), bytes, access };
  }

  #sync(mapping: Mapping, part: MappingPart | undefined, toward: Toward): void {
    checkMapping(mapping);
    const wanted = checkedPart(mapping, part);
    // Drivers may sync coherent memory too. It is never bounced.
    const isCoherent = this.coherent?.has(mapping.iova) === true;
    const route = isCoherent ? this.#coherentRoute : this.#route;
    const bounced = isCoherent ? undefined : this.bounced;
    try {
      const key = route.keyOf(mapping);
      route.checkMapped(key, mapping);
      // Toward the CPU: first from the streaming cache to the bounce buffer, then from there to the driver's buffer. Toward the device: the
      // reverse.
      if (toward === "cpu") route.synchronize(key, mapping);
      bounced?.sync(key, mapping, wanted, toward);
      if (toward === "device") route.synchronize(key, mapping);
    } catch (error) {
      throw syncErrorFor(error, mapping);
    }
  }

  #coherentBlocks(): CoherentBlocks {
    if (this.coherent === undefined) throw notSetUp("coherent memory", "`memory` and `coherentPages`");
    return this.coherent;
  }
}
