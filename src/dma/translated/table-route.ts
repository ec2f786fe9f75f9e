/**
 * The route through a table. A mapping is a range of entries; its key is the first entry. Depends on the MappingTable contract, not on a
 * platform. Only this class and `ScatterListMapper` apply a device's limits to its table; on failure nothing stays allocated.
 */
import { type AreaConstraints, areaConstraints } from "../../allocator/constraints.ts";
import type { EntryValue, MappingTable } from "../../table/contract.ts";
import { notSupported } from "../../table/not-supported.ts";
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger, FreeError, InvalidArgumentError, IovaError, inWords } from "../../units/errors.ts";
import { type Failure, failureCode, failureOf, LONGER_THAN_BOUNDARY, MASK_TOO_LOW } from "../../units/failure.ts";
import { DEVICE_READS_AND_WRITES, type EntryAccess } from "../../units/numbers.ts";
import { pagesCovering } from "../../units/pages.ts";
import { checkWindow } from "../../units/window.ts";
import type { BusHolder, Mapping, Translation } from "../contract.ts";
import { checkDeviceOptions, type DmaDeviceOptions } from "../device-options.ts";
import type { DeviceLimits } from "../limits.ts";
import type { BounceRule, Route } from "../route.ts";
import type { ScatterList } from "../scatter-list.ts";
import {
  type CompiledLimits,
  compileLimits,
  constraintsOf,
  crossesSubPageBoundary,
  refusalOf,
} from "./compiled-limits.ts";
import { ScatterListMapper } from "./map-sg.ts";

const DEFAULT_CPU_PAGE_SHIFT = 12;

export class TableRoute implements Route {
  readonly table: MappingTable;
  readonly limits: CompiledLimits;
  readonly lists: ScatterListMapper;
  readonly pageSize: number;
  readonly bouncing: BounceRule | undefined;
  /** True if the last failed map left entries that could not be invalidated. A device may still reach their memory. */
  isStranded = false;
  /** Bigints, as the addresses of every mapping. */
  readonly #shift: bigint;
  readonly #offsetMask: bigint;
  readonly #base: bigint;
  readonly #end: bigint;
  /** Constraints of coherent memory, by log2 of the alignment in pages. */
  readonly #coherent: AreaConstraints[] = [];

  /** @throws InvalidArgumentError for a limit or option outside its range */
  constructor(table: MappingTable, limits: DeviceLimits, options: DmaDeviceOptions) {
    checkTable(table);
    checkDeviceOptions(options);
    const cpuPageShift = options.cpuPageShift ?? DEFAULT_CPU_PAGE_SHIFT;
    checkInteger("CPU page shift", cpuPageShift, 12, 30);
    this.table = table;
    this.limits = compileLimits(table.window, limits, cpuPageShift);
    this.lists = new ScatterListMapper(this.table, this.limits, options.merge ?? true);
    this.pageSize = this.limits.pageSize;
    this.bouncing = options.bounce?.untrusted === true ? untrustedRule(this.limits) : undefined;
    this.#shift = BigInt(this.limits.pageShift);
    this.#offsetMask = BigInt(this.pageSize - 1);
    this.#base = table.window.base;
    this.#end = this.#base + (BigInt(table.window.entries) << this.#shift);
  }

  map(address: bigint, bytes: number, access: EntryAccess): number {
    return this.mapPages(Number(address >> this.#shift), this.#offsetOf(address), bytes, access);
  }

  /** Maps `bytes` bytes from byte `offset` of physical page `page` on, under the mask. Returns an entry or a failure code. */
  mapPages(page: number, offset: number, bytes: number, access: EntryAccess): number {
    const { limits } = this;
    const pages = pagesCovering(offset, bytes, limits.pageSize);
    if (limits.subPageBoundary !== 0 && crossesSubPageBoundary(limits, offset, bytes)) return LONGER_THAN_BOUNDARY;
    const cpuAligned = holdsCpuPages(limits, page, offset, bytes);
    const constraints = constraintsOf(limits, limits.streaming, cpuAligned, offset + bytes);
    const refusal = refusalOf(limits, constraints, pages);
    return refusal === 0 ? this.#mapArea(page, pages, constraints, access, false) : refusal;
  }

  mapAt(iova: bigint, address: bigint, bytes: number, access: EntryAccess): number {
    const { limits, table } = this;
    if (table.allocateAt === undefined) throw notSupported("allocateAt");
    const { first, count } = this.#pagesAt(iova, bytes);
    const offset = this.#offsetOf(iova);
    if (offset !== this.#offsetOf(address)) {
      const expected = `the offset in the IO page of ${hexadecimal(address)}, in pages of ${this.pageSize} bytes`;
      throw new InvalidArgumentError("bus address", inWords(hexadecimal(iova)), expected);
    }
    if (first + count > constraintsOf(limits, limits.streaming, false, offset + bytes).limit) return MASK_TOO_LOW;
    this.isStranded = false;
    const entry = table.allocateAt(first, count);
    return entry < 0 ? entry : this.#fillArea(entry, Number(address >> this.#shift), count, access, false);
  }

  holderOf(iova: bigint, bytes: number): BusHolder | undefined {
    const { first, count } = this.#pagesAt(iova, bytes);
    if (this.table.holderOf === undefined) throw notSupported("holderOf");
    const holder = this.table.holderOf({ first, end: first + count });
    if (holder === undefined) return undefined;
    const { state, owner } = holder;
    return { iova: this.iovaOf(holder.first, 0n), bytes: (holder.end - holder.first) * this.pageSize, state, owner };
  }

  translate(iova: bigint): Translation | undefined {
    const { table } = this;
    if (table.get === undefined) throw notSupported("get");
    if (iova < this.#base || iova >= this.#end) return undefined;
    const value: EntryValue = { page: 0, access: 0 };
    table.get(Number((iova - this.#base) >> this.#shift), value);
    if (value.access === 0) return undefined;
    const offset = this.#offsetOf(iova);
    const address = (BigInt(value.page) << this.#shift) + BigInt(offset);
    return { address, bytes: this.pageSize - offset, access: value.access };
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
    this.table.checkUnmap(entry, this.#pagesOf(mapping));
  }

  unmap(entry: number, mapping: Mapping): Failure | undefined {
    return this.table.unmap(entry, this.#pagesOf(mapping));
  }

  awaitInvalidation(): Failure | undefined {
    return this.table.awaitInvalidation();
  }

  synchronize(entry: number, mapping: Mapping): void {
    this.#synchronize(entry, this.#pagesOf(mapping));
  }

  synchronizeList({ mapping: { firsts, counts, areas } }: ScatterList): void {
    for (let i = 0; i < areas; i++) this.#synchronize(firsts[i] as number, counts[i] as number);
  }

  coherentRefusal(bytes: number): Failure | undefined {
    const limits = this.limits;
    if (crossesSubPageBoundary(limits, 0, bytes)) return "longer-than-boundary";
    const refusal = refusalOf(limits, limits.coherent.plainBelow, pagesCovering(0, bytes, limits.pageSize));
    return refusal === 0 ? undefined : failureOf(refusal);
  }

  /** Maps whole pages for both directions, under the coherent mask. */
  mapCoherent(address: number, bytes: number, alignment: number): bigint | Failure {
    const { pageSize } = this;
    const constraints = this.#coherentConstraints(alignment / pageSize);
    const pages = pagesCovering(0, bytes, pageSize);
    const entry = this.#mapArea(address / pageSize, pages, constraints, DEVICE_READS_AND_WRITES, true);
    return entry < 0 ? failureOf(entry) : this.iovaOf(entry, 0n);
  }

  unmapCoherent(iova: bigint, bytes: number): Failure | undefined {
    const entry = Number((iova - this.#base) >> this.#shift);
    return this.table.unmap(entry, pagesCovering(0, bytes, this.pageSize));
  }

  #mapArea(page: number, pages: number, constraints: AreaConstraints, access: EntryAccess, coherent: boolean): number {
    const table = this.table;
    this.isStranded = false;
    const entry = table.allocate(pages, constraints, -1);
    return entry < 0 ? entry : this.#fillArea(entry, page, pages, access, coherent);
  }

  /** Writes the entries of a pending range, and commits it. On a failure it is abandoned. */
  #fillArea(entry: number, page: number, pages: number, access: EntryAccess, coherent: boolean): number {
    const table = this.table;
    let failure: Failure | undefined;
    try {
      const set = coherent ? table.setCoherent(entry, pages, page, access) : table.set(entry, pages, page, access);
      failure = set ?? table.publish();
    } catch (error) {
      this.#abandonAfterThrow(entry, pages);
      throw error;
    }
    if (failure !== undefined) {
      this.isStranded = true;
      this.isStranded = table.abandon(entry, pages) !== undefined;
      return failureCode(failure);
    }
    table.commit(entry, pages);
    return entry;
  }

  /** Abandons a range after ops threw. If they throw again, that error is dropped and the first one is reported. */
  #abandonAfterThrow(entry: number, pages: number): void {
    this.isStranded = true;
    try {
      this.isStranded = this.table.abandon(entry, pages) !== undefined;
    } catch {
      // The table has quarantined the range.
    }
  }

  #coherentConstraints(naturalPages: number): AreaConstraints {
    const { limits } = this;
    const alignmentPages = Math.max(naturalPages, limits.alignmentPages);
    // Whole pages are mapped, so the mask must reach the end of the last.
    const { limit, boundaryPages } = limits.coherent.plainBelow;
    this.#coherent[Math.log2(alignmentPages)] ??= areaConstraints(this.table.window, {
      limit: Math.min(limit, limits.entries),
      alignmentPages,
      boundaryPages,
    });
    return this.#coherent[Math.log2(alignmentPages)]!;
  }

  /** Throws if the streaming cache's data does not reach memory in time: a sync has no result. */
  #synchronize(entry: number, pages: number): void {
    const failure = this.table.synchronize(entry, pages);
    if (failure === undefined) return;
    throw new IovaError(
      failure,
      `sync of ${pages} pages from entry ${entry} on: what the device wrote is not in memory`,
    );
  }

  /** The entries of these bus addresses. Throws InvalidArgumentError unless all are in the window. */
  #pagesAt(iova: bigint, bytes: number): { readonly first: number; readonly count: number } {
    if (iova < this.#base || iova + BigInt(bytes) > this.#end) {
      const found = inWords(`${bytes} bytes at ${hexadecimal(iova)}`);
      const window = `[${hexadecimal(this.#base)}, ${hexadecimal(this.#end)})`;
      throw new InvalidArgumentError("range of bus addresses", found, `all of them in the window ${window}`);
    }
    const count = pagesCovering(this.#offsetOf(iova), bytes, this.pageSize);
    return { first: Number((iova - this.#base) >> this.#shift), count };
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

/** A failure code if a range can never be mapped, even in an empty table; else 0. */
function refusalOfRange(limits: CompiledLimits, page: number, offset: number, bytes: number): number {
  if (crossesSubPageBoundary(limits, offset, bytes)) return LONGER_THAN_BOUNDARY;
  const cpuAligned = holdsCpuPages(limits, page, offset, bytes);
  const constraints = constraintsOf(limits, limits.streaming, cpuAligned, offset + bytes);
  return refusalOf(limits, constraints, pagesCovering(offset, bytes, limits.pageSize));
}

/** True for a page-aligned piece of at least one CPU page, if IO pages are smaller than CPU pages. */
function holdsCpuPages(limits: CompiledLimits, page: number, offset: number, bytes: number): boolean {
  if (limits.cpuAlignmentPages === limits.alignmentPages || offset !== 0) return false;
  return bytes >= limits.cpuPageBytes && (page * limits.pageSize) % limits.cpuPageBytes === 0;
}

/** The rule for an untrusted device: it gets whole pages, or a bounce buffer. */
function untrustedRule(limits: CompiledLimits): BounceRule {
  const { pageSize, cpuPageBytes } = limits;
  const isBounced = (address: number, bytes: number) => address % pageSize !== 0 || bytes % pageSize !== 0;
  return {
    pageSize,
    isBounced,
    isOnlyBounced: (_, { iova, bytes }) => isBounced(Number(iova & BigInt(pageSize - 1)), bytes),
    refusal: (address, bytes) => refusalOfRange(limits, Math.floor(address / pageSize), address % pageSize, bytes),
    // A buffer that begins a CPU page is aligned to a CPU page on the bus too.
    alignment: (address) => (address % cpuPageBytes === 0 ? Math.max(pageSize, cpuPageBytes) : pageSize),
  };
}
