/**
 * A table that stumbles: chosen calls of `allocate` and `set` fail, one after the other has done what it does on a board. Beside it
 * runs a wild device, which reads each entry as soon as it is written, before the mapping is complete: what it learns then the
 * IOTLB must forget when the mapping is undone.
 */
import type { AreaConstraints } from "../../allocator/constraints.ts";
import type { MappingTable } from "../../table/contract.ts";
import { type Failure, TABLE_FULL } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";

/** Which call fails: the first is 1; 0 is none. */
export interface Stumble {
  readonly allocate?: readonly number[];
  readonly set?: number;
}

export class StumblingTable implements MappingTable {
  readonly window: DmaWindow;
  allocations = 0;
  sets = 0;
  /** The entries that were written. */
  readonly written: number[] = [];
  readonly #table: MappingTable;
  readonly #stumble: Stumble;
  readonly #wildRead: (entry: number) => void;

  constructor(table: MappingTable, stumble: Stumble, wildRead: (entry: number) => void) {
    this.window = table.window;
    this.#table = table;
    this.#stumble = stumble;
    this.#wildRead = wildRead;
  }

  allocate(count: number, constraints: AreaConstraints, after: number): number {
    this.allocations++;
    if (this.#stumble.allocate?.includes(this.allocations)) return TABLE_FULL;
    return this.#table.allocate(count, constraints, after);
  }

  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    this.sets++;
    if (this.#stumble.set === this.sets) return "platform-refused";
    const failure = this.#table.set(first, count, page, access) ?? this.#table.flush();
    if (failure !== undefined) return failure;
    for (let entry = first; entry < first + count; entry++) {
      this.written.push(entry);
      this.#wildRead(entry);
    }
    return undefined;
  }

  flush(): Failure | undefined {
    return this.#table.flush();
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
}
