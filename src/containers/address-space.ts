/**
 * The address space of a container: its domains, and mappings of pinned user memory, each in all domains. The container checks what may be mapped
 * where. One thread's object.
 *
 * The order, for each mapping:
 *   map     pin, then entries of each domain, then publish; a failure clears, invalidates and unpins again.
 *   unmap   clear entries of each domain, publish, invalidate, and only then unpin: no device reaches memory that is no longer pinned.
 * While an invalidation fails, the memory stays pinned and charged, and the mapping stays listed: the unmap can be repeated. A failed map
 * leaves such entries in `#stranded`, which each later call tries to empty. Ops that throw are treated as failures.
 */

import type { PinnedMemory } from "../pinned/pinned-memory.ts";
import { USER_PAGE_SHIFT } from "../pinned/user-memory.ts";
import { setPages } from "../table/set-pages.ts";
import { type Errno, isErrno } from "../units/errno.ts";
import type { Failure } from "../units/failure.ts";
import { append, largest } from "../units/lists.ts";
import { type Access, DEVICE_WRITES } from "../units/numbers.ts";
import type { Domain } from "./domain.ts";
import { MappingList, type UserMapping } from "./mappings.ts";

/** Entries that are set in one call. */
const COLUMN_ENTRIES = 512;

/** Entries of a mapping in one domain. */
interface Entries {
  readonly domain: Domain;
  readonly first: number;
  readonly count: number;
}

/** Entries of a failed map that are not invalidated, and the region to which they may still lead. */
interface Stranded {
  readonly entries: readonly Entries[];
  readonly region: number;
  /** True: the entries have a use of the region of their own. False: they rely on the mappings of the region, whose unmap waits for them. */
  readonly isUse: boolean;
}

/** A mapping to make, in pages of 4 KiB. */
export interface UserRequest {
  readonly busPage: number;
  readonly pages: number;
  readonly userPage: number;
  readonly access: Access;
}

export interface AddressSpaceParts {
  readonly pinned: PinnedMemory;
  /** The process that is charged. */
  readonly owner: number;
  /** The container's number as a user of regions. */
  readonly user: number;
}

export class AddressSpace {
  readonly mappings: MappingList = new MappingList();
  readonly #pinned: PinnedMemory;
  readonly #owner: number;
  readonly #user: number;
  #domains: readonly Domain[] = [];
  #stranded: Stranded[] = [];
  readonly #column: Float64Array = new Float64Array(COLUMN_ENTRIES);

  constructor({ pinned, owner, user }: AddressSpaceParts) {
    this.#pinned = pinned;
    this.#owner = owner;
    this.#user = user;
  }

  get domains(): readonly Domain[] {
    return this.#domains;
  }

  /** Bytes of the smallest unit that can be mapped in every domain; 4 KiB without domains. */
  get unitBytes(): number {
    return largest(
      this.#domains.map(({ window }) => 2 ** window.pageShift),
      2 ** USER_PAGE_SHIFT,
    );
  }

  /**
   * Pins the memory and maps it in all domains. "ENOMEM", "EFAULT": it can't be pinned. "EINVAL": its pages are smaller than those of a domain, or
   * beyond the physical addresses of its entries. "EBUSY": the IOMMU does not answer in time. All or nothing.
   */
  map(request: UserRequest): Errno | undefined {
    this.#retryStranded();
    const region = this.#pinned.register(this.#owner, request.userPage, request.pages, {
      user: this.#user,
      isShared: true,
    });
    return isErrno(region) ? region : this.#place({ ...request, region });
  }

  /** As `map`, for memory that another address space of the owner has pinned as `region`. */
  mapRegion(request: UserRequest, region: number): Errno | undefined {
    this.#retryStranded();
    return this.#pinned.use(region, this.#user) ?? this.#place({ ...request, region });
  }

  /** Unmaps a mapping and ends its use of the region. "EBUSY": devices may still use it; it stays mapped. */
  unmap(mapping: UserMapping): Errno | undefined {
    this.#retryStranded();
    if (!empty(this.#domains.map((domain) => entriesOf(domain, mapping)))) return "EBUSY";
    if (this.#stranded.some(({ region, isUse }) => !isUse && region === mapping.region)) return "EBUSY";
    this.mappings.remove(mapping);
    this.#unpin(mapping);
    return undefined;
  }

  /** Unmaps these mappings. Returns the number of unmapped bytes; "EBUSY" at the first that stays mapped. */
  unmapEach(mappings: readonly UserMapping[]): bigint | Errno {
    let unmapped = 0;
    for (const mapping of mappings) {
      const errno = this.unmap(mapping);
      if (errno !== undefined) return errno;
      unmapped += mapping.pages;
    }
    return BigInt(unmapped) << BigInt(USER_PAGE_SHIFT);
  }

  /**
   * Divides a mapping at a bus page inside of it. Both parts use its region, so the pages stay pinned and charged until both are unmapped.
   * "ENOMEM": the region can't get one more user.
   */
  split(mapping: UserMapping, at: number): Errno | undefined {
    const errno = this.#pinned.use(mapping.region, this.#user);
    if (errno !== undefined) return errno;
    const pages = at - mapping.busPage;
    this.mappings.remove(mapping);
    this.mappings.add({ ...mapping, pages });
    this.mappings.add({
      ...mapping,
      busPage: at,
      userPage: mapping.userPage + pages,
      pages: mapping.pages - pages,
    });
    return undefined;
  }

  /** Adds a domain and maps everything in it. Errors as `map`; then the domain has no mapping and is not added. */
  addDomain(domain: Domain): Errno | undefined {
    const done: UserMapping[] = [];
    let isAdded = false;
    try {
      for (const mapping of this.mappings) {
        done.push(mapping);
        const errno = this.#set(domain, mapping);
        if (errno !== undefined) return errno;
      }
      this.#domains = [...this.#domains, domain];
      isAdded = true;
      return undefined;
    } finally {
      if (!isAdded) {
        this.#strand(
          ...done.map((one) => ({
            entries: [entriesOf(domain, one)],
            region: one.region,
            isUse: this.#pinned.use(one.region, this.#user) === undefined,
          })),
        );
      }
    }
  }

  /** Unmaps everything from a domain and removes it; the mappings stay. "EBUSY": its devices may still use some; nothing is removed. */
  removeDomain(domain: Domain): Errno | undefined {
    const entries = [...this.mappings].map((mapping) => entriesOf(domain, mapping));
    if (!empty(entries)) return "EBUSY";
    this.#domains = this.#domains.filter((one) => one !== domain);
    return undefined;
  }

  /** Unmaps everything. "EBUSY": devices may still use what stays mapped. */
  clear(): Errno | undefined {
    const unmapped = this.unmapEach([...this.mappings]);
    if (isErrno(unmapped)) return unmapped;
    this.#retryStranded();
    return this.#stranded.length > 0 ? "EBUSY" : undefined;
  }

  #place(mapping: UserMapping): Errno | undefined {
    const entries: Entries[] = [];
    let isPlaced = false;
    try {
      for (const domain of this.#domains) {
        entries.push(entriesOf(domain, mapping));
        const errno = this.#set(domain, mapping);
        if (errno !== undefined) return errno;
      }
      this.mappings.add(mapping);
      isPlaced = true;
      return undefined;
    } finally {
      if (!isPlaced) this.#strand({ entries, region: mapping.region, isUse: true });
    }
  }

  /** Sets and publishes a mapping's entries in one domain. On failure some may be set. */
  #set(domain: Domain, mapping: UserMapping): Errno | undefined {
    const { window, ops } = domain;
    const { first, count } = entriesOf(domain, mapping);
    const scale = 2 ** (window.pageShift - USER_PAGE_SHIFT);
    const column = this.#column;
    for (let done = 0; done < count; done += COLUMN_ENTRIES) {
      const part = Math.min(COLUMN_ENTRIES, count - done);
      for (let i = 0; i < part; i++) {
        const userPage = mapping.userPage + (done + i) * scale;
        const page = this.#pinned.physicalPage(mapping.region, userPage, window.pageShift);
        // IO pages above 4 KiB are aligned in physical memory too.
        if (page < 0 || page % scale !== 0) return "EINVAL";
        column[i] = page / scale;
      }
      const failure = setPages(ops, first + done, column, part, mapping.access);
      if (failure !== undefined) return errnoOfFailure(failure);
    }
    const failure = ops.publish();
    return failure === undefined ? undefined : errnoOfFailure(failure);
  }

  /** Unpins the memory of a mapping that no device can use any more. */
  #unpin({ access, region, userPage, pages }: UserMapping): void {
    if ((access & DEVICE_WRITES) !== 0) this.#pinned.markDirty(region, userPage, pages);
    this.#put(region);
  }

  /** Ends a use of the region: now, or with a later call if the pinned memory is locked. */
  #put(region: number): void {
    if (this.#pinned.put(region, this.#user) === "EAGAIN") this.#stranded.push({ entries: [], region, isUse: true });
  }

  /** Empties the entries of a failed map: now, or with a later call if the IOMMU does not answer or ops throw. */
  #strand(...all: readonly Stranded[]): void {
    append(this.#stranded, all);
    this.#retryStranded();
  }

  #retryStranded(): void {
    for (const one of [...this.#stranded]) {
      if (!empty(one.entries)) continue;
      this.#stranded = this.#stranded.filter((other) => other !== one);
      if (one.isUse) this.#put(one.region);
    }
  }
}

/** Empties entries. False: a device may still use them. */
function empty(all: readonly Entries[]): boolean {
  let isEmpty = true;
  for (const { domain, first, count } of all) {
    domain.ops.clear(first, count);
    const failure = domain.ops.publish();
    if ((domain.ops.invalidate(first, first + count) ?? failure) !== undefined) isEmpty = false;
  }
  return isEmpty;
}

function entriesOf(domain: Domain, { busPage, pages }: UserMapping): Entries {
  const { base, pageShift } = domain.window;
  const scale = 2 ** (pageShift - USER_PAGE_SHIFT);
  const basePage = Number(base >> BigInt(USER_PAGE_SHIFT));
  return { domain, first: (busPage - basePage) / scale, count: pages / scale };
}

function errnoOfFailure(failure: Failure): Errno {
  return failure === "platform-refused" ? "EINVAL" : "EBUSY";
}
