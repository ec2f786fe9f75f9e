/** What one thread of the guest has to call its hypervisor with: hypercalls, its list page, services of the firmware. */
import type { Machine } from "../../machine/contract.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { failureOfCode, type Hypercalls } from "./calls.ts";
import { FirmwareCalls } from "./firmware-calls.ts";
import { PseriesOps } from "./ops.ts";
import { type DmaProperties, H_PARAMETER, H_SUCCESS } from "./papr.ts";

/** The unit of list pages, in bytes: a list of 512 TCEs. */
export const LIST_PAGE_BYTES = 4096;

export interface GuestThreadParts {
  readonly machine: Machine;
  readonly calls: Hypercalls;
  readonly properties: DmaProperties;
  readonly multiTce: boolean;
  /** Physical address of the list page of thread 0; undefined: there are none. */
  readonly listPages: number | undefined;
}

/** One thread's. */
export class GuestThread {
  readonly machine: Machine;
  readonly calls: Hypercalls;
  readonly properties: DmaProperties;
  readonly #multiTce: boolean;
  readonly #listPages: number | undefined;
  /** By its list page, or undefined as long as it has none. */
  #firmware: FirmwareCalls | undefined;
  #listPage: number | undefined;

  constructor({ machine, calls, properties, multiTce, listPages }: GuestThreadParts) {
    this.machine = machine;
    this.calls = calls;
    this.properties = properties;
    this.#multiTce = multiTce;
    this.#listPages = listPages;
  }

  /** The thread has a number, and with it a list page: from now on `firmware` and ops that are made use it; so do `ops`. */
  join(thread: number, ops: PseriesOps): void {
    if (this.#listPages === undefined) return;
    this.#listPage = this.listPageOf(thread);
    this.#firmware = new FirmwareCalls(this.machine.memory, this.#listPage, this.calls, this.properties);
    ops.useListPage(this.#listPage);
  }

  /** Undefined: there is no memory for its arguments. */
  get firmware(): FirmwareCalls | undefined {
    return this.#firmware;
  }

  /** Ops of this thread on a window. */
  opsOn(liobn: number, window: DmaWindow): PseriesOps {
    const { calls, machine } = this;
    const ops = new PseriesOps({ memory: machine.memory, calls, liobn, window, multiTce: this.#multiTce });
    if (this.#listPage !== undefined) ops.useListPage(this.#listPage);
    return ops;
  }

  /** Does the hypervisor know a window with this liobn that has the bus address? Or why it doesn't say. */
  isThere(liobn: number, base: bigint): boolean | Failure {
    const code = this.calls.getTce(liobn, Number(base >> 12n));
    if (code === H_SUCCESS) return true;
    return code === H_PARAMETER ? false : failureOfCode(code);
  }

  /** Physical address of a thread's list page. */
  listPageOf(thread: number): number {
    return (this.#listPages ?? 0) + thread * LIST_PAGE_BYTES;
  }
}
