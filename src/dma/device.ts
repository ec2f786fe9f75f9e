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
 * One device on one thread, over a table. Lengths and physical addresses are in bytes; `access` is what the device does (1 reads memory, 2
 * writes it, 3 both). Failures of a running system (no space, memory beyond the mask, …) are returned as a `Failure`; arguments out of
 * range throw InvalidArgumentError.
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
   * As `map`, without an object or a bigint: `address` is 0 .. 2^53 − 1. Returns the first entry (`iovaOf` makes it a bus
   * address), or a failure code (negative; `failureOf` names it).
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
   * As `unmap`, for a mapping of `mapPages`: its entry and `pagesOf(address, bytes)`.
   * @throws FreeError when it is not mapped like that, and for coherent memory; nothing has been changed then
   */
  unmapPages(entry: number, pages: number): Failure | undefined {
    if (this.coherent?.hasPage(this.#route.limits.basePage + entry) === true) {
      throw new FreeError("not-allocated", `unmapPages of entry ${entry}: coherent memory, for freeCoherent`);
    }
    const failure = this.#route.table.unmap(entry, pages);
    return this.bounced === undefined ? failure : this.bounced.finish(entry, failure);
  }

  /** Number of IO pages that `bytes` bytes from `address` (0 .. 2^53 − 1) on cover. */
  pagesOf(address: number, bytes: number): number {
    const { pageSize } = this.#route;
    return pagesCovering(address % pageSize, bytes, pageSize);
  }

  /**
   * The bus address at which the device finds the byte `address` that was mapped at `entry`.
   * @throws InvalidArgumentError if `entry` is not an entry of this table, for example an unchecked failure code
   */
  iovaOf(entry: number, address: number): bigint {
    checkInteger("entry", entry, 0, this.#route.limits.entries - 1);
    return this.#route.iovaOf(entry, BigInt(address));
  }
}
