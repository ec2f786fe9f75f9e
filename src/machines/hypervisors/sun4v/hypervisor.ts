/**
 * A model of a sun4v hypervisor: a machine whose guest uses the IOMMU only by hypercalls. platforms/sun4v/services.ts lists the calls;
 * their modelled behaviour is described there and at the functions here.
 *
 *     const machine = Sun4vHypervisor.create({ memoryBytes: 64 * 2 ** 20, devices: ["nvme0"] });
 *     machine.hypercall(PCI_IOMMU_MAP, args);
 *     worker.postMessage(machine.handle);  // there: Sun4vHypervisor.attach(handle)
 *
 * There is one PCI root. All devices always have its legacy window, whose table lies in the hypervisor's memory above the guest's. The ATU
 * supports one IOTSB, whose table is memory that the guest gives up at pci_iotsb_conf; a device uses it after pci_iotsb_bind. In the
 * translation unit, partition 0 has the devices with only the legacy window, partition 1 those that are bound to the IOTSB.
 *
 * A call processes at most 1024 entries, or fewer by `injection`, and stops before the first page that can't be mapped. Calls of several
 * threads for different ranges run concurrently; conf, unconf, bind and unbind are made by one thread at a time.
 */

import type { Crew } from "../../../crew/crew.ts";
import { SUN4V_ATTRIBUTES, sun4vAccessOf } from "../../../formats/sun4v-tte.ts";
import type { DmaMachine, DmaMaster, Fault, Registers } from "../../../machine/contract.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import {
  DEVICE_HANDLE,
  EBADALIGN,
  EBADPGSZ,
  EBADTRAP,
  EBUSY,
  EINVAL,
  ENOMAP,
  ENORADDR,
  EOK,
  ETOOMANY,
  EWOULDBLOCK,
  IO_PAGE_SHIFT,
  IOTSB_COUNT_SHIFT,
  LEGACY_BASE,
  LEGACY_ENTRIES,
  LIST_ENTRIES,
  PCI_IOMMU_GETMAP,
  PCI_IOMMU_MAP,
  PCI_IOMMU_UNMAP,
  PCI_IOTSB_BIND,
  PCI_IOTSB_CONF,
  PCI_IOTSB_GETMAP,
  PCI_IOTSB_MAP,
  PCI_IOTSB_UNBIND,
  PCI_IOTSB_UNCONF,
  PCI_IOTSB_UNMAP,
} from "../../../platforms/sun4v/services.ts";
import {
  createShared,
  load,
  poke,
  type SharedBuffer,
  type SharedWords,
  store,
  wordsOf,
} from "../../../shared/memory.ts";
import { checkHandle } from "../../../table/handle.ts";
import { checkInteger, FormatError, InvalidArgumentError } from "../../../units/errors.ts";
import { checkKeys } from "../../../units/keys.ts";
import { SoftwareMachine, type SoftwareMachineHandle, type SoftwareMachineOptions } from "../../software/machine.ts";
import { closed, PASSED, STILL_IN_FLIGHT } from "../../software/threads.ts";
import { CallInjection } from "../injection.ts";
import type { HypervisorStatistics } from "../statistics.ts";
import { HypervisorTable, isMisaligned } from "./tables.ts";

/** Format code of the entries in walk.ts. */
const FORMAT = 3;
const ENTRY_BYTES = 8;
const PAGE_BYTES = 2 ** IO_PAGE_SHIFT;
const ADDRESS_HIGH = 0x00ffffff;
const LEGACY_WINDOW = 0;
const IOTSB_WINDOW = 1;
const UNBOUND = 0;
const BOUND = 1;
/** The number of the one IOTSB. */
const IOTSB = 1;
/** Words of the shared state. Addresses of tables are in pages of 8 KiB. */
const WORD = { version: CallInjection.words, legacyEntries: 9, iotsbEntries: 10, iotsbPage: 11 } as const;
const WORDS = 32;
const VERSION = 1;

/** Options of `Sun4vHypervisor.create`. */
export interface Sun4vHypervisorOptions
  extends Pick<SoftwareMachineOptions, "devices" | "threads" | "iotlb" | "faultRecords" | "busyMilliseconds"> {
  /** Memory of the whole machine in bytes: a multiple of 8192, up to 4 GiB. The table of the legacy window lies at its end. */
  readonly memoryBytes: number;
  /** Entries of the legacy window: 0 (no legacy window) .. 262,144 (2 GiB). Default 262,144. */
  readonly legacyEntries?: number;
}

/** Handle of a sun4v hypervisor, structured-cloneable: post it to another thread and call `Sun4vHypervisor.attach` there. */
export interface Sun4vHypervisorHandle {
  /** @internal */
  readonly machine: SoftwareMachineHandle;
  /** @internal */
  readonly state: SharedBuffer;
}

/**
 * A sun4v hypervisor on the software machine: a guest with memory, devices and hypercalls (UltraSPARC Virtual Machine Specification, "PCI
 * I/O services"). All devices have the legacy window; those that are bound to the IOTSB have the ATU's window too. `Sun4vPlatform` has an
 * example.
 *
 * One object is one thread's view: post `handle`, and `attach` in each other thread.
 */
export class Sun4vHypervisor implements DmaMachine {
  /** Handle for other threads. */
  readonly handle: Sun4vHypervisorHandle;
  /**
   * Fault injection for calls.
   *
   * @internal
   */
  readonly injection: CallInjection;
  /** Size of the guest's real memory in bytes: [0, guestBytes) belongs to the guest, memory above it to the hypervisor. */
  readonly guestBytes: number;
  /** The guest's memory. */
  readonly memory: PhysicalMemory;
  /** The machine below, with the hypervisor's memory, for tests that look behind the guest. */
  readonly machine: SoftwareMachine;
  readonly #state: SharedWords;
  readonly #legacy: HypervisorTable;
  /** The IOTSB's table as this thread last read it; `#iotsb` updates it. */
  #iotsbView: HypervisorTable | undefined;
  /** Range of the IOTSB's table in memory, valid during a call. */
  #iotsbFirst = 0;
  #iotsbEnd = 0;
  #open = true;

  private constructor(machine: SoftwareMachine, state: SharedBuffer) {
    this.handle = { machine: machine.handle, state };
    this.machine = machine;
    this.#state = wordsOf(state);
    this.injection = new CallInjection(this.#state, 0);
    const entries = load(this.#state, WORD.legacyEntries);
    this.guestBytes = guestBytesOf(machine.memory.bytes, entries);
    this.memory = machine.memory.below(this.guestBytes);
    this.#legacy = new HypervisorTable(machine, this.guestBytes, entries, [
      [UNBOUND, LEGACY_WINDOW],
      [BOUND, LEGACY_WINDOW],
    ]);
  }

  /** Creates a machine with its hypervisor and attaches this thread. Throws InvalidArgumentError for options out of range. */
  static create(options: Sun4vHypervisorOptions): Sun4vHypervisor {
    checkKeys("a sun4v hypervisor", options, {
      memoryBytes: "any",
      legacyEntries: "any",
      devices: "object",
      threads: "any",
      iotlb: "object",
      faultRecords: "any",
      busyMilliseconds: "any",
    });
    const { legacyEntries = LEGACY_ENTRIES, memoryBytes, ...rest } = options;
    checkInteger("entries of the legacy window", legacyEntries, 0, LEGACY_ENTRIES);
    if (guestBytesOf(memoryBytes, legacyEntries) < PAGE_BYTES || memoryBytes % PAGE_BYTES !== 0) {
      const expected = `a multiple of ${PAGE_BYTES} with room for a table of ${legacyEntries} entries, and a page of the guest's`;
      throw new InvalidArgumentError("memory size in bytes", memoryBytes, expected);
    }
    const machine = SoftwareMachine.create({ ...rest, memoryBytes, iommu: "none", partitions: 2, windows: 2 });
    const state = createShared(WORDS * 4);
    poke(wordsOf(state), WORD.version, VERSION);
    poke(wordsOf(state), WORD.legacyEntries, legacyEntries);
    const hypervisor = new Sun4vHypervisor(machine, state);
    if (legacyEntries > 0) hypervisor.#openLegacy();
    return hypervisor;
  }

  /** A view for the calling thread. Throws FormatError for a foreign handle, IovaError if all thread numbers are taken. */
  static attach(handle: Sun4vHypervisorHandle, crew?: Crew): Sun4vHypervisor {
    checkHandle("a sun4v hypervisor", handle, { state: "shared", machine: "object" });
    if (handle.state.byteLength !== WORDS * 4) {
      throw new FormatError("the handle is not that of a sun4v hypervisor");
    }
    const version = load(wordsOf(handle.state), WORD.version);
    if (version !== VERSION) {
      throw new FormatError(`sun4v hypervisor of version ${version}; this library has version ${VERSION}`);
    }
    return new Sun4vHypervisor(SoftwareMachine.attach(handle.machine, crew), handle.state);
  }

  /** Registers of the machine: a sun4v guest has none, so every access throws InvalidArgumentError. */
  get registers(): Registers {
    return this.machine.registers;
  }
  get crew(): Crew {
    return this.machine.crew;
  }
  /** This thread's number in the crew. */
  get thread(): number {
    return this.machine.thread;
  }
  /** Counts since the machine was created, summed over all threads. */
  statistics(): HypervisorStatistics {
    return { invalidations: this.machine.statistics().invalidations, hypercalls: this.injection.calls };
  }
  faults(): readonly Fault[] {
    return this.machine.faults();
  }
  device(which: string | number): DmaMaster {
    return this.machine.device(which);
  }
  close(): void {
    this.#open = false;
    this.machine.close();
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * A hypercall of the guest. Returns its status: 0 (EOK), or an error status; 7 (EBADTRAP) for an unknown call. Throws IovaError after
   * `close`.
   */
  readonly hypercall = (number: number, args: BigUint64Array): number => {
    if (!this.#open) throw closed();
    const injected = this.injection.begin();
    if (injected !== 0) return injected;
    if (args[0] !== BigInt(DEVICE_HANDLE))
      return number >= PCI_IOMMU_MAP && number <= PCI_IOTSB_GETMAP ? EINVAL : EBADTRAP;
    switch (number) {
      case PCI_IOMMU_MAP:
        return this.#map(this.#legacyAt(args), lowWord(args, 1), wordOf(args, 2), args);
      case PCI_IOMMU_UNMAP:
        return this.#unmap(this.#legacyAt(args), lowWord(args, 1), wordOf(args, 2), args);
      case PCI_IOMMU_GETMAP:
        return this.#getmap(this.#legacyAt(args), lowWord(args, 1), args, 0, 1);
      case PCI_IOTSB_CONF:
        return this.#configure(args);
      default:
        return this.#iotsbCall(number, args);
    }
  };

  #iotsbCall(number: number, args: BigUint64Array): number {
    const table = this.#iotsb(args);
    const count = Number((args[2] as bigint) >> BigInt(IOTSB_COUNT_SHIFT));
    const index = Number(BigInt.asUintN(IOTSB_COUNT_SHIFT, args[2] as bigint));
    switch (number) {
      case PCI_IOTSB_MAP:
        return this.#map(table, index, count, args);
      case PCI_IOTSB_UNMAP:
        return this.#unmap(table, wordOf(args, 2), wordOf(args, 3), args);
      case PCI_IOTSB_GETMAP:
        return this.#getmap(table, wordOf(args, 2), args, 1, 0);
      case PCI_IOTSB_BIND:
        return this.#bind(table, wordOf(args, 2), UNBOUND, BOUND);
      case PCI_IOTSB_UNBIND:
        return this.#bind(table, wordOf(args, 2), BOUND, UNBOUND);
      case PCI_IOTSB_UNCONF:
        return this.#unconfigure(table);
      default:
        return EBADTRAP;
    }
  }

  /** Arguments: ARG3 attributes, ARG4 list. */
  #map(table: HypervisorTable | undefined, index: number, asked: number, args: BigUint64Array): number {
    if (table === undefined || !inTable(table, index, asked)) return EINVAL;
    const attributes = wordOf(args, 3);
    if (attributes > SUN4V_ATTRIBUTES || sun4vAccessOf(attributes) === 0) return EINVAL;
    const list = wordOf(args, 4);
    const count = this.injection.take(Math.min(asked, LIST_ENTRIES));
    if (list % ENTRY_BYTES !== 0) return EBADALIGN;
    this.#lookForIotsb();
    if (!this.#isGuests(list, list + count * ENTRY_BYTES)) return ENORADDR;
    const taken = table.map(index, count, attributes, list, this.#refusal);
    if (taken < 0) return -taken;
    args[0] = BigInt(taken);
    return EOK;
  }

  #unmap(table: HypervisorTable | undefined, index: number, asked: number, args: BigUint64Array): number {
    if (table === undefined || !inTable(table, index, asked)) return EINVAL;
    const count = this.injection.take(asked);
    const answer = table.unmap(index, count);
    if (answer !== PASSED) return answer === STILL_IN_FLIGHT ? EBUSY : EWOULDBLOCK;
    args[0] = BigInt(count);
    return EOK;
  }

  #getmap(
    table: HypervisorTable | undefined,
    index: number,
    args: BigUint64Array,
    attributesAt: number,
    addressAt: number,
  ): number {
    if (table === undefined || !inTable(table, index, 1)) return EINVAL;
    const entry = table.get(index);
    if (entry === undefined) return ENOMAP;
    const [high, low] = entry;
    args[attributesAt] = BigInt(low & SUN4V_ATTRIBUTES);
    args[addressAt] = (BigInt(high) << 32n) | BigInt(low - (low % PAGE_BYTES));
    return EOK;
  }

  /** The status for a page's real address, or 0. Addresses beyond memory are registers of peers, which can be mapped. */
  readonly #refusal = (high: number, low: number): number => {
    if (isMisaligned(low)) return EBADALIGN;
    if (high > ADDRESS_HIGH) return ENORADDR;
    const address = high * 2 ** 32 + low;
    return address >= this.machine.memory.bytes || this.#isGuests(address, address + PAGE_BYTES) ? 0 : ENORADDR;
  };

  /** True if [first, end) is memory of the guest that it has not given up for the IOTSB. */
  #isGuests(first: number, end: number): boolean {
    return end <= this.guestBytes && (first >= this.#iotsbEnd || end <= this.#iotsbFirst);
  }

  /** Reads, once per call, the current range of the IOTSB's table. */
  #lookForIotsb(): void {
    const bytes = load(this.#state, WORD.iotsbEntries) * ENTRY_BYTES;
    this.#iotsbFirst = load(this.#state, WORD.iotsbPage) * PAGE_BYTES;
    this.#iotsbEnd = bytes === 0 ? this.#iotsbFirst : this.#iotsbFirst + bytes;
  }

  /** The legacy window's table, if ARG1 selects its TSB. */
  #legacyAt(args: BigUint64Array): HypervisorTable | undefined {
    return (args[1] as bigint) >> 32n === 0n && this.#legacy.entries > 0 ? this.#legacy : undefined;
  }

  /** The IOTSB's table, if ARG1 selects it and it is configured. */
  #iotsb(args: BigUint64Array): HypervisorTable | undefined {
    // Pairs with the store at the end of `#configure`: a thread that sees the entries sees the other words.
    const entries = load(this.#state, WORD.iotsbEntries);
    if (entries === 0 || wordOf(args, 1) !== IOTSB) return undefined;
    const address = load(this.#state, WORD.iotsbPage) * PAGE_BYTES;
    if (this.#iotsbView?.address !== address || this.#iotsbView.entries !== entries) {
      this.#iotsbView = new HypervisorTable(this.machine, address, entries, [[BOUND, IOTSB_WINDOW]]);
    }
    return this.#iotsbView;
  }

  /** Arguments: ARG1 table, ARG2 its size in bytes, ARG3 page size in bytes, ARG4 base. ETOOMANY if an IOTSB is configured. */
  #configure(args: BigUint64Array): number {
    if (load(this.#state, WORD.iotsbEntries) !== 0) return ETOOMANY;
    const [address, bytes] = [wordOf(args, 1), wordOf(args, 2)];
    if (args[3] !== BigInt(PAGE_BYTES)) return EBADPGSZ;
    const base = args[4] as bigint;
    if (address % PAGE_BYTES !== 0 || bytes % PAGE_BYTES !== 0 || base % BigInt(PAGE_BYTES) !== 0n) return EBADALIGN;
    if (address + bytes > this.guestBytes) return ENORADDR;
    const entries = bytes / ENTRY_BYTES;
    if (bytes === 0 || entries > 2 ** 31 - 1 || base + BigInt(entries * PAGE_BYTES) > 1n << 64n) return EINVAL;
    const legacyEnd = LEGACY_BASE + BigInt(this.#legacy.entries * PAGE_BYTES);
    if (base < legacyEnd && base + BigInt(entries * PAGE_BYTES) > LEGACY_BASE) return EINVAL;
    new HypervisorTable(this.machine, address, entries, []).clear();
    const setup = { base, pageShift: IO_PAGE_SHIFT, entries, format: FORMAT, tableAddress: address };
    if (this.machine.translation.openWindow(BOUND, IOTSB_WINDOW, setup) !== PASSED) return EBUSY;
    store(this.#state, WORD.iotsbPage, address / PAGE_BYTES);
    store(this.#state, WORD.iotsbEntries, entries);
    args[0] = BigInt(IOTSB);
    return EOK;
  }

  /** Returns the IOTSB's memory to the guest. EBUSY while devices are bound. */
  #unconfigure(table: HypervisorTable | undefined): number {
    if (table === undefined) return EINVAL;
    const { translation } = this.machine;
    for (let device = 0; device < translation.devices; device++) {
      if (translation.partitionOf(device) === BOUND) return EBUSY;
    }
    if (translation.closeWindow(BOUND, IOTSB_WINDOW) !== PASSED) return EBUSY;
    store(this.#state, WORD.iotsbEntries, 0);
    return EOK;
  }

  /** Moves a device, by its number, between the partitions. EBUSY for a bind of a bound device, ENOMAP for an unbind of an unbound one. */
  #bind(table: HypervisorTable | undefined, device: number, from: number, to: number): number {
    const { translation } = this.machine;
    if (table === undefined || device >= translation.devices) return EINVAL;
    if (translation.partitionOf(device) !== from) return to === BOUND ? EBUSY : ENOMAP;
    return translation.moveDevice(device, to) === PASSED ? EOK : EBUSY;
  }

  #openLegacy(): void {
    const { translation } = this.machine;
    this.#legacy.clear();
    const { address, entries } = this.#legacy;
    const setup = { base: LEGACY_BASE, pageShift: IO_PAGE_SHIFT, entries, format: FORMAT, tableAddress: address };
    for (const partition of [UNBOUND, BOUND]) translation.openWindow(partition, LEGACY_WINDOW, setup);
  }
}

function guestBytesOf(memoryBytes: number, legacyEntries: number): number {
  return memoryBytes - Math.ceil((legacyEntries * ENTRY_BYTES) / PAGE_BYTES) * PAGE_BYTES;
}

function inTable(table: HypervisorTable, index: number, count: number): boolean {
  return count >= 1 && index + count <= table.entries;
}

/** An argument as a number. Values above 2^53 are rounded, but exceed every limit here anyway. */
function wordOf(args: BigUint64Array, at: number): number {
  return Number(args[at] as bigint);
}

function lowWord(args: BigUint64Array, at: number): number {
  return Number(BigInt.asUintN(32, args[at] as bigint));
}
