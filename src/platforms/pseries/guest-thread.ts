/** The means by which one thread of the guest calls its hypervisor: hypercalls, its list page, firmware services. */
import type { Machine } from "../../machine/contract.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { failureOfCode, type Hypercalls } from "./calls.ts";
import { FirmwareCalls } from "./firmware-calls.ts";
import { PseriesOps } from "./ops.ts";
import { type DmaProperties, H_PARAMETER, H_SUCCESS } from "./papr.ts";

/** Size of a list page in bytes: a list of 512 TCEs. */
export const LIST_PAGE_BYTES = 4096;

export interface GuestThreadParts {
  readonly machine: Machine;
  readonly calls: Hypercalls;
  readonly properties: DmaProperties;
  readonly multiTce: boolean;
  /** Physical address of thread 0's list page; undefined: no list pages. */
  readonly listPages: number | undefined;
}

/** One per thread. */
export class GuestThread {
  readonly machine: Machine;
  readonly calls: Hypercalls;
  readonly properties: DmaProperties;
  readonly #multiTce: boolean;
  readonly #listPages: number | undefined;
  /** Undefined as long as the thread has no list page. */
  #firmware: FirmwareCalls | undefined;
  #listPage: number | undefined;

  constructor({ machine, calls, properties, multiTce, listPages }: GuestThreadParts) {
    this.machine = machine;
    this.calls = calls;
    this.properties = properties;
    this.#multiTce = multiTce;
    this.#listPages = listPages;
  }

  /** Sets the thread's number, and with it its list page, for `firmware`, these ops, and ops that are created later. */
  join(thread: number, ops: PseriesOps): void {
    if (this.#listPages === undefined) return;
    this.#listPage = this.listPageOf(thread);
    this.#firmware = new FirmwareCalls(this.machine.memory, this.#listPage, this.calls, this.properties);
    ops.useListPage(this.#listPage);
  }

  /** Undefined: there is no memory for arguments. */
  get firmware(): FirmwareCalls | undefined {
    return this.#firmware;
  }

  /** Creates this thread's ops for a window. */
  opsOn(liobn: number, window: DmaWindow): PseriesOps {
    const { calls, machine } = this;
    const ops = new PseriesOps({ memory: machine.memory, calls, liobn, window, multiTce: this.#multiTce });
    if (this.#listPage !== undefined) ops.useListPage(this.#listPage);
    return ops;
  }

  /** True if the hypervisor has a window with this liobn that contains the bus address. */
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
