/**
 * IO address spaces of iommufd: mappings of user memory at given or chosen bus addresses, in any number of domains. A copy of a mapping shares its
 * pinned memory.
 *
 * A space belongs to the thread that created it; container-end.ts describes its end when the thread dies. Memory is pinned and charged when it is
 * mapped, also while no domain is attached. (The kernel pins it when the first domain is attached.)
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
  /** This thread's view of the pinned memory. Each mapping that is not a copy takes one of its regions. */
  readonly pinned: PinnedMemory;
  /** The process that is charged: a number of `pinned.addOwner`. */
  readonly owner: number;
  /** Handle of a `ContainerEnd.offer` in another thread, which ends the space if this thread dies. Default: no other thread watches it yet. */
  readonly handle?: ContainerHandle;
}

/** A mapping to make. */
export interface IoMapRequest {
  /** Address in the owner's memory, in bytes. */
  readonly userAddress: bigint;
  /** Length in bytes. */
  readonly bytes: bigint;
  /** Allowed accesses of devices: 1 they read, 2 they write, 3 both. 0 is "EINVAL". */
  readonly access: 0 | Access;
  /** Bus address in bytes. Default: the lowest free one, not below 4096. */
  readonly iova?: bigint;
}

/** A copy to make: of one mapping of another address space or of this one, or of a part of it. */
export interface IoCopyRequest {
  /** The address space that has the mapping. */
  readonly source: IoAddressSpace;
  /** Bus address in the source. */
  readonly sourceIova: bigint;
  /** Length in bytes. */
  readonly bytes: bigint;
  /** Allowed accesses of devices: those of the source or fewer. 0 is "EINVAL". */
  readonly access: 0 | Access;
  /** Bus address in this space, in bytes. Default: the lowest free one, not below 4096. */
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

/**
 * An IO address space of iommufd: mappings of a process's memory in any number of domains.
 *
 * Only the thread that created the space uses it. Methods answer error numbers by name; every call after `close` answers "EPERM". Requests with
 * members of another type throw InvalidArgumentError.
 *
 * @example
 * A process maps a page at a bus address that the space chooses, and a second space shares it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { IoAddressSpace, isErrno } from "iova/containers";
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
 * const space = IoAddressSpace.create({ pinned, owner });
 * assert.ok(!isErrno(space));
 * assert.equal(space.attach({ window, ops }), undefined);
 * const mapped = space.map({ userAddress: 0x7f00_0000n, bytes: 4096n, access: 3 });
 * assert.deepEqual(mapped, { iova: 0x10_0000n }); // the lowest address of the window
 *
 * const other = IoAddressSpace.create({ pinned, owner });
 * assert.ok(!isErrno(other));
 * const copied = other.copy({ source: space, sourceIova: 0x10_0000n, bytes: 4096n, access: 1 });
 * assert.deepEqual(copied, { iova: 4096n }); // it has no domain yet: every address is free
 * assert.equal(pinned.chargedPages(owner), 1); // the page is pinned once
 *
 * assert.equal(space.unmap({ iova: 0x10_0000n, bytes: 4096n }), 4096n);
 * assert.equal(space.close(), undefined);
 * assert.equal(other.close(), undefined);
 * assert.equal(pinned.chargedPages(owner), 0);
 * ```
 */
export class IoAddressSpace {
  readonly #space: AddressSpace;
  readonly #end: ContainerEnd;
  readonly #pinned: PinnedMemory;
  readonly #owner: number;
  readonly #forgetEnding: () => void;
  /** Ranges of the last `allow`; undefined: every address. */
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

  /**
   * An address space without domains and mappings. "ESRCH": the process does not exist. Throws InvalidArgumentError for an option of another type, and
   * as `ContainerEnd.begin`.
   */
  static create(options: IoAddressSpaceOptions): IoAddressSpace | Errno {
    checkKeys("an IO address space", options, { pinned: "object", owner: "any", handle: "object" });
    checkInstance("pinned of an IO address space", options.pinned, PinnedMemory, "a view of a pinned memory");
    return options.pinned.hasOwner(options.owner) ? new IoAddressSpace(options) : "ESRCH";
  }

  /** Structured-cloneable: post it to a thread that calls `ContainerEnd.watch`. */
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
   * Sets the ranges from which the space chooses bus addresses. Domains that do not allow all of them can't be attached any more. An empty list
   * removes the limit. "EADDRINUSE": an attached domain does not allow one of the ranges.
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
   * Adds a domain, and maps everything in it. "EBUSY": it is attached already, or its IOMMU does not answer. "EADDRINUSE": it does not allow a mapped
   * address, or a range of `allow`. "EINVAL": its pages are larger than those of a mapping. After an error it is not attached.
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

  /**
   * Removes a domain: its devices reach nothing any more; the mappings stay. Its record of dirty pages is lost: take it before. "ENOENT": it is not
   * attached. "EBUSY": its IOMMU does not answer; it stays attached. Repeat the call.
   */
  detach(domain: Domain): Errno | undefined {
    if (!this.#isOpen) return "EPERM";
    if (!this.#space.domains.includes(domain)) return "ENOENT";
    const errno = this.#space.removeDomain(domain);
    if (errno === undefined && this.#tracked.delete(domain)) domain.dirtyLog?.stop();
    return errno;
  }

  /**
   * Maps user memory, and pins and charges it. Returns its bus address. All or nothing.
   *
   * - "EINVAL": access 0, no bytes, an address or length that is not a multiple of the alignment, a given bus address that is not allowed, or memory
   *   in pages smaller than those of an IOMMU;
   * - "EOVERFLOW": an end beyond 2^64;
   * - "EEXIST": a part of the given range is mapped already;
   * - "ENOSPC": no range is free;
   * - "ENOMEM": the limit of locked memory is reached, or the pinned memory has no room for a region;
   * - "EFAULT": a page is not present;
   * - "EBUSY": an IOMMU does not answer.
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
   * Maps the memory of a mapping of another space of the same owner, or a part of it. The memory is pinned and charged once. Returns the bus address.
   * "ENOENT": the source range is not inside of one mapping. "EPERM": the source is closed or has another owner, or its mapping does not allow the
   * access. Other errors as `map`.
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
   * Unmaps all mappings in a range. Returns the number of unmapped bytes. "ENOENT": nothing is mapped there, or the range would divide a mapping;
   * nothing is unmapped. "EINVAL": no bytes, an address or length that is not a multiple of the alignment, or an end beyond 2^64. "EBUSY": an IOMMU
   * does not answer; mappings below the first that stays are unmapped. Repeat the call.
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

  /** Unmaps all mappings. Returns the number of unmapped bytes. "EBUSY": as `unmap`. */
  unmapAll(): bigint | Errno {
    return this.#isOpen ? this.#space.unmapEach([...this.#space.mappings]) : "EPERM";
  }

  /**
   * Starts or stops to record the pages that devices of a domain write. A second call with the same value does nothing. "ENOENT": the domain is not
   * attached. "EOPNOTSUPP": its IOMMU keeps no record. "EBUSY": its IOMMU does not answer.
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

  /**
   * Reads and clears the record of a range: sets bit i % 8 of `into[i >> 3]` if devices have written page i of the range, of `pageBytes` bytes,
   * since the last call. Other bits keep their value. Of domains without a record every page that devices may write counts as written. "EINVAL": no
   * domain is tracked; the range is not a multiple of `pageBytes`, or divides a mapping; the bitmap is too short.
   */
  takeDirty(range: DirtyRange, into: Uint8Array): Errno | undefined {
    if (!this.#isOpen) return "EPERM";
    return this.#tracked.size === 0 ? "EINVAL" : takeDirtyPages(this.#space, range, into);
  }

  /** Ends the space: everything is unmapped and unpinned. "EBUSY": an IOMMU does not answer; repeat the call. A second call does nothing. */
  close(): Errno | undefined {
    if (!this.#isOpen) return undefined;
    const errno = this.#space.clear();
    if (errno !== undefined) return errno;
    this.#isOpen = false;
    this.#forgetEnding();
    this.#end.close();
    return undefined;
  }

  /** `using` ends it as `close` does. An error of `close` is not reported. */
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
      // Many drivers take bus address 0 for "not mapped".
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
