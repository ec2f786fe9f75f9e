/**
 * A table as plain as can be: an array of entries, searched one by one, that insists on the law of `MappingTable`. Breaking
 * it throws, so a test of the DMA layer on this table is a test of the law too. `allocate`, `set` and `publish` can be made to fail.
 */
import assert from "node:assert/strict";
import type { AreaConstraints } from "../allocator/constraints.ts";
import type { MappingTable } from "../table/contract.ts";
import { FreeError } from "../units/errors.ts";
import { type Failure, LONGER_THAN_BOUNDARY, LONGER_THAN_TABLE, MASK_TOO_LOW, TABLE_FULL } from "../units/failure.ts";
import type { Access, DmaWindow } from "../units/numbers.ts";

export interface ModelEntry {
  state: "free" | "pending" | "live";
  page: number;
  access: 0 | Access;
}

/** What a call is to answer instead of doing anything: the k-th allocate, set or publish counted from 1, or every n-th. */
export interface ModelFaults {
  readonly allocateAt?: number;
  readonly setAt?: number;
  readonly publishAt?: number;
}

export class ModelTable implements MappingTable {
  readonly window: DmaWindow;
  readonly entries: ModelEntry[];
  /** Chooses among the free first entries of an allocation without a preferred start: 0 .. starts − 1. Default: the lowest. */
  choose: (starts: number) => number = () => 0;
  faults: ModelFaults = {};
  calls = { allocate: 0, set: 0, publish: 0, commit: 0, abandon: 0, abandonAll: 0, unmap: 0, unmapAll: 0 };
  #areas = new Map<number, number>();
  #unpublished = false;

  constructor(window: { base: bigint; pageShift: number; entries: number }) {
    this.window = {
      base: window.base,
      pageShift: window.pageShift,
      entries: window.entries,
    };
    this.entries = Array.from({ length: window.entries }, () => ({ state: "free", page: 0, access: 0 }));
  }

  allocate(count: number, constraints: AreaConstraints, after: number): number {
    assert.ok(Number.isInteger(count) && count >= 1, `allocate of ${count} entries`);
    assert.ok(after === -1 || (after >= 0 && after < this.window.entries), `allocate after ${after}`);
    this.calls.allocate++;
    if (this.calls.allocate === this.faults.allocateAt) return TABLE_FULL;
    if (count > this.window.entries) return LONGER_THAN_TABLE;
    if (count > constraints.limit) return MASK_TOO_LOW;
    if (constraints.boundaryPages !== 0 && count > constraints.boundaryPages) return LONGER_THAN_BOUNDARY;
    const starts = this.#starts(count, constraints);
    if (starts.length === 0) return TABLE_FULL;
    const first = starts.includes(after) ? after : starts[this.choose(starts.length)]!;
    for (const entry of this.#range(first, count)) entry.state = "pending";
    this.#areas.set(first, count);
    return first;
  }

  set(first: number, count: number, page: number, access: Access): Failure | undefined {
    assert.ok(Number.isInteger(count) && count >= 1 && first >= 0, `set of ${count} entries at ${first}`);
    assert.ok(Number.isInteger(page) && page >= 0, `set of page ${page}`);
    this.calls.set++;
    for (const entry of this.#range(first, count)) {
      assert.equal(entry.state, "pending", `set outside of a pending range, at [${first}, ${first + count})`);
      assert.equal(entry.access, 0, "set over an entry that is not empty");
    }
    if (this.calls.set === this.faults.setAt) return "platform-refused";
    this.#range(first, count).forEach((entry, i) => {
      entry.page = page + i;
      entry.access = access;
    });
    this.#unpublished = true;
    return undefined;
  }

  setPages(first: number, pages: Float64Array, count: number, access: Access): Failure | undefined {
    for (let i = 0; i < count; i++) {
      const failure = this.set(first + i, 1, pages[i]!, access);
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  setCoherent(first: number, count: number, page: number, access: Access): Failure | undefined {
    return this.set(first, count, page, access);
  }

  synchronize(): undefined {}

  publish(): Failure | undefined {
    this.calls.publish++;
    if (this.calls.publish === this.faults.publishAt) return "platform-busy";
    this.#unpublished = false;
    return undefined;
  }

  commit(first: number, count: number): void {
    this.calls.commit++;
    assert.ok(!this.#unpublished, "commit before the entries are visible to devices");
    this.#checkArea(first, count, "pending");
    for (const entry of this.#range(first, count)) entry.state = "live";
  }

  abandon(first: number, count: number): Failure | undefined {
    this.calls.abandon++;
    this.#checkArea(first, count, "pending");
    this.#release(first, count);
    return undefined;
  }

  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    this.calls.abandonAll++;
    for (let i = 0; i < areas; i++) this.#checkArea(firsts[i]!, counts[i]!, "pending");
    for (let i = 0; i < areas; i++) this.#release(firsts[i]!, counts[i]!);
    return undefined;
  }

  unmap(first: number, count: number): Failure | undefined {
    this.calls.unmap++;
    this.#checkArea(first, count, "live");
    this.#release(first, count);
    return undefined;
  }

  unmapAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    this.calls.unmapAll++;
    for (let i = 0; i < areas; i++) this.#checkArea(firsts[i]!, counts[i]!, "live");
    for (let i = 0; i < areas; i++) this.#release(firsts[i]!, counts[i]!);
    return undefined;
  }

  checkUnmap(first: number, count: number): void {
    this.#checkArea(first, count, "live");
  }

  awaitInvalidation(): undefined {}

  /** Takes single entries out of the way, as someone else's live mappings. */
  occupy(taken: Iterable<number>): void {
    for (const entry of taken) this.entries[entry]!.state = "live";
  }

  /** Nothing pending, and nothing live or written beside what `occupy` took. */
  assertEmptyBeside(taken: ReadonlySet<number>): void {
    this.entries.forEach((entry, index) => {
      assert.equal(entry.state, taken.has(index) ? "live" : "free", `state of entry ${index}`);
      assert.equal(entry.access, 0, `entry ${index} still translates`);
    });
    assert.equal(this.#areas.size, 0, "areas still allocated");
  }

  #starts(count: number, { limit, alignmentPages, boundaryPages, basePage }: AreaConstraints): number[] {
    const starts: number[] = [];
    for (let first = 0; first + count <= Math.min(limit, this.entries.length); first++) {
      const busPage = basePage + first;
      if (busPage % alignmentPages !== 0) continue;
      if (boundaryPages !== 0 && (busPage % boundaryPages) + count > boundaryPages) continue;
      if (this.#range(first, count).every((entry) => entry.state === "free")) starts.push(first);
    }
    return starts;
  }

  #range(first: number, count: number): ModelEntry[] {
    assert.ok(first >= 0 && first + count <= this.entries.length, `range [${first}, ${first + count}) of the table`);
    return this.entries.slice(first, first + count);
  }

  #checkArea(first: number, count: number, state: "pending" | "live"): void {
    const allocated = this.#areas.get(first);
    if (allocated === undefined) throw new FreeError("not-allocated", `nothing was allocated at ${first}`);
    if (allocated !== count) throw new FreeError("wrong-length", `${count} entries at ${first}: ${allocated} were`);
    for (const entry of this.#range(first, count)) assert.equal(entry.state, state, `state in [${first}, +${count})`);
  }

  #release(first: number, count: number): void {
    this.#areas.delete(first);
    for (const entry of this.#range(first, count)) Object.assign(entry, { state: "free", page: 0, access: 0 });
  }
}

/** A run of physical bytes. */
export interface ByteRun {
  readonly address: bigint;
  readonly bytes: bigint;
}

/** The physical bytes that a device finds at `iova`, by walking the model's live entries. Throws where it would fault. */
export function walk(table: ModelTable, iova: bigint, bytes: number, access: Access): ByteRun[] {
  const pageSize = 1n << BigInt(table.window.pageShift);
  const runs: ByteRun[] = [];
  const end = iova + BigInt(bytes);
  for (let at = iova; at < end; ) {
    const index = (at - table.window.base) / pageSize;
    const entry = at < table.window.base ? undefined : table.entries[Number(index)];
    assert.ok(entry !== undefined, `DMA at 0x${at.toString(16)} lies outside of the window`);
    assert.equal(entry.state, "live", `DMA at 0x${at.toString(16)}, which is not in use`);
    assert.equal(entry.access, access, `access of the entry at 0x${at.toString(16)}`);
    const offset = (at - table.window.base) % pageSize;
    const step = end - at < pageSize - offset ? end - at : pageSize - offset;
    runs.push({ address: BigInt(entry.page) * pageSize + offset, bytes: step });
    at += step;
  }
  return runs;
}

/** Runs that follow each other in memory, as one. Two equal byte sequences have equal joined runs. */
export function joinRuns(runs: readonly ByteRun[]): ByteRun[] {
  const joined: ByteRun[] = [];
  for (const run of runs) {
    if (run.bytes === 0n) continue;
    const last = joined.at(-1);
    if (last !== undefined && last.address + last.bytes === run.address) {
      joined[joined.length - 1] = { address: last.address, bytes: last.bytes + run.bytes };
    } else joined.push(run);
  }
  return joined;
}
