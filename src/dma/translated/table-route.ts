/**
 * The route through a table. A mapping is a range of entries; its key is the first entry. Depends on the MappingTable contract, not on a
 * platform.
 */

import type { MappingTable } from "../../table/contract.ts";
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger, FreeError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { type Failure, failureOf } from "../../units/failure.ts";
import { DEVICE_READS_AND_WRITES, type EntryAccess } from "../../units/numbers.ts";
import { pagesCovering } from "../../units/pages.ts";
import { checkWindow } from "../../units/window.ts";
import type { Mapping } from "../contract.ts";
import { checkDeviceOptions, type DmaDeviceOptions } from "../device-options.ts";
import type { DeviceLimits } from "../limits.ts";
import type { BounceRule, Route } from "../route.ts";
import type { ScatterList } from "../scatter-list.ts";
import { type CompiledLimits, compileLimits } from "./compiled-limits.ts";
import { ScatterListMapper } from "./map-sg.ts";
import { RangeMapper } from "./range-mapper.ts";

const DEFAULT_CPU_PAGE_SHIFT = 12;

export class TableRoute implements Route {
  readonly table: MappingTable;
  readonly limits: CompiledLimits;
  readonly ranges: RangeMapper;
  readonly lists: ScatterListMapper;
  readonly pageSize: number;
  readonly bouncing: BounceRule | undefined;
  /** Bigints, as the addresses of every mapping. */
  readonly #shift: bigint;
  readonly #offsetMask: bigint;
  readonly #base: bigint;
  readonly #end: bigint;

  /** @throws InvalidArgumentError for a limit or option outside its range */
  constructor(table: MappingTable, limits: DeviceLimits, options: DmaDeviceOptions) {
    checkTable(table);
    checkDeviceOptions(options);
    const cpuPageShift = options.cpuPageShift ?? DEFAULT_CPU_PAGE_SHIFT;
    checkInteger("CPU page shift", cpuPageShift, 12, 30);
    this.table = table;
    this.limits = compileLimits(table.window, limits, cpuPageShift);
    this.ranges = new RangeMapper(this.table, this.limits);
    this.lists = new ScatterListMapper(this.table, this.limits, options.merge ?? true);
    this.pageSize = this.limits.pageSize;
    this.bouncing = options.bounce?.untrusted === true ? untrustedRule(this.limits, this.ranges) : undefined;
    this.#shift = BigInt(this.limits.pageShift);
    this.#offsetMask = BigInt(this.pageSize - 1);
    this.#base = table.window.base;
    this.#end = this.#base + (BigInt(table.window.entries) << this.#shift);
  }

  get isStranded(): boolean {
    return this.ranges.isStranded;
  }

  map(address: bigint, bytes: number, access: EntryAccess): number {
    return this.ranges.map(Number(address >> this.#shift), this.#offsetOf(address), bytes, access);
  }

  iovaOf(entry: number, address: bigint): bigint {
    const page = BigInt(this.limits.basePage + entry);
    return (page << this.#shift) + (address & this.#offsetMask);
  }

  keyOf({ iova, bytes }: Mapping): number {
    checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    if (iova < this.#base || iova + BigInt(bytes) > this.#end) {
      const found = `${bytes} bytes at ${hexadecimal(iova)}`;
      throw new FreeError(
        "out-of-range",
        `unmap of ${found}: the window is [${hexadecimal(this.#base)}, ${hexadecimal(this.#end)})`,
      );
    }
    return Number((iova - this.#base) >> this.#shift);
  }

  checkMapped(entry: number, mapping: Mapping): void {
    this.table.checkUnmap?.(entry, this.#pagesOf(mapping));
  }

  unmap(entry: number, mapping: Mapping): Failure | undefined {
    return this.table.unmap(entry, this.#pagesOf(mapping));
  }

  awaitInvalidation(): Failure | undefined {
    return this.table.awaitInvalidation?.();
  }

  synchronize(entry: number, mapping: Mapping): void {
    this.#synchronize(entry, this.#pagesOf(mapping));
  }

  synchronizeList({ mapping: { firsts, counts, areas } }: ScatterList): void {
    for (let i = 0; i < areas; i++) this.#synchronize(firsts[i] as number, counts[i] as number);
  }

  coherentRefusal(bytes: number): Failure | undefined {
    const refusal = this.ranges.coherentRefusal(bytes);
    return refusal === 0 ? undefined : failureOf(refusal);
  }

  mapCoherent(address: number, bytes: number, alignment: number): bigint | Failure {
    const page = address / this.pageSize;
    const entry = this.ranges.mapCoherent(page, bytes, alignment, DEVICE_READS_AND_WRITES);
    return entry < 0 ? failureOf(entry) : this.iovaOf(entry, 0n);
  }

  unmapCoherent(iova: bigint, bytes: number): Failure | undefined {
    const entry = Number((iova - this.#base) >> this.#shift);
    return this.table.unmap(entry, pagesCovering(0, bytes, this.pageSize));
  }

  /** Throws if the streaming cache's data does not reach memory in time: a sync has no result. */
  #synchronize(entry: number, pages: number): void {
    const failure = this.table.synchronize?.(entry, pages);
    if (failure === undefined) return;
    throw new IovaError(
      failure,
      `sync of ${pages} pages from entry ${entry} on: what the device wrote is not in memory`,
    );
  }

  #pagesOf({ iova, bytes }: Mapping): number {
    return pagesCovering(this.#offsetOf(iova), bytes, this.pageSize);
  }

  #offsetOf(address: bigint): number {
    return Number(address & this.#offsetMask);
  }
}

/** Throws InvalidArgumentError unless this is a table. */
function checkTable(table: MappingTable): void {
  if (typeof table?.allocate !== "function") {
    throw new InvalidArgumentError("table of a device", table, "a table, such as an IommuTable");
  }
  checkWindow(table.window);
}

/** The rule for an untrusted device: it gets whole pages, or a bounce buffer. */
function untrustedRule({ pageSize, cpuPageBytes }: CompiledLimits, ranges: RangeMapper): BounceRule {
  const isBounced = (address: number, bytes: number) => address % pageSize !== 0 || bytes % pageSize !== 0;
  return {
    pageSize,
    isBounced,
    isOnlyBounced: (_, { iova, bytes }) => isBounced(Number(iova & BigInt(pageSize - 1)), bytes),
    refusal: (address, bytes) => ranges.refusal(Math.floor(address / pageSize), address % pageSize, bytes),
    // A buffer that begins a CPU page is aligned to a CPU page on the bus too.
    alignment: (address) => (address % cpuPageBytes === 0 ? Math.max(pageSize, cpuPageBytes) : pageSize),
  };
}
