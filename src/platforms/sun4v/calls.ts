/**
 * The guest's side of the calls: one thread's argument block, and loops round calls that may take less than they are asked for.
 * Knows the two windows' different calls, so that the ops don't.
 *
 * The arguments are written as 32-bit halves, since making a bigint for each would cost more than the rest of the guest's part.
 */
import type { Hypercall } from "../../machine/contract.ts";
import type { SharedWords } from "../../shared/memory.ts";
import * as memory from "../../shared/memory.ts";
import { InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import * as services from "./services.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { load } = memory;
const { DEVICE_HANDLE, EBUSY, EIO, ENOMAP, EOK, EWOULDBLOCK } = services;
const { PCI_IOMMU_UNMAP, PCI_IOMMU_GETMAP, PCI_IOMMU_MAP } = services;
const { PCI_IOTSB_UNMAP, PCI_IOTSB_GETMAP, PCI_IOTSB_MAP } = services;

/** Which of the two windows of a PCI root: the legacy one, or the one that the ATU translates by an IOTSB. */
export type Sun4vWindow = "legacy" | "atu";

/** What `getmap` found. */
export interface FoundEntry {
  /** 0: no entry. */
  attributes: number;
  page: number;
}

/** Where, in a BigUint64Array seen as 32-bit words, the low half of element 0 is. */
const LOW = new Uint32Array(BigUint64Array.of(1n).buffer)[0] === 1 ? 0 : 1;
/** Arguments of one call at most. */
const ARGUMENTS = 8;
const TWO_TO_32 = 2 ** 32;
/** The count in the upper half of pci_iotsb_map's argument: bits 63 .. 48. */
const COUNT_SHIFT = 16;
const PAGES_IN_HIGH = 2 ** (32 - services.IO_PAGE_SHIFT);

export interface Sun4vCallsOptions {
  readonly hypercall: Hypercall;
  /** The number that configuring the IOTSB has given; 0: the legacy window. */
  readonly iotsb: number;
  /** The platform's shared words, and which of them is not 0 once the window is given back. */
  readonly state: SharedWords;
  readonly goneAt: number;
}

/** One thread's calls about one window. */
export class Sun4vCalls {
  readonly #hypercall: Hypercall;
  /** 0 in the legacy window. */
  readonly #iotsb: number;
  readonly #state: SharedWords;
  readonly #goneAt: number;
  readonly #args: BigUint64Array = new BigUint64Array(ARGUMENTS);
  readonly #halves: Uint32Array = new Uint32Array(this.#args.buffer);
  /** Entries of the last `map` or `demap` that were taken, when it failed too. */
  taken = 0;

  constructor(options: Sun4vCallsOptions) {
    this.#hypercall = options.hypercall;
    this.#iotsb = options.iotsb;
    this.#state = options.state;
    this.#goneAt = options.goneAt;
  }

  /** Throws IovaError "table-gone" once the window has been given back. */
  checkThere(): void {
    if (load(this.#state, this.#goneAt) !== 0) throw gone(this.#iotsb);
  }

  /** Makes entries [first, first + count) of the pages listed at real address `list`; undefined, or why only `taken` of them. */
  map(first: number, count: number, attributes: number, list: number): Failure | undefined {
    this.taken = 0;
    while (this.taken < count) {
      const status = this.#mapSome(first + this.taken, count - this.taken, attributes, list + this.taken * 8);
      const failed = status === EOK ? this.#take(count - this.taken) : failureOfStatus(status);
      if (failed !== undefined) return failed;
    }
    return undefined;
  }

  /** Takes entries [first, first + count) away, and the IOTLB forgets them; undefined, or why only `taken` of them. */
  unmap(first: number, count: number): Failure | undefined {
    this.taken = 0;
    while (this.taken < count) {
      const status = this.#unmapSome(first + this.taken, count - this.taken);
      const failed = status === EOK ? this.#take(count - this.taken) : failureOfStatus(status);
      if (failed !== undefined) return failed;
    }
    return undefined;
  }

  /** The entry as the hypervisor has it; undefined, or why it doesn't tell. */
  get(entry: number, into: FoundEntry): Failure | undefined {
    this.#begin(this.#iotsb === 0 ? entry : this.#iotsb, entry);
    const status = this.#hypercall(this.#iotsb === 0 ? PCI_IOMMU_GETMAP : PCI_IOTSB_GETMAP, this.#args);
    into.attributes = 0;
    into.page = 0;
    if (status === ENOMAP) return undefined;
    if (status !== EOK) return failureOfStatus(status);
    const [attributesAt, addressAt] = this.#iotsb === 0 ? [0, 1] : [1, 0];
    into.attributes = this.#halves[2 * attributesAt + LOW] as number;
    const low = this.#halves[2 * addressAt + LOW] as number;
    into.page = (this.#halves[2 * addressAt + 1 - LOW] as number) * PAGES_IN_HIGH + (low >>> services.IO_PAGE_SHIFT);
    return undefined;
  }

  #mapSome(first: number, count: number, attributes: number, list: number): number {
    const legacy = this.#iotsb === 0;
    this.#begin(legacy ? first : this.#iotsb, legacy ? count : first);
    if (!legacy) this.#halves[2 * 2 + 1 - LOW] = count << COUNT_SHIFT;
    this.#set(3, attributes);
    this.#set(4, list);
    return this.#hypercall(legacy ? PCI_IOMMU_MAP : PCI_IOTSB_MAP, this.#args);
  }

  #unmapSome(first: number, count: number): number {
    const legacy = this.#iotsb === 0;
    this.#begin(legacy ? first : this.#iotsb, legacy ? count : first);
    if (!legacy) this.#set(3, count);
    return this.#hypercall(legacy ? PCI_IOMMU_UNMAP : PCI_IOTSB_UNMAP, this.#args);
  }

  /** Adds the count in RET1. A hypervisor that takes none, or more than it was asked for, would hold us up for ever, or lie. */
  #take(asked: number): Failure | undefined {
    const taken = this.#halves[LOW] as number;
    if (taken < 1 || taken > asked || this.#halves[1 - LOW] !== 0) return failureOfStatus(EIO);
    this.taken += taken;
    return undefined;
  }

  #begin(second: number, third: number): void {
    this.checkThere();
    this.#set(0, DEVICE_HANDLE);
    this.#set(1, second);
    this.#set(2, third);
  }

  #set(argument: number, value: number): void {
    this.#halves[2 * argument + LOW] = value;
    this.#halves[2 * argument + 1 - LOW] = value < TWO_TO_32 ? 0 : value / TWO_TO_32;
  }
}

/** The machine's hypervisor. Throws InvalidArgumentError when it has none. */
export function hypercallOf(hypercall: Hypercall | undefined): Hypercall {
  if (hypercall !== undefined) return hypercall;
  throw new InvalidArgumentError("hypervisor of the machine", "none", "one that answers the sun4v API's calls");
}

function gone(iotsb: number): IovaError {
  const which = iotsb === 0 ? "the legacy window" : `the window of IOTSB ${iotsb}`;
  return new IovaError("table-gone", `${which} has been given back to the hypervisor`);
}

function failureOfStatus(status: number): Failure {
  if (status === EWOULDBLOCK) return "would-block";
  return status === EBUSY ? "platform-busy" : "platform-refused";
}
