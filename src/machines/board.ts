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

/** Options of `BoardKind.create`. The kind chooses a value for each option that is left out. */
export interface BoardOptions {
  /** Physical memory in bytes: a multiple of 4096. It includes the platform's tables, which lie at its end. */
  readonly memoryBytes: number;
  /** IO page size as log2 of bytes: one of the kind's `pageShifts`. Default: the first of them. */
  readonly pageShift?: number;
  /**
   * Least number of entries of the table: 1 .. the kind's `largestTable`. The kind may round up to a size that its window can have. Default:
   * the kind's usual window.
   */
  readonly entries?: number;
  /** Levels of the table: one of the kind's `levelsFor`. Default 1. */
  readonly levels?: number;
  /** Names of the devices. Default: one device, "device0". */
  readonly devices?: readonly string[];
  /** Limit of attached threads, including the creator: 1 .. the kind's `maxThreads`. Default 32. */
  readonly threads?: number;
  /** Options of the generic table. */
  readonly table?: TableOptions;
}

/** Handle of a board, structured-cloneable: post it to another thread and call `attachBoard` there. */
export interface BoardHandle {
  /** Name of the kind, by which `attachBoard` finds it. */
  readonly kind: string;
  /**
   * Handle of the machine.
   *
   * @internal
   */
  readonly machine: object;
  /**
   * Handle of the platform.
   *
   * @internal
   */
  readonly platform: object;
}

/**
 * One thread's view of a board: a platform on a machine with devices, ready to use. All devices share one window and its table. `boardNamed`
 * has an example.
 */
export interface Board {
  /** The kind that made the board. */
  readonly kind: BoardKind;
  /** Handle for other threads. */
  readonly handle: BoardHandle;
  /** The machine: memory, and devices that do DMA on request. */
  readonly machine: DmaMachine;
  /** The platform's generic table, for `new DmaDevice(table)`. */
  readonly table: IommuTable;
  /** The platform. Its class may have further fields. */
  readonly platform: Platform;
  /**
   * Physical memory [0, usableBytes) belongs to the caller, memory from there on to the platform. A multiple of the IO page size, in bytes.
   */
  readonly usableBytes: number;
  /** Counts of invalidations and hypercalls, summed over all threads since the board was made. */
  statistics(): BoardStatistics;
  /** Takes the recorded faults, oldest first, and resets devices that a fault has frozen. */
  takeFaults(): readonly Fault[];
  /** The threads of the board. `crew.reclaim` recovers a dead thread in the machine, the platform and the table. */
  readonly crew: Crew;
  /**
   * Closes this thread's views. The creator's `close` also ends processes that the board started. A second call does nothing; the table's
   * and the machine's view may have been closed separately.
   */
  close(): void;
}

/** Counts of a board, summed over all threads since it was made. */
export interface BoardStatistics {
  /** Invalidations of the IOTLB, each of a range or of all entries; "unknown" if the machine does not count them. */
  readonly invalidations: number | "unknown";
  /** Calls to the hypervisor; 0 without a hypervisor. */
  readonly hypercalls: number;
}

/** A kind of board: a platform on a machine, its properties, and how boards of this kind are made. */
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
  /** Access that a device gets, by the requested access. */
  readonly grants: Readonly<Record<Access, Access>>;
  /** Effect of a DMA through an unmapped entry: it is refused, or it reaches a dummy page. */
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
  /** Largest number of entries that one hypercall can write; 0 if entries are written to memory. */
  readonly entriesPerHypercall: number;
  /** Largest number of entries of a table with this page size. */
  largestTable(pageShift: number): number;
  /** Upper bound of the platform's part of `memoryBytes`, in bytes, for a table of `entries` entries. */
  platformBytes(entries: number, pageShift: number): number;
  /** Largest number of threads of a board of this kind, including the creator. Default: no limit of the kind. */
  readonly maxThreads?: number;
  /** Names of the devices of a machine with fixed devices. Default: the option `devices` names them. */
  readonly deviceNames?: readonly string[];
  /** Makes a board and attaches this thread. Throws InvalidArgumentError for options that the kind does not support. */
  create(options: BoardOptions): Board;
  /**
   * Attaches the calling thread. `crew`: this thread's view of the board's crew; default: the thread joins the crew. Throws FormatError for
   * a foreign handle, and IovaError "no-thread-slot" if all numbers of the crew are taken.
   */
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
