/**
 * The guest's side of the calls: one thread's argument block, and loops around calls that may process fewer entries than asked. It hides
 * the different calls of the two windows from the ops.
 */
import type { Hypercall, Machine } from "../../machine/contract.ts";
import { IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import { CallArguments, hypercallOf } from "../call-arguments.ts";
import type { SharedState } from "../shared-state.ts";
import {
  DEVICE_HANDLE,
  EBUSY,
  EIO,
  ENOMAP,
  EOK,
  EWOULDBLOCK,
  IO_PAGE_SHIFT,
  IOTSB_COUNT_SHIFT,
  PCI_IOMMU_GETMAP,
  PCI_IOMMU_MAP,
  PCI_IOMMU_UNMAP,
  PCI_IOTSB_GETMAP,
  PCI_IOTSB_MAP,
  PCI_IOTSB_UNMAP,
} from "./services.ts";

/** A window of a PCI root: the legacy window, or the window that the ATU translates by an IOTSB. */
export type Sun4vWindow = "legacy" | "atu";

/** Result of `getmap`. */
export interface FoundEntry {
  /** 0: no entry. */
  attributes: number;
  page: number;
}

/** Shift of the count in the high half of pci_iotsb_map's argument: the count is in bits 63–48, the index below. */
const COUNT_SHIFT: number = IOTSB_COUNT_SHIFT - 32;
const PAGES_IN_HIGH = 2 ** (32 - IO_PAGE_SHIFT);

export interface Sun4vCallsOptions {
  readonly machine: Machine;
  /** The IOTSB's number from pci_iotsb_conf; 0: the legacy window. */
  readonly iotsb: number;
  readonly state: SharedState;
}

/** One thread's calls for one window. */
export class Sun4vCalls {
  readonly #hypercall: Hypercall;
  /** 0 in the legacy window. */
  readonly #iotsb: number;
  readonly #state: SharedState;
  readonly #args: CallArguments = new CallArguments();
  /** Number of entries that the last `map` or `unmap` processed, also if it failed. */
  taken = 0;

  /** Throws InvalidArgumentError for a machine without a hypervisor. */
  constructor(options: Sun4vCallsOptions) {
    this.#hypercall = sun4vHypercallOf(options.machine);
    this.#iotsb = options.iotsb;
    this.#state = options.state;
  }

  /** Throws IovaError "table-gone" after the window was returned to the hypervisor. */
  checkThere(): void {
    if (this.#state.isGone) throw gone(this.#iotsb);
  }

  /** Writes entries [first, first + count) from the list of pages at real address `list`. On failure only `taken` of them are written. */
  map(first: number, count: number, attributes: number, list: number): Failure | undefined {
    this.taken = 0;
    while (this.taken < count) {
      const status = this.#mapSome(first + this.taken, count - this.taken, attributes, list + this.taken * 8);
      const failed = status === EOK ? this.#take(count - this.taken) : failureOfStatus(status);
      if (failed !== undefined) return failed;
    }
    return undefined;
  }

  /** Empties entries [first, first + count) and invalidates them. On failure only `taken` of them are emptied. */
  unmap(first: number, count: number): Failure | undefined {
    this.taken = 0;
    while (this.taken < count) {
      const status = this.#unmapSome(first + this.taken, count - this.taken);
      const failed = status === EOK ? this.#take(count - this.taken) : failureOfStatus(status);
      if (failed !== undefined) return failed;
    }
    return undefined;
  }

  /** Reads an entry from the hypervisor. */
  get(entry: number, into: FoundEntry): Failure | undefined {
    this.#begin(this.#iotsb === 0 ? entry : this.#iotsb, entry);
    const status = this.#hypercall(this.#iotsb === 0 ? PCI_IOMMU_GETMAP : PCI_IOTSB_GETMAP, this.#args.block);
    into.attributes = 0;
    into.page = 0;
    if (status === ENOMAP) return undefined;
    if (status !== EOK) return failureOfStatus(status);
    const [attributesAt, addressAt] = this.#iotsb === 0 ? [0, 1] : [1, 0];
    into.attributes = this.#args.low(attributesAt);
    into.page = this.#args.high(addressAt) * PAGES_IN_HIGH + (this.#args.low(addressAt) >>> IO_PAGE_SHIFT);
    return undefined;
  }

  #mapSome(first: number, count: number, attributes: number, list: number): number {
    const legacy = this.#iotsb === 0;
    this.#begin(legacy ? first : this.#iotsb, legacy ? count : first);
    if (!legacy) this.#args.setHalves(2, count << COUNT_SHIFT, first);
    this.#args.set(3, attributes);
    this.#args.set(4, list);
    return this.#hypercall(legacy ? PCI_IOMMU_MAP : PCI_IOTSB_MAP, this.#args.block);
  }

  #unmapSome(first: number, count: number): number {
    const legacy = this.#iotsb === 0;
    this.#begin(legacy ? first : this.#iotsb, legacy ? count : first);
    if (!legacy) this.#args.set(3, count);
    return this.#hypercall(legacy ? PCI_IOMMU_UNMAP : PCI_IOTSB_UNMAP, this.#args.block);
  }

  /** Adds the count in RET1. A count of 0, which would loop for ever, or above `asked` is a failure. */
  #take(asked: number): Failure | undefined {
    const taken = this.#args.low(0);
    if (taken < 1 || taken > asked || this.#args.high(0) !== 0) return failureOfStatus(EIO);
    this.taken += taken;
    return undefined;
  }

  #begin(second: number, third: number): void {
    this.checkThere();
    this.#args.set(0, DEVICE_HANDLE);
    this.#args.set(1, second);
    this.#args.set(2, third);
  }
}

/** The machine's hypercall. Throws InvalidArgumentError if the machine has no hypervisor. */
export function sun4vHypercallOf(machine: Machine): Hypercall {
  return hypercallOf(machine, "the sun4v API's calls");
}

function gone(iotsb: number): IovaError {
  const which = iotsb === 0 ? "the legacy window" : `the window of IOTSB ${iotsb}`;
  return new IovaError("table-gone", `${which} has been given back to the hypervisor`);
}

/** The failure for a status other than EOK: retry later, or permanent. */
export function failureOfStatus(status: number): Failure {
  if (status === EWOULDBLOCK) return "would-block";
  return status === EBUSY ? "platform-busy" : "platform-refused";
}
