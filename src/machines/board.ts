/**
 * A board: a platform, on a machine whose devices can be told to do DMA, ready to use. What the conformance suite, the replay, the
 * bench and the examples run on, without knowing which platform it is. Boards are listed in boards.ts; a new platform adds one.
 *
 *     const board = boardNamed("pseries").create({ memoryBytes: 2 ** 26, entries: 4096, devices: ["nvme0"] });
 *     worker.postMessage(board.handle);  // there: attachBoard(handle)
 */
import type { DmaMachine, Fault } from "../machine/contract.ts";
import type { Crew } from "../shared/crew.ts";
import type { IommuTable, TableOptions } from "../table/iommu-table.ts";
import { checkInteger, InvalidArgumentError, inWords } from "../units/errors.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";
import type { Access } from "../units/numbers.ts";

/** What can be asked of every board; what is left out is the board's own choice. */
export interface BoardOptions {
  /** Physical memory in bytes: a multiple of 4096. Tables take a part of it at its end. */
  readonly memoryBytes: number;
  /** IO page size as log2 of bytes: one of the kind's. Default: its first. */
  readonly pageShift?: number;
  /** Entries of the table, at least; the kind may round up to what its window can have. Default: the kind's usual window. */
  readonly entries?: number;
  /** Levels of the table: one of the kind's. Default 1. */
  readonly levels?: number;
  /** Names of the devices. Default: one, "device0". */
  readonly devices?: readonly string[];
  /** Threads that may be attached at once, the creator included. Default 32. */
  readonly threads?: number;
  /** Of the generic table. */
  readonly table?: TableOptions;
}

/** Structured-cloneable; `kind` says whose. */
export interface BoardHandle {
  /** Name of the kind, for `attachBoard`. */
  readonly kind: string;
  readonly machine: object;
  readonly platform: object;
}

/** One thread's view of a board. All devices share one window and its table. */
export interface Board {
  readonly kind: BoardKind;
  readonly handle: BoardHandle;
  readonly machine: DmaMachine;
  /** The generic table that the platform encloses: what a DmaDevice is made of. */
  readonly table: IommuTable;
  /** The platform's own object: fields of its own beside `generic`. */
  readonly platform: { readonly generic: IommuTable };
  /** Of what the platform shares out beside the table's entries, how much is taken: none when nothing is mapped. Left out where there is nothing. */
  readonly extrasTaken?: () => number;
  /** Physical memory [0, usableBytes) is the caller's; what lies above belongs to the platform. A multiple of the IO page. */
  readonly usableBytes: number;
  /** Sums over all threads since the board was made. */
  statistics(): BoardStatistics;
  /** Takes the recorded faults, and makes devices usable again that a fault has cut off. */
  takeFaults(): readonly Fault[];
  /** The threads of the board. `crew.reclaim` recovers what a dead one left in the machine, the platform and the table. */
  readonly crew: Crew;
  /**
   * Gives this thread's views back. The creator's `close` also ends what runs outside of this process. A second call does nothing, nor
   * does it matter that the table's or the machine's view has been closed apart.
   */
  close(): void;
}

export interface BoardStatistics {
  /** Invalidations of the IOTLB, of a range or of all of it; "unknown" where the machine does not count them. */
  readonly invalidations: number | "unknown";
  /** Calls to the hypervisor; 0 where there is none. */
  readonly hypercalls: number;
}

/** A platform on a machine. */
export interface BoardKind {
  /** The platform's name, and the machine's where it is not the software machine: "powernv", "powernv@qemu". */
  readonly name: string;
  /** One line about it, for people. */
  readonly summary: string;
  /** Names of the entry formats' that stand in its tables. */
  readonly format: string;
  /** IO page sizes as log2 of bytes, the usual one first. */
  readonly pageShifts: readonly number[];
  /** Levels that its tables can have, whatever the page size. */
  readonly levels: readonly number[];
  /** Levels with pages of this size, where that differs. Default: `levels`. */
  levelsFor?(pageShift: number): readonly number[];
  /** What the device may really do when `access` was asked for. */
  readonly grants: Readonly<Record<Access, Access>>;
  /** What becomes of a DMA to an entry that is not mapped: refused, or it lands in a page that nobody else uses. */
  readonly strayAccess: "refused" | "dummy-page";
  /**
   * How a refused DMA shows: "fault" in `takeFaults` and as false; "data" only by bytes that do not move (machines whose faults are
   * silent).
   */
  readonly refusals: "fault" | "data";
  /**
   * Does the machine keep stale translations until the platform invalidates them, so that a forgotten invalidation shows? Not where it
   * looks at the entries at each DMA, nor where a hypervisor invalidates what it unmaps.
   */
  readonly hasIotlb: boolean;
  /** Does a fault cut off all devices of the board until `takeFaults` (PowerPC's EEH)? Default: no, others go on. */
  readonly faultsFreeze?: boolean;
  /** Entries that one call to the hypervisor can write at most; 0 where entries are written to memory. */
  readonly entriesPerHypercall: number;
  /** How many entries a table can have at most, with pages of this size. */
  largestTable(pageShift: number): number;
  /** How much memory at most the platform takes for itself, for a table of so many entries: `memoryBytes` is that and the caller's. */
  platformBytes(entries: number, pageShift: number): number;
  /** Threads that a board of this kind can have attached at most, the creator included. Default: as many as are asked for. */
  readonly maxThreads?: number;
  /** Names of its devices, where the machine has these and no others. Default: `devices` names them. */
  readonly deviceNames?: readonly string[];
  /** Throws typed errors for what the kind can't do, with the numbers. */
  create(options: BoardOptions): Board;
  /** A view for the calling thread, with its number in `crew`; left out: with a number of its own. Throws FormatError for a foreign handle. */
  attach(handle: BoardHandle, crew?: Crew): Board;
}

/** A board's `close`: of the platform's view or table, then of the machine's. The machine is closed also when the first one throws. */
export function closeOnce(platform: { close(): void }, machine: { close(): void }): () => void {
  let isClosed = false;
  return () => {
    if (isClosed) return;
    isClosed = true;
    try {
      platform.close();
    } finally {
      machine.close();
    }
  };
}

/** What `make` makes on a view of the board's machine, which is closed again when it can't be made: no thread's number is lost. */
export function onMachine(machine: { close(): void }, make: () => Board): Board {
  try {
    return make();
  } catch (error) {
    machine.close();
    throw error;
  }
}

/** Levels that tables of this kind can have with such pages. */
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
 * What a kind says of itself holds for its options, before anything is made: throws InvalidArgumentError. For `create`.
 * `moreOptions`: those that this kind has beside the common ones.
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
  throw new InvalidArgumentError(`devices of ${name}`, inWords(devices.join(", ") || "none"), expected);
}
