/**
 * Listeners: a table tells what it maps and unmaps, so that a VMM can keep a shadow of it. The ops of a view are enclosed by ones that tell; a
 * table without listeners pays nothing.
 *
 *     listen(platform.generic, {
 *       mapped: (iova, bytes, address, access) => shadow.set(iova, { bytes, address, access }),
 *       unmapped: (iova, bytes) => shadow.delete(iova),
 *     });
 *
 * **Order.** `mapped` comes after the entries are published, before the range is live and the driver gets its address. `unmapped` comes after
 * the entries are emptied and that is published, before the IOTLB is invalidated, and before the range can be allocated again. Both are called
 * on the thread that maps, unmaps or recovers. So of the threads that use a range one after the other, each has told its `unmapped` before the
 * next tells its `mapped`: in strict and in lazy mode, when a mapping is abandoned, and when the range of a dead thread is recovered. A shadow
 * in shared memory is therefore right whenever no call is under way. Messages of several threads to one may overtake each other.
 *
 * `unmapped` says nothing of the IOTLB: the memory may be reused when `unmap` has returned undefined.
 *
 * **Deaths.** A thread may die after it has emptied entries and before it has told that. Then the thread that reclaims it tells: `unmapped` may
 * come twice for one range, and for ranges that were never told as mapped.
 */
import { InvalidArgumentError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { append } from "../units/lists.ts";
import { type Access, DEVICE_READS_AND_WRITES, type DmaWindow, type EntryAccess } from "../units/numbers.ts";
import type { EntryValue, TableOps } from "./contract.ts";
import type { IommuTable } from "./iommu-table.ts";
import { setPages } from "./set-pages.ts";

/**
 * Functions that are called for each change of a table. Addresses and lengths are in bytes, and multiples of the IO page size. If a listener
 * throws, the caller of the table gets the error: a mapping that was being made is abandoned; one that was being unmapped stays mapped, with
 * empty entries, and may be unmapped again; a recovery may be repeated.
 */
export interface MappingListener {
  /**
   * Called when `bytes` bytes of memory from the physical address `address` on were mapped at the bus address `iova`, before the mapping call
   * returns. `access`: the access that was asked for. For a scatterlist it is called once for each run of adjacent pages.
   */
  readonly mapped?: (iova: bigint, bytes: number, address: bigint, access: Access) => void;
  /**
   * Called when entries were emptied: nothing is mapped at these bus addresses any more. The range may be a part of one that `mapped` reported,
   * or several. The IOTLB may not be invalidated yet.
   */
  readonly unmapped?: (iova: bigint, bytes: number) => void;
}

/**
 * Reports changes of the table by this view to a listener, from now on. Every thread that maps, unmaps or reclaims must call `listen` with its
 * own view. Present mappings are not reported: read them with `table.mappings()` and `translate` of a device. Listeners are called in the order
 * of `listen`. After the death of a thread, `unmapped` may come twice for one range.
 * @throws InvalidArgumentError for a listener without one of the two functions; IovaError "view-closed"
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, listen, orThrow } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
 * const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * listen(table, {
 *   mapped: (iova, bytes, address) => console.log("mapped", bytes, "bytes at", address, iova >= window.base),
 *   unmapped: (iova, bytes) => console.log("unmapped", bytes, "bytes"),
 * });
 * const device = new DmaDevice(table);
 * const mapping = orThrow(device.map(0x1_0100n, 4096, DEVICE_READS));
 * device.unmap(mapping);
 * ```
 * ```text output
 * mapped 8192 bytes at 65536n true
 * unmapped 8192 bytes
 * ```
 */
export function listen(table: IommuTable, listener: MappingListener): void {
  if (typeof table?.encloseOps !== "function") {
    throw new InvalidArgumentError("table to listen to", table, "an IommuTable, such as a platform's `generic`");
  }
  checkListener(listener);
  const { window } = table;
  table.encloseOps((ops) => new ListenedOps(ops, window, listener));
}

/** `count` entries from `first` on lead to consecutive pages from `page` on. */
interface Run {
  readonly first: number;
  readonly count: number;
  readonly page: number;
  readonly access: Access;
}

interface Entries {
  readonly first: number;
  readonly count: number;
}

class ListenedOps implements TableOps {
  readonly #ops: TableOps;
  readonly #window: DmaWindow;
  readonly #listener: MappingListener;
  /** Entries that were set, and that were emptied, since the last `publish`. Not reported yet. */
  #set: Run[] = [];
  #emptied: Entries[] = [];
  /** Entries that a failed `publish` may have left in the table. Such ranges are quarantined until this view's ops have emptied them. */
  readonly #left: Entries[] = [];

  constructor(ops: TableOps, window: DmaWindow, listener: MappingListener) {
    this.#ops = ops;
    this.#window = window;
    this.#listener = listener;
  }

  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#ops.set(first, count, page, access) ?? this.#remember(first, count, page, access);
  }

  setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    const failure = setPages(this.#ops, first, pages, count, access);
    if (failure !== undefined) return failure;
    for (let i = 0; i < count; ) {
      const from = i++;
      while (i < count && pages[i] === (pages[from] as number) + i - from) i++;
      this.#remember(first + from, i - from, pages[from] as number, access);
    }
    return undefined;
  }

  setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const ops = this.#ops;
    const set = ops.setCoherent ?? ops.set;
    return set.call(ops, first, count, page, access) ?? this.#remember(first, count, page, access);
  }

  synchronize(first: number, count: number): Failure | undefined {
    return this.#ops.synchronize?.(first, count);
  }

  clear(first: number, count: number): void {
    this.#ops.clear(first, count);
    this.#set = this.#set.filter((run) => run.first + run.count <= first || run.first >= first + count);
    this.#emptied.push({ first, count });
  }

  get(entry: number, into: EntryValue): void {
    this.#ops.get(entry, into);
  }

  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    const failure = this.#ops.exchange(entry, page, access, old);
    if (failure !== undefined) return failure;
    this.#tellUnmapped({ first: entry, count: 1 });
    if (accessOf(access) !== 0) this.#tellMapped({ first: entry, count: 1, page, access: accessOf(access) as Access });
    return undefined;
  }

  publish(): Failure | undefined {
    const failure = this.#ops.publish();
    if (failure === undefined) this.#tell();
    else append(this.#left, this.#emptied.splice(0));
    return failure;
  }

  /** After a failed `publish` the invalidations retry: a success says that these entries are empty. */
  invalidate(first: number, end: number): Failure | undefined {
    const failure = this.#ops.invalidate(first, end);
    if (failure === undefined) this.#tellLeft(first, end);
    return failure;
  }

  invalidateAll(): Failure | undefined {
    const failure = this.#ops.invalidateAll();
    if (failure === undefined) this.#tellLeft(0, this.#window.entries);
    return failure;
  }

  #remember(first: number, count: number, page: number, access: EntryAccess): undefined {
    this.#set.push({ first, count, page, access: accessOf(access) as Access });
  }

  /**
   * If the listener throws, the rest of what this `publish` has done is not told, and need not be: the ranges that were being mapped or
   * unmapped are emptied and told once more before others can have them.
   */
  #tell(): void {
    const set = this.#set;
    this.#set = [];
    this.#tellEmptied();
    for (const run of set) this.#tellMapped(run);
  }

  #tellEmptied(): void {
    this.#tellLeft(0, this.#window.entries);
    const emptied = this.#emptied;
    this.#emptied = [];
    for (const entries of emptied) this.#tellUnmapped(entries);
  }

  /** Tells of what a failed `publish` may have left in [first, end), and which is empty now. */
  #tellLeft(first: number, end: number): void {
    const left = this.#left;
    for (let i = 0; i < left.length; ) {
      const entries = left[i] as Entries;
      if (entries.first >= first && entries.first + entries.count <= end) {
        this.#tellUnmapped(entries);
        left.splice(i, 1);
      } else i++;
    }
  }

  #tellUnmapped({ first, count }: Entries): void {
    this.#listener.unmapped?.(this.#iovaOf(first), count * 2 ** this.#window.pageShift);
  }

  #tellMapped({ first, count, page, access }: Run): void {
    const { pageShift } = this.#window;
    this.#listener.mapped?.(this.#iovaOf(first), count * 2 ** pageShift, BigInt(page) << BigInt(pageShift), access);
  }

  #iovaOf(entry: number): bigint {
    return this.#window.base + (BigInt(entry) << BigInt(this.#window.pageShift));
  }
}

function checkListener(listener: MappingListener): void {
  const { mapped, unmapped } = listener ?? {};
  const isWrong = [mapped, unmapped].some((one) => one !== undefined && typeof one !== "function");
  if (!isWrong && (mapped ?? unmapped) !== undefined) return;
  throw new InvalidArgumentError("listener", listener, "an object with the function `mapped`, `unmapped`, or both");
}

/** Without the attributes of an entry. */
function accessOf(access: EntryAccess): number {
  return access & DEVICE_READS_AND_WRITES;
}
