/**
 * sun4v: a window of a PCI root whose entries the hypervisor makes, by calls from each thread's list page.
 *
 *     const platform = Sun4vPlatform.create(machine, { window: "legacy", listAddress });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: Sun4vPlatform.attach(machine, handle)
 *     platform.generic.allocate(1);
 *
 * The legacy window (2 GiB at 2 GiB) is the hypervisor's; the ATU's (32 GiB) is made of an IOTSB, whose table is memory that the
 * platform gives up, and devices are bound to it. Both may be in use on one machine at a time, by a platform each.
 */
import type { Machine } from "../../machine/contract.ts";
import { createShared, isShared, load, type SharedBuffer, store, wordsOf } from "../../shared/memory.ts";
import { IommuTable, type TableHandle, type TableOptions } from "../../table/iommu-table.ts";
import { checkInteger, FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { DmaWindow, EntryCount, Iova } from "../../units/numbers.ts";
import { hypercallOf, Sun4vCalls, type Sun4vWindow } from "./calls.ts";
import { Sun4vOps } from "./ops.ts";
import {
  ATU_BASE,
  ATU_ENTRIES,
  DEVICE_HANDLE,
  EOK,
  IO_PAGE_SHIFT,
  LEGACY_BASE,
  LEGACY_ENTRIES,
  LIST_BYTES,
  PCI_IOTSB_BIND,
  PCI_IOTSB_CONF,
  PCI_IOTSB_UNBIND,
  PCI_IOTSB_UNCONF,
} from "./services.ts";

const PAGE_BYTES = 2 ** IO_PAGE_SHIFT;
const ENTRY_BYTES = 8;
/** Entries in a page of a table. */
const TSB_PAGE_ENTRIES: number = PAGE_BYTES / ENTRY_BYTES;
const DEFAULT_THREADS = 32;
/** Words of the platform's own shared state. */
const WORD = { version: 0, gone: 1 } as const;
const WORDS = 4;
const VERSION = 1;

export interface Sun4vPlatformOptions {
  /** Default "legacy". */
  readonly window?: Sun4vWindow;
  /** 1 .. 262,144 in the legacy window, as many as the hypervisor has; a multiple of 1024 up to 4,194,304 in the ATU's. Default: the most. */
  readonly entries?: number;
  /** Real memory for the lists of pages, a multiple of 8 KiB: from here on, 8 KiB for each thread of the table belong to the platform. */
  readonly listAddress: number;
  /** Of the ATU's window: real memory for its table, a multiple of 8 KiB with 8 bytes an entry. The hypervisor's until `remove`. */
  readonly iotsbAddress?: number;
  /** Of the ATU's window: its devices, by number. Default: device 0. */
  readonly devices?: readonly number[];
  /** Of the generic table. */
  readonly table?: TableOptions;
}

/** What a thread attaches to. Structured-cloneable. */
export interface Sun4vPlatformHandle {
  /** Number of the IOTSB; 0 in the legacy window. */
  readonly iotsb: number;
  readonly listAddress: number;
  readonly devices: readonly number[];
  readonly state: SharedBuffer;
  readonly table: TableHandle;
}

/** One thread's view. */
export class Sun4vPlatform {
  readonly handle: Sun4vPlatformHandle;
  /** The generic table, with ops of this thread. */
  readonly generic: IommuTable;
  readonly ops: Sun4vOps;
  readonly window: Sun4vWindow;
  readonly #machine: Machine;
  readonly #calls: Sun4vCalls;

  private constructor(machine: Machine, handle: Sun4vPlatformHandle, generic: IommuTable, parts: Parts) {
    this.handle = handle;
    this.generic = generic;
    this.ops = parts.ops;
    this.window = handle.iotsb === 0 ? "legacy" : "atu";
    this.#machine = machine;
    this.#calls = parts.calls;
    parts.ops.useList(handle.listAddress + generic.thread * LIST_BYTES);
  }

  /**
   * Takes the window over, empty: what the hypervisor had mapped in it ends. Throws InvalidArgumentError for what doesn't fit together
   * or a machine without a sun4v hypervisor, IovaError "platform-refused" when the hypervisor does not give the window.
   */
  static create(machine: Machine, options: Sun4vPlatformOptions): Sun4vPlatform {
    const window = windowOf(options);
    const threads = options.table?.threads ?? DEFAULT_THREADS;
    hypercallOf(machine.hypercall);
    checkRegion("address of the lists", machine, options.listAddress, threads * LIST_BYTES);
    const devices = [...(options.devices ?? [0])];
    const iotsb = options.window === "atu" ? configure(machine, window, options.iotsbAddress, devices) : 0;
    try {
      return Sun4vPlatform.#createOn(
        machine,
        { ...options, devices, table: { ...options.table, threads } },
        window,
        iotsb,
      );
    } catch (error) {
      if (iotsb !== 0) unconfigure(machine, iotsb, devices);
      throw error;
    }
  }

  static #createOn(
    machine: Machine,
    options: Sun4vPlatformOptions & { readonly devices: readonly number[] },
    window: DmaWindow,
    iotsb: number,
  ): Sun4vPlatform {
    const { listAddress, devices, table } = options;
    const state = createShared(WORDS * 4);
    store(wordsOf(state), WORD.version, VERSION);
    const parts = partsOf(machine, iotsb, state, window.entries);
    const generic = IommuTable.create(window, parts.ops, table);
    const refused = parts.calls.unmap(0, window.entries);
    if (refused !== undefined) {
      const message = `the hypervisor does not give a window of ${window.entries} entries: ${refused}`;
      throw new IovaError("platform-refused", message);
    }
    return new Sun4vPlatform(machine, { iotsb, listAddress, devices, state, table: generic.handle }, generic, parts);
  }

  /** A view for the calling thread, on this thread's machine. Throws FormatError for a foreign handle. */
  static attach(machine: Machine, handle: Sun4vPlatformHandle): Sun4vPlatform {
    if (!isShared(handle?.state) || handle.state.byteLength !== WORDS * 4 || typeof handle.table !== "object") {
      throw new FormatError("the handle is not that of a sun4v platform");
    }
    const version = load(wordsOf(handle.state), WORD.version);
    if (version !== VERSION) {
      throw new FormatError(`sun4v platform of version ${version}; this library has version ${VERSION}`);
    }
    const parts = partsOf(machine, handle.iotsb, handle.state, handle.table.window.entries);
    return new Sun4vPlatform(machine, handle, IommuTable.attach(handle.table, parts.ops), parts);
  }

  /**
   * Gives the window back: every thread's use of it throws from then on, and an IOTSB's memory is the guest's again. Call it when no
   * other thread uses the table. Throws IovaError "in-use" while ranges are live (without a ledger nobody knows), and
   * "platform-refused" when the hypervisor refuses: then it can be called again.
   */
  remove(): void {
    for (const [thread, [range]] of this.generic.leaks()) {
      if (range === undefined) continue;
      throw new IovaError(
        "in-use",
        `entries [${range.first}, ${range.end}) of thread ${thread} are in use; unmap them first`,
      );
    }
    const refused = this.#calls.unmap(0, this.generic.window.entries);
    if (refused !== undefined) throw new IovaError("platform-refused", `the window can't be emptied: ${refused}`);
    if (this.handle.iotsb !== 0) unconfigure(this.#machine, this.handle.iotsb, this.handle.devices);
    store(wordsOf(this.handle.state), WORD.gone, 1);
  }
}

/** What a thread's view is made of. */
interface Parts {
  readonly calls: Sun4vCalls;
  readonly ops: Sun4vOps;
}

function partsOf(machine: Machine, iotsb: number, state: SharedBuffer, entries: number): Parts {
  const calls = new Sun4vCalls({
    hypercall: hypercallOf(machine.hypercall),
    iotsb,
    state: wordsOf(state),
    goneAt: WORD.gone,
  });
  return { calls, ops: new Sun4vOps({ memory: machine.memory, calls, entries }) };
}

function windowOf(options: Sun4vPlatformOptions): DmaWindow {
  const legacy = (options.window ?? "legacy") === "legacy";
  if (!legacy && options.window !== "atu") {
    throw new InvalidArgumentError("window", options.window, "legacy or atu");
  }
  const most = legacy ? LEGACY_ENTRIES : ATU_ENTRIES;
  const entries = options.entries ?? most;
  checkInteger(`entries of the ${legacy ? "legacy" : "ATU's"} window`, entries, 1, most);
  if (!legacy && entries % TSB_PAGE_ENTRIES !== 0) {
    throw new InvalidArgumentError("entries of the ATU's window", entries, `a multiple of ${TSB_PAGE_ENTRIES}`);
  }
  return { base: (legacy ? LEGACY_BASE : ATU_BASE) as Iova, pageShift: IO_PAGE_SHIFT, entries: entries as EntryCount };
}

/** Throws InvalidArgumentError unless memory has this region, at a multiple of 8 KiB. */
function checkRegion(what: string, machine: Machine, address: number | undefined, bytes: number): void {
  const last = machine.memory.bytes - bytes;
  if (
    address !== undefined &&
    Number.isInteger(address) &&
    address % PAGE_BYTES === 0 &&
    address >= 0 &&
    address <= last
  ) {
    return;
  }
  throw new InvalidArgumentError(
    what,
    address,
    `a multiple of ${PAGE_BYTES} with ${bytes} bytes of memory from there on`,
  );
}

/** Makes the IOTSB and binds the devices; its number. All or nothing. */
function configure(
  machine: Machine,
  window: DmaWindow,
  address: number | undefined,
  devices: readonly number[],
): number {
  const bytes = window.entries * ENTRY_BYTES;
  checkRegion("address of the IOTSB", machine, address, bytes);
  const args = BigUint64Array.of(0n, BigInt(address as number), BigInt(bytes), BigInt(PAGE_BYTES), window.base);
  call(machine, "pci_iotsb_conf", PCI_IOTSB_CONF, args);
  const iotsb = Number(args[0]);
  try {
    for (const device of devices) bind(machine, "pci_iotsb_bind", PCI_IOTSB_BIND, iotsb, device);
  } catch (error) {
    unconfigure(machine, iotsb, devices);
    throw error;
  }
  return iotsb;
}

function unconfigure(machine: Machine, iotsb: number, devices: readonly number[]): void {
  for (const device of devices) {
    const args = BigUint64Array.of(BigInt(DEVICE_HANDLE), BigInt(iotsb), BigInt(device));
    // EINVAL says that it is not bound: so it should be.
    hypercallOf(machine.hypercall)(PCI_IOTSB_UNBIND, args);
  }
  call(machine, "pci_iotsb_unconf", PCI_IOTSB_UNCONF, BigUint64Array.of(0n, BigInt(iotsb), 0n));
}

function bind(machine: Machine, what: string, number: number, iotsb: number, device: number): void {
  call(machine, `${what} of device ${device}`, number, BigUint64Array.of(0n, BigInt(iotsb), BigInt(device)));
}

/** A call that has to succeed. The device handle is filled in. */
function call(machine: Machine, what: string, number: number, args: BigUint64Array): void {
  args[0] = BigInt(DEVICE_HANDLE);
  const status = hypercallOf(machine.hypercall)(number, args);
  if (status !== EOK) throw new IovaError("platform-refused", `${what}: the hypervisor answers status ${status}`);
}
