/**
 * The software machine: physical memory, an IOMMU that walks tables in it, an IOTLB, and devices that do DMA. `create` makes its shared
 * state; each other thread attaches to the handle and has its own view.
 *
 *     const machine = SoftwareMachine.create({ memoryBytes: 64 * 2 ** 20, devices: ["nvme0"] });
 *     worker.postMessage(machine.handle);                    // there: SoftwareMachine.attach(handle)
 *     machine.device("nvme0").dmaRead(iova, bytes);
 */

import {
  type Attachment,
  addStructure,
  Crew,
  type CrewHandle,
  checkCrew,
  createCrewState,
  MAX_THREADS,
  openCrewState,
  threadsFor,
} from "../../crew/crew.ts";
import type { DmaMachine, Fault } from "../../machine/contract.ts";
import { checkMemoryHandle, PhysicalMemory, type PhysicalMemoryHandle } from "../../memory/physical-memory.ts";
import { Regions } from "../../memory/regions.ts";
import { counted } from "../../shared/counters.ts";
import { createShared, poke, type SharedBuffer, type SharedWords, wordsOf } from "../../shared/memory.ts";
import { checkHandle } from "../../table/handle.ts";
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger, FormatError, InvalidArgumentError, inWords } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import { type DevicePaths, SoftwareDevice } from "./device.ts";
import { FaultRecord } from "./faults.ts";
import type { IommuModel } from "./iommus/model.ts";
import { IOMMU_MODELS, modelIndex } from "./iommus/models.ts";
import { Iotlb, REPLACEMENTS, type Replacement } from "./iotlb.ts";
import {
  CLOCKS,
  type Geometry,
  HEADER,
  LAYOUT_VERSION,
  type Layout,
  layoutOf,
  MAGIC,
  readLayout,
  THREAD,
} from "./layout.ts";
import { createMemory } from "./memory.ts";
import { ThreadRegisters } from "./registers.ts";
import { StreamingCache } from "./streaming-cache.ts";
import { DmaInFlight, slotAt } from "./threads.ts";
import { TranslationUnit } from "./translation.ts";

/** Memory must end below: its number of pages, and of a direct window over it, is a positive 32-bit integer. */
const MEMORY_END = 2 ** 43;

/** Size and replacement policy of the software machine's IOTLB. */
export interface IotlbOptions {
  /** Number of translations: 0 (no IOTLB), or a power of two times `ways`; at most 65,536. Default 64. */
  readonly entries?: number;
  /** Ways of a set: 1 (direct-mapped) .. 64. Default 4. */
  readonly ways?: number;
  /** Policy that chooses the translation to replace in a full set. Default "round-robin". */
  readonly replacement?: Replacement;
  /** Seed of the "random" replacement: any integer. Default 1. */
  readonly seed?: number;
}

/** Options of `SoftwareMachine.create`. */
export interface SoftwareMachineOptions {
  /** Size of the physical memory that the machine makes, in bytes: a multiple of 4096, up to 4 GiB. Left out if `memory` is given. */
  readonly memoryBytes?: number;
  /**
   * Existing memory, such as a guest's RAM, instead of `memoryBytes`. It ends below 2^43. A DMA into a memory hole is the fault
   * "memory-hole".
   */
  readonly memory?: PhysicalMemory;
  /** Names of the devices, each once. Default: one device, "device0". */
  readonly devices?: readonly string[];
  /** Model of the IOMMU: "linear", "phb4" (POWER), "sabre" or "psycho" (UltraSPARC), "none" (a hypervisor's). Default "linear". */
  readonly iommu?: string;
  /** Number of partitions, sets of devices that share windows: 1 .. 256. Default 1. At first all devices are in partition 0. */
  readonly partitions?: number;
  /** Windows of each partition: 1 .. 16. Default 1. */
  readonly windows?: number;
  /** The IOTLB. Default: 64 translations in 4 ways. */
  readonly iotlb?: IotlbOptions;
  /** Limit of attached threads: 1 .. 256. Default 32, or the crew's limit. */
  readonly threads?: number;
  /** An existing crew, for example that of another machine with the same threads. Default: a new crew. */
  readonly crew?: Crew;
  /** Capacity of each thread's fault record: 1 .. 65,536, rounded up to a power of two. Default 64. */
  readonly faultRecords?: number;
  /** Time limit of an invalidation for DMAs in flight, in milliseconds: 1 .. 60,000. Default 1000. */
  readonly busyMilliseconds?: number;
}

/** Handle of a software machine, structured-cloneable: post it to another thread and call `SoftwareMachine.attach` there. */
export interface SoftwareMachineHandle {
  /**
   * Handle of the physical memory.
   *
   * @internal
   */
  readonly memory: PhysicalMemoryHandle;
  /**
   * Shared buffer of the machine's state: windows, IOTLB, fault records, registers.
   *
   * @internal
   */
  readonly state: SharedBuffer;
  /** Names of the devices, in the order of their numbers. */
  readonly devices: readonly string[];
  /** Handle of the crew: the threads that may attach. */
  readonly crew: CrewHandle;
  /** The machine's index among the crew's structures. */
  readonly structure: number;
}

/** Counts of a software machine, summed over all threads since it was created. */
export interface SoftwareMachineStatistics {
  /** Entries read from memory for a DMA. */
  readonly walks: number;
  /** Pages that were found in the IOTLB. */
  readonly hits: number;
  /** Invalidations of the IOTLB, each of a range or of all entries. */
  readonly invalidations: number;
  /** Refused DMAs, recorded or lost. */
  readonly faults: number;
  /** Faults lost because the record was full. */
  readonly faultsLost: number;
  /** Translations not stored in the IOTLB, because other threads were writing all ways of their set. */
  readonly fillsRefused: number;
  /** Dropped DMAs of frozen partitions. They move no bytes and are not faults. */
  readonly dropped: number;
}

/**
 * A machine in software: physical memory, an IOMMU that walks tables in it, an IOTLB, and devices that do DMA. One object is one thread's
 * view: post `handle`, and `attach` in each other thread. Addresses and lengths are in bytes.
 *
 * A refused DMA returns false and is recorded in `faults()`. Wrong options, registers and device names throw InvalidArgumentError.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, orThrow } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, devices: ["nic0"] });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 16 };
 * const platform = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const driver = new DmaDevice(platform.generic);
 * const mapping = orThrow(driver.map(0x1_2345n, 100, DEVICE_READS));
 * const nic = machine.device("nic0");
 * console.log(nic.dmaRead(mapping.iova, new Uint8Array(100)));
 * console.log(nic.dmaWrite(mapping.iova, new Uint8Array(100)), machine.faults()[0]?.reason);
 * machine.close();
 * ```
 * ```text output
 * true
 * false write-refused
 * ```
 */
export class SoftwareMachine implements DmaMachine {
  /** Handle for other threads. */
  readonly handle: SoftwareMachineHandle;
  /** The threads of the machine, its tables and its pages. `crew.reclaim` recovers a dead thread in all of them. */
  readonly crew: Crew;
  /**
   * The attachment to the crew, to which a hypervisor adds its recoveries.
   *
   * @internal
   */
  readonly attachment: Attachment;
  /** This thread's number in the crew. */
  readonly thread: number;
  /** The physical memory, shared by all threads. */
  readonly memory: PhysicalMemory;
  /**
   * Registers of the IOMMU's model. After `close` all writes throw.
   *
   * @internal
   */
  readonly registers: ThreadRegisters;
  /**
   * The translation unit, for register models and hypervisors. Platforms use those.
   *
   * @internal
   */
  readonly translation: TranslationUnit;
  readonly #state: SharedWords;
  readonly #layout: Layout;
  readonly #iotlb: Iotlb;
  readonly #faults: FaultRecord;
  readonly #inFlight: DmaInFlight;
  readonly #paths: DevicePaths;
  readonly #devices: readonly SoftwareDevice[];
  /** True if this view attached the crew. */
  readonly #hasOwnCrew: boolean;

  private constructor(handle: SoftwareMachineHandle, state: SharedWords, layout: Layout, crew: Crew | undefined) {
    this.#hasOwnCrew = crew === undefined;
    this.crew = crew ?? Crew.attach(handle.crew);
    const { thread } = this.crew;
    this.handle = handle;
    this.thread = thread;
    this.attachment = this.#enter(handle.structure);
    this.#state = state;
    this.#layout = layout;
    this.memory = PhysicalMemory.attach(handle.memory);
    const { regions } = this.memory;
    const iotlb = new Iotlb(state, layout, thread);
    const inFlight = new DmaInFlight(state, layout, thread);
    const faults = new FaultRecord(state, layout, handle.devices, thread);
    const unit = new TranslationUnit({ state, layout, thread, memory: regions, iotlb, inFlight });
    const model = IOMMU_MODELS[layout.model] as IommuModel;
    const faultsLost = (): number => faults.lost();
    const streaming = streamingCacheOf(model, handle.state, regions, layout, thread);
    const parts = { unit, memory: this.memory, state, at: layout.modelAt, faultsLost, streaming };
    this.registers = new ThreadRegisters(model.create(parts));
    this.translation = unit;
    this.#paths = {
      state,
      layout,
      thread,
      memory: regions,
      iotlb,
      inFlight,
      faults,
      streaming,
      open: true,
    };
    this.#devices = handle.devices.map((name, index) => new SoftwareDevice(name, index, this.#paths));
    this.#iotlb = iotlb;
    this.#faults = faults;
    this.#inFlight = inFlight;
  }

  /**
   * Creates a machine and attaches this thread. Throws InvalidArgumentError for options out of range, and unless exactly one of
   * `memoryBytes` and `memory` is given.
   */
  static create(options: SoftwareMachineOptions): SoftwareMachine {
    checkKeys("a software machine", options, {
      memoryBytes: "any",
      memory: "object",
      devices: "object",
      iommu: "any",
      partitions: "any",
      windows: "any",
      iotlb: "object",
      threads: "any",
      crew: "object",
      faultRecords: "any",
      busyMilliseconds: "any",
    });
    if (options.iotlb !== undefined) {
      checkKeys("an IOTLB", options.iotlb, { entries: "any", ways: "any", replacement: "any", seed: "any" });
    }
    const devices = [...(options.devices ?? ["device0"])];
    const memory = memoryOf(options);
    const layout = layoutOf(geometryOf(options, memory.bytes, devices));
    const state = createShared(layout.words * 4);
    writeHeader(wordsOf(state), layout, options.iotlb?.seed ?? 1);
    const { crew } = options;
    const crewHandle = crew?.handle ?? createCrewState({ threads: layout.threads });
    const structure = addStructure(openCrewState(crewHandle));
    return SoftwareMachine.attach({ memory: memory.handle, state, devices, crew: crewHandle, structure }, crew);
  }

  /**
   * Attaches the calling thread. `crew`: this thread's view of the machine's crew; default: the thread joins the crew.
   *
   * Throws FormatError for a foreign or truncated handle, IovaError "no-thread-slot" if all numbers of the crew are taken,
   * "already-attached" if `crew` has a view of this machine.
   */
  static attach(handle: SoftwareMachineHandle, crew?: Crew): SoftwareMachine {
    checkHandle("a software machine", handle, {
      memory: "object",
      state: "shared",
      devices: "list",
      crew: "object",
      structure: "count",
    });
    const state = wordsOf(handle.state);
    const layout = readLayout(state, handle.state.byteLength / 4);
    if (IOMMU_MODELS[layout.model]?.words !== layout.modelWords) {
      throw new FormatError(`the machine's IOMMU is model ${layout.model}; this library has other ones`);
    }
    checkMemoryHandle(handle.memory);
    const bytes = layout.memoryPages * 4096;
    const { end } = new Regions(handle.memory.regions);
    if (end !== bytes) throw new FormatError(`the handle's memory ends at ${end}; its machine's ends at ${bytes}`);
    if (handle.devices.length !== layout.devices) {
      throw new FormatError(`the handle names ${handle.devices.length} devices; its machine has ${layout.devices}`);
    }
    checkCrew("the machine", crew, handle.crew);
    return new SoftwareMachine(handle, state, layout, crew);
  }

  /** The device with this name, or this number in the order of `devices`. Throws InvalidArgumentError for an unknown device. */
  device(which: string | number): SoftwareDevice {
    const device = this.#devices.find(({ name }, index) => which === name || which === index);
    if (device === undefined)
      throw new InvalidArgumentError("device", which, `one of ${this.handle.devices.join(", ")}`);
    return device;
  }

  /** Takes the recorded faults of all threads, oldest first. */
  faults(): readonly Fault[] {
    return this.#faults.take();
  }

  /** Counts since the machine was created, summed over all threads. */
  statistics(): SoftwareMachineStatistics {
    return {
      walks: this.#sum(THREAD.walks),
      hits: this.#sum(THREAD.hits),
      invalidations: this.#sum(THREAD.invalidations),
      faults: this.#sum(THREAD.faults),
      faultsLost: this.#sum(THREAD.faultsLost),
      fillsRefused: this.#sum(THREAD.fillsRefused),
      dropped: this.#sum(THREAD.dropped),
    };
  }

  /** Entries of all windows that the IOTLB currently contains, in no order. */
  iotlbEntries(): number[] {
    return this.#iotlb.knownEntries();
  }

  /**
   * Closes this view. Its registers and devices refuse all use afterwards. The thread's number becomes free when its tables and pages are
   * closed too. A second call does nothing.
   */
  close(): void {
    if (!this.#paths.open) return;
    this.#paths.open = false;
    this.registers.close();
    this.crew.leave(this.attachment);
    if (this.#hasOwnCrew) this.crew.close();
  }

  /**
   * Recovers a killed thread: ends its DMA in flight, and frees the way of the IOTLB that it was writing. Until then invalidations that
   * meet its DMA fail as busy.
   */
  #recover(dead: number): undefined {
    this.#iotlb.releaseWaysOf(dead);
    this.#paths.streaming?.forget(dead);
    this.#inFlight.forget(dead);
  }

  #enter(structure: number): Attachment {
    let isEntered = false;
    try {
      const attachment = this.crew.enter(structure, "machine", (dead) => this.#recover(dead));
      isEntered = true;
      return attachment;
    } finally {
      if (!isEntered && this.#hasOwnCrew) this.crew.close();
    }
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #sum(counter: number): number {
    let sum = 0;
    for (let thread = 0; thread < this.#layout.threads; thread++) {
      sum += counted(this.#state, slotAt(this.#layout, thread) + counter);
    }
    return sum;
  }
}

/** The caller's memory, or new memory. Throws InvalidArgumentError unless exactly one of `memory` and `memoryBytes` is given. */
function memoryOf({ memory, memoryBytes }: SoftwareMachineOptions): PhysicalMemory {
  if (memory === undefined) return createMemory(memoryBytes as number);
  if (memoryBytes !== undefined) {
    throw new InvalidArgumentError("memoryBytes beside memory", memoryBytes, "only one of the two");
  }
  if (!(memory instanceof PhysicalMemory)) {
    throw new InvalidArgumentError("memory of the machine", memory, "a PhysicalMemory");
  }
  if (memory.bytes < MEMORY_END) return memory;
  const found = inWords(hexadecimal(memory.bytes));
  throw new InvalidArgumentError("end of the machine's memory", found, `an address below ${hexadecimal(MEMORY_END)}`);
}

function geometryOf(options: SoftwareMachineOptions, memoryBytes: number, devices: readonly string[]): Geometry {
  const { faultRecords = 64, busyMilliseconds = 1000, iotlb = {}, partitions = 1, windows = 1 } = options;
  const { entries = 64, ways = 4, replacement = "round-robin" } = iotlb;
  const threads = threadsFor("threads of the machine", options.crew, options.threads);
  checkInteger("threads of the machine", threads, 1, MAX_THREADS);
  checkInteger("fault records", faultRecords, 1, 65_536);
  checkInteger("busy milliseconds", busyMilliseconds, 1, 60_000);
  checkInteger("partitions of the machine", partitions, 1, 256);
  checkInteger("windows of a partition", windows, 1, 16);
  const model = modelIndex(options.iommu ?? "linear");
  checkInteger("IOTLB entries", entries, 0, 65_536);
  checkInteger("IOTLB ways", ways, 1, 64);
  const sets = entries / ways;
  if (entries !== 0 && (sets < 1 || !Number.isInteger(Math.log2(sets)))) {
    throw new InvalidArgumentError("IOTLB entries", entries, `0, or a power of two times the ${ways} ways`);
  }
  if (!REPLACEMENTS.includes(replacement)) {
    throw new InvalidArgumentError("IOTLB replacement", replacement, `one of ${REPLACEMENTS.join(", ")}`);
  }
  checkInteger("IOTLB seed", iotlb.seed ?? 1, -(2 ** 31), 2 ** 32 - 1);
  checkDevices(devices);
  return {
    threads,
    iotlbSets: sets,
    iotlbWays: ways,
    replacement: REPLACEMENTS.indexOf(replacement),
    faultRecords: 2 ** Math.ceil(Math.log2(faultRecords)),
    busyMilliseconds,
    devices: devices.length,
    memoryPages: memoryBytes / 4096,
    partitions,
    windows,
    model,
    modelWords: (IOMMU_MODELS[model] as IommuModel).words,
  };
}

function checkDevices(devices: readonly string[]): void {
  if (devices.length === 0) throw new InvalidArgumentError("number of devices", 0, "at least one");
  devices.forEach((name, index) => {
    const unique = typeof name === "string" && name !== "" && devices.indexOf(name) === index;
    if (!unique) throw new InvalidArgumentError(`name of device ${index}`, name, "a text that no other device has");
  });
}

function streamingCacheOf(
  { streamingCacheAt }: IommuModel,
  state: SharedBuffer,
  memory: Regions,
  layout: Layout,
  thread: number,
): StreamingCache | undefined {
  if (streamingCacheAt === undefined) return undefined;
  const at = layout.modelAt + streamingCacheAt;
  return new StreamingCache({ memory, state, at, thread, patienceMs: layout.busyMilliseconds });
}

/** Before the buffer is shared: plain stores. */
function writeHeader(state: SharedWords, layout: Layout, seed: number): void {
  poke(state, HEADER.magic, MAGIC);
  poke(state, HEADER.version, LAYOUT_VERSION);
  poke(state, HEADER.threads, layout.threads);
  poke(state, HEADER.iotlbSets, layout.iotlbSets);
  poke(state, HEADER.iotlbWays, layout.iotlbWays);
  poke(state, HEADER.replacement, layout.replacement);
  poke(state, HEADER.faultRecords, layout.faultRecords);
  poke(state, HEADER.busyMilliseconds, layout.busyMilliseconds);
  poke(state, HEADER.devices, layout.devices);
  poke(state, HEADER.memoryPages, layout.memoryPages);
  poke(state, HEADER.partitions, layout.partitions);
  poke(state, HEADER.windows, layout.windows);
  poke(state, HEADER.model, layout.model);
  poke(state, HEADER.modelWords, layout.modelWords);
  poke(state, CLOCKS.random, seed | 0);
}
