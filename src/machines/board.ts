/**
 * A board: a platform on a machine with devices that do DMA on request, ready to use. The conformance suite, the replay, the benchmarks and
 * the examples run on boards, independently of the platform. boards.ts lists them; a new platform adds one.
 *
 *     const board = boardNamed("pseries").create({ memoryBytes: 2 ** 26, entries: 4096, devices: ["nvme0"] });
 *     worker.postMessage(board.handle);  // there: attachBoard(handle)
 */

import type { Crew } from "../crew/crew.ts";
import type { DmaMachine, Fault } from "../machine/contract.ts";
import type { Platform } from "../platforms/platform.ts";
import type { IommuTable, TableOptions } from "../table/iommu-table.ts";
import { checkInteger, InvalidArgumentError, inWords } from "../units/errors.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";
import type { Access } from "../units/numbers.ts";

/** Options of every board. The board chooses a value for each option that is left out. */
export interface BoardOptions {
  /** Physical memory in bytes: a multiple of 4096. Tables take a part of it at its end. */
  readonly memoryBytes: number;
  /** IO page size as log2 of bytes: one of the kind's. Default: its first. */
  readonly pageShift?: number;
  /** Least number of entries of the table. The kind may round up to a size that its window can have. Default: the kind's usual window. */
  readonly entries?: number;
  /** Levels of the table: one of the kind's. Default 1. */
  readonly levels?: number;
  /** Names of the devices. Default: one device, "device0". */
  readonly devices?: readonly string[];
  /** Most attached threads, including the creator. Default 32. */
  readonly threads?: number;
  /** Options of the generic table. */
  readonly table?: TableOptions;
}

/** Post it to another thread and call `attachBoard` there. Structured-cloneable. */
export interface BoardHandle {
  /** Name of the kind, for `attachBoard`. */
  readonly kind: string;
  /** @internal */
  readonly machine: object;
  /** @internal */
  readonly platform: object;
}

/** One thread's view of a board. All devices share one window and its table. */
export interface Board {
  /** The kind of the board. */
  readonly kind: BoardKind;
  /** Structured-cloneable: post it to another thread and `attachBoard` there. */
  readonly handle: BoardHandle;
  /** This thread's view of the machine. */
  readonly machine: DmaMachine;
  /** The generic table of the platform, over which a DmaDevice is made. */
  readonly table: IommuTable;
  /** The platform's object, with its own fields besides those of every platform. */
  readonly platform: Platform;
  /** Physical memory [0, usableBytes) belongs to the caller, memory above it to the platform. A multiple of the IO page size. */
  readonly usableBytes: number;
  /** Sums over all threads since the board was made. */
  statistics(): BoardStatistics;
  /** Takes the recorded faults, and resets devices that a fault has frozen. */
  takeFaults(): readonly Fault[];
  /** The threads of the board. `crew.reclaim` recovers a dead thread in the machine, the platform and the table. */
  readonly crew: Crew;
  /**
   * Closes this thread's views. The creator's `close` also ends processes that the board started. A second call does nothing; the table's
   * and the machine's view may have been closed separately.
   */
  close(): void;
}

/** Counters of a board. */
export interface BoardStatistics {
  /** Invalidations of the IOTLB, of a range or of all entries; "unknown" if the machine does not count them. */
  readonly invalidations: number | "unknown";
  /** Calls to the hypervisor; 0 without a hypervisor. */
  readonly hypercalls: number;
}

/** A platform on a machine. */
export interface BoardKind {
  /** The platform's name, with the machine's unless it is the software machine: "powernv", "powernv@qemu". */
  readonly name: string;
  /** A description in one line. */
  readonly summary: string;
  /** Name of the entry format of its tables. */
  readonly format: string;
  /** IO page sizes as log2 of bytes, the usual one first. */
  readonly pageShifts: readonly number[];
  /** Numbers of levels that its tables can have with some page size. */
  readonly levels: readonly number[];
  /** Numbers of levels with this page size, if they depend on it. Default: `levels`. */
  levelsFor?(pageShift: number): readonly number[];
  /** The access that a device really has, by the requested access. */
  readonly grants: Readonly<Record<Access, Access>>;
  /** The effect of a DMA through an unmapped entry: it is refused, or it goes to a dummy page. */
  readonly strayAccess: "refused" | "dummy-page";
  /**
   * How a refused DMA is detected. "fault": it returns false and is recorded in `takeFaults`. "data": only because no bytes move (machines
   * with silent faults).
   */
  readonly refusals: "fault" | "data";
  /**
   * True if the machine keeps stale translations until the platform invalidates them, so that a missing invalidation is visible. False if
   * it reads the entries for each DMA, or a hypervisor invalidates the entries that it empties.
   */
  readonly hasIotlb: boolean;
  /** True if a fault freezes all devices of the board until `takeFaults` (PowerPC's EEH). Default: false. */
  readonly faultsFreeze?: boolean;
  /** Most entries that one hypercall can write; 0 if entries are written to memory. */
  readonly entriesPerHypercall: number;
  /** Most entries of a table with this page size. */
  largestTable(pageShift: number): number;
  /** Most memory that the platform takes for a table of so many entries. `memoryBytes` includes it. */
  platformBytes(entries: number, pageShift: number): number;
  /** Most threads of a board of this kind, including the creator. Default: no limit of the kind. */
  readonly maxThreads?: number;
  /** Names of the devices of a machine with fixed devices. Default: the option `devices` names them. */
  readonly deviceNames?: readonly string[];
  /** Throws InvalidArgumentError for options that the kind does not support. */
  create(options: BoardOptions): Board;
  /** A view for the calling thread, with its number in `crew`; left out: with a number of its own. Throws FormatError for a foreign handle. */
  attach(handle: BoardHandle, crew?: Crew): Board;
}

/** Numbers of levels that tables of this kind can have with this page size. */
export function levelsOf(kind: BoardKind, pageShift: number): readonly number[] {
  return kind.levelsFor?.(pageShift) ?? kind.levels;
}

const BOARD_OPTIONS: OptionTypes<BoardOptions> = {
  memoryBytes: "any",
  pageShift: "any",
  entries: "any",
  levels: "any",
  devices: "object",
  threads: "any",
  table: "object",
};

/**
 * Checks the options of `create` against the kind. Throws InvalidArgumentError. `moreOptions`: options of this kind besides the common
 * ones.
 */
export function checkBoardOptions(
  kind: BoardKind,
  options: BoardOptions,
  moreOptions: Readonly<Record<string, "any">> = {},
): void {
  checkKeys(`a ${kind.name} board`, options, { ...BOARD_OPTIONS, ...moreOptions });
  const { memoryBytes, pageShift = kind.pageShifts[0] as number, levels = 1, entries } = options;
  const { name, pageShifts } = kind;
  if (!(Number.isSafeInteger(memoryBytes) && memoryBytes > 0 && memoryBytes % 4096 === 0)) {
    throw new InvalidArgumentError("memory of the board in bytes", memoryBytes, "a multiple of 4096");
  }
  if (!pageShifts.includes(pageShift)) {
    throw new InvalidArgumentError(`page shift of ${name}`, pageShift, `one of ${pageShifts.join(", ")}`);
  }
  const possible = levelsOf(kind, pageShift);
  if (!possible.includes(levels)) {
    throw new InvalidArgumentError(`levels of ${name}`, levels, `one of ${possible.join(", ")}`);
  }
  if (entries !== undefined) checkInteger(`entries of ${name}`, entries, 1, kind.largestTable(pageShift));
  if (options.threads !== undefined) checkThreads(kind, options.threads);
  if (options.devices !== undefined) checkDevices(kind, options.devices);
}

function checkThreads({ name, maxThreads }: BoardKind, threads: number): void {
  if (Number.isInteger(threads) && threads >= 1 && threads <= (maxThreads ?? threads)) return;
  throw new InvalidArgumentError(
    `threads of ${name}`,
    threads,
    maxThreads === undefined ? "1 or more" : `1 .. ${maxThreads}`,
  );
}

function checkDevices({ name, deviceNames }: BoardKind, devices: readonly string[]): void {
  const isEachOnce = devices.length > 0 && new Set(devices).size === devices.length;
  if (isEachOnce && devices.every((device) => deviceNames?.includes(device) ?? true)) return;
  const expected = deviceNames === undefined ? "one name or more, each once" : `some of ${deviceNames.join(", ")}`;
  throw new InvalidArgumentError(`devices of ${name}`, inWords(devices.join(", ") || "empty"), expected);
}
