/**
 * sun4v: a window of a PCI root whose entries the hypervisor writes, by calls with each thread's list page.
 *
 *     const platform = Sun4vPlatform.create(machine, { window: "legacy", listAddress });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: Sun4vPlatform.attach(machine, handle)
 *     platform.generic.allocate(1);
 *
 * The hypervisor has the table of the legacy window (2 GiB at 2 GiB). The ATU's window (32 GiB) needs an IOTSB: the platform gives memory
 * for its table to the hypervisor, and binds devices to it. Two platforms may use both windows of one machine at the same time.
 */
import type { Machine } from "../../machine/contract.ts";
import { IommuTable, inCrew, type TableOptions } from "../../table/iommu-table.ts";
import { checkInteger, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { TablePlatform } from "../platform.ts";
import { checkNothingLive, type PlatformHandle, SharedState } from "../shared-state.ts";
import { Sun4vCalls, type Sun4vWindow, sun4vHypercallOf } from "./calls.ts";
import { Sun4vOps } from "./ops.ts";
import {
  ATU_BASE,
  ATU_ENTRIES,
  DEVICE_HANDLE,
  EINVAL,
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

/** Options of `Sun4vPlatform.create`. */
export interface Sun4vPlatformOptions {
  /** The window: "legacy" (2 GiB) or "atu" (32 GiB). Default "legacy". */
  readonly window?: Sun4vWindow;
  /**
   * Number of entries, with pages of 8 KiB. Legacy window: 1 .. 262,144, at most the hypervisor's. ATU's window: a multiple of 1024, up to
   * 4,194,304. Default: the largest number.
   */
  readonly entries?: number;
  /** Real address of memory for the list pages, a multiple of 8192: 8 KiB for each thread of the table. */
  readonly listAddress: number;
  /**
   * ATU's window only: real address of memory for the IOTSB, a multiple of 8192, with 8 bytes for each entry. The memory belongs to the
   * hypervisor until `remove`.
   */
  readonly iotsbAddress?: number;
  /** ATU's window only: numbers of its devices. Default: device 0. */
  readonly devices?: readonly number[];
  /** Options of the generic table. */
  readonly table?: TableOptions;
}

/** Handle of a sun4v platform, structured-cloneable: post it to another thread and call `Sun4vPlatform.attach` there. */
export interface Sun4vPlatformHandle extends PlatformHandle {
  /** Number of the IOTSB; 0 for the legacy window. */
  readonly iotsb: number;
  /** @internal */
  readonly listAddress: number;
  /** @internal */
  readonly devices: readonly number[];
}

/** Fields of a handle besides the common ones. */
const HANDLE = { iotsb: "count", listAddress: "count", devices: "list" } as const;

/**
 * Platform of a sun4v guest: the hypervisor writes the entries (UltraSPARC Virtual Machine Specification, "PCI I/O services"), up to 1024 in
 * one call. Pages have 8 KiB. `generic` is the table to map in; a mapping that the hypervisor refuses returns a failure.
 *
 * One object is one thread's view: post the machine's handle and this one's, and `attach` in each other thread.
 *
 * @example
 * ```ts
 * import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
 * import { Sun4vHypervisor, Sun4vPlatform } from "iova/platform";
 *
 * const machine = Sun4vHypervisor.create({ memoryBytes: 2 ** 24, legacyEntries: 1024, threads: 4, devices: ["nic0"] });
 * const platform = Sun4vPlatform.create(machine, { entries: 1024, listAddress: 0x80_0000 });
 * const driver = new DmaDevice(platform.generic);
 * const before = machine.statistics().hypercalls;
 * const { iova } = orThrow(driver.map(0x20_0000n, 100 * 8192, DEVICE_WRITES));
 * console.log("hypercalls for 100 pages:", machine.statistics().hypercalls - before);
 * console.log(machine.device("nic0").dmaWrite(iova, Uint8Array.of(1)));
 * machine.close();
 * ```
 * ```text output
 * hypercalls for 100 pages: 1
 * true
 * ```
 */
export class Sun4vPlatform extends TablePlatform {
  readonly handle: Sun4vPlatformHandle;
  /** @internal */
  readonly ops: Sun4vOps;
  /** Kind of the window: "legacy" or "atu". */
  readonly window: Sun4vWindow;
  readonly #machine: Machine;
  readonly #calls: Sun4vCalls;
  readonly #state: SharedState;

  private constructor(machine: Machine, handle: Sun4vPlatformHandle, generic: IommuTable, parts: Parts) {
    super(machine, generic);
    this.handle = handle;
    this.ops = parts.ops;
    this.window = handle.iotsb === 0 ? "legacy" : "atu";
    this.#machine = machine;
    this.#calls = parts.calls;
    this.#state = parts.state;
    parts.ops.useList(handle.listAddress + generic.thread * LIST_BYTES);
  }

  /**
   * Takes the window over, empties it (which ends all earlier mappings), and attaches this thread. Throws InvalidArgumentError for
   * inconsistent options and for a machine without a sun4v hypervisor, and IovaError "platform-refused" if the hypervisor refuses the
   * window.
   */
  static create(machine: Machine, options: Sun4vPlatformOptions): Sun4vPlatform {
    checkKeys("a sun4v platform", options, {
      window: "any",
      entries: "any",
      listAddress: "any",
      iotsbAddress: "any",
      devices: "object",
      table: "object",
    });
    const window = windowOf(options);
    const threads = machine.crew?.threads ?? options.table?.threads ?? DEFAULT_THREADS;
    sun4vHypercallOf(machine);
    checkRegion("address of the lists", machine, options.listAddress, threads * LIST_BYTES);
    if (options.window === "atu") checkIotsb(machine, options, window, threads);
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
    const state = SharedState.create();
    const parts = partsOf(machine, iotsb, state, window.entries);
    const generic = IommuTable.create(window, parts.ops, inCrew(table, machine.crew));
    const refused = parts.calls.unmap(0, window.entries);
    if (refused !== undefined) {
      const message = `the hypervisor does not give a window of ${window.entries} entries: ${refused}`;
      throw new IovaError("platform-refused", message);
    }
    const handle = { iotsb, listAddress, devices, state: state.buffer, table: generic.handle };
    return new Sun4vPlatform(machine, handle, generic, parts);
  }

  /** Attaches the calling thread, with this thread's view of the machine. Throws FormatError for a foreign handle. */
  static attach(machine: Machine, handle: Sun4vPlatformHandle): Sun4vPlatform {
    const state = SharedState.attach("a sun4v platform", handle, HANDLE);
    const parts = partsOf(machine, handle.iotsb, state, handle.table.window.entries);
    return new Sun4vPlatform(machine, handle, IommuTable.attach(handle.table, parts.ops, machine.crew), parts);
  }

  /**
   * Returns the window to the hypervisor. Afterwards every use of it throws, on all threads, and an IOTSB's memory belongs to the guest
   * again. Call it when no other thread uses the table. Throws IovaError "in-use" while ranges are live, and "platform-refused" if the
   * hypervisor refuses; the call can then be repeated.
   */
  remove(): void {
    this.#calls.checkThere();
    checkNothingLive(this.generic);
    const { iotsb, devices } = this.handle;
    const { isEnding } = this.#state;
    const refused = isEnding ? undefined : this.#calls.unmap(0, this.generic.window.entries);
    if (refused !== undefined) throw new IovaError("platform-refused", `the window can't be emptied: ${refused}`);
    this.#state.markEnding();
    if (iotsb !== 0) unconfigure(this.#machine, iotsb, devices, isEnding);
    this.#state.markGone();
  }
}

/** The parts of a thread's view. */
interface Parts {
  readonly calls: Sun4vCalls;
  readonly ops: Sun4vOps;
  readonly state: SharedState;
}

function partsOf(machine: Machine, iotsb: number, state: SharedState, entries: number): Parts {
  const calls = new Sun4vCalls({ machine, iotsb, state });
  return { calls, ops: new Sun4vOps({ memory: machine.memory, calls, entries }), state };
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
  return { base: legacy ? LEGACY_BASE : ATU_BASE, pageShift: IO_PAGE_SHIFT, entries };
}

/** Throws InvalidArgumentError unless this region lies in memory and begins at a multiple of 8 KiB. */
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

/** Throws InvalidArgumentError unless the IOTSB lies in memory, outside of the lists. */
function checkIotsb(
  machine: Machine,
  { iotsbAddress, listAddress }: Sun4vPlatformOptions,
  { entries }: DmaWindow,
  threads: number,
): void {
  const bytes = entries * ENTRY_BYTES;
  checkRegion("address of the IOTSB", machine, iotsbAddress, bytes);
  const listsEnd = listAddress + threads * LIST_BYTES;
  const isApart = (iotsbAddress as number) >= listsEnd || (iotsbAddress as number) + bytes <= listAddress;
  if (isApart) return;
  const expected = `its ${bytes} bytes apart from the lists in [${listAddress}, ${listsEnd})`;
  throw new InvalidArgumentError("address of the IOTSB", iotsbAddress, expected);
}

/** Configures the IOTSB and binds the devices. Returns the IOTSB's number. All or nothing. */
function configure(
  machine: Machine,
  window: DmaWindow,
  address: number | undefined,
  devices: readonly number[],
): number {
  const bytes = window.entries * ENTRY_BYTES;
  // The hypervisor takes the table with its content, so it is zeroed first. After the call the guest does not access it.
  for (let at = 0; at < bytes; at += PAGE_BYTES)
    machine.memory.write((address as number) + at, new Uint8Array(PAGE_BYTES));
  machine.memory.fence();
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

/** `mayBeGone`: a thread that has died may have removed the IOTSB. */
function unconfigure(machine: Machine, iotsb: number, devices: readonly number[], mayBeGone = false): void {
  for (const device of devices) {
    const args = BigUint64Array.of(BigInt(DEVICE_HANDLE), BigInt(iotsb), BigInt(device));
    // ENOMAP (not bound) is fine here.
    sun4vHypercallOf(machine)(PCI_IOTSB_UNBIND, args);
  }
  const accepted = mayBeGone ? [EOK, EINVAL] : [EOK];
  call(machine, "pci_iotsb_unconf", PCI_IOTSB_UNCONF, BigUint64Array.of(0n, BigInt(iotsb), 0n), accepted);
}

function bind(machine: Machine, what: string, number: number, iotsb: number, device: number): void {
  call(machine, `${what} of device ${device}`, number, BigUint64Array.of(0n, BigInt(iotsb), BigInt(device)));
}

/** Makes a call that must return an accepted status. Fills in the device handle. */
function call(
  machine: Machine,
  what: string,
  number: number,
  args: BigUint64Array,
  accepted: readonly number[] = [EOK],
): void {
  args[0] = BigInt(DEVICE_HANDLE);
  const status = sun4vHypercallOf(machine)(number, args);
  if (!accepted.includes(status))
    throw new IovaError("platform-refused", `${what}: the hypervisor answers status ${status}`);
}
