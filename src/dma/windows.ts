/**
 * Chooses, by a device's masks, which of several windows it uses. A platform's window list can change when a dynamic window is created or
 * removed. Make a new device from the new list then, and drop the old device when its mappings are unmapped.
 */
import { InvalidArgumentError, inWords } from "../units/errors.ts";
import type { DmaOperations } from "./contract.ts";
import { DmaDevice } from "./device.ts";
import { checkDeviceOptions, type DmaDeviceOptions } from "./device-options.ts";
import { bytesUnder, checkWindows, type DeviceWindow } from "./device-window.ts";
import { DirectDevice, DirectRoute } from "./direct.ts";
import { checkedLimits, type DeviceLimits } from "./limits.ts";
import type { Route } from "./route.ts";
import { RoutedDevice } from "./routed-device.ts";
import { TableRoute } from "./translated/table-route.ts";

/**
 * Makes a device that maps through the best window for its mask, and coherent memory through the best window for its coherent mask. With a mask
 * below all windows, every mapping fails with "mask-too-low"; `isDmaPossible` returns false for such a mask.
 * @throws InvalidArgumentError for an empty list of windows, and for windows, limits or options outside their range
 *
 * @example
 * ```ts
 * import { createDevice, DEVICE_READS, orThrow } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 64 };
 * const { windows } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const all = { kind: "direct", base: 2n ** 59n, address: 0, bytes: 2 ** 20 } as const; // a second window, without a table
 * for (const mask of [2n ** 64n - 1n, 0xffff_ffffn]) {
 *   const device = createDevice([...windows, all], { mask });
 *   console.log(orThrow(device.map(0x1_2000n, 64, DEVICE_READS)).iova >= 2n ** 59n ? "direct" : "by the table");
 * }
 * ```
 * ```text output
 * direct
 * by the table
 * ```
 */
export function createDevice(
  windows: readonly DeviceWindow[],
  limits: DeviceLimits = {},
  options: DmaDeviceOptions = {},
): DmaOperations {
  const { mask, coherentMask } = checkedLimits(limits);
  const bouncing = bouncingOf(options);
  const streaming = bestWindow(windows, mask, bouncing);
  // Coherent memory is never bounced, so bounce buffers do not make a direct window usable for it.
  const coherent = bestWindow(windows, coherentMask, bouncing === "by-reach" ? "none" : bouncing);
  if (streaming === coherent || options.coherentPages === undefined) return deviceOf(streaming, limits, options);
  return new RoutedDevice(routeOf(streaming, limits, options), routeOf(coherent, limits, options), options);
}

/** Which memory of a device is bounced. */
export type Bouncing = "none" | "by-reach" | "untrusted";

export function bouncingOf(options: DmaDeviceOptions): Bouncing {
  checkDeviceOptions(options);
  const { bounce } = options;
  if (bounce === undefined) return "none";
  return bounce.untrusted === true ? "untrusted" : "by-reach";
}

/**
 * The best window under a mask. First choice: a direct window that the device reaches wholly, since it costs nothing. Then the translated
 * window of which it reaches most. Then a direct window that it reaches partly, if other buffers can be bounced. Among equals, the first.
 * An untrusted device gets no direct window. If no window is usable, the first one that the device may have.
 */
export function bestWindow(windows: readonly DeviceWindow[], mask: bigint, bouncing: Bouncing): DeviceWindow {
  checkWindows(windows);
  let best: DeviceWindow | undefined;
  let bestRank: Rank = { kind: -1, bytes: 0n };
  for (const window of windows) {
    if (window.kind === "direct" && bouncing === "untrusted") continue;
    const rank = rankOf(window, mask, bouncing);
    if (rank.kind < bestRank.kind || (rank.kind === bestRank.kind && rank.bytes <= bestRank.bytes)) continue;
    best = window;
    bestRank = rank;
  }
  if (best !== undefined) return best;
  const expected =
    bouncing === "untrusted" ? "at least one translated one, for a device that is not trusted" : "at least one";
  throw new InvalidArgumentError(
    "windows of the device",
    inWords(windows.length === 0 ? "none" : "all direct"),
    expected,
  );
}

/** True if the device can do DMA through this window. */
export function isOfUse(window: DeviceWindow, mask: bigint, bouncing: Bouncing): boolean {
  return rankOf(window, mask, bouncing).kind > 0;
}

interface Rank {
  /** 3: direct, reached wholly. 2: translated. 1: direct, reached in part. 0: of no use. */
  readonly kind: number;
  readonly bytes: bigint;
}

function rankOf(window: DeviceWindow, mask: bigint, bouncing: Bouncing): Rank {
  const bytes = bytesUnder(window, mask);
  if (window.kind === "translated") return { kind: bytes > 0n ? 2 : 0, bytes };
  if (bouncing === "untrusted") return { kind: 0, bytes };
  if (bytes === BigInt(window.bytes)) return { kind: 3, bytes };
  return { kind: bytes > 0n && bouncing === "by-reach" ? 1 : 0, bytes };
}

function deviceOf(window: DeviceWindow, limits: DeviceLimits, options: DmaDeviceOptions): DmaOperations {
  if (window.kind === "direct") return new DirectDevice(window, limits, options);
  return new DmaDevice(window.table, limits, options);
}

function routeOf(window: DeviceWindow, limits: DeviceLimits, options: DmaDeviceOptions): Route {
  if (window.kind === "direct") return new DirectRoute(window, limits, options);
  return new TableRoute(window.table, limits, options);
}
