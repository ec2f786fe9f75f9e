/**
 * A device with several windows: which one it works through, chosen by its masks. A window list is what a platform publishes at the
 * time; when it publishes another one (a dynamic window was made, or removed), make a new device from it, and let the old one go
 * when its mappings are unmapped.
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
 * The device that drivers use: through the best window for its mask, and for coherent memory through the best one for its coherent
 * mask. A mask below all windows makes a device whose every mapping fails as "mask-too-low"; `isDmaPossible` says so before.
 * @throws InvalidArgumentError for no windows, or for windows, limits or options outside their range
 */
export function createDevice(
  windows: readonly DeviceWindow[],
  limits: DeviceLimits = {},
  options: DmaDeviceOptions = {},
): DmaOperations {
  const { mask, coherentMask } = checkedLimits(limits);
  const bouncing = bouncingOf(options);
  const streaming = bestWindow(windows, mask, bouncing);
  // What is coherent is never bounced: a direct window must be reached without.
  const coherent = bestWindow(windows, coherentMask, bouncing === "by-reach" ? "none" : bouncing);
  if (streaming === coherent || options.coherentPages === undefined) return deviceOf(streaming, limits, options);
  return new RoutedDevice(routeOf(streaming, limits, options), routeOf(coherent, limits, options), options);
}

/** What bounce buffers do for a device. */
export type Bouncing = "none" | "by-reach" | "untrusted";

export function bouncingOf(options: DmaDeviceOptions): Bouncing {
  checkDeviceOptions(options);
  const { bounce } = options;
  if (bounce === undefined) return "none";
  return bounce.untrusted === true ? "untrusted" : "by-reach";
}

/**
 * The best window under a mask: a direct one all of which the device reaches, since it costs nothing; then the translated one of
 * which it reaches most; then a direct one of which it reaches a part, where buffers beyond can be bounced. Of equals the first. A
 * device that is not trusted gets no direct window. When none is of use, the first it may have.
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

/** Can the device work through this window at all? */
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
