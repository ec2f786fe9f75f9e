/** Ops that write nothing and note in which order they were called: for tests of rivals. */
import type { EntryValue, TableOps } from "../table/contract.ts";
import type { Failure } from "../units/failure.ts";

export class ShadowOps implements TableOps {
  /** What was called, in order: `clear 3+2`, `publish`, `invalidate [3, 5)`. */
  readonly calls: string[] = [];
  /** What the next invalidations answer. */
  invalidation: Failure | undefined = undefined;
  /** Called at each invalidation. */
  onInvalidate: () => void = () => {};

  set(first: number, count: number): undefined {
    this.calls.push(`set ${first}+${count}`);
  }
  clear(first: number, count: number): void {
    this.calls.push(`clear ${first}+${count}`);
    if (this.calls.length > 64) this.calls.length = 0;
  }
  get(_entry: number, into: EntryValue): void {
    into.page = 0;
    into.access = 0;
  }
  exchange(): undefined {}
  /** What the next calls of `publish` answer. */
  publishing: Failure | undefined = undefined;

  publish(): Failure | undefined {
    this.calls.push("publish");
    return this.publishing;
  }
  invalidate(first: number, end: number): Failure | undefined {
    this.calls.push(`invalidate [${first}, ${end})`);
    this.onInvalidate();
    return this.invalidation;
  }
  invalidateAll(): Failure | undefined {
    this.calls.push("invalidate all");
    return this.invalidation;
  }
}
