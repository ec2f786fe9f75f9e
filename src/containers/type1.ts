/**
 * A VFIO container of type 1: the address space of devices on x86 and Arm, which a process fills with mappings of its own memory. Version 1
 * divides mappings when a part is unmapped; version 2 refuses that.
 *
 *     const container = Type1Container.open({ version: 2, pinned, owner });                         // or "EINVAL", "ESRCH"
 *     container.attachGroup({ number: 7, domain: { window, ops } });
 *     container.map({ iova: 0x10000n, userAddress: 0x7f00_0000_0000n, bytes: 65536n, flags: 3 });    // undefined, or "ENOMEM" …
 *     container.unmap({ iova: 0x10000n, bytes: 65536n });                                           // 65536n, or "EINVAL" …
 *     container.close();
 *
 * The process is the thread that opened the container: a view cannot be posted. Calls answer error numbers by name. A thread that dies
 * leaves everything mapped until `crew.reclaim` runs in a thread that watches the container ([`ContainerEnd`](container-end.ts)).
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
  /** 1: unmapping a part divides a mapping. 2: it is refused. Default 2. */
  readonly version?: number;
  /** This thread's view. Its regions must suffice: each mapping takes one. */
  readonly pinned: PinnedMemory;
  /** The process that is charged: a number of `pinned.addOwner`. */
  readonly owner: number;
  /** Most mappings at a time, from 1 on. Default 65,535. */
  readonly mappings?: number;
  /** What another thread has offered, to end the container when this thread dies: see `ContainerEnd.offer`. */
  readonly handle?: ContainerHandle;
}

/** What a container can do at the moment. */
export interface Type1Info {
  /** Addresses and lengths are multiples of this many bytes. */
  readonly pageBytes: number;
  /** Bus addresses that may be mapped. */
  readonly allowed: readonly AddressRange[];
  /** Mappings that can still be made. */
  readonly available: number;
}

/** Methods answer error numbers by name. `caller`: the calling process; default: that which opened the container. Another one is "EPERM". */
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
  /** While tracking: what devices of domains that have left have written. */
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
   * A container without groups. "EINVAL": there is no such version. "ESRCH": no such process. Throws InvalidArgumentError for an option of another type or
   * range.
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

  /** Post it to a thread that watches the container: see `ContainerEnd`. */
  get handle(): ContainerHandle {
    return this.#end.handle;
  }

  /**
   * Adds a group, whose devices then reach all that is mapped. "EBUSY": the group is in the container already. "EINVAL": its domain does not
   * allow or hold an address that is mapped.
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
   * Removes a group. Its devices reach nothing any more, unless another group has the same domain. With the last group everything is unmapped.
   * "EINVAL": the group is not in the container. "EBUSY": its devices may still use something; the group stays.
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
   * Maps user memory at exactly `iova`. "EINVAL": a short request, bad flags, neither read nor write, no group, no bytes, an address or a length that is not a multiple of `pageBytes`,
   * an end beyond 2^64, addresses that are not allowed, memory behind which pages are smaller than those of the IOMMU. "EEXIST": a part is mapped
   * already. "ENOSPC": the limit of mappings is reached. "ENOMEM": the limit of locked memory. "EFAULT": a page is not present. "EBUSY": the IOMMU does
   * not answer. All or nothing.
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
   * Unmaps all mappings in a range. Returns how many bytes were unmapped: 0n if nothing was mapped there, which is no error. "EINVAL": as
   * `map`, or, with version 2, the range would divide a mapping: nothing is unmapped then. "EBUSY": the IOMMU does not answer; mappings below the
   * one that it keeps are unmapped.
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

  /** Unmaps everything; returns as `unmap`. */
  unmapAll(caller: number = this.owner): bigint | Errno {
    return this.#isCaller(caller) ? this.#space.unmapEach([...this.#space.mappings]) : "EPERM";
  }

  /** Begins to record which pages devices write. While it records, a second call does nothing. "EINVAL": no group. "EBUSY": the IOMMU does not answer. */
  startDirtyTracking(caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.#groups.size === 0) return "EINVAL";
    if (this.#isTracking) return undefined;
    const isStarted = this.#space.domains.every(({ dirtyLog }) => dirtyLog === undefined || dirtyLog.start());
    if (!isStarted) return "EBUSY";
    this.#isTracking = true;
    return undefined;
  }

  /** Ends the record. "EINVAL": none was begun. "EBUSY": the IOMMU does not answer. */
  stopDirtyTracking(caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (!this.#isTracking) return "EINVAL";
    if (!this.#space.domains.every(({ dirtyLog }) => dirtyLog === undefined || dirtyLog.stop())) return "EBUSY";
    this.#endTracking();
    return undefined;
  }

  /**
   * Reads and clears which pages of a range devices have written since the last call: bit i of `into` is page i of `pageBytes` bytes. Where an
   * IOMMU keeps no record, every page that devices may write counts as written. What devices of a detached group have written is in it. "EINVAL": no record was begun; a range that is not a multiple of
   * `pageBytes`, or that divides a mapping; a bitmap that is too short.
   */
  takeDirty(range: DirtyRange, into: Uint8Array, caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (!this.#isTracking) return "EINVAL";
    return takeDirtyPages(this.#space, range, into, this.#keptDirty);
  }

  /**
   * Ends the container: everything is unmapped and unpinned, groups are free. "EBUSY": devices may still use what stays mapped; repeat the call. A
   * second call does nothing. Later calls of other functions answer "EPERM".
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

  /** `using` ends it as `close` does. */
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
