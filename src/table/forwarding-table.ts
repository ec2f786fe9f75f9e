/** Base class of tables that wrap another table and change some of its calls. It forwards every operation. */
import type { AreaConstraints } from "../allocator/constraints.ts";
import type { HeldRange } from "../allocator/inspect/ranges.ts";
import type { Failure } from "../units/failure.ts";
import type { DmaWindow, EntryAccess, EntryRange } from "../units/numbers.ts";
import type { EntryValue, MappingTable } from "./contract.ts";
import { notSupported } from "./not-supported.ts";

export abstract class ForwardingTable implements MappingTable {
  /** The window of the table behind this one. */
  readonly window: DmaWindow;
  readonly #table: MappingTable;

  constructor(table: MappingTable) {
    this.window = table.window;
    this.#table = table;
  }

  allocate(count: number, constraints: AreaConstraints, after: number): number {
    return this.#table.allocate(count, constraints, after);
  }
  /** Throws IovaError "not-supported" if the wrapped table lacks it, as `holderOf` and `get` do. */
  allocateAt(first: number, count: number): number {
    if (this.#table.allocateAt === undefined) throw notSupported("allocateAt");
    return this.#table.allocateAt(first, count);
  }
  holderOf(range: EntryRange): HeldRange | undefined {
    if (this.#table.holderOf === undefined) throw notSupported("holderOf");
    return this.#table.holderOf(range);
  }
  get(entry: number, into: EntryValue): void {
    if (this.#table.get === undefined) throw notSupported("get");
    this.#table.get(entry, into);
  }
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#table.set(first, count, page, access);
  }
  setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    return this.#table.setPages(first, pages, count, access);
  }
  setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#table.setCoherent(first, count, page, access);
  }
  synchronize(first: number, count: number): Failure | undefined {
    return this.#table.synchronize(first, count);
  }
  publish(): Failure | undefined {
    return this.#table.publish();
  }
  commit(first: number, count: number): void {
    this.#table.commit(first, count);
  }
  abandon(first: number, count: number): Failure | undefined {
    return this.#table.abandon(first, count);
  }
  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    return this.#table.abandonAll(firsts, counts, areas);
  }
  unmap(first: number, count: number): Failure | undefined {
    return this.#table.unmap(first, count);
  }
  unmapAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    return this.#table.unmapAll(firsts, counts, areas);
  }
  checkUnmap(first: number, count: number): void {
    this.#table.checkUnmap(first, count);
  }
  awaitInvalidation(): Failure | undefined {
    return this.#table.awaitInvalidation();
  }
}
