/**
 * What a driver asks before it maps anything: is DMA possible, which mask would be good, how much goes into one mapping, and may it
 * count on merging. All are answered from the windows and the device's limits; nothing is taken.
 */

import type { DmaDeviceOptions } from "./device-options.ts";
import { busRangeOf, bytesUnder, checkWindows, type DeviceWindow } from "./device-window.ts";
import { checkedLimits, type DeviceLimits } from "./limits.ts";
import { bestWindow, bouncingOf, isOfUse } from "./windows.ts";

const LAST_ADDRESS = 2n ** 64n - 1n;

/** Can a device with these limits do any DMA through one of the windows? (Kernels: `dma_supported`.) */
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
 * The least mask, a power of two less one, with which the device works through the best of these windows and reaches all of it.
 * (Kernels: `dma_get_required_mask`.) Throws InvalidArgumentError for no windows.
 */
export function requiredMask(windows: readonly DeviceWindow[], options: DmaDeviceOptions = {}): bigint {
  const { last } = busRangeOf(bestWindow(windows, LAST_ADDRESS, bouncingOf(options)));
  return 2n ** BigInt(last.toString(2).length) - 1n;
}

/**
 * The most bytes that one `map` can take, from the start of a page on, if nothing else is mapped: 0 when DMA is not possible; at
 * most 2^53 − 1. Where buffers may have to be bounced, no more than there are bounce pages. (Kernels: `dma_max_mapping_size`.)
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
 * At multiples of how many bytes neighbours of a scatterlist come out as one segment although they are apart in memory: the IO page
 * size; 0 where that never happens. (Kernels: `dma_get_merge_boundary`.) No more than an expectation: in a fragmented table a
 * list may get several areas, so a device must be able to take as many segments as there are elements.
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
  // Two pages make the shortest segment that was merged.
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
