/**
 * sun4u: UltraSPARC machines with a Psycho or Sabre bridge. One TSB of IOPTEs in memory; pages of 8 or 64 KiB; the window ends
 * at 4 GiB of the bus. Entries that are not mapped lead to a dummy page: a stray DMA lands there, and does not fault.
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
/** Entries of the longest TSB, by page shift: 1 GiB of pages of 8 KiB, 2 GiB of pages of 64 KiB (the next size is all 4 GiB). */
const LARGEST_TSB: Readonly<Record<number, number>> = { 13: 131_072, 16: 32_768 };

/** Threads that can be attached to a table at most: 256 (allocator/options.ts). */
const MAX_THREADS = 256;
/** What the flags of all threads take. */
export const FLAGS_BYTES: number = MAX_THREADS * THREAD_FLAGS_BYTES;

export interface Sun4uPlatformOptions {
  /** 13 (8 KiB; default) or 16 (64 KiB). */
  readonly pageShift?: number;
  /** Of the TSB: a power of two from 1024 to 131,072, with 64 KiB pages to 32,768. Default 32,768. */
  readonly entries?: number;
  /** Physical address of the TSB: a multiple of 8192. The dummy page lies below it. Default: at the end of memory. */
  readonly tableAddress?: number;
  /** Does the bridge have a streaming cache, and is it to be used? Default false: Sabre has none. */
  readonly streaming?: boolean;
  /** How long is waited for what the streaming cache has been told to flush: 1 .. 60,000. Default 100. */
  readonly syncMilliseconds?: number;
  /** Of the generic table. */
  readonly table?: TableOptions;
}

/** What a thread attaches to. Structured-cloneable. */
export interface Sun4uPlatformHandle {
  readonly platform: "sun4u";
  readonly tableAddress: number;
  readonly dummyAddress: number;
  /** The contexts that threads share; undefined without a streaming cache. */
  readonly contexts: SharedBuffer | undefined;
  /** How many syncs of the streaming cache each thread number has outstanding; undefined without one. */
  readonly syncs: SharedBuffer | undefined;
  readonly syncMilliseconds: number;
  readonly lazy: boolean;
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

/**
 * A Psycho or Sabre bridge: one TSB of pages of 8 or 64 KiB that ends at 4 GiB of the bus; unmapped entries lead to a dummy page. `generic`
 * is the table to map in. One thread's view: post the machine's handle and this one's, and `attach` in each other thread. `create` throws
 * InvalidArgumentError; a streaming cache that does not answer in time is the failure `platform-busy`.
 */
export class Sun4uPlatform {
  /** The generic table, with ops of this thread. */
  readonly generic: IommuTable;
  readonly ops: Sun4uOps;
  /** Physical address of the TSB. */
  readonly tableAddress: number;
  /** Physical address of the page that entries lead to when they are not mapped: just below the TSB, but for alignment. */
  readonly dummyAddress: number;
  /** Memory from here on is the platform's. */
  readonly firstAddress: number;
  readonly #memory: Memory;
  readonly #shared: SharedParameters;
  readonly #contexts: StreamingContexts | undefined;

  private constructor(
    memory: Memory,
    generic: IommuTable,
    ops: Sun4uOps,
    shared: SharedParameters,
    contexts: StreamingContexts | undefined,
  ) {
    this.generic = generic;
    this.ops = ops;
    this.tableAddress = shared.tableAddress;
    this.dummyAddress = shared.dummyAddress;
    this.firstAddress = flagsAddress(shared);
    this.#memory = memory;
    this.#shared = shared;
    this.#contexts = contexts;
    const { thread } = generic;
    if (shared.syncs === undefined) return;
    const flags = flagsAddress(shared) + thread * THREAD_FLAGS_BYTES;
    ops.streaming.useFlags(flags, wordsOf(shared.syncs), thread * SYNC_WORDS);
  }

  /**
   * Places a TSB without mappings in memory, programs the bridge (what it translated before ends), and attaches this thread.
   * Throws InvalidArgumentError for what doesn't fit together, IovaError "platform-busy" when a DMA through what was there before
   * does not end.
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
    const platform = new Sun4uPlatform(machine.memory, generic, ops, shared, contexts);
    if (streaming) emptyStreamingCache(ops);
    writeControl(machine, 0);
    machine.registers.write64(TSB_BASE, BigInt(tableAddress));
    if (streaming) machine.registers.write64(STREAMING_CONTROL, BigInt(STREAMING_ENABLE));
    const size = Math.log2(window.entries / SMALLEST_TSB);
    writeControl(machine, ENABLE | (window.pageShift === 16 ? WIDE_PAGES : 0) | (size << TSB_SIZE_SHIFT));
    return platform;
  }

  /** A view for the calling thread, on this thread's machine. Throws FormatError for a foreign handle. */
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
    return new Sun4uPlatform(machine.memory, generic, ops, shared, contexts);
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

  /** Contexts of the streaming cache that are in use: at most 4095. Exact when nothing runs. */
  get contextsTaken(): number {
    return this.#contexts?.taken ?? 0;
  }

  /**
   * Zeroes the dummy page. True: something had been written there, so a device has done DMA to what is not mapped, which no fault tells.
   *
   * What can be promised of that page: no driver is given it, and no mapping shows it, since what is set is flushed. But it is one page
   * for all devices: what one of them wrote there astray, another finds that reads astray, until it is wiped. Nor does the bridge keep
   * devices apart elsewhere: all of them share its window, and may use every live mapping.
   */
  wipeDummyPage(): boolean {
    const page = new Uint8Array(2 ** this.generic.window.pageShift);
    this.#memory.read(this.dummyAddress, page);
    const written = page.some((byte) => byte !== 0);
    if (written) this.#memory.write(this.dummyAddress, page.fill(0));
    return written;
  }
}

/** With a dead thread's ranges, contexts come back that it held and no entry carries. */
function recoveringContexts(contexts: StreamingContexts | undefined, ops: Sun4uOps): RecoverAround {
  return (own) => (thread, scope) => {
    const recovered = own(thread, scope);
    contexts?.recount(() => ops.countContexts());
    return recovered;
  };
}

/** What all threads of a platform share besides the generic table. */
interface SharedParameters {
  readonly tableAddress: number;
  readonly dummyAddress: number;
  readonly streaming: boolean;
  readonly syncs: SharedBuffer | undefined;
  readonly syncMilliseconds: number;
  readonly lazy: boolean;
}

/** Below the dummy page: a flag for each thread that may be attached. */
function flagsAddress({ dummyAddress, streaming }: SharedParameters): number {
  return streaming ? dummyAddress - FLAGS_BYTES : dummyAddress;
}

/** The TSB that has at least so many entries. Throws InvalidArgumentError when none is so long, or the page size is none. */
export function tsbEntriesFor(entries: number, pageShift: number): number {
  const largest = largestTsb(pageShift);
  if (Number.isInteger(entries) && entries >= 1 && entries <= largest) {
    return Math.max(SMALLEST_TSB, 2 ** Math.ceil(Math.log2(entries)));
  }
  throw new InvalidArgumentError("entries of the TSB, at least", entries, `an integer from 1 to ${largest}`);
}

/** Entries of the longest TSB with pages of this size. Throws InvalidArgumentError when there are none. */
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

/** Throws InvalidArgumentError when there is no room for the dummy page. */
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

/** Translation ends; what the bridge was told of the TSB stays: the tags of the streaming cache are to be read by it. */
function stop(machine: Machine): void {
  const control = machine.registers.readLow64(CONTROL);
  writeControl(machine, control & ((TSB_SIZE_MASK << TSB_SIZE_SHIFT) | WIDE_PAGES));
}

/**
 * What an earlier platform on this machine left in the streaming cache would be found under the new one's addresses, and what devices
 * had written go to where its pages were, whenever a line is needed. After translation has ended: no new lines are made.
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
