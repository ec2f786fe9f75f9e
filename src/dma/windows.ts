/**
 * A device with several windows: which one it works through, chosen by its masks. A window list is what a platform publishes at the
 * time; when it publishes another one (a dynamic window was made, or removed), make a new device from it, and let the old one go
 * when its mappings are unmapped.
 */
import { InvalidArgumentError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import type { CoherentMemory, DmaOperations, Mapping, MappingAttributes, MappingPart } from "./contract.ts";
import { DmaDevice, type DmaDeviceOptions } from "./device.ts";
import { bytesUnder, type DeviceWindow } from "./device-window.ts";
import { DirectDevice } from "./direct-device.ts";
import { checkedLimits, type DeviceLimits } from "./limits.ts";
import type { ScatterList } from "./scatter-list.ts";

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
  return new SplitDevice(deviceOf(streaming, limits, options), deviceOf(coherent, limits, options));
}

/** What bounce buffers do for a device. */
export type Bouncing = "none" | "by-reach" | "untrusted";

export function bouncingOf({ bounce }: DmaDeviceOptions): Bouncing {
  if (bounce === undefined) return "none";
  return bounce.untrusted === true ? "untrusted" : "by-reach";
}

/**
 * The best window under a mask: a direct one all of which the device reaches, since it costs nothing; then the translated one of
 * which it reaches most; then a direct one of which it reaches a part, where buffers beyond can be bounced. Of equals the first. A
 * device that is not trusted gets no direct window. When none is of use, the first it may have.
 */
export function bestWindow(windows: readonly DeviceWindow[], mask: bigint, bouncing: Bouncing): DeviceWindow {
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
  throw new InvalidArgumentError("windows of the device", windows.length === 0 ? "none" : "all direct", expected);
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

/** Coherent memory through one window, everything else through another. */
class SplitDevice implements DmaOperations {
  readonly #streaming: DmaOperations;
  readonly #coherent: DmaOperations;
  readonly #coherentIovas: Set<bigint> = new Set();

  constructor(streaming: DmaOperations, coherent: DmaOperations) {
    this.#streaming = streaming;
    this.#coherent = coherent;
  }

  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure {
    return this.#streaming.map(address, bytes, access, attributes);
  }
  unmap(mapping: Mapping): Failure | undefined {
    return this.#streaming.unmap(mapping);
  }
  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined {
    return this.#streaming.mapSg(list, access, attributes);
  }
  unmapSg(list: ScatterList): Failure | undefined {
    return this.#streaming.unmapSg(list);
  }
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure {
    return this.#streaming.mapResource(address, bytes, access);
  }
  unmapResource(mapping: Mapping): Failure | undefined {
    return this.#streaming.unmapResource(mapping);
  }
  allocateCoherent(bytes: number): CoherentMemory | Failure {
    const memory = this.#coherent.allocateCoherent(bytes);
    if (typeof memory !== "string") this.#coherentIovas.add(memory.iova);
    return memory;
  }
  freeCoherent(memory: CoherentMemory): Failure | undefined {
    const failure = this.#coherent.freeCoherent(memory);
    this.#coherentIovas.delete(memory.iova);
    return failure;
  }
  syncForCpu(mapping: Mapping, part?: MappingPart): void {
    this.#deviceFor(mapping).syncForCpu(mapping, part);
  }
  syncForDevice(mapping: Mapping, part?: MappingPart): void {
    this.#deviceFor(mapping).syncForDevice(mapping, part);
  }
  syncSgForCpu(list: ScatterList): void {
    this.#streaming.syncSgForCpu(list);
  }
  syncSgForDevice(list: ScatterList): void {
    this.#streaming.syncSgForDevice(list);
  }
  failureOf(result: Mapping | Failure): Failure | undefined {
    return this.#streaming.failureOf(result);
  }

  /** Drivers may sync coherent memory, too: it is checked where it was made. */
  #deviceFor({ iova }: Mapping): DmaOperations {
    return this.#coherentIovas.has(iova) ? this.#coherent : this.#streaming;
  }
}
