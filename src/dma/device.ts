/**
 * A device as its driver sees it: memory goes in, bus addresses come out. Knows the device's limits and any table; knows
 * no platform.
 *
 * Three ways to map, by how often it is done:
 * - `map` / `unmap`: an object per mapping, whole 64-bit addresses.
 * - `mapSg` / `unmapSg`: a list of pieces in one transfer, without an object or a bigint per piece.
 * - `mapPages` / `unmapPages`: one piece as plain numbers, for a path that runs a million times a second.
 *
 * One DmaDevice per device and thread; several may share a table. Coherent memory and what is bounced is freed and unmapped by
 * the object that made it; everything else by any object with the same table.
 */
import type { Memory } from "../machine/contract.ts";
import type { PhysicalPages } from "../machine/physical-pages.ts";
import type { MappingTable } from "../table/contract.ts";
import { checkInteger, FreeError, InvalidArgumentError, IovaError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import type { Access, Iova } from "../units/numbers.ts";
import type { BounceOptions } from "./bounce.ts";
import { BouncedTransfers } from "./bounced-transfers.ts";
import { CoherentBlocks } from "./coherent.ts";
import type { CoherentMemory, DmaOperations, Mapping, MappingAttributes, MappingPart } from "./contract.ts";
import { FaultInjectingTable, type FaultInjectionOptions } from "./fault-injection.ts";
import { type CompiledLimits, compileLimits, type DeviceLimits } from "./limits.ts";
import { ScatterListMapper } from "./map-sg.ts";
import { pagesCovering } from "./pages.ts";
import { RangeMapper } from "./range-mapper.ts";
import * as requests from "./requests.ts";
import type { ScatterList } from "./scatter-list.ts";
import { TableSpace } from "./table-space.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { checkAccess, checkedPart, checkRange, entryAccess, hex, notSetUp, syncErrorFor } = requests;

const DEFAULT_CPU_PAGE_SHIFT = 12;

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
  /** The machine's memory, as this thread sees it. For coherent memory and bounce buffers, which need one of the next two. */
  readonly memory?: Memory;
  /**
   * Where coherent memory comes from. After the death of a thread the table's `reclaim` comes before that of these pages.
   * Default: there is none.
   */
  readonly coherentPages?: PhysicalPages;
  /** Bounce buffers. Default: none. */
  readonly bounce?: BounceOptions;
}

export class DmaDevice implements DmaOperations {
  readonly #table: MappingTable;
  readonly #limits: CompiledLimits;
  readonly #ranges: RangeMapper;
  readonly #sg: ScatterListMapper;
  /** Undefined for a device that is trusted: nothing is bounced, and nothing is looked up. */
  readonly #bounced: BouncedTransfers | undefined;
  readonly #coherent: CoherentBlocks | undefined;

  /** @throws InvalidArgumentError for a limit or option outside its range, or options that lack another */
  constructor(table: MappingTable, limits: DeviceLimits = {}, options: DmaDeviceOptions = {}) {
    const cpuPageShift = options.cpuPageShift ?? DEFAULT_CPU_PAGE_SHIFT;
    checkInteger("CPU page shift", cpuPageShift, 12, 30);
    this.#table = options.faults === undefined ? table : new FaultInjectingTable(table, options.faults);
    this.#limits = compileLimits(table.window, limits, cpuPageShift);
    this.#ranges = new RangeMapper(this.#table, this.#limits);
    this.#sg = new ScatterListMapper(this.#table, this.#limits, options.merge ?? true);
    const { bounce, coherentPages } = options;
    const memory = memoryOf(options);
    if (bounce?.untrusted === true && memory !== undefined) {
      this.#bounced = new BouncedTransfers(this.#table, this.#limits, this.#ranges, this.#sg, memory, bounce.pages);
    }
    if (coherentPages !== undefined && memory !== undefined) {
      const space = new TableSpace(this.#table, this.#limits, this.#ranges);
      this.#coherent = new CoherentBlocks(memory, coherentPages, space);
    }
  }

  /**
   * Maps `bytes` (at least 1) bytes of physical memory from `address` on. The maximum segment size does not apply: it is of
   * scatterlists.
   * @throws InvalidArgumentError for a range outside of 64 bits, no bytes, or an access other than 1, 2, 3; on a device that is
   * not trusted also for a part of a page that is no memory
   */
  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    const offset = this.#offsetOf(address);
    const bounced = this.#bounced;
    const entry =
      bounced?.isBounced(Number(address), bytes) === true
        ? bounced.map(Number(address), bytes, access, attributes)
        : this.#ranges.map(this.#pageOf(address), offset, bytes, entryAccess(access, attributes));
    if (entry < 0) return failureOf(entry);
    return { iova: this.#busAddress(entry, offset), bytes, access };
  }

  /**
   * Unmaps what `map` returned. Afterwards the device can't use it, at the latest when lazy invalidation is done; a failure
   * says that the IOTLB could not be invalidated: the range is out of use for good.
   * @throws FreeError when it is not mapped like that; nothing has been changed then
   */
  unmap(mapping: Mapping): Failure | undefined {
    const entry = this.#checkedEntry(mapping);
    if (this.#coherent?.has(mapping.iova) === true) {
      throw new FreeError("not-allocated", `unmap at ${hex(mapping.iova)}: coherent memory, for freeCoherent`);
    }
    const { bytes } = mapping;
    const offset = this.#offsetOf(mapping.iova);
    if (this.#bounced !== undefined) return this.#bounced.unmap(entry, offset, bytes);
    return this.#table.unmap(entry, pagesCovering(offset, bytes, this.#limits.pageSize));
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
    const bounced = this.#bounced;
    if (bounced?.isBounced(address, bytes) === true) {
      return bounced.map(address, bytes, access, undefined);
    }
    const { pageSize } = this.#limits;
    const page = Math.floor(address / pageSize);
    return this.#ranges.map(page, address - page * pageSize, bytes, access);
  }

  /** As `unmap`, for what `mapPages` returned: its entry and `pagesOf(address, bytes)`. */
  unmapPages(entry: number, pages: number): Failure | undefined {
    return this.#bounced === undefined ? this.#table.unmap(entry, pages) : this.#bounced.unmapPages(entry, pages);
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
  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined {
    checkAccess(access);
    if (this.#bounced !== undefined) return this.#bounced.mapSg(list, access, attributes);
    return this.#sg.map(list, entryAccess(access, attributes));
  }

  /**
   * Unmaps a list as it was given to `mapSg`: same length, same elements. Its output is gone. A failure is as in `unmap`.
   * @throws FreeError, and changes nothing, for a list that is not mapped, mapped by another device, or changed since
   */
  unmapSg(list: ScatterList): Failure | undefined {
    return this.#bounced === undefined ? this.#sg.unmap(list) : this.#bounced.unmapSg(list);
  }

  /** As `map`, for registers of a peer; also those that share a page with others are mapped as they are. */
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    const offset = this.#offsetOf(address);
    const entry = this.#ranges.map(this.#pageOf(address), offset, bytes, access);
    if (entry < 0) return failureOf(entry);
    return { iova: this.#busAddress(entry, offset), bytes, access };
  }

  /** As `unmap`, for what `mapResource` returned. */
  unmapResource(mapping: Mapping): Failure | undefined {
    const entry = this.#checkedEntry(mapping);
    if (this.#coherent?.has(mapping.iova) === true || this.#bounced?.holds(entry) === true) {
      throw new FreeError("not-allocated", `unmapResource at ${hex(mapping.iova)}: memory is mapped there`);
    }
    return this.#table.unmap(entry, this.#pagesAt(mapping));
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
    return this.#coherentBlocks().free(memory);
  }

  /**
   * Copies what the device has written of a bounced mapping, or of a part of it; elsewhere CPU and device see the same memory.
   * @throws SyncError for a part outside of the mapping, and for what is not mapped
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
    this.#sg.checkSync(list);
    this.#synchronizeList(list);
    this.#bounced?.syncSg(list, "cpu");
  }

  syncSgForDevice(list: ScatterList): void {
    this.#sg.checkSync(list);
    this.#bounced?.syncSg(list, "device");
    this.#synchronizeList(list);
  }

  failureOf(result: Mapping | Failure): Failure | undefined {
    return typeof result === "string" ? result : undefined;
  }

  #sync(mapping: Mapping, part: MappingPart | undefined, toward: "cpu" | "device"): void {
    const wanted = checkedPart(mapping, part);
    try {
      const entry = this.#checkedEntry(mapping);
      this.#table.checkUnmap?.(entry, this.#pagesAt(mapping));
      // Toward the CPU: first into the memory that the device has, then from there. Toward the device the other way round.
      if (toward === "cpu") this.#synchronize(entry, this.#pagesAt(mapping));
      this.#bounced?.sync(entry, mapping, wanted, toward);
      if (toward === "device") this.#synchronize(entry, this.#pagesAt(mapping));
    } catch (error) {
      throw syncErrorFor(error, mapping);
    }
  }

  #synchronizeList(list: ScatterList): void {
    const { firsts, counts, areas } = list.mapping;
    for (let i = 0; i < areas; i++) this.#synchronize(firsts[i] as number, counts[i] as number);
  }

  /** A sync answers nothing: what lies between device and memory and does not come to memory in time is an error. */
  #synchronize(entry: number, pages: number): void {
    const failure = this.#table.synchronize?.(entry, pages);
    if (failure === undefined) return;
    throw new IovaError(
      failure,
      `sync of ${pages} pages from entry ${entry} on: what the device wrote is not in memory`,
    );
  }

  /** The first entry of a mapping. Throws FreeError when it is not inside the window. */
  #checkedEntry({ iova, bytes }: Mapping): number {
    const { window } = this.#table;
    const { pageShift } = this.#limits;
    checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    const end = window.base + (BigInt(window.entries) << BigInt(pageShift));
    if (iova < window.base || iova + BigInt(bytes) > end) {
      const found = `${bytes} bytes at ${hex(iova)}`;
      throw new FreeError("out-of-range", `unmap of ${found}: the window is [${hex(window.base)}, ${hex(end)})`);
    }
    return Number((iova - window.base) >> BigInt(pageShift));
  }

  #pagesAt({ iova, bytes }: Mapping): number {
    return pagesCovering(this.#offsetOf(iova), bytes, this.#limits.pageSize);
  }

  #offsetOf(address: bigint): number {
    return Number(address & BigInt(this.#limits.pageSize - 1));
  }

  #pageOf(address: bigint): number {
    return Number(address >> BigInt(this.#limits.pageShift));
  }

  #busAddress(entry: number, offset: number): Iova {
    const { basePage, pageShift } = this.#limits;
    return ((BigInt(basePage + entry) << BigInt(pageShift)) + BigInt(offset)) as Iova;
  }

  #coherentBlocks(): CoherentBlocks {
    if (this.#coherent === undefined) throw notSetUp("coherent memory", "`memory` and `coherentPages`");
    return this.#coherent;
  }
}

/** The memory of the options, which those for coherent memory and bounce buffers need. Throws InvalidArgumentError. */
export function memoryOf(options: DmaDeviceOptions): Memory | undefined {
  const { memory, coherentPages, bounce } = options;
  if (memory === undefined && (coherentPages !== undefined || bounce !== undefined)) {
    throw new InvalidArgumentError("option `memory`", memory, "the machine's, beside `coherentPages` or `bounce`");
  }
  return memory;
}
