/**
 * A device as its driver sees it: memory goes in, bus addresses come out. Knows the device's limits and any table; knows
 * no platform.
 *
 * Three ways to map, by how often it is done:
 * - `map` / `unmap`: an object per mapping, whole 64-bit addresses.
 * - `mapSg` / `unmapSg`: a list of pieces in one transfer, without an object or a bigint per piece.
 * - `mapPages` / `unmapPages`: one piece as plain numbers, for a path that runs a million times a second.
 *
 * One DmaDevice per device and thread; several may share a table.
 */
import type { MappingTable } from "../table/contract.ts";
import { checkInteger, FreeError, InvalidArgumentError } from "../units/errors.ts";
import { type Failure, failureCode, failureOf, LONGER_THAN_BOUNDARY } from "../units/failure.ts";
import type { Access, Iova } from "../units/numbers.ts";
import type { Mapping } from "./contract.ts";
import { FaultInjectingTable, type FaultInjectionOptions } from "./fault-injection.ts";
import {
  type CompiledLimits,
  compileLimits,
  constraintsOf,
  crossesSubPageBoundary,
  type DeviceLimits,
  refusalOf,
} from "./limits.ts";
import { ScatterListMapper } from "./map-sg.ts";
import { pagesCovering } from "./pages.ts";
import type { ScatterList } from "./scatter-list.ts";

const DEFAULT_CPU_PAGE_SHIFT = 12;
const ADDRESSES = 2n ** 64n;

export interface DmaDeviceOptions {
  /** May neighbours in a scatterlist come out as one segment? Default true. */
  readonly merge?: boolean;
  /**
   * log2 of the CPU's page size in bytes, 12 .. 30; default 12. Whole CPU pages are aligned to a CPU page on the bus, also
   * where IO pages are smaller.
   */
  readonly cpuPageShift?: number;
  /** Makes some calls fail, to try out a driver's error paths. Default: none, and it costs nothing. */
  readonly faults?: FaultInjectionOptions;
}

export class DmaDevice {
  readonly #table: MappingTable;
  readonly #limits: CompiledLimits;
  readonly #sg: ScatterListMapper;

  /** @throws InvalidArgumentError for a limit or option outside its range */
  constructor(table: MappingTable, limits: DeviceLimits = {}, options: DmaDeviceOptions = {}) {
    const cpuPageShift = options.cpuPageShift ?? DEFAULT_CPU_PAGE_SHIFT;
    checkInteger("CPU page shift", cpuPageShift, 12, 30);
    this.#table = options.faults === undefined ? table : new FaultInjectingTable(table, options.faults);
    this.#limits = compileLimits(table.window, limits, cpuPageShift);
    this.#sg = new ScatterListMapper(this.#table, this.#limits, options.merge ?? true);
  }

  /**
   * Maps `bytes` (at least 1) bytes of physical memory from `address` on. The maximum segment size does not apply: it is of
   * scatterlists.
   * @throws InvalidArgumentError for a range outside of 64 bits, no bytes, or an access other than 1, 2, 3
   */
  map(address: bigint, bytes: number, access: Access): Mapping | Failure {
    checkAccess(access);
    checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    if (typeof address !== "bigint" || address < 0n || address + BigInt(bytes) > ADDRESSES) {
      throw new InvalidArgumentError("address", address, `a bigint from 0n to 2n ** 64n - ${bytes}n`);
    }
    const { pageShift, pageSize } = this.#limits;
    const offset = Number(address & BigInt(pageSize - 1));
    const entry = this.#mapRange(Number(address >> BigInt(pageShift)), offset, bytes, access);
    if (entry < 0) return failureOf(entry);
    return { iova: this.#busAddress(entry, offset), bytes, access };
  }

  /**
   * Unmaps what `map` returned. Afterwards the device can't use it, at the latest when lazy invalidation is done; a failure
   * says that the IOTLB could not be invalidated: the range is out of use for good.
   * @throws FreeError when it is not mapped like that; nothing has been changed then
   */
  unmap(mapping: Mapping): Failure | undefined {
    const { iova, bytes } = mapping;
    const { window } = this.#table;
    const { pageShift, pageSize } = this.#limits;
    checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    const end = window.base + (BigInt(window.entries) << BigInt(pageShift));
    if (iova < window.base || iova + BigInt(bytes) > end) {
      throw new FreeError(
        "out-of-range",
        `unmap of ${bytes} bytes at 0x${iova.toString(16)}: the window is [0x${window.base.toString(16)}, 0x${end.toString(16)})`,
      );
    }
    const entry = Number((iova - window.base) >> BigInt(pageShift));
    return this.#table.unmap(entry, pagesCovering(Number(iova & BigInt(pageSize - 1)), bytes, pageSize));
  }

  /**
   * As `map`, without an object or a bigint: `address` is 0 .. 2^53 − 1. Returns the first entry (`iovaOf` makes it a bus
   * address), or a failure code (negative; `failureOf` names it).
   */
  mapPages(address: number, bytes: number, access: Access): number {
    checkAccess(access);
    if (!(address >= 0 && bytes >= 1 && Number.isSafeInteger(address + bytes) && Number.isInteger(bytes))) {
      throw new InvalidArgumentError("range", `${bytes} bytes at ${address}`, "1 byte or more in [0, 2^53)");
    }
    const { pageSize } = this.#limits;
    const page = Math.floor(address / pageSize);
    return this.#mapRange(page, address - page * pageSize, bytes, access);
  }

  /** As `unmap`, for what `mapPages` returned: its entry and `pagesOf(address, bytes)`. */
  unmapPages(entry: number, pages: number): Failure | undefined {
    return this.#table.unmap(entry, pages);
  }

  /** How many IO pages `bytes` bytes from `address` (0 .. 2^53 − 1) on take. */
  pagesOf(address: number, bytes: number): number {
    const { pageSize } = this.#limits;
    return pagesCovering(address % pageSize, bytes, pageSize);
  }

  /**
   * The bus address at which the device finds the byte `address` that was mapped at `entry`.
   * @throws InvalidArgumentError when `entry` is none of this table's: a failure code that nobody looked at, for one
   */
  iovaOf(entry: number, address: number): Iova {
    checkInteger("entry", entry, 0, this.#limits.entries - 1);
    return this.#busAddress(entry, address % this.#limits.pageSize);
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
  mapSg(list: ScatterList, access: Access): Failure | undefined {
    checkAccess(access);
    return this.#sg.map(list, access);
  }

  /**
   * Unmaps a list as it was given to `mapSg`: same length, same elements. Its output is gone. A failure is as in `unmap`.
   * @throws FreeError, and changes nothing, for a list that is not mapped, mapped by another device, or changed since
   */
  unmapSg(list: ScatterList): Failure | undefined {
    return this.#sg.unmap(list);
  }

  /** The first entry, or a failure code. */
  #mapRange(page: number, offset: number, bytes: number, access: Access): number {
    const table = this.#table;
    const limits = this.#limits;
    const pages = pagesCovering(offset, bytes, limits.pageSize);
    if (limits.subPageBoundary !== 0 && crossesSubPageBoundary(limits, offset, bytes)) return LONGER_THAN_BOUNDARY;
    const cpuAligned = holdsCpuPages(limits, page, offset, bytes);
    const constraints = constraintsOf(limits, limits.streaming, cpuAligned, offset + bytes);
    const refusal = refusalOf(limits, constraints, pages);
    if (refusal !== 0) return refusal;
    const entry = table.allocate(pages, constraints, -1);
    if (entry < 0) return entry;
    const failure = table.set(entry, pages, page, access);
    if (failure !== undefined) {
      table.abandon(entry, pages);
      return failureCode(failure);
    }
    table.flush();
    table.commit(entry, pages);
    return entry;
  }

  #busAddress(entry: number, offset: number): Iova {
    const { basePage, pageShift } = this.#limits;
    return ((BigInt(basePage + entry) << BigInt(pageShift)) + BigInt(offset)) as Iova;
  }
}

/** Is this a page-aligned piece of at least one CPU page, on IO pages that are smaller? */
function holdsCpuPages(limits: CompiledLimits, page: number, offset: number, bytes: number): boolean {
  if (limits.cpuAlignmentPages === limits.alignmentPages || offset !== 0) return false;
  return bytes >= limits.cpuPageBytes && (page * limits.pageSize) % limits.cpuPageBytes === 0;
}

function checkAccess(access: number): void {
  if (access !== 1 && access !== 2 && access !== 3) {
    throw new InvalidArgumentError("access", access, "1 (device reads), 2 (device writes) or 3 (both)");
  }
}
