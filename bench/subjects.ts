/**
 * The allocators under test, all behind the same two calls. `PooledAllocator` has them itself, so nothing stands between it and the
 * driver; the others get a thin class each, which V8 inlines.
 *
 * The peers from npm are for one thread, without ranges, pools, owners or limits: they show the cost of a simpler allocator. They
 * are not replacements.
 */
import { UNCONSTRAINED } from "../src/allocator/constraints.ts";
import { PooledAllocator } from "../src/allocator/pooled-allocator.ts";
import type { AllocatorHandle } from "../src/allocator/state.ts";
import { type SingleLockHandle, SingleLockTable } from "../src/rivals/single-lock.ts";
import type { TableOps } from "../src/table/contract.ts";
import type { DmaWindow } from "../src/units/numbers.ts";
import type { Work } from "./cell.ts";

export type SubjectName =
  | "pooled"
  | "cached"
  | "single lock"
  | "free list"
  | "nothing"
  | "number-allocator"
  | "@thi.ng/malloc";

/** The calls of the driver. A negative result: no space. */
export interface Subject {
  allocate(count: number): number;
  free(first: number, count: number): unknown;
}

/** Counters of an allocator, over all threads. */
export interface Counts {
  readonly lockAcquisitions: number;
  /** Acquisitions that found the lock taken. */
  readonly lockContended: number;
  /** Time that all threads waited for locks. */
  readonly lockWaitMicroseconds: number;
  /** Words and bounds, or bits, that searches have read. */
  readonly searchSteps: number;
}

/** A subject on one thread, and further calls for the cases. */
export interface Attached {
  readonly subject: Subject;
  /** Allocates exactly this range, to set up a prepared state. */
  place(first: number, count: number): void;
  /** Counters so far; undefined: the subject has none. */
  counts(): Counts | undefined;
  /** Number of allocated entries that are not cached; undefined: the subject does not count them. */
  live(): number | undefined;
  /** Returns the thread's cached ranges. */
  drain(): void;
}

/** The library's allocator, without and with a cache. */
export const POOLED: readonly SubjectName[] = ["pooled", "cached"];
/** The table of before 2015, the floor, and the driver alone. */
export const RIVALS: readonly SubjectName[] = ["single lock", "free list", "nothing"];

/** Thread slots, enough for most cells; a thread's limit of cached entries is inverse to the number of slots. */
const THREADS = 4;

/** Options of the pooled allocator that a subject's name stands for. */
export function pooledOptions(work: Work): {
  readonly entries: number;
  readonly pools: number;
  readonly largePool: false;
  readonly threads: number;
  readonly cache: "none" | "fifo";
} {
  return {
    entries: work.entries,
    pools: work.pools,
    largePool: false,
    threads: work.threads ?? THREADS,
    cache: work.subject.startsWith("cached") ? "fifo" : "none",
  };
}

/** Creates a subject for one thread. */
export async function attachAlone(work: Work): Promise<Attached> {
  return attachPooled(work.subject)
    ? ofPooled((await pooledAllocatorOf(work)).create(pooledOptions(work)))
    : attachOther(work, undefined);
}

/** The class, of this build or of the one that the work names. */
async function pooledAllocatorOf({ build }: Work): Promise<typeof PooledAllocator> {
  if (build === undefined) return PooledAllocator;
  return (await import(build)).PooledAllocator;
}

/** A subject that several threads share: player 0 makes it, all attach. `share` hands the handle on. */
export async function attachTogether(
  work: Work,
  number: number,
  share: <T>(make: () => T) => Promise<T>,
): Promise<Attached> {
  let made: PooledAllocator | SingleLockTable | undefined;
  if (attachPooled(work.subject)) {
    const allocatorClass = await pooledAllocatorOf(work);
    const handle = await share<AllocatorHandle>(() => {
      made = allocatorClass.create(pooledOptions(work));
      return made.handle;
    });
    return ofPooled(number === 0 ? (made as unknown as PooledAllocator) : allocatorClass.attach(handle));
  }
  if (work.subject !== "single lock") return attachOther(work, undefined);
  const handle = await share<SingleLockHandle>(() => {
    made = SingleLockTable.create(windowOf(work.entries), new NoOps());
    return made.handle;
  });
  return attachOther(
    work,
    number === 0 ? (made as unknown as SingleLockTable) : SingleLockTable.attach(handle, new NoOps()),
  );
}

function attachPooled(name: SubjectName): boolean {
  return POOLED.includes(name);
}

function ofPooled(allocator: PooledAllocator): Attached {
  return {
    subject: allocator,
    place(first, count) {
      checkPlace(allocator.allocate(count, UNCONSTRAINED, first), first);
    },
    counts: () => allocator.statistics(),
    live() {
      const { taken, cached } = allocator.statistics();
      return taken - cached;
    },
    drain() {
      allocator.drain();
    },
  };
}

async function attachOther(work: Work, table: SingleLockTable | undefined): Promise<Attached> {
  switch (work.subject) {
    case "single lock":
      return ofSingleLock(table ?? SingleLockTable.create(windowOf(work.entries), new NoOps()));
    case "free list":
      return new FreeList(work.entries);
    case "number-allocator":
      return NumberAllocatorPeer.make(work.entries);
    case "@thi.ng/malloc":
      return MallocPeer.make(work.entries);
    default:
      return new Nothing(work.entries);
  }
}

/** A window of this number of entries. */
export function windowOf(entries: number): DmaWindow {
  return { base: 0x80000000n, pageShift: 12, entries };
}

/** Ops without entries and IOTLB: the allocator alone is measured. */
export class NoOps implements TableOps {
  set(): undefined {}
  clear(): void {}
  get(): void {}
  exchange(): undefined {}
  publish(): undefined {}
  invalidate(): undefined {}
  invalidateAll(): undefined {}
}

/** The table of before 2015, under one lock. */
class SingleLock implements Subject {
  readonly #table: SingleLockTable;
  constructor(table: SingleLockTable) {
    this.#table = table;
  }
  allocate(count: number): number {
    return this.#table.allocate(count);
  }
  free(first: number, count: number): unknown {
    return this.#table.unmap(first, count);
  }
}

function ofSingleLock(table: SingleLockTable): Attached {
  return {
    subject: new SingleLock(table),
    place(first, count) {
      checkPlace(table.allocate(count, UNCONSTRAINED, first), first);
    },
    counts: () => table.statistics(),
    live: () => table.statistics().taken,
    drain() {},
  };
}

/** Longest range of a free list. */
const LONGEST = 64;

/**
 * The floor: a stack of freed ranges for each length, in one thread's own memory, without search, merging, checks or
 * locks. No allocator can be cheaper.
 */
class FreeList implements Subject, Attached {
  readonly subject: Subject = this;
  readonly #stacks: Int32Array[];
  readonly #heights: Int32Array = new Int32Array(LONGEST + 1);
  readonly #entries: number;
  #end = 0;

  constructor(entries: number) {
    this.#entries = entries;
    this.#stacks = Array.from(
      { length: LONGEST + 1 },
      (_, length) => new Int32Array(length === 0 ? 0 : Math.ceil(entries / length)),
    );
  }
  allocate(count: number): number {
    const height = this.#heights[count] as number;
    if (height === 0) return this.#fresh(count);
    this.#heights[count] = height - 1;
    return (this.#stacks[count] as Int32Array)[height - 1] as number;
  }
  free(first: number, count: number): void {
    const height = this.#heights[count] as number;
    (this.#stacks[count] as Int32Array)[height] = first;
    this.#heights[count] = height + 1;
  }
  #fresh(count: number): number {
    if (this.#end + count > this.#entries) return -1;
    this.#end += count;
    return this.#end - count;
  }
  place(first: number, count: number): void {
    this.#end = Math.max(this.#end, first + count);
  }
  counts(): undefined {}
  live(): undefined {}
  drain(): void {}
}

/** The driver alone: returns the next numbers. */
class Nothing implements Subject, Attached {
  readonly subject: Subject = this;
  readonly #entries: number;
  #next = 0;

  constructor(entries: number) {
    this.#entries = entries;
  }
  allocate(count: number): number {
    const first = this.#next;
    this.#next = first + count < this.#entries ? first + count : 0;
    return first;
  }
  free(): void {}
  place(): void {}
  counts(): undefined {}
  live(): undefined {}
  drain(): void {}
}

/** The package number-allocator: single numbers, the lowest first, in a balanced tree of free intervals. */
class NumberAllocatorPeer implements Subject {
  readonly #numbers: { alloc(): number | null; free(number: number): void };
  constructor(numbers: { alloc(): number | null; free(number: number): void }) {
    this.#numbers = numbers;
  }
  static async make(entries: number): Promise<Attached> {
    const { NumberAllocator } = await import("number-allocator");
    return peer(new NumberAllocatorPeer(new NumberAllocator(0, entries - 1)));
  }
  allocate(): number {
    return this.#numbers.alloc() ?? -1;
  }
  free(first: number): void {
    this.#numbers.free(first);
  }
}

/** Size of the smallest block of @thi.ng/malloc, in bytes: 8 for the user, 8 of its own. An entry is one such block. */
const BLOCK_BYTES = 16;

/** The package @thi.ng/malloc: first fit in a list of free blocks, used blocks in a list that a free walks along. */
class MallocPeer implements Subject {
  readonly #pool: { malloc(bytes: number): number; free(address: number): boolean };
  constructor(pool: { malloc(bytes: number): number; free(address: number): boolean }) {
    this.#pool = pool;
  }
  static async make(entries: number): Promise<Attached> {
    const { MemPool } = await import("@thi.ng/malloc");
    return peer(new MallocPeer(new MemPool({ size: (entries + 4) * BLOCK_BYTES })));
  }
  allocate(count: number): number {
    const address = this.#pool.malloc(count * BLOCK_BYTES - BLOCK_BYTES / 2);
    return address === 0 ? -1 : address;
  }
  free(first: number): void {
    this.#pool.free(first);
  }
}

function peer(subject: Subject): Attached {
  const place = (): never => {
    throw new Error("a prepared state can't be set up in this peer");
  };
  return { subject, place, counts: () => undefined, live: () => undefined, drain() {} };
}

function checkPlace(found: number, first: number): void {
  if (found !== first) throw new Error(`the prepared range at ${first} could not be placed: got ${found}`);
}
