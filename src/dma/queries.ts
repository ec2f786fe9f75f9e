/**
 * Queries of a driver before it maps: whether DMA is possible, the required mask, the largest mapping, and the merge boundary. The answers
 * depend only on the windows and the device's limits.
 */

import type { DmaDeviceOptions } from "./device-options.ts";
import { busRangeOf, bytesUnder, checkWindows, type DeviceWindow } from "./device-window.ts";
import { checkedLimits, type DeviceLimits } from "./limits.ts";
import { bestWindow, bouncingOf, isOfUse } from "./windows.ts";

const LAST_ADDRESS = 2n ** 64n - 1n;

/**
 * True if a device with these limits can do DMA through one of the windows. (Linux: `dma_supported`.)
 *
 * @example
 * ```ts
 * import { isDmaPossible, largestMapping, requiredMask } from "iova";
 *
 * const windows = [{ kind: "direct", base: 2n ** 32n, address: 0, bytes: 2 ** 30 }] as const;
 * console.log(isDmaPossible(windows, { mask: 0xffff_ffffn }), isDmaPossible(windows, { mask: 2n ** 40n - 1n }));
 * console.log(requiredMask(windows) === 2n ** 33n - 1n, largestMapping(windows, { mask: 2n ** 40n - 1n }));
 * ```
 * ```text output
 * false true
 * true 1073741824
 * ```
 */
export function isDmaPossible(
  windows: readonly DeviceWindow[],
  limits: DeviceLimits = {},
  options: DmaDeviceOptions = {},
): boolean {
  const { mask } = checkedLimits(limits);
  checkWindows(windows);
  return windows.some((window) => isOfUse(window, mask, bouncingOf(options)));
}

/**
 * Returns the smallest mask, a power of two less one, with which a device reaches all of the best window. (Linux: `dma_get_required_mask`.)
 * @throws InvalidArgumentError for an empty list of windows
 */
export function requiredMask(windows: readonly DeviceWindow[], options: DmaDeviceOptions = {}): bigint {
  const { last } = busRangeOf(bestWindow(windows, LAST_ADDRESS, bouncingOf(options)));
  return 2n ** BigInt(last.toString(2).length) - 1n;
}

/**
 * Returns the length of the longest possible `map`, in bytes, from the start of a page on, if nothing else is mapped: at most 2^53 − 1, and 0
 * if DMA is not possible. If buffers may have to be bounced, it is at most the size of the bounce pages. (Linux: `dma_max_mapping_size`.)
 */
export function largestMapping(
  windows: readonly DeviceWindow[],
  limits: DeviceLimits = {},
  options: DmaDeviceOptions = {},
): number {
  const { mask, boundaryMask } = checkedLimits(limits);
  const bouncing = bouncingOf(options);
  const window = bestWindow(windows, mask, bouncing);
  if (!isOfUse(window, mask, bouncing)) return 0;
  const { base } = busRangeOf(window);
  const reached = bytesUnder(window, mask);
  const largest = longestBetween(boundaryMask + 1n, base, reached);
  const mayBounce = bouncing === "untrusted" || (window.kind === "direct" && reached < BigInt(window.bytes));
  const bounced = mayBounce ? options.bounce?.pages.handle.bytes : undefined;
  return Math.min(Number(largest), bounced ?? Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
}

/**
 * Returns the alignment in bytes at which elements of a scatterlist merge although they are not adjacent in memory: the IO page size, or 0 if
 * they never merge. (Linux: `dma_get_merge_boundary`.) In a fragmented table a list may get several areas, so a device must accept as many
 * segments as the list has elements.
 */
export function mergeBoundary(
  windows: readonly DeviceWindow[],
  limits: DeviceLimits = {},
  options: DmaDeviceOptions = {},
): number {
  const { mask, boundaryMask, maxSegmentBytes } = checkedLimits(limits);
  const window = bestWindow(windows, mask, bouncingOf(options));
  if (window.kind === "direct" || options.merge === false) return 0;
  const pageSize = 2 ** window.table.window.pageShift;
  // A merged segment has at least two pages.
  return boundaryMask >= BigInt(2 * pageSize - 1) && maxSegmentBytes > pageSize ? pageSize : 0;
}

/** The longest range in [base, base + bytes) that has no multiple of `boundary` inside. */
function longestBetween(boundary: bigint, base: bigint, bytes: bigint): bigint {
  const head = boundary - (base % boundary);
  if (bytes <= head) return bytes;
  const rest = bytes - head;
  if (rest >= boundary) return boundary;
  return rest > head ? rest : head;
}
