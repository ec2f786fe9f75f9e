/**
 * Where a range may lie: what a device's limits come down to, in entries of one table. Made once per device and table,
 * passed to every allocation; a device without limits shares UNCONSTRAINED, which the fast paths recognise by identity.
 */

import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import type { DmaWindow } from "../units/numbers.ts";
import { checkWindow } from "../units/window.ts";

/**
 * Constraints on the position of a range, in entries of one table. `areaConstraints` makes them from a device's limits; `{ ...UNCONSTRAINED,
 * limit: 512 }` makes them from numbers.
 */
export interface AreaConstraints {
  /** One past the last entry that may be used. */
  readonly limit: number;
  /** Alignment of the first entry's bus page, in pages: a power of two; 1: no alignment. */
  readonly alignmentPages: number;
  /** A range does not cross a multiple of this many bus pages: a power of two. 0: no boundary. */
  readonly boundaryPages: number;
  /** Bus page number of entry 0. Alignment and boundary apply to bus pages, not to entries. */
  readonly basePage: number;
}

/** No limits: any free range satisfies them. */
export const UNCONSTRAINED: AreaConstraints = { limit: 2 ** 31 - 1, alignmentPages: 1, boundaryPages: 0, basePage: 0 };

/** Limits of a device, in entries and pages, for `areaConstraints`. All fields are optional. */
export interface AreaLimits {
  /** One past the last entry that may be used. Default: the entries of the window. */
  readonly limit?: number;
  /** Pages: a power of two, 1 .. 2^52. */
  readonly alignmentPages?: number;
  /** Pages: a power of two, 1 .. 2^52. */
  readonly boundaryPages?: number;
}

/**
 * Returns the constraints for a table with this window. Limits without effect are dropped: a limit beyond the table's end, a boundary that the
 * window does not cross. If none is left, the result is UNCONSTRAINED.
 * @throws InvalidArgumentError for a window or a limit outside its range
 *
 * @example
 * ```ts
 * import { areaConstraints, PooledAllocator } from "iova";
 *
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
 * const allocator = PooledAllocator.create({ entries: window.entries });
 * // The device reaches the first 256 pages of the window, and its buffers begin at multiples of 64 KiB.
 * const constraints = areaConstraints(window, { limit: 256, alignmentPages: 16 });
 * console.log(allocator.allocate(3, constraints) % 16, allocator.allocate(300, constraints));
 * ```
 * ```text output
 * 0 -2
 * ```
 */
export function areaConstraints(window: DmaWindow, limits: AreaLimits): AreaConstraints {
  checkWindow(window);
  checkKeys("an area's limits", limits, { limit: "any", alignmentPages: "any", boundaryPages: "any" });
  const basePage = Number(window.base >> BigInt(window.pageShift));
  const limit = Math.min(limits.limit ?? window.entries, window.entries);
  const alignmentPages = limits.alignmentPages ?? 1;
  checkPowerOfTwo("alignment in pages", alignmentPages);
  checkInteger("limit in entries", limit, -(2 ** 53), 2 ** 31 - 1);
  const boundaryPages = meetsBoundary(basePage, window.entries, limits.boundaryPages ?? 0)
    ? (limits.boundaryPages ?? 0)
    : 0;
  if (limit === window.entries && alignmentPages === 1 && boundaryPages === 0) return UNCONSTRAINED;
  return { limit, alignmentPages, boundaryPages, basePage };
}

/**
 * The lowest first entry at or after `start` that alignment and boundary allow for `count` entries. `count` must not exceed the boundary:
 * `isAllowed` and `PoolSet.allocate` check that first.
 */
export function allowedFrom(start: number, count: number, constraints: AreaConstraints): number {
  if (constraints === UNCONSTRAINED) return start;
  const { alignmentPages, boundaryPages, basePage } = constraints;
  let page = basePage + start;
  page = Math.ceil(page / alignmentPages) * alignmentPages;
  if (boundaryPages !== 0 && Math.floor(page / boundaryPages) !== Math.floor((page + count - 1) / boundaryPages)) {
    page = Math.ceil(page / boundaryPages) * boundaryPages;
    page = Math.ceil(page / alignmentPages) * alignmentPages;
  }
  return page - basePage;
}

/** True if a range of `count` entries may begin at `first`. */
export function isAllowed(first: number, count: number, constraints: AreaConstraints): boolean {
  const { boundaryPages, limit } = constraints;
  if (boundaryPages !== 0 && count > boundaryPages) return false;
  return first + count <= limit && allowedFrom(first, count, constraints) === first;
}

/** Throws InvalidArgumentError for constraints that lack a field, or have another type there. */
export function checkConstraints(constraints: AreaConstraints): void {
  if (typeof constraints !== "object" || constraints === null)
    throw new InvalidArgumentError("constraints", constraints, "an object; areaConstraints makes it");
  const { limit, alignmentPages, boundaryPages, basePage } = constraints;
  if (
    Number.isFinite(limit) &&
    Number.isFinite(alignmentPages) &&
    Number.isFinite(boundaryPages) &&
    Number.isFinite(basePage)
  )
    return;
  const fields = { limit, alignmentPages, boundaryPages, basePage };
  for (const [name, value] of Object.entries(fields)) {
    if (!Number.isFinite(value)) {
      throw new InvalidArgumentError(
        `${name} of the constraints`,
        value,
        "an integer; areaConstraints fills all fields in",
      );
    }
  }
}

function meetsBoundary(basePage: number, entries: number, boundaryPages: number): boolean {
  if (boundaryPages === 0) return false;
  checkPowerOfTwo("boundary in pages", boundaryPages);
  return Math.floor(basePage / boundaryPages) !== Math.floor((basePage + entries - 1) / boundaryPages);
}

function checkPowerOfTwo(what: string, value: number): void {
  if (!(value >= 1 && value <= 2 ** 52 && 2 ** Math.round(Math.log2(value)) === value)) {
    throw new InvalidArgumentError(what, value, "a power of two from 1 to 2^52");
  }
}
