/**
 * An IO address space, as iommufd gives it: mappings of user memory at given or chosen bus addresses, in any number of domains; copies between
 * address spaces pin nothing anew.
 *
 *     const space = IoAddressSpace.create({ pinned, owner });
 *     space.attach(domain);
 *     const mapped = space.map({ userAddress, bytes: 65536n, access: 3 });            // { iova }, or "ENOSPC" …
 *     const copied = other.copy({ source: space, sourceIova: mapped.iova, bytes: 4096n, access: 1 });
 *     space.unmap({ iova: mapped.iova, bytes: 65536n });
 *
 * The space belongs to the thread that created it, and ends with it as `container-end.ts` says. Memory is pinned and charged when it is mapped, also
 * while no domain is attached. (The kernel pins when the first domain comes.)
 *
 * The calls and errors are those of the kernel's published interface (linux/iommufd.h) as its users see them; docs/verification.md lists
 * the answers that no kernel has confirmed yet.
 */
import { PinnedMemory } from "../pinned/pinned-memory.ts";
import { USER_PAGE_SHIFT } from "../pinned/user-memory.ts";
import { type Errno, isErrno } from "../units/errno.ts";
import { checkInstance, InvalidArgumentError } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import type { Access } from "../units/numbers.ts";
import { AddressSpace, type UserRequest } from "./address-space.ts";
import { ContainerEnd, type ContainerHandle } from "./container-end.ts";
import { type DirtyRange, takeDirtyPages } from "./dirty-pages.ts";
import { type AddressRange, allowedRanges, checkAddressRanges, checkDomain, contains, type Domain } from "./domain.ts";
import { rangeOf, type UserMapping } from "./mappings.ts";
import {
  type BusRange,
  busRange,
  checkAccess,
  checkAddress,
  checkAddresses,
  checkRequest,
  pageOf,
  userPages,
} from "./requests.ts";

/** Options of an `IoAddressSpace`. */
export interface IoAddressSpaceOptions {
  /** This thread's view. Each mapping that is not a copy takes one of its regions. */
  readonly pinned: PinnedMemory;
  /** The process that is charged: a number of `pinned.addOwner`. */
  readonly owner: number;
  /** What another thread has offered, to end the space when this thread dies: see `ContainerEnd.offer`. */
  readonly handle?: ContainerHandle;
}

/** A mapping to make. */
export interface IoMapRequest {
  /** Address in the owner's memory, in bytes. */
  readonly userAddress: bigint;
  /** Length in bytes. */
  readonly bytes: bigint;
  /** What devices may do. 0 is refused with "EINVAL". */
  readonly access: 0 | Access;
  /** The bus address, fixed. Absent: the space chooses a free one. */
  readonly iova?: bigint;
}

/** A copy to make: of a part of one mapping of another address space, or of this one. */
export interface IoCopyRequest {
  /** The address space that has the mapping. */
  readonly source: IoAddressSpace;
  /** Bus address in the source. */
  readonly sourceIova: bigint;
  /** Length in bytes. */
  readonly bytes: bigint;
  /** Allowed accesses of devices. */
  readonly access: 0 | Access;
  /** Bus address here. Default: the lowest free one. */
  readonly iova?: bigint;
}

const END_OF_ADDRESSES = 2n ** 64n;

/** Bus addresses that may be mapped. */
export interface IoRanges {
  /** Allowed ranges, in ascending order. */
  readonly allowed: readonly AddressRange[];
  /** Alignment of addresses and lengths, in bytes. */
  readonly alignment: number;
}

/** The result of a map or a copy. */
export interface IoPlace {
  /** Bus address of the first byte. */
  readonly iova: bigint;
}

/** An IO address space of iommufd. One thread's object. Calls answer error numbers by name. */
export class IoAddressSpace {
  readonly #space: AddressSpace;
  readonly #end: ContainerEnd;
  readonly #pinned: PinnedMemory;
  readonly #owner: number;
  readonly #forgetEnding: () => void;
  /** Set by the owner; undefined: every address. */
  #chosenRanges: readonly AddressRange[] | undefined;
  readonly #tracked: Set<Domain> = new Set();
  #isOpen = true;

  private constructor({ pinned, owner, handle }: IoAddressSpaceOptions) {
    this.#end = ContainerEnd.begin(pinned, owner, handle);
    this.#pinned = pinned;
    this.#owner = owner;
    this.#forgetEnding = pinned.onOwnerEnd(owner, () => this.close());
    this.#space = new AddressSpace({ pinned, owner, user: this.#end.handle.user });
  }

  /** An address space without domains and mappings. "ESRCH": no such process. Throws InvalidArgumentError for an option of another type. */
  static create(options: IoAddressSpaceOptions): IoAddressSpace | Errno {
    checkKeys("an IO address space", options, { pinned: "object", owner: "any", handle: "object" });
    checkInstance("pinned of an IO address space", options.pinned, PinnedMemory, "a view of a pinned memory");
    return options.pinned.hasOwner(options.owner) ? new IoAddressSpace(options) : "ESRCH";
  }

  /** Post it to a thread that watches the space: see `ContainerEnd`. */
  get handle(): ContainerHandle {
    return this.#end.handle;
  }

  /** The mappings, in ascending order of bus addresses. */
  mappings(): readonly UserMapping[] {
    return [...this.#space.mappings];
  }

  /** Bus addresses that may be mapped, and the alignment of addresses and lengths in bytes. */
  ranges(): IoRanges {
    return { allowed: allowedRanges(this.#space.domains), alignment: this.#space.unitBytes };
  }

  /**
   * Limits the addresses that the space chooses, and reserves them: domains that do not allow one of them can't be attached any more. An empty
   * list lifts the limit. "EADDRINUSE": a domain does not allow one of them.
   */
  allow(ranges: readonly AddressRange[]): Errno | undefined {
    checkAddressRanges("allowed ranges", ranges);
    if (!this.#isOpen) return "EPERM";
    const { allowed } = this.ranges();
    if (!ranges.every((range) => contains(allowed, range))) return "EADDRINUSE";
    this.#chosenRanges = ranges.length > 0 ? ranges : undefined;
    return undefined;
  }

  /**
   * Maps the space in one more domain. "EBUSY": it is attached, or its IOMMU does not answer. "EADDRINUSE": it does not allow an address that is
   * mapped, or that `allow` reserved. "EINVAL": its pages are larger than those that are mapped.
   */
  attach(domain: Domain): Errno | undefined {
    checkDomain(domain);
    if (!this.#isOpen) return "EPERM";
    if (this.#space.domains.includes(domain)) return "EBUSY";
    const allowed = allowedRanges([domain]);
    const isAllowed = (range: AddressRange): boolean => contains(allowed, range);
    if (!(this.#chosenRanges ?? []).every(isAllowed)) return "EADDRINUSE";
    const unitPages = 2 ** (domain.window.pageShift - USER_PAGE_SHIFT);
    for (const mapping of this.#space.mappings) {
      const { busPage, pages, userPage } = mapping;
      if ([busPage, pages, userPage].some((value) => value % unitPages !== 0)) return "EINVAL";
      if (!isAllowed(rangeOf(mapping))) return "EADDRINUSE";
    }
    return this.#space.addDomain(domain);
  }

  /** Removes a domain: its devices reach nothing any more; the mappings stay. Take its dirty pages before: its record ends. "ENOENT": it is not attached. "EBUSY": its IOMMU does not answer. */
  detach(domain: Domain): Errno | undefined {
    if (!this.#isOpen) return "EPERM";
    if (!this.#space.domains.includes(domain)) return "ENOENT";
    const errno = this.#space.removeDomain(domain);
    if (errno === undefined && this.#tracked.delete(domain)) domain.dirtyLog?.stop();
    return errno;
  }

  /**
   * Maps user memory. Returns its bus address. "EINVAL": no access, no bytes, an address or a length that is not a multiple of the
   * alignment, a fixed address that is not allowed, memory behind which pages are smaller than those of an IOMMU. "EOVERFLOW": an end beyond
   * 2^64. "EEXIST": a part of the fixed range is mapped. "ENOSPC": there is no free range. "ENOMEM": the limit of locked memory. "EFAULT": a page is not
   * present. "EBUSY": an IOMMU does not answer. All or nothing.
   */
  map(request: IoMapRequest): IoPlace | Errno {
    checkKeys("a map", request, { userAddress: "any", bytes: "any", access: "any", iova: "any" });
    const { userAddress, bytes, access, iova } = request;
    checkAddresses({ ...request }, "userAddress", "bytes");
    const userPage = userPages(userAddress, bytes, this.#space.unitBytes);
    const asked = this.#placed(bytes, access, iova, pageOf(userAddress));
    if (isErrno(asked)) return asked;
    if (userAddress + bytes > END_OF_ADDRESSES) return "EOVERFLOW";
    if (userPage === undefined) return "EINVAL";
    return answered(asked, this.#space.map(asked));
  }

  /**
   * Maps what a mapping of another space of the same owner maps, or a part of it; nothing is pinned anew. Returns the bus address. "ENOENT": the
   * source range is not in one mapping. "EPERM": the source has another owner, or is closed; or, when the copy should let devices write, the
   * mapping does not. Else as `map`.
   */
  copy(request: IoCopyRequest): IoPlace | Errno {
    checkKeys("a copy", request, { source: "object", sourceIova: "any", bytes: "any", access: "any", iova: "any" });
    const { source, sourceIova, bytes, access, iova } = request;
    if (!(source instanceof IoAddressSpace)) throw new InvalidArgumentError("source", source, "an IO address space");
    const range = busRange({ iova: sourceIova, bytes }, 2 ** USER_PAGE_SHIFT);
    const isOurs = source.#pinned === this.#pinned && source.#owner === this.#owner;
    if (!source.#isOpen || !isOurs) return "EPERM";
    if (range === undefined) return "EINVAL";
    const [first, end] = range;
    const found = source.#space.mappings.overlapping(first, end)[0];
    if (found === undefined || found.busPage > first || found.busPage + found.pages < end) return "ENOENT";
    const userPage = found.userPage + first - found.busPage;
    const asked = this.#placed(bytes, access, iova, userPage);
    if (isErrno(asked)) return asked;
    if ((access & found.access) !== access) return "EPERM";
    if (userPage % (this.#space.unitBytes / 2 ** USER_PAGE_SHIFT) !== 0) return "EINVAL";
    return answered(asked, this.#space.mapRegion(asked, found.region));
  }

  /**
   * Unmaps all mappings in a range. Returns how many bytes were unmapped. "ENOENT": nothing is mapped there, or the range would divide a mapping;
   * then nothing is unmapped. "EINVAL", "EBUSY": as Type1Container.unmap.
   */
  unmap(range: BusRange): bigint | Errno {
    checkRequest(range, ["iova", "bytes"]);
    const asked = busRange(range, this.#space.unitBytes);
    if (!this.#isOpen) return "EPERM";
    if (asked === undefined) return "EINVAL";
    const [first, end] = asked;
    const mappings = this.#space.mappings.overlapping(first, end);
    const isWhole = mappings.every(({ busPage, pages }) => busPage >= first && busPage + pages <= end);
    return mappings.length > 0 && isWhole ? this.#space.unmapEach(mappings) : "ENOENT";
  }

  /** Unmaps everything. Returns how many bytes were unmapped, or "EBUSY". */
  unmapAll(): bigint | Errno {
    return this.#isOpen ? this.#space.unmapEach([...this.#space.mappings]) : "EPERM";
  }

  /**
   * Begins or ends the record of which pages devices of a domain write. A second call with the same value does nothing. "ENOENT": it is not attached. "EOPNOTSUPP": its IOMMU keeps no
   * record. "EBUSY": it does not answer.
   */
  trackDirty(domain: Domain, isOn: boolean): Errno | undefined {
    if (typeof isOn !== "boolean") throw new InvalidArgumentError("isOn", isOn, "true or false");
    if (!this.#isOpen) return "EPERM";
    if (!this.#space.domains.includes(domain)) return "ENOENT";
    const { dirtyLog } = domain;
    if (dirtyLog === undefined) return "EOPNOTSUPP";
    if (isOn === this.#tracked.has(domain)) return undefined;
    if (!(isOn ? dirtyLog.start() : dirtyLog.stop())) return "EBUSY";
    if (isOn) this.#tracked.add(domain);
    else this.#tracked.delete(domain);
    return undefined;
  }

  /** As Type1Container.takeDirty. "EINVAL" also while no domain is tracked. */
  takeDirty(range: DirtyRange, into: Uint8Array): Errno | undefined {
    if (!this.#isOpen) return "EPERM";
    return this.#tracked.size === 0 ? "EINVAL" : takeDirtyPages(this.#space, range, into);
  }

  /** Ends the space: everything is unmapped and unpinned. "EBUSY": repeat the call. A second call does nothing. */
  close(): Errno | undefined {
    if (!this.#isOpen) return undefined;
    const errno = this.#space.clear();
    if (errno !== undefined) return errno;
    this.#isOpen = false;
    this.#forgetEnding();
    this.#end.close();
    return undefined;
  }

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** The request with its bus address: the fixed one, or the lowest that is free. */
  #placed(bytes: bigint, access: 0 | Access, iova: bigint | undefined, userPage: number): UserRequest | Errno {
    checkAddress("bytes", bytes);
    checkAccess(access);
    if (iova !== undefined) checkAddress("iova", iova);
    const { unitBytes } = this.#space;
    if (!this.#isOpen) return "EPERM";
    if (bytes === 0n || bytes % BigInt(unitBytes) !== 0n || access === 0) return "EINVAL";
    const pages = pageOf(bytes);
    const busPage = iova === undefined ? this.#chosen(pages) : this.#fixed(iova, bytes);
    return isErrno(busPage) ? busPage : { busPage, pages, userPage, access };
  }

  #fixed(iova: bigint, bytes: bigint): number | Errno {
    if (iova + bytes > END_OF_ADDRESSES) return "EOVERFLOW";
    if (iova % BigInt(this.#space.unitBytes) !== 0n) return "EINVAL";
    if (!contains(this.ranges().allowed, { first: iova, last: iova + bytes - 1n })) return "EINVAL";
    const first = pageOf(iova);
    return this.#space.mappings.overlapping(first, first + pageOf(bytes)).length > 0 ? "EEXIST" : first;
  }

  #chosen(pages: number): number | Errno {
    const alignment = this.#space.unitBytes / 2 ** USER_PAGE_SHIFT;
    for (const { first, last } of this.#chosenRanges ?? this.ranges().allowed) {
      // Address 0 means "none" to many drivers.
      const from = Math.max(1, pageOf(first + BigInt(2 ** USER_PAGE_SHIFT - 1)));
      const page = this.#space.mappings.gap(from, pageOf(last + 1n), pages, alignment);
      if (page !== undefined) return page;
    }
    return "ENOSPC";
  }
}

function answered({ busPage }: UserRequest, errno: Errno | undefined): IoPlace | Errno {
  return errno ?? { iova: BigInt(busPage) << BigInt(USER_PAGE_SHIFT) };
}
