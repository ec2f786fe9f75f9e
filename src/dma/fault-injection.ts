/**
 * Fault injection: a table whose allocations and entry writes fail on a schedule, so that a driver's error paths can be
 * tried out. It wraps the table that a device is made with; a device without it calls its table directly and pays nothing.
 *
 *     const dma = new DmaDevice(new FaultInjectingTable(table, { set: { after: 2, times: 1 } }));
 *
 * Only calls that may fail in a running system fail: `allocate` finds no space, `set` is refused, `publish` can't hand over gathered
 * entries. Unmapping never fails by injection. A schedule depends on the calls alone, so a run can be repeated.
 */
import type { AreaConstraints } from "../allocator/constraints.ts";
import type { MappingTable } from "../table/contract.ts";
import { ForwardingTable } from "../table/forwarding-table.ts";
import { checkInteger } from "../units/errors.ts";
import { type Failure, failureCode } from "../units/failure.ts";
import { FailureSchedule, type FailureScheduleOptions } from "../units/failure-schedule.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";
import type { EntryAccess } from "../units/numbers.ts";

/** Which calls fail. `{}`: every call. */
export interface FaultSchedule extends FailureScheduleOptions {
  /** The failure that the call returns. Default: "table-full" for allocations, "platform-refused" for sets, "platform-busy" for `publish`. */
  readonly failure?: Failure;
}

/** Schedules by kind of call. Without a schedule, calls of a kind never fail. */
export interface FaultInjectionOptions {
  /** Schedule of allocations: `allocate` and `allocateAt`. */
  readonly allocate?: FaultSchedule;
  /** Schedule of entry writes: `set`, `setPages` and `setCoherent`. */
  readonly set?: FaultSchedule;
  /** Schedule of `publish`. */
  readonly publish?: FaultSchedule;
  /** Seed of the probabilities: 0 .. 2^32 − 1. Default 1. */
  readonly seed?: number;
}

/** Numbers of injected failures, by kind of call. */
export interface InjectedFaults {
  /** Failed allocations. */
  readonly allocate: number;
  /** Failed writes of entries. */
  readonly set: number;
  /** Failed calls of `publish`. */
  readonly publish: number;
}

/**
 * A table that fails on schedule and otherwise forwards every call.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, FaultInjectingTable, isFailure } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 64 };
 * const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const device = new DmaDevice(new FaultInjectingTable(table, { allocate: { after: 2, times: 1 } }));
 * for (let call = 0; call < 4; call++) {
 *   const mapping = device.map(0x1_2000n, 64, DEVICE_READS);
 *   console.log(isFailure(mapping) ? mapping : "mapped");
 * }
 * ```
 * ```text output
 * mapped
 * mapped
 * table-full
 * mapped
 * ```
 */
export class FaultInjectingTable extends ForwardingTable {
  readonly #allocate: Faults;
  readonly #set: Faults;
  readonly #publish: Faults;

  /** Wraps `table`. Throws InvalidArgumentError for options out of range. */
  constructor(table: MappingTable, options: FaultInjectionOptions) {
    super(table);
    checkKeys("fault injection", options, { allocate: "object", set: "object", publish: "object", seed: "any" });
    const seed = options.seed ?? 1;
    checkInteger("fault injection seed", seed, 0, 2 ** 32 - 1);
    this.#allocate = new Faults("allocate", options.allocate, "table-full", seed);
    // A separate seed: failures of `set` do not depend on the number of allocations.
    this.#set = new Faults("set", options.set, "platform-refused", seed ^ 0x5bd1e995);
    this.#publish = new Faults("publish", options.publish, "platform-busy", seed ^ 0x27d4eb2f);
  }

  /** Number of injected failures so far. */
  get injected(): InjectedFaults {
    return {
      allocate: this.#allocate.schedule.failed,
      set: this.#set.schedule.failed,
      publish: this.#publish.schedule.failed,
    };
  }

  /** Counts as an allocation. */
  override allocate(count: number, constraints: AreaConstraints, after: number): number {
    const failure = this.#allocate.next();
    return failure === undefined ? super.allocate(count, constraints, after) : failureCode(failure);
  }
  /** Counts as an allocation. */
  override allocateAt(first: number, count: number): number {
    const failure = this.#allocate.next();
    return failure === undefined ? super.allocateAt(first, count) : failureCode(failure);
  }
  /** Counts as a set. */
  override set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#set.next() ?? super.set(first, count, page, access);
  }
  /** Counts as one set. */
  override setPages(first: number, pages: Float64Array, count: number, access: EntryAccess): Failure | undefined {
    return this.#set.next() ?? super.setPages(first, pages, count, access);
  }
  /** Counts as a set. */
  override setCoherent(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    return this.#set.next() ?? super.setCoherent(first, count, page, access);
  }
  /** A failing `publish` is not forwarded: gathered entries stay gathered until the caller abandons them. */
  override publish(): Failure | undefined {
    return this.#publish.next() ?? super.publish();
  }
}

const SCHEDULE_TYPES: OptionTypes<FaultSchedule> = {
  after: "any",
  interval: "any",
  probability: "any",
  times: "any",
  failure: "any",
};

/** The schedule of one kind of call, and the failure that it returns. */
class Faults {
  readonly schedule: FailureSchedule;
  readonly #failure: Failure;

  constructor(what: string, options: FaultSchedule | undefined, failure: Failure, seed: number) {
    if (options !== undefined) checkKeys(`faults of ${what}`, options, SCHEDULE_TYPES);
    this.schedule = new FailureSchedule(what, options ?? { times: 0 }, seed);
    this.#failure = options?.failure ?? failure;
    failureCode(this.#failure);
  }

  /** Counts one call. Returns its failure, or undefined. */
  next(): Failure | undefined {
    return this.schedule.next() ? this.#failure : undefined;
  }
}
