/**
 * Settings of a board: page size and levels, the table's geometry, cache and mode, threads, and the device's limits. `boardOptions` and
 * `deviceLimits` convert a setting to options.
 */
import type { DeviceLimits } from "../../dma/limits.ts";
import type { BoardKind, BoardOptions } from "../../machines/board.ts";
import type { DmaWindow } from "../../units/numbers.ts";

/** Options of the matrix, with their values. Every two values of two options are combined in some setting of each kind of board. */
export const CHOICES = {
  /** Pools of the allocator; "large pool": 2, and option `largePool`. */
  pools: [1, 2, 16, "large pool"],
  /** Entries of the table. */
  entries: [128, 2048],
  /** Reserved ranges. */
  reserved: ["none", "some"],
  /** Option `cache` of the allocator. */
  cache: ["none", "fifo"],
  /** Option `invalidate` of the allocator. */
  invalidate: ["strict", "lazy"],
  /** Threads that use the board. */
  threads: [1, 2],
  /** Option `merge` of the device. */
  merge: [true, false],
  /** Limits of the device. */
  limits: ["none", "short segments", "boundary", "alignment", "mask"],
} as const;

/** One value of each of CHOICES. */
export type Choice = { readonly [Name in keyof typeof CHOICES]: (typeof CHOICES)[Name][number] };

/** A setting of the conformance suite: page size, levels and one value of each of CHOICES. */
export interface BoardSetting extends Choice {
  /** IO page size as log2 of bytes: one of the kind's. */
  readonly pageShift: number;
  /** Levels of the table: one of the kind's. */
  readonly levels: number;
  /** Physical memory in bytes. Default: a dozen pages and 4 MiB, at least 8 MiB; for pages above 16 MiB one page and 8 MiB. */
  readonly memoryBytes?: number;
}

/** Baseline setting: a small strict table without a cache, one thread, a device without limits. */
export const PLAIN: Choice = {
  pools: 1,
  entries: 128,
  reserved: "none",
  cache: "none",
  invalidate: "strict",
  threads: 1,
  merge: true,
  limits: "none",
};

/** Above this page size memory does not hold two pages: cases use page 0, which is larger than memory. */
const LAST_SHIFT_WITH_PAGES = 24;
const MIB = 2 ** 20;

/** True if memory holds several pages of this size. */
export function hasSeveralPages(pageShift: number): boolean {
  return pageShift <= LAST_SHIFT_WITH_PAGES;
}

/** Up to this page size memory holds one whole page: hypervisors refuse a page that is larger than memory. Untouched bytes cost nothing. */
const LAST_SHIFT_WITH_ONE_PAGE = 28;

/** Default size of memory in bytes: a dozen pages, or one, beside the tables; at least 8 MiB. */
function memoryFor(pageShift: number): number {
  if (hasSeveralPages(pageShift)) return Math.max(8 * MIB, 12 * 2 ** pageShift + 4 * MIB);
  return pageShift <= LAST_SHIFT_WITH_ONE_PAGE ? 2 ** pageShift + 8 * MIB : 8 * MIB;
}

/** Threads of the board: those of the setting, at most those of the kind. */
export function threadsOf(kind: BoardKind, setting: BoardSetting): number {
  return Math.min(setting.threads, kind.maxThreads ?? setting.threads);
}

export function boardOptions(kind: BoardKind, setting: BoardSetting): BoardOptions {
  const { pageShift, levels, entries, pools, reserved, cache, invalidate } = setting;
  const holes = [
    { first: 1, end: 2 },
    { first: 70, end: 75 },
  ];
  return {
    memoryBytes: setting.memoryBytes ?? memoryFor(pageShift),
    pageShift,
    levels,
    entries,
    // More than the setting's: cases attach views of their own.
    threads: Math.min(6, kind.maxThreads ?? 6),
    table: {
      ...(pools === "large pool" ? { pools: 2, largePool: true } : { pools }),
      cache,
      invalidate,
      ...(reserved === "some" ? { reserved: holes as unknown as NonNullable<BoardOptions["table"]>["reserved"] } : {}),
    } as NonNullable<BoardOptions["table"]>,
  };
}

/** The limits of the device that maps through this window. */
export function deviceLimits(setting: BoardSetting, window: DmaWindow): DeviceLimits {
  // Small enough to matter if all mappings lie in one page.
  const unit = hasSeveralPages(setting.pageShift) ? 2 ** setting.pageShift : 4096;
  switch (setting.limits) {
    case "short segments":
      return { maxSegmentBytes: unit };
    case "boundary":
      return { boundaryMask: BigInt(4 * unit) - 1n };
    case "alignment":
      return { alignment: 4 * unit };
    case "mask":
      // Its last byte lies inside of a page.
      return { mask: window.base + (BigInt(Math.floor((window.entries * 3) / 4)) << BigInt(window.pageShift)) + 99n };
    default:
      return {};
  }
}

/** A page size as text, such as "4 KiB". */
export function sizeText(pageShift: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const unit = Math.floor(pageShift / 10);
  return `${2 ** (pageShift % 10)} ${units[unit]}`;
}

/** A setting in a line, for names and messages. */
export function settingText(setting: BoardSetting): string {
  const { pageShift, levels, pools, entries, reserved, cache, invalidate, threads, merge, limits } = setting;
  const parts = [
    `pages of ${sizeText(pageShift)}`,
    `${levels} ${levels === 1 ? "level" : "levels"}`,
    `${entries} entries`,
    pools === "large pool" ? pools : `${pools} ${pools === 1 ? "pool" : "pools"}`,
    ...(reserved === "some" ? ["reserved ranges"] : []),
    ...(cache === "fifo" ? ["cache"] : []),
    invalidate,
    ...(threads === 2 ? ["2 threads"] : []),
    ...(merge ? [] : ["no merging"]),
    ...(limits === "none" ? [] : [limits]),
  ];
  return parts.join(", ");
}
