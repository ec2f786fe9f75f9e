/**
 * sun4u: UltraSPARC machines with a Psycho or Sabre bridge. One TSB of IOPTEs in memory, pages of 8 or 64 KiB, and a window that ends at
 * bus address 4 GiB. Unmapped entries lead to a dummy page: a stray DMA goes there and does not fault.
 *
 *     const platform = Sun4uPlatform.create(machine, { entries: 8192 });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: Sun4uPlatform.attach(machine, handle)
 *     platform.generic.allocate(1);
 */
import { ENTRY_BYTES } from "../../formats/contract.ts";
import type { Machine, Memory } from "../../machine/contract.ts";
import { createShared, type SharedBuffer, wordsOf } from "../../shared/memory.ts";
import { checkHandle } from "../../table/handle.ts";
import {
  IommuTable,
  inCrew,
  type RecoverAround,
  type TableHandle,
  type TableOptions,
} from "../../table/iommu-table.ts";
import { checkInteger, FormatError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { TablePlatform } from "../platform.ts";
import { StreamingContexts } from "./contexts.ts";
import { Sun4uOps, timedOut } from "./ops.ts";
import {
  CONTROL,
  ENABLE,
  END_OF_WINDOW,
  SMALLEST_TSB,
  STREAMING_CONTROL,
  STREAMING_ENABLE,
  TSB_ALIGNMENT,
  TSB_BASE,
  TSB_SIZE_MASK,
  TSB_SIZE_SHIFT,
  WIDE_PAGES,
} from "./registers.ts";
import { SYNC_WORDS, FLAGS_BYTES as THREAD_FLAGS_BYTES } from "./streaming.ts";

/** log2 of the IO page sizes in bytes, the usual one first. */
export const SUN4U_PAGE_SHIFTS: readonly number[] = [13, 16];
/** Entries of the longest TSB by page shift: 1 GiB with pages of 8 KiB, 2 GiB with pages of 64 KiB (the next size would be all 4 GiB). */
const LARGEST_TSB: Readonly<Record<number, number>> = { 13: 131_072, 16: 32_768 };

/** Most threads of a table (allocator/options.ts). */
const MAX_THREADS = 256;
/** Bytes of the flags of all threads. */
export const FLAGS_BYTES: number = MAX_THREADS * THREAD_FLAGS_BYTES;

/** Options of `Sun4uPlatform.create`. */
export interface Sun4uPlatformOptions {
  /** IO page size as log2 of bytes: 13 (8 KiB) or 16 (64 KiB). Default 13. */
  readonly pageShift?: number;
  /**
   * Entries of the TSB: a power of two, 1024 .. 131,072; at most 32,768 with pages of 64 KiB. Default 32,768. The window ends at bus address
   * 4 GiB.
   */
  readonly entries?: number;
  /** Physical address of the TSB: a multiple of 8192. The dummy page lies below it. Default: the highest one. */
  readonly tableAddress?: number;
  /** True if mappings go through the bridge's streaming cache. Default false, for Sabre bridges, which have none. */
  readonly streaming?: boolean;
  /** Time limit for a flush of the streaming cache in milliseconds: 1 .. 60,000. Default 100. */
  readonly syncMilliseconds?: number;
  /** Options of the generic table. */
  readonly table?: TableOptions;
}

/** Handle of a sun4u platform, structured-cloneable: post it to another thread and call `Sun4uPlatform.attach` there. */
export interface Sun4uPlatformHandle {
  /** @internal */
  readonly platform: "sun4u";
  /** @internal */
  readonly tableAddress: number;
  /** @internal */
  readonly dummyAddress: number;
  /** Contexts of the streaming cache that threads have taken; undefined without a streaming cache. */
  readonly contexts: SharedBuffer | undefined;
  /** Number of outstanding syncs of each thread number; undefined without a streaming cache. */
  readonly syncs: SharedBuffer | undefined;
  /** @internal */
  readonly syncMilliseconds: number;
  /** @internal */
  readonly lazy: boolean;
  /** @internal */
  readonly table: TableHandle;
}

const HANDLE = {
  tableAddress: "count",
  dummyAddress: "count",
  contexts: "shared?",
  syncs: "shared?",
  syncMilliseconds: "count",
  lazy: "boolean",
  table: "table",
} as const;

/** Platform-specific resources of sun4u. */
export type StreamingResources = {
  /** Taken contexts of the streaming cache: at most 4095. */
  readonly streamingContexts: number;
};

/**
 * Platform of UltraSPARC machines with a Sabre or Psycho PCI bridge: one TSB of IOPTEs, optionally a streaming cache (UltraSPARC-IIi user's
 * manual, chapter 19). Unmapped entries lead to a dummy page. `generic` is the table to map in.
 *
 * One object is one thread's view: post the machine's handle and this one's, and `attach` in each other thread. A streaming cache that does
 * not answer in time is the failure "platform-busy".
 *
 * @example
 * ```ts
 * import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
 * import { SoftwareMachine, Sun4uPlatform } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 24, iommu: "psycho", devices: ["nic0"] });
 * const platform = Sun4uPlatform.create(machine, { entries: 1024, streaming: true });
 * const driver = new DmaDevice(platform.generic);
 * const { iova } = orThrow(driver.map(0x6000n, 8192, DEVICE_WRITES));
 * console.log(`bus address 0x${iova.toString(16)}, contexts taken: ${platform.resources.streamingContexts}`);
 *
 * // A write through an unmapped entry causes no fault: it reaches the dummy page.
 * console.log(machine.device("nic0").dmaWrite(0xffff_0000n, Uint8Array.of(1)), platform.wipeDummyPage());
 * machine.close();
 * ```
 * ```text output
 * bus address 0xff800000, contexts taken: 1
 * true true
 * ```
 */
export class Sun4uPlatform extends TablePlatform {
  /** @internal */
  readonly ops: Sun4uOps;
  /** Physical address of the TSB. */
  readonly tableAddress: number;
  /** Physical address of the dummy page, the target of unmapped entries: the page below the TSB, aligned. */
  readonly dummyAddress: number;
  /** Lowest physical address of the platform's memory. Memory below it is free for other uses. */
  readonly firstAddress: number;
  readonly #memory: Memory;
  readonly #shared: SharedParameters;
  readonly #contexts: StreamingContexts | undefined;

  private constructor(
    machine: Machine,
    generic: IommuTable,
    ops: Sun4uOps,
    shared: SharedParameters,
    contexts: StreamingContexts | undefined,
  ) {
    super(machine, generic);
    this.ops = ops;
    this.tableAddress = shared.tableAddress;
    this.dummyAddress = shared.dummyAddress;
    this.firstAddress = flagsAddress(shared);
    this.#memory = machine.memory;
    this.#shared = shared;
    this.#contexts = contexts;
    const { thread } = generic;
    if (shared.syncs === undefined) return;
    const flags = flagsAddress(shared) + thread * THREAD_FLAGS_BYTES;
    ops.streaming.useFlags(flags, wordsOf(shared.syncs), thread * SYNC_WORDS);
  }

  /**
   * Writes an empty TSB, programs the bridge (which ends all earlier translations), and attaches this thread. Throws InvalidArgumentError
   * for inconsistent options, and IovaError "platform-busy" if a DMA by an earlier translation does not end.
   */
  static create(machine: Machine, options: Sun4uPlatformOptions = {}): Sun4uPlatform {
    checkKeys("a sun4u platform", options, {
      pageShift: "any",
      entries: "any",
      tableAddress: "any",
      streaming: "boolean",
      syncMilliseconds: "any",
      table: "object",
    });
    const { streaming = false, syncMilliseconds = 100, table } = options;
    const window = windowOf(options);
    checkInteger("milliseconds of a streaming cache's sync", syncMilliseconds, 1, 60_000);
    const tableAddress = options.tableAddress ?? defaultTableAddress(machine.memory.bytes, window.entries);
    const dummyAddress = dummyBelow(tableAddress, window.pageShift, streaming);
    const shared: SharedParameters = {
      tableAddress,
      dummyAddress,
      streaming,
      syncs: streaming ? createShared(MAX_THREADS * SYNC_WORDS * 4) : undefined,
      syncMilliseconds,
      lazy: table?.invalidate === "lazy",
    };
    const contexts = streaming ? StreamingContexts.create() : undefined;
    const ops = opsOf(machine, window, shared, contexts);
    const around = recoveringContexts(contexts, ops);
    const generic = IommuTable.create(window, ops, inCrew(table, machine.crew), around);
    stop(machine);
    machine.memory.write(dummyAddress, new Uint8Array(2 ** window.pageShift));
    ops.initialize();
    const platform = new Sun4uPlatform(machine, generic, ops, shared, contexts);
    if (streaming) emptyStreamingCache(ops);
    writeControl(machine, 0);
    machine.registers.write64(TSB_BASE, BigInt(tableAddress));
    if (streaming) machine.registers.write64(STREAMING_CONTROL, BigInt(STREAMING_ENABLE));
    const size = Math.log2(window.entries / SMALLEST_TSB);
    writeControl(machine, ENABLE | (window.pageShift === 16 ? WIDE_PAGES : 0) | (size << TSB_SIZE_SHIFT));
    return platform;
  }

  /** Attaches the calling thread, with this thread's view of the machine. Throws FormatError for a foreign handle. */
  static attach(machine: Machine, handle: Sun4uPlatformHandle): Sun4uPlatform {
    checkHandle("a sun4u platform", handle, HANDLE);
    if (handle.platform !== "sun4u" || (handle.contexts === undefined) !== (handle.syncs === undefined)) {
      throw new FormatError("the handle is not that of a sun4u platform");
    }
    const { table, contexts: buffer } = handle;
    const contexts = buffer === undefined ? undefined : new StreamingContexts(buffer);
    const shared: SharedParameters = { ...handle, streaming: contexts !== undefined };
    const ops = opsOf(machine, table.window, shared, contexts);
    const generic = IommuTable.attach(table, ops, machine.crew, recoveringContexts(contexts, ops));
    return new Sun4uPlatform(machine, generic, ops, shared, contexts);
  }

  get handle(): Sun4uPlatformHandle {
    const { tableAddress, dummyAddress, syncs, syncMilliseconds, lazy } = this.#shared;
    const contexts = this.#contexts?.buffer;
    return {
      platform: "sun4u",
      tableAddress,
      dummyAddress,
      contexts,
      syncs,
      syncMilliseconds,
      lazy,
      table: this.generic.handle,
    };
  }

  /** Number of taken contexts of the streaming cache: at most 4095. Exact while no other thread runs. */
  override get resources(): StreamingResources {
    return { streamingContexts: this.#contexts?.taken ?? 0 };
  }

  /**
   * Zeroes the dummy page. Returns true if it was not zero: a device has written through an unmapped entry, which causes no fault.
   *
   * No driver gets this page, and no mapping leads to it, because entries that are set are invalidated. But all devices share it: a stray
   * read of one device finds the stray writes of another until the page is wiped. The bridge does not separate devices in general: all share
   * its window and may use every live mapping.
   */
  wipeDummyPage(): boolean {
    const page = new Uint8Array(2 ** this.generic.window.pageShift);
    this.#memory.read(this.dummyAddress, page);
    const written = page.some((byte) => byte !== 0);
    if (written) this.#memory.write(this.dummyAddress, page.fill(0));
    return written;
  }
}

/** Recovers contexts of a dead thread that no entry carries, together with its ranges. */
function recoveringContexts(contexts: StreamingContexts | undefined, ops: Sun4uOps): RecoverAround {
  return (own) => (thread, scope) => {
    const recovered = own(thread, scope);
    contexts?.recount(() => ops.countContexts());
    return recovered;
  };
}

/** Parameters that all threads of a platform share, besides the generic table. */
interface SharedParameters {
  readonly tableAddress: number;
  readonly dummyAddress: number;
  readonly streaming: boolean;
  readonly syncs: SharedBuffer | undefined;
  readonly syncMilliseconds: number;
  readonly lazy: boolean;
}

/** Address of the threads' flags, below the dummy page. */
function flagsAddress({ dummyAddress, streaming }: SharedParameters): number {
  return streaming ? dummyAddress - FLAGS_BYTES : dummyAddress;
}

/**
 * The number of entries of the smallest TSB with at least this many. Throws InvalidArgumentError if no TSB is long enough, and for an
 * unknown page size.
 */
export function tsbEntriesFor(entries: number, pageShift: number): number {
  const largest = largestTsb(pageShift);
  if (Number.isInteger(entries) && entries >= 1 && entries <= largest) {
    return Math.max(SMALLEST_TSB, 2 ** Math.ceil(Math.log2(entries)));
  }
  throw new InvalidArgumentError("entries of the TSB, at least", entries, `an integer from 1 to ${largest}`);
}

/** Entries of the longest TSB with this page size. Throws InvalidArgumentError for an unknown page size. */
export function largestTsb(pageShift: number): number {
  const largest = Object.hasOwn(LARGEST_TSB, pageShift) ? LARGEST_TSB[pageShift] : undefined;
  if (largest !== undefined) return largest;
  throw new InvalidArgumentError("page shift of sun4u", pageShift, `one of ${SUN4U_PAGE_SHIFTS.join(", ")}`);
}

/** The bridge finds the entry from the low bits of the address. A window that ends at 4 GiB is aligned to its size. */
function windowOf({ pageShift = 13, entries = 32_768 }: Sun4uPlatformOptions): DmaWindow {
  if (tsbEntriesFor(entries, pageShift) !== entries) {
    const expected = `a power of two from ${SMALLEST_TSB} to ${largestTsb(pageShift)}`;
    throw new InvalidArgumentError("entries of the TSB", entries, expected);
  }
  const base = END_OF_WINDOW - (BigInt(entries) << BigInt(pageShift));
  return { base, pageShift, entries };
}

function defaultTableAddress(memoryBytes: number, entries: number): number {
  return Math.floor((memoryBytes - entries * ENTRY_BYTES) / TSB_ALIGNMENT) * TSB_ALIGNMENT;
}

/** Throws InvalidArgumentError if there is no room for the dummy page. */
function dummyBelow(tableAddress: number, pageShift: number, streaming: boolean): number {
  const pageBytes = 2 ** pageShift;
  const dummyAddress = (Math.floor(tableAddress / pageBytes) - 1) * pageBytes;
  const least = streaming ? FLAGS_BYTES : 0;
  if (Number.isInteger(tableAddress) && tableAddress % TSB_ALIGNMENT === 0 && dummyAddress >= least)
    return dummyAddress;
  const expected = `a multiple of ${TSB_ALIGNMENT} with a page of ${pageBytes} bytes below it, and the TSB inside memory`;
  throw new InvalidArgumentError("address of the TSB", tableAddress, expected);
}

function opsOf(
  { memory, registers }: Machine,
  window: DmaWindow,
  shared: SharedParameters,
  contexts: StreamingContexts | undefined,
): Sun4uOps {
  const { pageShift } = window;
  const dummyPage = { page: shared.dummyAddress / 2 ** pageShift, pageShift };
  return new Sun4uOps({ ...shared, memory, registers, window, dummyPage, contexts });
}

/** Disables translation, but keeps the TSB's address and size: the tags of the streaming cache depend on them. */
function stop(machine: Machine): void {
  const control = machine.registers.readLow64(CONTROL);
  writeControl(machine, control & ((TSB_SIZE_MASK << TSB_SIZE_SHIFT) | WIDE_PAGES));
}

/**
 * Flushes lines that an earlier platform on this machine left in the streaming cache: devices would find them under the new addresses, and
 * dirty lines would be written to the old pages later. Called after translation was disabled, so that no new lines are made.
 */
function emptyStreamingCache({ streaming }: Sun4uOps): void {
  if (!streaming.flushAll()) return;
  const failure = streaming.sync();
  if (failure === undefined) return;
  throw new IovaError(failure, "the streaming cache has not brought to memory in time what it held");
}

function writeControl(machine: Machine, value: number): void {
  machine.registers.write64(CONTROL, BigInt(value));
  if (!timedOut(machine.registers)) return;
  throw new IovaError(
    "platform-busy",
    "a DMA has not ended since CONTROL was written; forget its thread if it is dead",
  );
}
