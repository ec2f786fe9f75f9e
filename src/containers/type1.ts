/**
 * VFIO containers of type 1: the address space of devices on x86 and Arm, which a process fills with mappings of its own memory.
 *
 * A container belongs to the thread that opened it, and cannot be posted. When that thread dies, everything stays mapped until `crew.reclaim` runs
 * in a thread that watches the container (container-end.ts).
 *
 * The calls and errors are those of the kernel's published interface (linux/vfio.h) as its users see them; docs/verification.md lists
 * the answers that no kernel has confirmed yet.
 */
import { PinnedMemory } from "../pinned/pinned-memory.ts";
import { USER_PAGE_SHIFT } from "../pinned/user-memory.ts";
import type { Errno } from "../units/errno.ts";
import { checkInstance, checkInteger } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import { AddressSpace, type UserRequest } from "./address-space.ts";
import { ContainerEnd, type ContainerHandle } from "./container-end.ts";
import { type DirtyRange, KeptDirtyPages, takeDirtyPages } from "./dirty-pages.ts";
import { type AddressRange, allowedRanges, checkGroup, contains, type IommuGroup } from "./domain.ts";
import { rangeOf, type UserMapping } from "./mappings.ts";
import {
  busRange,
  checkRequest,
  hasHeader,
  MAP_ARGSZ,
  type MapRequest,
  READ_OR_WRITE,
  UNMAP_ARGSZ,
  type UnmapRequest,
  userRequest,
} from "./requests.ts";

/** As the kernel's parameter dma_entry_limit: mappings of one container. */
const DEFAULT_MAPPINGS = 65535;

/** Options of a `Type1Container`. */
export interface Type1Options {
  /** 1: an unmap of a part of a mapping divides it. 2: it is "EINVAL". Default 2. */
  readonly version?: number;
  /** This thread's view of the pinned memory. Each mapping takes one of its regions. */
  readonly pinned: PinnedMemory;
  /** The process that is charged: a number of `pinned.addOwner`. */
  readonly owner: number;
  /** Most mappings at a time: 1 .. 2^31 − 1. Default 65,535, as the kernel's parameter dma_entry_limit. */
  readonly mappings?: number;
  /** Handle of a `ContainerEnd.offer` in another thread, which ends the container if this thread dies. Default: no other thread watches it yet. */
  readonly handle?: ContainerHandle;
}

/** Properties of a container with its present groups. */
export interface Type1Info {
  /** Alignment of addresses and lengths in bytes: the largest IO page size of the groups, at least 4096. */
  readonly pageBytes: number;
  /** Bus addresses that may be mapped, in ascending order. Empty without groups. */
  readonly allowed: readonly AddressRange[];
  /** Mappings that can still be made. */
  readonly available: number;
}

/**
 * A VFIO container of type 1. Version 1 divides a mapping when a part of it is unmapped; version 2 refuses that.
 *
 * Only the thread that opened the container uses it. Methods answer error numbers by name. `caller` is the calling process, by default the one that
 * opened the container; another process gets "EPERM", and so does every call after `close`. Requests with members of another type throw
 * InvalidArgumentError.
 *
 * @example
 * A process maps 64 KiB of its memory for the devices of a group. Needs an IOMMU: here one in software.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { isErrno, Type1Container } from "iova/containers";
 * import { LinearPlatform, PinnedMemory, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 24, threads: 2 });
 * const window = { base: 0x10_0000n, pageShift: 12, entries: 512 };
 * const { ops } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 *
 * // A process that may lock 1 MiB. Its memory begins at user address 0x7f000000, and at physical address 4 MiB.
 * const pinned = PinnedMemory.create({ memoryBytes: 2 ** 24, crew: machine.crew });
 * const memory = { pageOf: (page: number) => page - 0x7f000 + 1024, backingShift: () => 12 };
 * const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, memory);
 * assert.ok(!isErrno(owner));
 *
 * const container = Type1Container.open({ version: 2, pinned, owner });
 * assert.ok(!isErrno(container));
 * assert.equal(container.attachGroup({ number: 7, domain: { window, ops } }), undefined);
 * const range = { iova: 0x10_0000n, bytes: 65536n };
 * assert.equal(container.map({ ...range, userAddress: 0x7f00_0000n, flags: 3 }), undefined);
 * assert.equal(container.map({ ...range, userAddress: 0x7f00_0000n, flags: 3 }), "EEXIST");
 * assert.equal(machine.device(0).dmaWrite(0x10_0000n, Uint8Array.of(42)), true);
 * assert.equal(pinned.chargedPages(owner), 16);
 *
 * assert.equal(container.unmap(range), 65536n);
 * assert.equal(container.close(), undefined);
 * assert.equal(pinned.chargedPages(owner), 0);
 * ```
 */
export class Type1Container {
  /** The process that opened the container. */
  readonly owner: number;
  readonly #space: AddressSpace;
  readonly #end: ContainerEnd;
  readonly #forgetEnding: () => void;
  readonly #splits: boolean;
  readonly #limit: number;
  readonly #groups: Map<number, IommuGroup> = new Map();
  #allowed: readonly AddressRange[] = [];
  #isTracking = false;
  /** While tracking: pages that devices of removed domains have written. */
  readonly #keptDirty = new KeptDirtyPages();
  #isOpen = true;

  private constructor(options: Type1Options, end: ContainerEnd) {
    const { version = 2, pinned, owner, mappings = DEFAULT_MAPPINGS } = options;
    this.#splits = version === 1;
    this.#limit = mappings;
    this.#end = end;
    this.owner = owner;
    this.#forgetEnding = pinned.onOwnerEnd(owner, () => this.close());
    this.#space = new AddressSpace({ pinned, owner, user: end.handle.user });
  }

  /**
   * A container without groups. "EINVAL": the version is neither 1 nor 2. "ESRCH": the process does not exist. Throws InvalidArgumentError for an
   * option of another type or range, and as `ContainerEnd.begin`.
   */
  static open(options: Type1Options): Type1Container | Errno {
    checkKeys("a container", options, {
      version: "any",
      pinned: "object",
      owner: "any",
      mappings: "any",
      handle: "object",
    });
    const { version = 2, mappings = DEFAULT_MAPPINGS, pinned, owner, handle } = options;
    if (version !== 1 && version !== 2) return "EINVAL";
    checkInteger("mappings of a container", mappings, 1, 2 ** 31 - 1);
    checkInstance("pinned of a container", pinned, PinnedMemory, "a view of a pinned memory");
    return pinned.hasOwner(owner) ? new Type1Container(options, ContainerEnd.begin(pinned, owner, handle)) : "ESRCH";
  }

  /** Structured-cloneable: post it to a thread that calls `ContainerEnd.watch`. */
  get handle(): ContainerHandle {
    return this.#end.handle;
  }

  /**
   * Adds a group: its devices reach all mappings from now on. "EBUSY": the group is in the container already, or its IOMMU does not answer.
   * "EINVAL": its domain does not allow a mapped address, or its pages are larger than those of a mapping. After an error the group is not added.
   */
  attachGroup(group: IommuGroup, caller: number = this.owner): Errno | undefined {
    checkGroup(group);
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.#groups.has(group.number)) return "EBUSY";
    const errno = this.#space.domains.includes(group.domain) ? undefined : this.#addDomain(group);
    if (errno === undefined) this.#groups.set(group.number, group);
    return errno;
  }

  /**
   * Removes a group by its number. Its devices reach nothing any more, unless another group has the same domain. With the last group everything is
   * unmapped. "EINVAL": the group is not in the container. "EBUSY": the IOMMU does not answer; the group stays. Repeat the call.
   */
  detachGroup(number: number, caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    const group = this.#groups.get(number);
    if (group === undefined) return "EINVAL";
    const isLast = this.#groups.size === 1;
    const errno = (isLast ? this.#space.clear() : undefined) ?? this.#leaveDomain(group);
    if (errno !== undefined) return errno;
    this.#groups.delete(number);
    this.#allowed = allowedRanges(this.#space.domains);
    if (isLast) this.#endTracking();
    return undefined;
  }

  /** The container's properties, as VFIO_IOMMU_GET_INFO answers them. */
  info(): Type1Info {
    return {
      pageBytes: this.#space.unitBytes,
      allowed: this.#groups.size > 0 ? this.#allowed : [],
      available: this.#limit - this.#space.mappings.length,
    };
  }

  /** The mappings, in ascending order of bus addresses. */
  mappings(): readonly UserMapping[] {
    return [...this.#space.mappings];
  }

  /**
   * Maps user memory at exactly `iova`, and pins and charges it. All or nothing.
   *
   * - "EINVAL": a short request, unknown flags, neither read nor write, no bytes, an address or length that is not a multiple of `pageBytes`, an end
   *   beyond 2^64, a bus address that is not allowed, memory in pages smaller than those of the IOMMU, or a container without groups;
   * - "EEXIST": a part of the range is mapped already;
   * - "ENOSPC": the limit of mappings is reached;
   * - "ENOMEM": the limit of locked memory is reached, or the pinned memory has no room for a region;
   * - "EFAULT": a page is not present;
   * - "EBUSY": the IOMMU does not answer.
   */
  map(request: MapRequest, caller: number = this.owner): Errno | undefined {
    checkRequest(request, ["argsz", "flags", "iova", "userAddress", "bytes"]);
    const isKnown = hasHeader(request, MAP_ARGSZ, READ_OR_WRITE);
    const asked = userRequest(request, this.#space.unitBytes);
    if (!this.#isCaller(caller)) return "EPERM";
    if (asked === undefined || !isKnown || this.#groups.size === 0) return "EINVAL";
    return this.#refusal(asked) ?? this.#space.map(asked);
  }

  /**
   * Unmaps all mappings in a range. Returns the number of unmapped bytes, 0n if nothing was mapped there.
   *
   * - "EINVAL": a short request, flags, no bytes, an address or length that is not a multiple of `pageBytes`, an end beyond 2^64; or the range would
   *   divide a mapping of a container of version 2. Nothing is unmapped;
   * - "ENOMEM": version 1, and the pinned memory has no room to divide a mapping. Nothing is unmapped;
   * - "EBUSY": the IOMMU does not answer. Mappings below the first that stays are unmapped. Repeat the call.
   */
  unmap(request: UnmapRequest, caller: number = this.owner): bigint | Errno {
    checkRequest(request, ["argsz", "flags", "iova", "bytes"]);
    const asked = busRange(request, this.#space.unitBytes);
    const isKnown = hasHeader(request, UNMAP_ARGSZ);
    if (!this.#isCaller(caller)) return "EPERM";
    if (asked === undefined || !isKnown) return "EINVAL";
    const [first, end] = asked;
    for (const edge of [first, end]) {
      const cut = this.#space.mappings.overlapping(edge, edge + 1)[0];
      if (cut === undefined || cut.busPage === edge) continue;
      const errno = this.#splits ? this.#space.split(cut, edge) : "EINVAL";
      if (errno !== undefined) return errno;
    }
    return this.#space.unmapEach(this.#space.mappings.overlapping(first, end));
  }

  /** Unmaps all mappings. Returns the number of unmapped bytes. "EBUSY": as `unmap`. */
  unmapAll(caller: number = this.owner): bigint | Errno {
    return this.#isCaller(caller) ? this.#space.unmapEach([...this.#space.mappings]) : "EPERM";
  }

  /** Starts to record the pages that devices write. While it records, a second call does nothing. "EINVAL": no group. "EBUSY": the IOMMU does not answer. */
  startDirtyTracking(caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.#groups.size === 0) return "EINVAL";
    if (this.#isTracking) return undefined;
    const isStarted = this.#space.domains.every(({ dirtyLog }) => dirtyLog === undefined || dirtyLog.start());
    if (!isStarted) return "EBUSY";
    this.#isTracking = true;
    return undefined;
  }

  /** Stops to record, and drops the record. "EINVAL": it does not record. "EBUSY": the IOMMU does not answer. */
  stopDirtyTracking(caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (!this.#isTracking) return "EINVAL";
    if (!this.#space.domains.every(({ dirtyLog }) => dirtyLog === undefined || dirtyLog.stop())) return "EBUSY";
    this.#endTracking();
    return undefined;
  }

  /**
   * Reads and clears the record of a range: sets bit i % 8 of `into[i >> 3]` if devices have written page i of the range, of `pageBytes` bytes,
   * since the last call. Other bits keep their value. If an IOMMU keeps no record, every page that devices may write counts as written. Writes by
   * devices of a removed group are included. "EINVAL": it does not record; the range is not a multiple of `pageBytes`, or divides a mapping; the
   * bitmap is too short.
   */
  takeDirty(range: DirtyRange, into: Uint8Array, caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (!this.#isTracking) return "EINVAL";
    return takeDirtyPages(this.#space, range, into, this.#keptDirty);
  }

  /**
   * Ends the container: everything is unmapped and unpinned, and its groups are free. "EBUSY": the IOMMU does not answer; repeat the call. A second
   * call does nothing.
   */
  close(): Errno | undefined {
    if (!this.#isOpen) return undefined;
    const errno = this.#space.clear();
    if (errno !== undefined) return errno;
    this.#isOpen = false;
    this.#groups.clear();
    this.#forgetEnding();
    this.#end.close();
    return undefined;
  }

  /** `using` ends it as `close` does. An error of `close` is not reported. */
  [Symbol.dispose](): void {
    this.close();
  }

  #endTracking(): void {
    this.#isTracking = false;
    this.#keptDirty.clear();
  }

  #isCaller(caller: number): boolean {
    return this.#isOpen && caller === this.owner;
  }

  #addDomain({ domain }: IommuGroup): Errno | undefined {
    const allowed = allowedRanges([...this.#space.domains, domain]);
    const unitPages = 2 ** (domain.window.pageShift - USER_PAGE_SHIFT);
    for (const mapping of this.#space.mappings) {
      const { busPage, pages, userPage } = mapping;
      const isAligned = [busPage, pages, userPage].every((value) => value % unitPages === 0);
      if (!isAligned || !contains(allowed, rangeOf(mapping))) return "EINVAL";
    }
    // The record begins before the domain's devices reach anything.
    if (this.#isTracking && domain.dirtyLog?.start() === false) return "EBUSY";
    const errno = this.#space.addDomain(domain);
    if (errno === undefined) this.#allowed = allowed;
    else if (this.#isTracking) domain.dirtyLog?.stop();
    return errno;
  }

  #leaveDomain({ domain, number }: IommuGroup): Errno | undefined {
    for (const other of this.#groups.values()) if (other.number !== number && other.domain === domain) return undefined;
    const errno = this.#space.removeDomain(domain);
    if (errno !== undefined || !this.#isTracking) return errno;
    this.#keptDirty.keep(this.#space, domain);
    domain.dirtyLog?.stop();
    return undefined;
  }

  #refusal(request: UserRequest): Errno | undefined {
    const { busPage, pages } = request;
    const { mappings } = this.#space;
    if (mappings.overlapping(busPage, busPage + pages).length > 0) return "EEXIST";
    if (mappings.length >= this.#limit) return "ENOSPC";
    return contains(this.#allowed, rangeOf(request)) ? undefined : "EINVAL";
  }
}
