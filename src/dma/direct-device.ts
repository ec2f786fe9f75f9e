/**
 * A device behind a direct window: bus address = physical address + offset, with no table, so nothing is taken or invalidated.
 * What the device's mask or boundary does not allow is bounced where bounce buffers are on, else refused: "mask-too-low".
 *
 * The same memory may be mapped many times at one bus address, and no record is kept of it: a wrong `unmap` of what is not bounced
 * is seen only when it is outside of the window. (The debug mode sees all.)
 *
 * One DirectDevice per device and thread.
 */
import { checkInteger, FreeError, InvalidArgumentError, SyncError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import type { Access, Iova } from "../units/numbers.ts";
import { type BounceBuffer, BounceBuffers, type BounceRule } from "./bounce.ts";
import { bounceList, takeBounced } from "./bounce-list.ts";
import { CoherentBlocks, type CoherentPlaces } from "./coherent.ts";
import type { CoherentMemory, DmaOperations, Mapping, MappingAttributes, MappingPart } from "./contract.ts";
import { type DmaDeviceOptions, memoryOf } from "./device.ts";
import { checkDirectWindow, type DirectWindow } from "./device-window.ts";
import { checkSegments, placeDirectly } from "./direct-list.ts";
import { DirectReach } from "./direct-reach.ts";
import { type CheckedLimits, checkedLimits, type DeviceLimits } from "./limits.ts";
import { checkMappedBy, checkNotMapped } from "./map-sg.ts";
import { checkAccess, checkedPart, checkRange, hex, notSetUp, syncErrorFor } from "./requests.ts";
import type { ScatterList } from "./scatter-list.ts";

const PAGE_BYTES = 4096;

export class DirectDevice implements DmaOperations {
  readonly #limits: CheckedLimits;
  readonly #reach: DirectReach;
  readonly #merge: boolean;
  readonly #buffers: BounceBuffers | undefined;
  readonly #coherent: CoherentBlocks | undefined;

  /**
   * Of the options, `cpuPageShift` and `faults` mean nothing here.
   * @throws InvalidArgumentError for a window, limit or option outside its range, and for a device that is not trusted: through a
   * direct window it would see all memory
   */
  constructor(window: DirectWindow, limits: DeviceLimits = {}, options: DmaDeviceOptions = {}) {
    checkDirectWindow(window);
    this.#limits = checkedLimits(limits);
    this.#reach = new DirectReach(window, this.#limits.mask, this.#limits);
    this.#merge = options.merge ?? true;
    const { bounce, coherentPages } = options;
    const memory = memoryOf(options);
    if (bounce?.untrusted === true) {
      throw new InvalidArgumentError("window of a device that is not trusted", "direct", "a translated one");
    }
    if (memory !== undefined && bounce !== undefined) {
      this.#buffers = new BounceBuffers(memory, bounce.pages, reachRule(this.#reach, this.#limits));
    }
    if (memory !== undefined && coherentPages !== undefined) {
      const reach = new DirectReach(window, this.#limits.coherentMask, this.#limits);
      this.#coherent = new CoherentBlocks(memory, coherentPages, new DirectSpace(reach));
    }
  }

  /** See `DmaDevice.map`. */
  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    const buffers = this.#buffers;
    const physical = Number(address);
    if (buffers?.isBounced(physical, bytes) !== true) return this.#mapAsItIs(physical, bytes, access);
    const buffer = buffers.take(physical, bytes, access, attributes);
    if (typeof buffer === "string") return buffer;
    buffers.keep(buffer.address, buffer);
    return { iova: this.#reach.busAddress(buffer.address), bytes, access };
  }

  /** @throws FreeError for bytes outside of the window, or other bytes of a bounce buffer; nothing has been changed then */
  unmap(mapping: Mapping): Failure | undefined {
    const buffer = this.#checkMapped(mapping);
    if (this.#coherent?.has(mapping.iova) === true) {
      throw new FreeError("not-allocated", `unmap at ${hex(mapping.iova)}: coherent memory, for freeCoherent`);
    }
    if (buffer === undefined) return undefined;
    this.#buffers?.forget(buffer.address);
    this.#buffers?.finish(buffer, undefined);
    return undefined;
  }

  /**
   * As `DmaDevice.mapSg`; one segment an element, joined where they are adjacent in memory. An element that crosses a segment
   * boundary is bounced, or refused: "longer-than-boundary".
   */
  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined {
    checkAccess(access);
    checkNotMapped(list);
    checkSegments(list, this.#limits.maxSegmentBytes);
    const buffers = this.#buffers;
    const refused = buffers === undefined ? undefined : bounceList(list, buffers, access, attributes);
    if (refused !== undefined) return refused;
    const { maxSegmentBytes } = this.#limits;
    const failure = placeDirectly(list, this, { reach: this.#reach, maxSegmentBytes, merge: this.#merge });
    if (failure !== undefined) for (const buffer of takeBounced(list)) buffers?.giveBack(buffer);
    return failure;
  }

  /** See `DmaDevice.unmapSg`. */
  unmapSg(list: ScatterList): Failure | undefined {
    checkMappedBy(list, this, "unmapSg", FreeError);
    for (const buffer of takeBounced(list)) this.#buffers?.finish(buffer, undefined);
    list.mapping.segments = 0;
    list.mapping.device = undefined;
    return undefined;
  }

  /** Registers of a peer, where the window shows them: never bounced, so out of reach they are refused. */
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure {
    checkAccess(access);
    checkRange(address, bytes);
    return this.#mapAsItIs(Number(address), bytes, access);
  }

  unmapResource(mapping: Mapping): Failure | undefined {
    if (this.#checkMapped(mapping) === undefined && this.#coherent?.has(mapping.iova) !== true) return undefined;
    throw new FreeError("not-allocated", `unmapResource at ${hex(mapping.iova)}: memory is mapped there`);
  }

  /** See `DmaDevice.allocateCoherent`; the pages must lie under the coherent mask. */
  allocateCoherent(bytes: number): CoherentMemory | Failure {
    return this.#coherentBlocks().allocate(bytes);
  }

  freeCoherent(memory: CoherentMemory): Failure | undefined {
    return this.#coherentBlocks().free(memory);
  }

  /** See `DmaDevice.syncForCpu`; what is not bounced is known to be mapped only as far as it is inside the window. */
  syncForCpu(mapping: Mapping, part?: MappingPart): void {
    this.#sync(mapping, part, "cpu");
  }

  syncForDevice(mapping: Mapping, part?: MappingPart): void {
    this.#sync(mapping, part, "device");
  }

  syncSgForCpu(list: ScatterList): void {
    checkMappedBy(list, this, "sync", SyncError);
    this.#buffers?.syncAll(list.mapping.bounced, "cpu");
  }

  syncSgForDevice(list: ScatterList): void {
    checkMappedBy(list, this, "sync", SyncError);
    this.#buffers?.syncAll(list.mapping.bounced, "device");
  }

  failureOf(result: Mapping | Failure): Failure | undefined {
    return typeof result === "string" ? result : undefined;
  }

  #mapAsItIs(address: number, bytes: number, access: Access): Mapping | Failure {
    const refusal = this.#reach.refusal(address, bytes);
    return refusal === 0 ? { iova: this.#reach.busAddress(address), bytes, access } : failureOf(refusal);
  }

  #sync(mapping: Mapping, part: MappingPart | undefined, toward: "cpu" | "device"): void {
    const wanted = checkedPart(mapping, part);
    try {
      const buffer = this.#checkMapped(mapping);
      if (buffer !== undefined) this.#buffers?.sync(buffer, wanted, toward);
    } catch (error) {
      throw syncErrorFor(error, mapping);
    }
  }

  /** The bounce buffer of a mapping, if it has one. Throws FreeError for what can't be mapped. */
  #checkMapped({ iova, bytes }: Mapping): BounceBuffer | undefined {
    checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    const address = this.#reach.physicalAddress(iova);
    if (address < 0 || !this.#reach.isInside(address, bytes)) {
      throw new FreeError("out-of-range", `${bytes} bytes at ${hex(iova)}: not inside the direct window`);
    }
    const buffer = this.#buffers?.at(address);
    if (buffer === undefined || buffer.bytes === bytes) return buffer;
    throw new FreeError("wrong-length", `${bytes} bytes at ${hex(iova)}: ${buffer.bytes} are mapped there`);
  }

  #coherentBlocks(): CoherentBlocks {
    if (this.#coherent === undefined) throw notSetUp("coherent memory", "`memory` and `coherentPages`");
    return this.#coherent;
  }
}

/** A device gets everything as it is that it can use, and a bounce buffer that it can use for the rest. */
function reachRule(reach: DirectReach, { alignment }: CheckedLimits): BounceRule {
  return {
    pageSize: PAGE_BYTES,
    isBounced: (address, bytes) => reach.refusal(address, bytes) !== 0,
    bounceAlignment: () => Math.max(PAGE_BYTES, alignment),
    bounceRefusal: (address, bytes) => {
      const refusal = reach.refusal(address, bytes);
      return refusal === 0 ? undefined : failureOf(refusal);
    },
  };
}

/** Where a device behind a direct window keeps coherent memory: where the pages are, if it can use them there. */
class DirectSpace implements CoherentPlaces {
  readonly pageSize: number = PAGE_BYTES;
  /** There are no entries. */
  readonly isStranded = false;
  readonly #reach: DirectReach;

  constructor(reach: DirectReach) {
    this.#reach = reach;
  }

  coherentRefusal(): undefined {
    return undefined;
  }

  placeCoherent(address: number, bytes: number, alignment: number): Iova | Failure {
    const refusal = this.#reach.refusal(address, bytes);
    if (refusal !== 0) return failureOf(refusal);
    const iova = this.#reach.busAddress(address);
    // A window at an odd place: natural alignment in memory is none on the bus.
    return iova % BigInt(alignment) === 0n ? iova : "platform-refused";
  }

  removeCoherent(): undefined {
    return undefined;
  }
}
