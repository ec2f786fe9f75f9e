/**
 * TableOps on a plain array of entries, with a device's view of them: what `clear` has emptied stays visible to the device
 * until it is invalidated, as in an IOTLB that never forgets by itself. `set` and `publish` can be made to fail; with `gathers`, sets
 * reach the entries only in `publish`.
 */
import assert from "node:assert/strict";
import type { EntryValue, TableOps } from "../table/contract.ts";
import type { Failure } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";

export class ModelOps implements TableOps {
  readonly entries: EntryValue[];
  /** Entries that the device may still use although they are empty. */
  readonly stale: Set<number> = new Set();
  /** Answers true to make this set fail. */
  refuse: () => boolean = () => false;
  /** Answers true to make this `publish` fail, if anything has been gathered since the last. */
  refusePublish: () => boolean = () => false;
  /** Are entries written by `publish`, and not by `set`? */
  gathers = false;
  #unpublished = false;
  /** Entries that were set and are not written, and those that a failed `publish` has lost. */
  readonly #gathered: Map<number, EntryValue> = new Map();
  readonly #lost: Set<number> = new Set();

  constructor(entries: number) {
    this.entries = Array.from({ length: entries }, () => ({ page: 0, access: 0 }));
  }

  set(first: number, count: number, page: number, access: Access): Failure | undefined {
    if (this.refuse()) return "platform-refused";
    for (let i = 0; i < count; i++) {
      assert.equal(this.entries[first + i]!.access, 0, `entry ${first + i} is written over`);
      assert.ok(!this.stale.has(first + i), `entry ${first + i} is used again before it was invalidated`);
      this.#gathered.set(first + i, { page: page + i, access });
    }
    if (!this.gathers) this.#write();
    this.#unpublished = true;
    return undefined;
  }
  clear(first: number, count: number): void {
    for (let entry = first; entry < first + count; entry++) {
      this.#gathered.delete(entry);
      this.#lost.delete(entry);
      if (this.entries[entry]!.access !== 0) this.stale.add(entry);
      this.entries[entry] = { page: 0, access: 0 };
    }
    this.#unpublished = true;
  }
  get(entry: number, into: EntryValue): void {
    Object.assign(into, this.entries[entry]);
  }
  exchange(entry: number, page: number, access: Access, old: EntryValue): Failure | undefined {
    this.get(entry, old);
    this.entries[entry] = { page, access };
    return undefined;
  }
  publish(): Failure | undefined {
    if (this.#gathered.size > 0 && this.refusePublish()) {
      for (const entry of this.#gathered.keys()) this.#lost.add(entry);
      this.#gathered.clear();
    }
    this.#write();
    if (this.#lost.size > 0) return "platform-busy";
    this.#unpublished = false;
    return undefined;
  }
  invalidate(first: number, end: number): Failure | undefined {
    assert.ok(!this.#unpublished, "invalidated before the cleared entries were visible");
    for (let entry = first; entry < end; entry++) this.stale.delete(entry);
    return undefined;
  }
  invalidateAll(): Failure | undefined {
    return this.invalidate(0, this.entries.length);
  }

  #write(): void {
    for (const [entry, value] of this.#gathered) this.entries[entry] = value;
    this.#gathered.clear();
  }

  /** How many entries translate. */
  get used(): number {
    return this.entries.filter(({ access }) => access !== 0).length;
  }
}
