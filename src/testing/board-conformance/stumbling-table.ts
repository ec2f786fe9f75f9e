/**
 * A table in which chosen calls of `allocate`, `set` and `publish` fail; other calls go to the board's table. A wild device reads each entry as
 * soon as it is written, before the mapping is complete: its translations in the IOTLB must be invalidated when the mapping is undone.
 */
import type { AreaConstraints } from "../../allocator/constraints.ts";
import type { EntryValue, MappingTable } from "../../table/contract.ts";
import { ForwardingTable } from "../../table/forwarding-table.ts";
import { type Failure, TABLE_FULL } from "../../units/failure.ts";
import { FailureSchedule } from "../../units/failure-schedule.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import { expect } from "../expect.ts";
import type { Rig } from "./rig.ts";

/** Numbers of the failing calls; the first call is 1. */
export interface Stumble {
  readonly allocate?: readonly number[];
  /** Calls of `set`, `setPages` and `setCoherent` are counted together. */
  readonly set?: number;
  /** Entries written before stay in the table until they are abandoned. */
  readonly publish?: number;
}

export class StumblingTable extends ForwardingTable {
  readonly #allocate: readonly FailureSchedule[];
  readonly #set: readonly FailureSchedule[];
  readonly #publish: readonly FailureSchedule[];
  /** The entries that were written. */
  readonly written: number[] = [];
  readonly #wildRead: (entry: number) => void;

  constructor(table: MappingTable, stumble: Stumble, wildRead: (entry: number) => void) {
    super(table);
    const { allocate = [], set, publish } = stumble;
    this.#allocate = allocate.map((call) => onlyCall("allocate", call));
    this.#set = set === undefined ? [] : [onlyCall("set", set)];
    this.#publish = publish === undefined ? [] : [onlyCall("publish", publish)];
    this.#wildRead = wildRead;
  }

  override allocate(count: number, constraints: AreaConstraints, after: number): number {
    return isDue(this.#allocate) ? TABLE_FULL : super.allocate(count, constraints, after);
  }

  override set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#stumbles() ?? super.set(first, count, page, access) ?? this.#show(first, count);
  }

  override setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    return this.#stumbles() ?? super.setPages(first, pages, count, access) ?? this.#show(first, count);
  }

  override setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#stumbles() ?? super.setCoherent(first, count, page, access) ?? this.#show(first, count);
  }

  override publish(): Failure | undefined {
    return isDue(this.#publish) ? "platform-busy" : super.publish();
  }

  #stumbles(): Failure | undefined {
    return isDue(this.#set) ? "platform-refused" : undefined;
  }

  /** The entries are in the table, and the wild device has them. */
  #show(first: number, count: number): Failure | undefined {
    const failure = super.publish();
    for (let entry = first; failure === undefined && entry < first + count; entry++) {
      this.written.push(entry);
      this.#wildRead(entry);
    }
    return failure;
  }
}

/** Fails call number `call` of one kind, and no other. */
function onlyCall(what: string, call: number): FailureSchedule {
  return new FailureSchedule(what, { after: call - 1, times: 1 });
}

/** Counts a call in all schedules. True if one of them makes it fail. */
function isDue(schedules: readonly FailureSchedule[]): boolean {
  return schedules.filter((schedule) => schedule.next()).length > 0;
}

/** Steps of a mapping that can fail. */
export const EACH_STEP: readonly Stumble[] = [{ allocate: [1] }, { set: 1 }, { publish: 1 }];

/** A table over the board's whose wild device has read every entry that was written. */
export function stumbling(rig: Rig, stumble: Stumble): StumblingTable {
  const seen = new Uint8Array(8);
  return new StumblingTable(rig.board.table, stumble, (entry) => {
    rig.master.dmaRead(rig.iova(entry), seen);
    rig.board.takeFaults();
  });
}

/** Entries as before, the same number taken, and the device reaches nothing through what was written in between. */
export function expectNoTrace(
  rig: Rig,
  before: ReadonlyMap<number, EntryValue>,
  table: StumblingTable,
  when: string,
): void {
  rig.expectEntries(before, when);
  rig.drain();
  expect(rig.taken === before.size, () => `${when}, ${rig.taken} entries are taken; ${before.size} were before`);
  for (const entry of table.written) {
    for (const index of [1, 2, 3, 4]) {
      const offset = BigInt(rig.address(index) % rig.pageBytes);
      rig.expectNoRead(rig.iova(entry) + offset, rig.address(index), "not-mapped", `${when}, at entry ${entry}`);
    }
  }
}
