/**
 * A sun4v hypervisor, the side that answers: a machine whose IOMMU no guest programs itself. The calls are those of
 * platforms/sun4v/services.ts; what is modelled of each stands there and at the functions here.
 *
 *     const machine = Sun4vHypervisor.create({ memoryBytes: 64 * 2 ** 20, devices: ["nvme0"] });
 *     machine.hypercall(PCI_IOMMU_MAP, args);
 *     worker.postMessage(machine.handle);  // there: Sun4vHypervisor.attach(handle)
 *
 * One PCI root. Its legacy window is always there, for all devices; its table lies in the hypervisor's own memory, above what the
 * guest has. The ATU has room for one IOTSB, whose table is memory that the guest gives up when it configures it; a device uses it
 * from pci_iotsb_bind on. To the translation unit: partition 0 are devices with the legacy window, partition 1 those bound besides.
 *
 * Guests of real hypervisors see statuses and counts, and so do ours: a call takes at most 1024 entries, fewer when `injection` says
 * so, and stops before the first page that can't be mapped. Calls of several threads on ranges of their own run at once;
 * configuring, binding and their opposites are one thread's at a time.
 */

import { SUN4V_ATTRIBUTES, sun4vAccessOf } from "../../../formats/sun4v-tte.ts";
import type { DmaMachine, DmaMaster, Fault, Registers } from "../../../machine/contract.ts";
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
import type { Crew } from "../../../shared/crew.ts";
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
import { SoftwareMemory } from "../../software/memory.ts";
import { closed, PASSED, STILL_IN_FLIGHT } from "../../software/threads.ts";
import { CallInjection } from "../injection.ts";
import { HypervisorTable, isMisaligned } from "./tables.ts";

/** Code of the entries in walk.ts. */
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
/** In words: the hypervisor's shared state. Addresses of tables are in pages of 8 KiB. */
const WORD = { version: CallInjection.words, legacyEntries: 9, iotsbEntries: 10, iotsbPage: 11 } as const;
const WORDS = 32;
const VERSION = 1;

export interface Sun4vHypervisorOptions
  extends Pick<SoftwareMachineOptions, "devices" | "threads" | "iotlb" | "faultRecords" | "busyMilliseconds"> {
  /** Of the whole machine: a multiple of 8 KiB. The hypervisor keeps the legacy window's table at its end. */
  readonly memoryBytes: number;
  /** Entries of the legacy window, 0 (there is none) .. 262,144; default 262,144, which is 2 GiB. */
  readonly legacyEntries?: number;
}

/** What a thread attaches to. Structured-cloneable. */
export interface Sun4vHypervisorHandle {
  readonly machine: SoftwareMachineHandle;
  readonly state: SharedBuffer;
}

/** One thread's view: to its guest a machine, to tests the hypervisor besides. */
export class Sun4vHypervisor implements DmaMachine {
  readonly handle: Sun4vHypervisorHandle;
  /** Makes calls take less, or fail. */
  readonly injection: CallInjection;
  /** Real memory [0, guestBytes) is the guest's. */
  readonly guestBytes: number;
  /** The guest's. */
  readonly memory: SoftwareMemory;
  /** The machine below, with the hypervisor's memory too: for whoever looks behind the guest. */
  readonly machine: SoftwareMachine;
  readonly #state: SharedWords;
  readonly #legacy: HypervisorTable;
  /** As this thread has last seen it; `#iotsb` looks again. */
  #iotsbView: HypervisorTable | undefined;
  /** Memory of its table, during a call. */
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
    this.memory = new SoftwareMemory(machine.handle.memory, this.guestBytes);
    this.#legacy = new HypervisorTable(machine, this.guestBytes, entries, [
      [UNBOUND, LEGACY_WINDOW],
      [BOUND, LEGACY_WINDOW],
    ]);
  }

  /** A new machine with its hypervisor, this thread attached. Throws InvalidArgumentError for options out of range. */
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

  /** A view for the calling thread. Throws FormatError for a foreign handle, IovaError when all slots are taken. */
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

  /** There are none. */
  get registers(): Registers {
    return this.machine.registers;
  }
  get crew(): Crew {
    return this.machine.crew;
  }
  /** This thread's number. */
  get thread(): number {
    return this.machine.thread;
  }
  /** Of all threads since the machine was made. */
  statistics(): { readonly invalidations: number; readonly hypercalls: number } {
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

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** A guest's call; see services.ts. EBADTRAP for one that there is not. */
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

  /** ARG3 attributes, ARG4 list. */
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

  /** What is wrong with a page's real address, or 0. Beyond all memory are registers of peers, which can be mapped. */
  readonly #refusal = (high: number, low: number): number => {
    if (isMisaligned(low)) return EBADALIGN;
    if (high > ADDRESS_HIGH) return ENORADDR;
    const address = high * 2 ** 32 + low;
    return address >= this.machine.memory.bytes || this.#isGuests(address, address + PAGE_BYTES) ? 0 : ENORADDR;
  };

  /** Is all of [first, end) memory of the guest's, that it has not given up for the IOTSB? */
  #isGuests(first: number, end: number): boolean {
    return end <= this.guestBytes && (first >= this.#iotsbEnd || end <= this.#iotsbFirst);
  }

  /** Once a call: which memory is the IOTSB's now. */
  #lookForIotsb(): void {
    const bytes = load(this.#state, WORD.iotsbEntries) * ENTRY_BYTES;
    this.#iotsbFirst = load(this.#state, WORD.iotsbPage) * PAGE_BYTES;
    this.#iotsbEnd = bytes === 0 ? this.#iotsbFirst : this.#iotsbFirst + bytes;
  }

  /** The legacy window's table, when ARG1 names its TSB. */
  #legacyAt(args: BigUint64Array): HypervisorTable | undefined {
    return (args[1] as bigint) >> 32n === 0n && this.#legacy.entries > 0 ? this.#legacy : undefined;
  }

  /** The IOTSB's table, when ARG1 names it and there is one. */
  #iotsb(args: BigUint64Array): HypervisorTable | undefined {
    // Pairs with the store at the end of `#configure`: who sees entries sees the rest.
    const entries = load(this.#state, WORD.iotsbEntries);
    if (entries === 0 || wordOf(args, 1) !== IOTSB) return undefined;
    const address = load(this.#state, WORD.iotsbPage) * PAGE_BYTES;
    if (this.#iotsbView?.address !== address || this.#iotsbView.entries !== entries) {
      this.#iotsbView = new HypervisorTable(this.machine, address, entries, [[BOUND, IOTSB_WINDOW]]);
    }
    return this.#iotsbView;
  }

  /** ARG1 table, ARG2 its size in bytes, ARG3 page size in bytes, ARG4 base. ETOOMANY while there is one. */
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

  /** EBUSY while devices are bound. The memory is the guest's again. */
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

  /** Devices are named by their number. EBUSY for a bind of one that is bound, ENOMAP for an unbind of one that is not. */
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

/** An argument as a number: above 2^53 it is out of every range here, and stays so when rounded. */
function wordOf(args: BigUint64Array, at: number): number {
  return Number(args[at] as bigint);
}

function lowWord(args: BigUint64Array, at: number): number {
  return Number(BigInt.asUintN(32, args[at] as bigint));
}
