/**
 * The hypervisor of a pseries guest, on the software machine. Its guest has memory, devices and hypercalls, but no registers.
 *
 *     const hypervisor = PaprHypervisor.create({ memoryBytes: 2 ** 26, personality: "kvm" });
 *     const platform = PseriesPlatform.create(hypervisor, { properties: hypervisor.properties(0), … });
 *     worker.postMessage(hypervisor.handle);  // there: PaprHypervisor.attach(handle)
 *
 * TCE tables lie after the guest's memory, where neither the guest nor its TCEs can access them. Devices walk them as hardware does. A
 * guest maps logical addresses, which equal real addresses here.
 *
 * kvm: KVM answers TOO_HARD to calls that it can't handle; `userSpace` then answers instead, and the guest sees only that answer. By
 * default user space has no further windows or memory and answers H_PARAMETER. Tables attached to hardware tables are not the model's:
 * containers/kvm has them.
 */

import type { Crew } from "../../../crew/crew.ts";
import type { DmaMachine, Fault, Hypercall, Registers } from "../../../machine/contract.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import { PhysicalPages, type PhysicalPagesHandle } from "../../../memory/physical-pages.ts";
import {
  type DmaProperties,
  H_FUNCTION,
  H_GET_TCE,
  H_PARAMETER,
  H_PUT_TCE,
  H_PUT_TCE_INDIRECT,
  H_RTAS,
  H_STUFF_TCE,
  H_TOO_HARD,
} from "../../../platforms/pseries/papr.ts";
import { counted, increment } from "../../../shared/counters.ts";
import { load, type SharedBuffer, type SharedWords, store } from "../../../shared/memory.ts";
import { checkHandle } from "../../../table/handle.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { checkInteger, InvalidArgumentError, InvariantError, inWords } from "../../../units/errors.ts";
import { checkKeys, type OptionTypes } from "../../../units/keys.ts";
import { largest } from "../../../units/lists.ts";
import type { SoftwareDevice } from "../../software/device.ts";
import { SoftwareMachine, type SoftwareMachineHandle, type SoftwareMachineOptions } from "../../software/machine.ts";
import type { HypervisorStatistics } from "../statistics.ts";
import { EehServices } from "./eeh-services.ts";
import { configAddressOf, EEH_TOKENS, Firmware, TOKENS, UNIT_ID } from "./firmware.ts";
import { type InjectedAnswer, Injector } from "./injection.ts";
import { type PersonalityName, personalityNamed } from "./personalities.ts";
import { attachState, callsAt, createState, HEADER } from "./state.ts";
import { TceCalls } from "./tce-calls.ts";
import { defaultLiobn, tableBytes, Windows } from "./windows.ts";

const PAGE_BYTES = 4096;
/** log2 of the page sizes in PAPR, in bytes. */
const PAGE_SHIFTS: readonly number[] = [12, 16, 21, 24, 25, 26, 27, 28, 34];
/** End of the addresses of peers' registers, in pages of 4 KiB. */
const PEERS_END_PAGE = 2 ** (46 - 12);

/** Options of `PaprHypervisor.create`. */
export interface PaprHypervisorOptions {
  /** Largest size of the guest's memory, in bytes: a multiple of 4096, up to 4 GiB. The machine has more memory, for the hypervisor. */
  readonly memoryBytes: number;
  /** Size of the guest's memory at boot, in bytes: 0 .. `memoryBytes`. `setMemoryBytes` changes it. Default: all. */
  readonly bootMemoryBytes?: number;
  /** Hypervisor whose checks and codes the model follows (docs/papr-personalities.md). Default "papr". */
  readonly personality?: PersonalityName;
  /** Names of the guest's devices, each once. Default: one device, "device0". */
  readonly devices?: readonly string[];
  /** Limit of attached threads: 1 .. 256. Default 32. */
  readonly threads?: number;
  /** Number of PEs, each with a default window: 1 .. 128. Devices begin in partition 0. Default 1. */
  readonly partitions?: number;
  /** Bus address of the default windows, in bytes. Default 0x80000000. */
  readonly base?: bigint;
  /** IO page size of the default windows as log2 of bytes: 12, 16, 21, 24, 25, 26, 27, 28 or 34. Default 12. */
  readonly pageShift?: number;
  /** Entries of each default window: a power of two up to 2^30. Default: those of 1 GiB. */
  readonly entries?: number;
  /** True if H_STUFF_TCE and H_PUT_TCE_INDIRECT exist. Default true. */
  readonly multiTce?: boolean;
  /** Options of dynamic windows. Default: no dynamic windows. */
  readonly dynamicWindows?: DynamicWindowOptions;
  /** True if the EEH services exist. A fault freezes a PE only after the guest has enabled EEH. Default true. */
  readonly eeh?: boolean;
  /** True if TCEs may lead to registers of peers: addresses from the end of the machine's memory up to 2^46. Default true. */
  readonly peers?: boolean;
  /** Injected answers of each thread's view, from its first call on. Default: none. */
  readonly inject?: readonly InjectedAnswer[];
  /** Options of the software machine below. */
  readonly machine?: Pick<SoftwareMachineOptions, "iotlb" | "busyMilliseconds" | "faultRecords">;
}

/** Dynamic windows of each partition (LoPAPR, "ibm,create-pe-dma-window"). */
export interface DynamicWindowOptions {
  /** Largest number of windows of a partition, including the default one: 1 .. 16. Default 2. */
  readonly slots?: number;
  /** Page sizes of dynamic windows as log2 of bytes. Default: all of the specification (12, 16, 21, 24 .. 28, 34). */
  readonly pageShifts?: readonly number[];
  /** Entries of the largest window: 1 .. 2^31 − 1. Default 2^20. */
  readonly largestWindow?: number;
  /** Bus address of the first dynamic window, in bytes: a multiple of the largest page size. Default 2^59. */
  readonly base?: bigint;
  /** True if the service exists that restores the default window. Default true. */
  readonly reset?: boolean;
  /** True if dynamic windows have low bus addresses, for devices with fewer than 64 address bits. Default false. */
  readonly limitedAddressing?: boolean;
  /** Hypervisor's memory for the tables of dynamic windows, in bytes: 4096 .. 2^31. Default: room for the largest table in each slot. */
  readonly memoryBytes?: number;
}

/** The constant parameters. Structured-cloneable. */
interface Setup {
  readonly personality: PersonalityName;
  readonly memoryBytes: number;
  readonly threads: number;
  readonly partitions: number;
  readonly slots: number;
  readonly base: bigint;
  readonly pageShift: number;
  readonly entries: number;
  readonly multiTce: boolean;
  readonly dynamic: Required<Omit<DynamicWindowOptions, "slots" | "memoryBytes">> | undefined;
  readonly eeh: boolean;
  readonly peers: boolean;
  readonly defaultTables: readonly number[];
  readonly inject: readonly InjectedAnswer[];
}

/** Handle of a PAPR hypervisor, structured-cloneable: post it to another thread and call `PaprHypervisor.attach` there. */
export interface PaprHypervisorHandle {
  /** @internal */
  readonly machine: SoftwareMachineHandle;
  /** @internal */
  readonly state: SharedBuffer;
  /** @internal */
  readonly pages: PhysicalPagesHandle;
  /** @internal */
  readonly setup: Setup;
}

/** A hypercall that KVM leaves to user space. */
export interface UserSpaceCall {
  /** Number of the hypercall. */
  readonly number: number;
  /** Arguments of the call. Results replace them. */
  readonly args: BigUint64Array;
}

/**
 * The hypervisor of a pseries guest, on the software machine: a guest with memory, devices and hypercalls, without registers (LoPAPR,
 * "H_PUT_TCE" and the RTAS services for windows and EEH). `PseriesPlatform` has an example.
 *
 * TCE tables lie above the guest's memory, where neither the guest nor its TCEs reach. One object is one thread's view, a processor of the
 * guest: post `handle`, and `attach` in each other thread.
 */
export class PaprHypervisor implements DmaMachine {
  /** Handle for other threads. */
  readonly handle: PaprHypervisorHandle;
  /** The guest's memory. */
  readonly memory: PhysicalMemory;
  readonly registers: Registers;
  readonly hypercall: Hypercall;
  /**
   * Answers calls that KVM leaves to user space (personality "kvm"): returns the guest's code and stores results in the arguments. Each
   * thread's view has its own. Default: answers H_PARAMETER.
   */
  userSpace: (call: UserSpaceCall) => number = () => H_PARAMETER;
  /** The machine below, for tests that look behind the guest. */
  readonly machine: SoftwareMachine;
  readonly #words: SharedWords;
  readonly #callsAt: number;
  readonly #windows: Windows;
  readonly #calls: TceCalls;
  readonly #firmware: Firmware;
  readonly #counts: Map<number, number> = new Map();
  #injector: Injector;
  /** The argument buffer of the last call and its words, cached because guests reuse the buffer. */
  #args: BigUint64Array | undefined;
  #argWords: Uint32Array = new Uint32Array(0);

  private constructor(handle: PaprHypervisorHandle, machine: SoftwareMachine) {
    const { setup } = handle;
    this.handle = handle;
    this.machine = machine;
    this.registers = machine.registers;
    this.memory = machine.memory.below(setup.memoryBytes);
    this.#words = attachState(handle.state, geometryOf(setup));
    this.#callsAt = callsAt(geometryOf(setup), machine.thread);
    this.#windows = windowsOf(handle, machine, this.#words);
    machine.attachment.onReclaim("hypervisor", (thread) => this.#windows.recover(thread));
    this.#calls = new TceCalls({
      personality: personalityNamed(setup.personality),
      multiTce: setup.multiTce,
      windows: this.#windows,
      memory: machine.memory,
      guestMemory: this.memory,
      unit: machine.translation,
      words: this.#words,
      peers: { first: setup.peers ? machine.memory.bytes / PAGE_BYTES : PEERS_END_PAGE, end: PEERS_END_PAGE },
    });
    this.#firmware = new Firmware({
      memory: this.memory,
      windows: this.#windows,
      eeh: setup.eeh
        ? new EehServices({ unit: machine.translation, words: this.#words, geometry: geometryOf(setup) })
        : undefined,
      partitions: setup.partitions,
      pageShifts: setup.dynamic?.pageShifts ?? [],
      largestWindow: setup.dynamic?.largestWindow ?? 0,
      canReset: setup.dynamic?.reset ?? false,
    });
    this.#injector = new Injector(setup.inject);
    this.hypercall = (number, args) => this.#hypercall(number, args);
  }

  /** Creates a machine with its hypervisor and attaches this thread. Throws InvalidArgumentError for options out of range. */
  static create(options: PaprHypervisorOptions): PaprHypervisor {
    checkKeys("a PAPR hypervisor", options, OPTION_TYPES);
    if (options.dynamicWindows !== undefined) {
      checkKeys("dynamic windows", options.dynamicWindows, DYNAMIC_TYPES);
    }
    if (options.machine !== undefined) {
      checkKeys("the machine below", options.machine, {
        iotlb: "object",
        busyMilliseconds: "any",
        faultRecords: "any",
      });
    }
    const { memoryBytes, bootMemoryBytes = memoryBytes, devices, machine: below = {} } = options;
    const setup = setupOf(options);
    checkInteger("memory at boot in bytes", bootMemoryBytes, 0, memoryBytes);
    const tables = setup.partitions * tableBytes(setup);
    const dynamicBytes =
      options.dynamicWindows === undefined ? PAGE_BYTES : dynamicBytesOf(setup, options.dynamicWindows);
    const machine = SoftwareMachine.create({
      ...below,
      memoryBytes: memoryBytes + tables + dynamicBytes,
      threads: setup.threads,
      partitions: setup.partitions,
      windows: setup.slots,
      iommu: "none",
      ...(devices === undefined ? {} : { devices }),
    });
    const region = { address: memoryBytes + tables, bytes: dynamicBytes };
    const pages = PhysicalPages.create({ ...region, crew: machine.crew }, true);
    const state = createState(geometryOf(setup), bootMemoryBytes / PAGE_BYTES);
    pages.close();
    const handle = { machine: machine.handle, state, pages: pages.handle, setup };
    const hypervisor = new PaprHypervisor(handle, machine);
    for (let partition = 0; partition < setup.partitions; partition++) hypervisor.#windows.openDefault(partition);
    return hypervisor;
  }

  /**
   * Attaches the calling thread. `crew`: this thread's view of the machine's crew; default: the thread joins the crew. Throws FormatError
   * for a foreign handle, and IovaError "no-thread-slot" if all numbers of the crew are taken.
   */
  static attach(handle: PaprHypervisorHandle, crew?: Crew): PaprHypervisor {
    checkHandle("a PAPR hypervisor", handle, { machine: "object", state: "shared", pages: "object", setup: "object" });
    attachState(handle.state, geometryOf(handle.setup));
    return new PaprHypervisor(handle, SoftwareMachine.attach(handle.machine, crew));
  }

  /**
   * The device tree's DMA properties of a partition, with the devices that are in it now. Throws InvalidArgumentError for an unknown
   * partition.
   */
  properties(partition: number): DmaProperties {
    const { machine, setup } = this.handle;
    checkInteger("partition", partition, 0, setup.partitions - 1);
    const { reset, ...tokens } = TOKENS;
    return {
      liobn: defaultLiobn(partition),
      base: setup.base,
      bytes: BigInt(setup.entries) << BigInt(setup.pageShift),
      pageShift: setup.pageShift,
      multiTce: setup.multiTce,
      devices: machine.devices.filter((_, device) => this.machine.translation.partitionOf(device) === partition),
      configAddress: configAddressOf(partition),
      unitId: UNIT_ID,
      ...(setup.dynamic === undefined ? {} : { tokens: setup.dynamic.reset ? { ...tokens, reset } : tokens }),
      ...(setup.eeh ? { eeh: EEH_TOKENS } : {}),
      limitedAddressing: setup.dynamic?.limitedAddressing ?? false,
    };
  }

  /** Replaces this view's injected answers and restarts their counts. Throws InvalidArgumentError for numbers out of range. */
  inject(answers: readonly InjectedAnswer[]): void {
    this.#injector = new Injector(answers);
  }

  /** Number of hypercalls with this number that this view has made. */
  callsOf(number: number): number {
    return this.#counts.get(number) ?? 0;
  }

  /** Counts since the machine was created, summed over all threads. */
  statistics(): HypervisorStatistics {
    const geometry = geometryOf(this.handle.setup);
    let hypercalls = 0;
    for (let thread = 0; thread < geometry.threads; thread++)
      hypercalls += counted(this.#words, callsAt(geometry, thread));
    return { invalidations: this.machine.statistics().invalidations, hypercalls };
  }

  /**
   * Sets the guest's memory, to which TCEs may lead, to [0, bytes), rounded down to a multiple of 4096. At most the option `memoryBytes`;
   * more throws InvalidArgumentError.
   */
  setMemoryBytes(bytes: number): void {
    checkInteger("memory of the guest in bytes", bytes, 0, this.handle.setup.memoryBytes);
    store(this.#words, HEADER.memoryPages, Math.floor(bytes / PAGE_BYTES));
  }

  /** Size of the guest's memory now, in bytes. */
  get guestMemoryBytes(): number {
    return load(this.#words, HEADER.memoryPages) * PAGE_BYTES;
  }

  device(which: string | number): SoftwareDevice {
    return this.machine.device(which);
  }
  faults(): readonly Fault[] {
    return this.machine.faults();
  }
  get crew(): Crew {
    return this.machine.crew;
  }
  /** This thread's number in the crew. */
  get thread(): number {
    return this.machine.thread;
  }

  close(): void {
    this.machine.close();
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #hypercall(number: number, args: BigUint64Array): number {
    this.#counts.set(number, this.callsOf(number) + 1);
    increment(this.#words, this.#callsAt);
    if (args !== this.#args) {
      this.#args = args;
      this.#argWords = new Uint32Array(args.buffer, args.byteOffset, args.length * 2);
    }
    if (number === H_RTAS) return this.#callFirmware(Number(args[0]));
    if (!isTceCall(number)) return this.#injector.next(number, 0)?.answer ?? H_FUNCTION;
    if (args.length < 4) throw new InvalidArgumentError("arguments of a hypercall", args.length, "room for 4");
    const injected = this.#injector.next(number, 0);
    if (injected !== undefined && (injected.written ?? 0) === 0) return injected.answer;
    const limit = injected?.written ?? Number.POSITIVE_INFINITY;
    const code = this.#calls.call(number, this.#argWords, limit);
    if (injected !== undefined) return injected.answer;
    return code === H_TOO_HARD ? this.#askUserSpace(number, args) : code;
  }

  #callFirmware(buffer: number): number {
    const injected = this.#injector.next(H_RTAS, this.#firmware.tokenAt(buffer));
    if (this.handle.setup.dynamic === undefined && !this.handle.setup.eeh) return H_FUNCTION;
    return this.#firmware.call(buffer, injected?.answer);
  }

  #askUserSpace(number: number, args: BigUint64Array): number {
    const code = this.userSpace({ number, args });
    if (code === H_TOO_HARD) throw new InvariantError(`user space answers H_TOO_HARD to call ${hexadecimal(number)}`);
    return code;
  }
}

function isTceCall(number: number): boolean {
  return number === H_PUT_TCE || number === H_PUT_TCE_INDIRECT || number === H_STUFF_TCE || number === H_GET_TCE;
}

function geometryOf({ partitions, slots, threads }: Setup): { partitions: number; windows: number; threads: number } {
  return { partitions, windows: slots, threads };
}

function windowsOf({ pages, setup }: PaprHypervisorHandle, machine: SoftwareMachine, words: SharedWords): Windows {
  return new Windows({
    ...geometryOf(setup),
    words,
    thread: machine.thread,
    memory: machine.memory,
    unit: machine.translation,
    attachPages: () => PhysicalPages.attach(pages, machine.crew, true),
    base: setup.base,
    geometry: { pageShift: setup.pageShift, entries: setup.entries },
    defaultTables: setup.defaultTables,
    dynamicBase: setup.dynamic?.base ?? 0n,
    limitedAddressing: setup.dynamic?.limitedAddressing ?? false,
  });
}

const OPTION_TYPES: OptionTypes<PaprHypervisorOptions> = {
  memoryBytes: "any",
  bootMemoryBytes: "any",
  personality: "any",
  devices: "object",
  threads: "any",
  partitions: "any",
  base: "any",
  pageShift: "any",
  entries: "any",
  multiTce: "boolean",
  dynamicWindows: "object",
  eeh: "boolean",
  peers: "boolean",
  inject: "object",
  machine: "object",
};

const DYNAMIC_TYPES: OptionTypes<DynamicWindowOptions> = {
  slots: "any",
  pageShifts: "object",
  largestWindow: "any",
  base: "any",
  reset: "boolean",
  limitedAddressing: "boolean",
  memoryBytes: "any",
};

function setupOf(options: PaprHypervisorOptions): Setup {
  const { memoryBytes, partitions = 1, pageShift = 12, threads = 32, dynamicWindows } = options;
  const { personality = "papr", entries = 2 ** (30 - pageShift), multiTce = true, eeh = true } = options;
  const { peers = true, inject = [] } = options;
  personalityNamed(personality);
  checkInteger("guest memory in bytes", memoryBytes, PAGE_BYTES, 2 ** 32);
  if (memoryBytes % PAGE_BYTES !== 0)
    throw new InvalidArgumentError("guest memory in bytes", memoryBytes, "a multiple of 4096");
  checkInteger("partitions of the hypervisor", partitions, 1, 128);
  checkPageShift(pageShift);
  checkInteger("entries of the default window", entries, 1, 2 ** 30);
  if (!Number.isInteger(Math.log2(entries))) {
    throw new InvalidArgumentError("entries of the default window", entries, "a power of two");
  }
  new Injector(inject);
  const bytes = tableBytes({ entries });
  return {
    personality,
    memoryBytes,
    threads,
    partitions,
    slots: dynamicWindows === undefined ? 1 : (dynamicWindows.slots ?? 2),
    base: options.base ?? 0x8000_0000n,
    pageShift,
    entries,
    multiTce,
    dynamic: dynamicWindows === undefined ? undefined : dynamicOf(dynamicWindows),
    eeh,
    peers,
    defaultTables: Array.from({ length: partitions }, (_, partition) => memoryBytes + partition * bytes),
    inject,
  };
}

function dynamicOf(options: DynamicWindowOptions): NonNullable<Setup["dynamic"]> {
  const { pageShifts = PAGE_SHIFTS, largestWindow = 2 ** 20, base = 1n << 59n } = options;
  const { reset = true, limitedAddressing = false } = options;
  for (const shift of pageShifts) checkPageShift(shift);
  checkInteger("largest window in TCEs", largestWindow, 1, 2 ** 31 - 1);
  const pageBytes = 2n ** BigInt(largest(pageShifts, 12));
  if (base % pageBytes !== 0n) {
    throw new InvalidArgumentError("base of dynamic windows", inWords(hexadecimal(base)), `a multiple of ${pageBytes}`);
  }
  return { pageShifts, largestWindow, base, reset, limitedAddressing };
}

function dynamicBytesOf(setup: Setup, options: DynamicWindowOptions): number {
  const { memoryBytes } = options;
  if (memoryBytes !== undefined) checkInteger("memory for dynamic windows in bytes", memoryBytes, PAGE_BYTES, 2 ** 31);
  const largest = tableBytes({ entries: setup.dynamic?.largestWindow ?? 1 });
  return memoryBytes ?? setup.partitions * setup.slots * largest;
}

function checkPageShift(shift: number): void {
  if (!PAGE_SHIFTS.includes(shift)) {
    throw new InvalidArgumentError("page shift of a window", shift, `one of ${PAGE_SHIFTS.join(", ")}`);
  }
}
