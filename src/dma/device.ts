/**
 * A device whose DMA goes through a table. It depends on the device's limits and on the MappingTable contract, not on a platform.
 *
 * Three ways to map, by how often it is done:
 * - `map` / `unmap`: an object per mapping, whole 64-bit addresses.
 * - `mapSg` / `unmapSg`: a list of pieces in one transfer, without an object or a bigint per piece.
 * - `mapPages` / `unmapPages`: one piece as plain numbers, for hot paths.
 *
 * Make one DmaDevice per device and thread; several may share a table. The object that made coherent memory or a bounced mapping must free
 * it; any object with the same table may free other mappings.
 */
import type { MappingTable } from "../table/contract.ts";
import { checkInteger, FreeError, InvalidArgumentError, inWords } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import { pagesCovering } from "../units/pages.ts";
import type { DmaDeviceOptions } from "./device-options.ts";
import type { DeviceLimits } from "./limits.ts";
import { checkAccess } from "./requests.ts";
import { RoutedDevice } from "./routed-device.ts";
import { TableRoute } from "./translated/table-route.ts";

/**
 * A device whose DMA goes through a table: a driver's way to map memory. One object serves one device on one thread; several may share a table.
 * The object that made coherent memory or a bounced mapping must free it. Any object with the same table may free other mappings.
 *
 * Lengths and physical addresses are in bytes. Failures of a running system (no space, memory beyond the mask) are returned as a `Failure`.
 * Arguments out of range throw InvalidArgumentError.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, isFailure } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, devices: ["nic"] });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
 * const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const device = new DmaDevice(table, { mask: 0xffff_ffffn });
 *
 * machine.memory.write(0x4_0000, new TextEncoder().encode("packet"));
 * const mapping = device.map(0x4_0000n, 6, DEVICE_READS);
 * if (isFailure(mapping)) throw new Error(mapping);
 * const packet = new Uint8Array(6);
 * machine.device("nic").dmaRead(mapping.iova, packet);
 * console.log(new TextDecoder().decode(packet));
 * device.unmap(mapping);
 * ```
 * ```text output
 * packet
 * ```
 */
export class DmaDevice extends RoutedDevice {
  readonly #route: TableRoute;

  /** @throws InvalidArgumentError for a limit or option outside its range, or options that lack another */
  constructor(table: MappingTable, limits: DeviceLimits = {}, options: DmaDeviceOptions = {}) {
    const route = new TableRoute(table, limits, options);
    super(route, route, options);
    this.#route = route;
  }

  /**
   * As `map`, with plain numbers and without an object for each mapping. `address`: 0 .. 2^53 − 1. Returns the first entry, which `iovaOf`
   * converts to a bus address, or a failure code below 0, which `failureOf` names.
   * @throws InvalidArgumentError for an address, length or access outside its range
   */
  mapPages(address: number, bytes: number, access: Access): number {
    checkAccess(access);
    if (!(address >= 0 && bytes >= 1 && Number.isSafeInteger(address + bytes) && Number.isInteger(bytes))) {
      throw new InvalidArgumentError("range", inWords(`${bytes} bytes at ${address}`), "1 byte or more in [0, 2^53)");
    }
    const { bounced } = this;
    if (bounced?.isBounced(address, bytes) === true) return bounced.map(address, bytes, access);
    const { pageSize } = this.#route;
    const page = Math.floor(address / pageSize);
    const entry = this.#route.mapPages(page, address - page * pageSize, bytes, access);
    if (entry >= 0) bounced?.forget(entry);
    return entry;
  }

  /**
   * Unmaps a mapping of `mapPages`: its first entry, and `pagesOf(address, bytes)`. A failure is as for `unmap`.
   * @throws FreeError, and changes nothing, when this mapping does not exist, and for coherent memory
   */
  unmapPages(entry: number, pages: number): Failure | undefined {
    if (this.coherent?.hasPage(this.#route.limits.basePage + entry) === true) {
      throw new FreeError("not-allocated", `unmapPages of entry ${entry}: coherent memory, for freeCoherent`);
    }
    const failure = this.#route.table.unmap(entry, pages);
    return this.bounced === undefined ? failure : this.bounced.finish(entry, failure);
  }

  /** Returns the number of IO pages that the bytes [address, address + bytes) touch. `address`: 0 .. 2^53 − 1. */
  pagesOf(address: number, bytes: number): number {
    const { pageSize } = this.#route;
    return pagesCovering(address % pageSize, bytes, pageSize);
  }

  /**
   * Returns the bus address of the byte at the physical address `address`, in a mapping whose first entry is `entry`.
   * @throws InvalidArgumentError if `entry` is not an entry of this table, for example an unchecked failure code
   */
  iovaOf(entry: number, address: number): bigint {
    checkInteger("entry", entry, 0, this.#route.limits.entries - 1);
    return this.#route.iovaOf(entry, BigInt(address));
  }
}
