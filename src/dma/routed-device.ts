/**
 * A device as its driver sees it, whatever route it takes to memory (route.ts): what drivers hand in is checked, what must be bounced
 * is bounced, coherent memory is kept apart, and the route does the rest. Coherent memory may take another route than what is mapped:
 * a device with several windows chooses one for each mask.
 */

import { hexadecimal } from "../units/counts.ts";
import { FreeError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import type { CoherentMemory, DmaOperations, Mapping, MappingAttributes, MappingPart } from "./contract.ts";
import { type DmaDeviceOptions, memoryOf } from "./device-options.ts";
import type { Toward } from "./memory/bounce.ts";
import { BouncedTransfers } from "./memory/bounced-transfers.ts";
import { CoherentBlocks } from "./memory/coherent.ts";
import * as requests from "./requests.ts";
import type { ListMapper, Route } from "./route.ts";
import type { ScatterList } from "./scatter-list.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const {
  checkAccess,
  checkAttributes,
  checkedPart,
  checkList,
  checkMapping,
  checkRange,
  entryAccess,
  notSetUp,
  syncErrorFor,
} = requests;

export class RoutedDevice implements DmaOperations {
  readonly #route: Route;
  readonly #lists: ListMapper;
  /** Undefined where nothing is ever bounced. */
  protected readonly bounced: BouncedTransfers | undefined;
  readonly #coherentRoute: Route;
  protected readonly coherent: CoherentBlocks | undefined;

  /** `coherentRoute`: where coherent memory is kept. @throws InvalidArgumentError for options that lack another */
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
   * Maps `bytes` (at least 1) bytes of physical memory from `address` on. The maximum segment size does not apply: it is of
   * scatterlists.
   * @throws InvalidArgumentError for a range outside of 64 bits, no bytes, or an access other than 1, 2, 3; where it must be bounced
   * also for what is no memory
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
   * Unmaps what `map` returned. Afterwards the device can't use it, at the latest when lazy invalidation is done; a failure
   * says that the IOTLB could not be invalidated: the range is out of use for good.
   * @throws FreeError when it is not mapped like that, as far as the route can tell; nothing has been changed then
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
   * - Neighbours that come out adjacent merge into one segment of at most the maximum segment size.
   * - An element that is longer than that comes out in several segments; if those may not fit the list's segment capacity,
   *   it throws. Without such elements there are never more segments than elements.
   * - No segment crosses a segment boundary. An element that is longer than it is refused: "longer-than-boundary".
   * - On failure nothing is mapped, and the list has no segments.
   * @throws InvalidArgumentError for a list that is mapped, or whose columns hold nonsense
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

  /** As `map`, for registers of a peer; they are never bounced: also those that share a page with others are mapped as they are. */
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    const key = this.#route.map(address, bytes, access);
    if (key >= 0) this.bounced?.forget(key);
    return this.#mapping(key, address, bytes, access);
  }

  /** As `unmap`, for what `mapResource` returned. */
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
   * Takes, zeroes and maps memory for both directions, under the coherent mask. Bus and physical address are multiples of the
   * power of two that holds `bytes`; no other data lies in its IO pages. "out-of-memory" when the pages have run out.
   * @throws IovaError "not-set-up" on a device without `memory` and `coherentPages`
   */
  allocateCoherent(bytes: number): CoherentMemory | Failure {
    return this.#coherentBlocks().allocate(bytes);
  }

  /**
   * Gives back what `allocateCoherent` of this object returned. A failure is as in `unmap`; the memory stays out of use too.
   * @throws FreeError, and changes nothing, for another bus address, length or physical address
   */
  freeCoherent(memory: CoherentMemory): Failure | undefined {
    checkMapping(memory);
    return this.#coherentBlocks().free(memory);
  }

  /**
   * Copies what the device has written of a bounced mapping, or of a part of it; elsewhere CPU and device see the same memory.
   * @throws SyncError for a part outside of the mapping, and for what is not mapped, as far as the route can tell
   */
  syncForCpu(mapping: Mapping, part?: MappingPart): void {
    this.#sync(mapping, part, "cpu");
  }

  /** As `syncForCpu`, the other way: what the device is to read. */
  syncForDevice(mapping: Mapping, part?: MappingPart): void {
    this.#sync(mapping, part, "device");
  }

  /** As `syncForCpu`, for all elements of a mapped list. @throws SyncError when it is not mapped by this device, or changed */
  syncSgForCpu(list: ScatterList): void {
    checkList(list);
    this.#lists.checkSync(list);
    this.#route.synchronizeList(list);
    this.bounced?.syncSg(list, "cpu");
  }

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
    // Drivers may sync coherent memory, too: it is never bounced.
    const isCoherent = this.coherent?.has(mapping.iova) === true;
    const route = isCoherent ? this.#coherentRoute : this.#route;
    const bounced = isCoherent ? undefined : this.bounced;
    try {
      const key = route.keyOf(mapping);
      route.checkMapped(key, mapping);
      // Toward the CPU: first into the memory that the device has, then from there. Toward the device the other way round.
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
