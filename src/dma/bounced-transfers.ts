/**
 * The transfers of a device that is not trusted, through a table: what does not cover whole IO pages is bounced. (bounce.ts says
 * what that means; the buffer has the driver's offset in its page, so a mapping has the same pages either way.)
 *
 * Such a device works in strict mode, also on a table that invalidates lazily: `unmap` waits for the invalidation. What it could
 * still use afterwards, bounce buffer or not, would be someone else's by then.
 */
import type { Memory } from "../machine/contract.ts";
import type { PhysicalPages } from "../machine/physical-pages.ts";
import type { MappingTable } from "../table/contract.ts";
import { FreeError } from "../units/errors.ts";
import { type Failure, failureCode } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import { BounceBuffers, type BounceRule } from "./bounce.ts";
import { bounceList, takeBounced } from "./bounce-list.ts";
import type { Mapping, MappingAttributes, MappingPart } from "./contract.ts";
import type { CompiledLimits } from "./limits.ts";
import { digestOf, type ScatterListMapper } from "./map-sg.ts";
import { pagesCovering } from "./pages.ts";
import type { RangeMapper } from "./range-mapper.ts";
import { entryAccess } from "./requests.ts";
import type { ScatterList } from "./scatter-list.ts";

export class BouncedTransfers {
  readonly #table: MappingTable;
  readonly #pageSize: number;
  readonly #ranges: RangeMapper;
  readonly #sg: ScatterListMapper;
  readonly #buffers: BounceBuffers;

  constructor(
    table: MappingTable,
    limits: CompiledLimits,
    ranges: RangeMapper,
    sg: ScatterListMapper,
    memory: Memory,
    pages: PhysicalPages,
  ) {
    this.#table = table;
    this.#pageSize = limits.pageSize;
    this.#ranges = ranges;
    this.#sg = sg;
    this.#buffers = new BounceBuffers(memory, pages, untrustedRule(limits));
  }

  /** Throws InvalidArgumentError for bytes that must be bounced and are no memory. */
  isBounced(address: number, bytes: number): boolean {
    return this.#buffers.isBounced(address, bytes);
  }

  /** Maps a bounce buffer for these bytes: the first entry, or a failure code. */
  map(address: number, bytes: number, access: Access, attributes: MappingAttributes | undefined): number {
    const offset = address % this.#pageSize;
    // Said first: what can never be mapped takes no memory.
    const refusal = this.#ranges.refusal(Math.floor(address / this.#pageSize), offset, bytes);
    if (refusal !== 0) return refusal;
    const buffer = this.#buffers.take(address, bytes, access, attributes);
    if (typeof buffer === "string") return failureCode(buffer);
    const page = buffer.pagesAt / this.#pageSize;
    const entry = this.#ranges.map(page, offset, bytes, entryAccess(access, attributes));
    if (entry >= 0) this.#buffers.keep(entry, buffer);
    // What the device may still reach stays taken for good.
    else if (!this.#ranges.isStranded) this.#buffers.giveBack(buffer);
    return entry;
  }

  /** Unmaps `bytes` bytes from byte `offset` of `entry` on, bounced or not. Throws FreeError. */
  unmap(entry: number, offset: number, bytes: number): Failure | undefined {
    const pages = pagesCovering(offset, bytes, this.#pageSize);
    const buffer = this.#checkMapped(entry, offset, bytes);
    if (buffer === undefined && (offset !== 0 || bytes % this.#pageSize !== 0)) {
      // Parts of pages are bounced: whoever has the buffer must copy it back. A double unmap is told from that by the table.
      this.#table.checkUnmap?.(entry, pages);
      const what = `unmap of ${bytes} bytes from byte ${offset} of entry ${entry}`;
      throw new FreeError("wrong-owner", `${what}: not mapped by this object's \`map\``);
    }
    return this.unmapPages(entry, pages);
  }

  /** As `unmap`, where only the entries are known. */
  unmapPages(entry: number, pages: number): Failure | undefined {
    const buffer = this.#buffers.at(entry);
    const failure = this.#table.unmap(entry, pages) ?? this.#table.awaitInvalidation?.();
    if (buffer === undefined) return failure;
    this.#buffers.forget(entry);
    this.#buffers.finish(buffer, failure);
    return failure;
  }

  /** Is what this entry begins bounced? */
  holds(entry: number): boolean {
    return this.#buffers.at(entry) !== undefined;
  }

  mapSg(list: ScatterList, access: Access, attributes: MappingAttributes | undefined): Failure | undefined {
    const refused = this.#sg.refusalFor(list) ?? bounceList(list, this.#buffers, access, attributes);
    if (refused !== undefined) return refused;
    const failure = this.#sg.map(list, entryAccess(access, attributes));
    // The driver's columns are what is compared at unmap.
    if (failure === undefined) list.mapping.digest = digestOf(list);
    else for (const buffer of takeBounced(list)) if (!this.#sg.isStranded) this.#buffers.giveBack(buffer);
    return failure;
  }

  unmapSg(list: ScatterList): Failure | undefined {
    const failure = this.#sg.unmap(list) ?? this.#table.awaitInvalidation?.();
    for (const buffer of takeBounced(list)) this.#buffers.finish(buffer, failure);
    return failure;
  }

  /** Copies a part of a mapping if it is bounced. Throws FreeError when it is none of ours. */
  sync(entry: number, mapping: Mapping, part: MappingPart, toward: "cpu" | "device"): void {
    const buffer = this.#checkMapped(entry, Number(mapping.iova & BigInt(this.#pageSize - 1)), mapping.bytes);
    if (buffer !== undefined) this.#buffers.sync(buffer, part, toward);
  }

  syncSg(list: ScatterList, toward: "cpu" | "device"): void {
    this.#buffers.syncAll(list.mapping.bounced, toward);
  }

  /** The bounce buffer of a mapping, if it has one. Pages are checked by the table, bytes here. */
  #checkMapped(entry: number, offset: number, bytes: number) {
    const buffer = this.#buffers.at(entry);
    if (buffer === undefined) return undefined;
    const found = buffer.address - buffer.pagesAt;
    if (found === offset && buffer.bytes === bytes) return buffer;
    throw new FreeError(
      "wrong-length",
      `${bytes} bytes from byte ${offset} of entry ${entry}: mapped were ${buffer.bytes} from byte ${found}`,
    );
  }
}

/** A device that is not trusted gets whole pages, or a bounce buffer. */
function untrustedRule({ pageSize, cpuPageBytes }: CompiledLimits): BounceRule {
  return {
    pageSize,
    isBounced: (address, bytes) => address % pageSize !== 0 || bytes % pageSize !== 0,
    // The start of a CPU page stays one: it is aligned to a CPU page on the bus, too.
    bounceAlignment: (address) => (address % cpuPageBytes === 0 ? Math.max(pageSize, cpuPageBytes) : pageSize),
    bounceRefusal: () => undefined,
  };
}
