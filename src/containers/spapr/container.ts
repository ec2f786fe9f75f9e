/**
 * VFIO containers for PowerPC: a process fills windows of its groups' tables with mappings of its own memory. The 32-bit window of groups with
 * dynamic windows is made when it is first needed.
 *
 * A container belongs to the thread that opened it; other threads can use its tables (pinned-table.ts). The end of the process
 * (`PinnedMemory.endOwner`) closes it first: entries are emptied, then invalidated, then tables leave the groups, then memory is unpinned.
 *
 * The calls and errors are those of the kernel's published interface (linux/vfio.h) as its users see them; docs/verification.md lists
 * the answers that no kernel has confirmed yet.
 */
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import type { PinnedTable } from "../../pinned/pinned-table.ts";
import { USER_PAGE_SHIFT, userRange } from "../../pinned/user-memory.ts";
import { type Errno, isErrno } from "../../units/errno.ts";
import { checkFunctions, checkInstance, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import type { Access } from "../../units/numbers.ts";
import {
  checkAddresses,
  checkRequest,
  hasHeader,
  type MapRequest,
  READ_OR_WRITE,
  type UnmapRequest,
} from "../requests.ts";
import type { SpaprGroup, SpaprTable } from "./group.ts";
import { ARGSZ, type CreateWindowRequest, type MemoryRequest, type RemoveWindowRequest } from "./requests.ts";
import { SpaprWindows, type WindowInUse } from "./windows.ts";

/**
 * Version of the container's interface. "spapr-v1": `enable` charges the size of the 32-bit window, and each map pins its own memory. "spapr-v2":
 * memory is registered, charged and pinned first, and then mapped any number of times.
 */
export type SpaprKind = "spapr-v1" | "spapr-v2";

/** Options of a `SpaprContainer`. */
export interface SpaprOptions {
  /** This thread's view of the pinned memory. */
  readonly pinned: PinnedMemory;
  /** The process that is charged: a number of `pinned.addOwner`. */
  readonly owner: number;
  /** A `SpaprKind`. Another string is "EINVAL", as an unknown extension of VFIO. */
  readonly kind: string;
}

/** Windows of an sPAPR container. */
export interface SpaprInfo {
  /** Bus address of the 32-bit window; 0n if the group has no such window. */
  readonly dma32Start: bigint;
  /** Size of the 32-bit window in bytes; 0n if the group has no such window. */
  readonly dma32Bytes: bigint;
  /** Most dynamic windows of each group at a time. Version 1: 0. */
  readonly dynamicWindows: number;
  /** IO page sizes of dynamic windows, as log2 of bytes. Version 1: []. */
  readonly pageShifts: readonly number[];
  /** Most levels of a dynamic window's table. Version 1: 0. */
  readonly levels: number;
}

/**
 * A VFIO container for PowerPC. Version 1 has one group with a 32-bit window. Version 2 has any number of groups; their windows are made at run time,
 * and are the same for all groups.
 *
 * Only the thread that opened the container uses it. Methods answer error numbers by name. `caller` is the calling process, by default the one that
 * opened the container; another process gets "EPERM", and so does every call after `close`. Requests with members of another type throw
 * InvalidArgumentError. "EAGAIN" from any call: the platform is busy, or another thread held a lock for too long; repeat the call.
 *
 * @example
 * A process registers 64 KiB, makes a window of 1 MiB, and maps a page in it.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { isErrno, powernvSpaprGroup, SpaprContainer } from "iova/containers";
 * import { Phb, PinnedMemory, SoftwareMachine, TableGroup } from "iova/platform";
 *
 * // A machine with a PHB4 and one device, in partition 1. The bridge has its tables in the second half of the memory.
 * const machine = SoftwareMachine.create({
 *   memoryBytes: 2 ** 22,
 *   iommu: "phb4",
 *   devices: ["nic"],
 *   partitions: 4,
 *   windows: 2,
 * });
 * const phb = Phb.create(machine, {
 *   devices: [{ name: "nic", requesterId: 0 }],
 *   region: { address: 2 ** 21, bytes: 2 ** 21 },
 * });
 * const group = powernvSpaprGroup(phb, TableGroup.create(phb, 1));
 * phb.bindDevice("nic", 1);
 *
 * // A process that may lock 1 MiB. Its memory begins at user address 0x7f000000, and at physical address 1 MiB.
 * const pinned = PinnedMemory.create({ memoryBytes: 2 ** 22, crew: machine.crew });
 * const memory = { pageOf: (page: number) => page - 0x7f000 + 256, backingShift: () => 12 };
 * const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, memory);
 * assert.ok(!isErrno(owner));
 *
 * const container = SpaprContainer.open({ pinned, owner, kind: "spapr-v2" });
 * assert.ok(!isErrno(container));
 * assert.equal(container.attachGroup(group), undefined);
 * assert.equal(container.removeWindow({ iova: 0n }), undefined); // no default window of 2 GiB
 * const iova = container.createWindow({ pageShift: 12, windowBytes: 2n ** 20n, levels: 1 });
 * assert.ok(!isErrno(iova));
 *
 * const page = { iova, userAddress: 0x7f00_0000n, bytes: 4096n, flags: 3 };
 * assert.equal(container.register({ userAddress: 0x7f00_0000n, bytes: 65536n }), undefined);
 * assert.equal(container.map(page), undefined);
 * assert.equal(machine.device("nic").dmaWrite(iova, Uint8Array.of(42)), true);
 * assert.equal(container.unregister({ userAddress: 0x7f00_0000n, bytes: 65536n }), "EBUSY"); // a page is mapped
 * assert.equal(container.close(), undefined);
 * assert.equal(pinned.chargedPages(owner), 0);
 * ```
 */
export class SpaprContainer {
  /** Version of the container's interface. */
  readonly kind: SpaprKind;
  /** The process that opened the container. */
  readonly owner: number;
  /** The container's number as a user of regions and charges. */
  readonly user: number;
  readonly #pinned: PinnedMemory;
  readonly #windows: SpaprWindows;
  readonly #forgetEnding: () => void;
  #groups: SpaprGroup[] = [];
  #isEnabled = false;
  #hasRegistered = false;
  /** The charge of an enabled container of version 1. */
  #charge: number | undefined;
  #isOpen = true;

  private constructor({ pinned, owner }: SpaprOptions, kind: SpaprKind) {
    this.kind = kind;
    this.owner = owner;
    this.#pinned = pinned;
    this.user = pinned.newUser();
    this.#windows = new SpaprWindows({ pinned, owner, user: this.user, isVersion1: kind === "spapr-v1" });
    this.#forgetEnding = pinned.onOwnerEnd(owner, () => this.close());
  }

  /**
   * A container without groups. "EINVAL": the kind is not a `SpaprKind`. "ESRCH": the process does not exist. Throws InvalidArgumentError for an
   * option of another type.
   */
  static open(options: SpaprOptions): SpaprContainer | Errno {
    checkKeys("a container", options, { pinned: "object", owner: "any", kind: "any" });
    const { kind, owner, pinned } = options;
    if (kind !== "spapr-v1" && kind !== "spapr-v2") return "EINVAL";
    checkInstance("pinned of a container", pinned, PinnedMemory, "a view of a pinned memory");
    return pinned.hasOwner(owner) ? new SpaprContainer(options, kind) : "ESRCH";
  }

  /**
   * Takes a group from the kernel, and sets the container's windows in it.
   *
   * - "EBUSY": the group is in the container already, version 1 has a group already, or the kernel uses the group;
   * - "EINVAL": version 2, and the group has no dynamic windows;
   * - "EPERM": tables of the other groups do not fit the group: it has other `windowOps`;
   * - "ENODEV": the group has neither dynamic windows nor a table.
   */
  attachGroup(group: SpaprGroup, caller: number = this.owner): Errno | undefined {
    checkFunctions("group", group, ["takeOwnership", "releaseOwnership"], "an SpaprGroup");
    if (!Array.isArray(group.fixedTables)) throw new InvalidArgumentError("group", group, "an SpaprGroup");
    const errno = this.#refusalOf(group, caller);
    if (errno !== undefined) return errno;
    const taken =
      this.#windows.removeLeft() ?? group.takeOwnership() ?? this.#windows.setAllIn(group, this.#groups.length === 0);
    if (taken === undefined) this.#groups.push(group);
    return taken;
  }

  /**
   * Removes a group and returns it to the kernel: its devices reach nothing of the container any more. Dynamic windows and their mappings stay, for the
   * other groups and for later ones. "ENODEV": the group is not in the container.
   */
  detachGroup(group: SpaprGroup, caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (!this.#groups.includes(group)) return "ENODEV";
    const errno = this.#windows.unsetAllIn(group, this.#groups.length === 1) ?? group.releaseOwnership();
    if (errno === undefined) this.#groups = this.#groups.filter((other) => other !== group);
    return errno;
  }

  /** The 32-bit window, and properties of dynamic windows, as VFIO_IOMMU_SPAPR_TCE_GET_INFO answers them. "ENXIO": no group. "EINVAL": a short request. */
  info(request: { readonly argsz?: number } = {}, caller: number = this.owner): SpaprInfo | Errno {
    checkRequest(request, ["argsz"]);
    if (!this.#isCaller(caller)) return "EPERM";
    if (!hasHeader(request, ARGSZ.info)) return "EINVAL";
    const [group] = this.#groups;
    if (group === undefined) return "ENXIO";
    const { base = 0n, bytes = 0n } = group.defaultWindow ?? {};
    const isV2 = this.kind === "spapr-v2";
    const { dynamicWindows, pageShifts, levels } = group;
    const dynamic = isV2 ? { dynamicWindows, pageShifts, levels } : { dynamicWindows: 0, pageShifts: [], levels: 0 };
    return { dma32Start: base, dma32Bytes: bytes, ...dynamic };
  }

  // Version 1.

  /**
   * Version 1: charges the size of the 32-bit window, and allows maps. "ENOTTY": version 2. "EBUSY": enabled already. "ENODEV": no group. "EPERM": the
   * group has no 32-bit window. "ENOMEM": the limit of locked memory is reached.
   */
  enable(caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.kind !== "spapr-v1") return "ENOTTY";
    if (this.#isEnabled) return "EBUSY";
    const [group] = this.#groups;
    if (group === undefined) return "ENODEV";
    if (group.defaultWindow === undefined) return "EPERM";
    const pages = Number(group.defaultWindow.bytes >> BigInt(USER_PAGE_SHIFT));
    const charge = this.#pinned.charge(this.owner, pages, this.user);
    if (isErrno(charge)) return charge;
    this.#charge = charge;
    this.#isEnabled = true;
    return undefined;
  }

  /** Version 1: ends the charge of `enable`. Mappings stay. A second call does nothing. "ENOTTY": version 2. */
  disable(caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.kind !== "spapr-v1") return "ENOTTY";
    return this.#endCharge();
  }

  // Version 2.

  /**
   * Version 2: registers user memory, which is charged and pinned once, for any number of maps. The first registration allows maps. Another container
   * of the process may have registered the same range: both share it.
   *
   * - "ENOTTY": version 1;
   * - "EINVAL": a short request, flags, an address or length that is not a multiple of 4096, no bytes, an end beyond 2^64, or an overlap with a
   *   region of another range;
   * - "EBUSY": this container has registered the range already;
   * - "ENOMEM": the limit of locked memory is reached, or the pinned memory has no room for a region or a user;
   * - "EFAULT": a page is not present.
   */
  register(request: MemoryRequest, caller: number = this.owner): Errno | undefined {
    checkRequest(request, ["argsz", "flags", "userAddress", "bytes"]);
    checkAddresses({ ...request }, "userAddress", "bytes");
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.kind !== "spapr-v2") return "ENOTTY";
    const range = hasHeader(request, ARGSZ.memory) ? userRange(request.userAddress, request.bytes) : "EINVAL";
    if (isErrno(range)) return range;
    const { userPage, pages } = range;
    this.#hasRegistered = true;
    const own = this.#pinned.find(this.owner, userPage, pages, this.user);
    if (own !== undefined) return isErrno(own) ? own : "EBUSY";
    const shared = this.#pinned.get(this.owner, userPage, pages, this.user);
    const region =
      shared === "ENOENT" ? this.#pinned.register(this.owner, userPage, pages, { user: this.user }) : shared;
    if (isErrno(region)) return region;
    this.#isEnabled = true;
    return undefined;
  }

  /**
   * Version 2: ends a registration. "ENOTTY": version 1. "EPERM": `register` was never called. "EINVAL": a short request, flags, or a range as in
   * `register`. "ENOENT": this container has not registered exactly this range. "EBUSY": a part of it is mapped.
   */
  unregister(request: MemoryRequest, caller: number = this.owner): Errno | undefined {
    checkRequest(request, ["argsz", "flags", "userAddress", "bytes"]);
    checkAddresses({ ...request }, "userAddress", "bytes");
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.kind !== "spapr-v2") return "ENOTTY";
    if (!this.#hasRegistered) return "EPERM";
    const range = hasHeader(request, ARGSZ.memory) ? userRange(request.userAddress, request.bytes) : "EINVAL";
    if (isErrno(range)) return range;
    return this.#pinned.unregister(this.owner, range.userPage, range.pages, this.user);
  }

  /**
   * Version 2: makes a dynamic window in all groups. Returns its bus address. A pending default window is made first. All or nothing.
   *
   * - "ENOTTY": version 1;
   * - "EINVAL": a short request, flags, or a shape that the platform does not have;
   * - "ENXIO": no group;
   * - "ENOSPC": the container has two windows;
   * - "EPERM": the groups have no dynamic windows;
   * - "ENOMEM": the limit of locked memory is reached, or the platform has no memory for the table;
   * - "EBUSY", "EAGAIN": a group can't set the window.
   */
  createWindow(request: CreateWindowRequest, caller: number = this.owner): bigint | Errno {
    checkRequest(request, ["argsz", "flags", "pageShift", "windowBytes", "levels"]);
    checkAddresses({ ...request }, "windowBytes");
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.kind !== "spapr-v2") return "ENOTTY";
    if (!hasHeader(request, ARGSZ.create)) return "EINVAL";
    if (this.#groups.length === 0) return "ENXIO";
    const { pageShift, windowBytes, levels } = request;
    return (
      this.#windows.makeDefault(this.#groups) ?? this.#windows.create(this.#groups, { pageShift, windowBytes, levels })
    );
  }

  /**
   * Version 2: removes the window that contains the address, and its mappings. At address 0 a pending default window is cancelled: it is never made.
   * "ENOTTY": version 1. "EINVAL": a short request, flags, or no window contains the address.
   */
  removeWindow(request: RemoveWindowRequest, caller: number = this.owner): Errno | undefined {
    checkRequest(request, ["argsz", "flags", "iova"]);
    checkAddresses({ ...request }, "iova");
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.kind !== "spapr-v2") return "ENOTTY";
    if (!hasHeader(request, ARGSZ.remove)) return "EINVAL";
    if (request.iova === 0n && this.#windows.cancelDefault()) return undefined;
    const errno = this.#windows.makeDefault(this.#groups);
    if (errno !== undefined) return errno;
    const window = this.#windows.at(request.iova);
    return window === undefined ? "EINVAL" : this.#windows.remove(window);
  }

  // Both versions.

  /**
   * Maps user memory at exactly `iova`. Live entries are replaced. A request for no bytes does nothing. All or nothing.
   *
   * - "EPERM": version 1 is not enabled, version 2 has registered nothing; or the IO page is larger than a page behind the memory, in version 1 and for
   *   device memory;
   * - "EINVAL": a short request, unknown flags, neither read nor write, an address or length that is not a multiple of the IO page, or an end beyond
   *   the window; version 2: the memory is not registered, or the IO page is larger than a page behind it;
   * - "ENXIO": no window contains `iova`, or the memory is being unregistered;
   * - "EFAULT": version 1: a page is not present;
   * - "ENOMEM": the platform has no memory for the table, or the pinned memory no room for a region.
   */
  map(request: MapRequest, caller: number = this.owner): Errno | undefined {
    checkRequest(request, ["argsz", "flags", "iova", "userAddress", "bytes"]);
    checkAddresses({ ...request }, "iova", "userAddress", "bytes");
    if (!this.#isCaller(caller) || !this.#isEnabled) return "EPERM";
    if (!hasHeader(request, ARGSZ.map, READ_OR_WRITE)) return "EINVAL";
    const window = this.#windowAt(request.iova);
    if (isErrno(window)) return window;
    const range = rangeIn(window, request);
    const memory = request.bytes === 0n ? undefined : userRange(request.userAddress, request.bytes);
    if (range === undefined || isErrno(memory) || (request.flags & READ_OR_WRITE) === 0) return "EINVAL";
    if (memory === undefined) return undefined;
    return this.#windows.map(window, range, memory, request.flags as Access);
  }

  /**
   * Unmaps a range; its entries may be empty already. "EPERM": version 1 is not enabled, version 2 has registered nothing. "EINVAL": a short request,
   * flags, an address or length that is not a multiple of the IO page, or an end beyond the window. "ENXIO": no window contains `iova`.
   */
  unmap(request: UnmapRequest, caller: number = this.owner): Errno | undefined {
    checkRequest(request, ["argsz", "flags", "iova", "bytes"]);
    checkAddresses({ ...request }, "iova", "bytes");
    if (!this.#isCaller(caller) || !this.#isEnabled) return "EPERM";
    if (!hasHeader(request, ARGSZ.unmap)) return "EINVAL";
    const window = this.#windowAt(request.iova);
    if (isErrno(window)) return window;
    const range = rangeIn(window, request);
    if (range === undefined) return "EINVAL";
    return range.count === 0 ? undefined : this.#windows.unmap(window, range.first, range.count);
  }

  /** The tables of the windows. Post their handles to threads that map in them, or that reclaim this thread. */
  get tables(): readonly PinnedTable[] {
    return this.#windows.inUse.map(({ table }) => table);
  }

  /** Handles of the platform's tables below `tables`, in the same order: other threads attach with them for their ops. */
  get platformHandles(): readonly object[] {
    return this.#windows.inUse.map(({ platform }) => platform.handle);
  }

  /** The platform's tables below `tables`, in the same order. */
  get platformTables(): readonly SpaprTable[] {
    return this.#windows.inUse.map(({ platform }) => platform);
  }

  /**
   * Ends the container. In this order entries are emptied and invalidated, windows are removed from the groups, groups are returned to the kernel, and
   * registrations and charges end. A second call does nothing.
   */
  close(): Errno | undefined {
    if (!this.#isOpen) return undefined;
    const errno = this.#windows.removeAll() ?? this.#releaseGroups() ?? this.#unregisterAll() ?? this.#endCharge();
    if (errno !== undefined) return errno;
    this.#isOpen = false;
    this.#forgetEnding();
    return undefined;
  }

  /** `using` ends it as `close` does. Throws IovaError "in-use" if `close` returns an error. */
  [Symbol.dispose](): void {
    const errno = this.close();
    if (errno !== undefined) throw new IovaError("in-use", `the container can't be closed: ${errno}`);
  }

  #isCaller(caller: number): boolean {
    return this.#isOpen && caller === this.owner;
  }

  #refusalOf(group: SpaprGroup, caller: number): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    const [first] = this.#groups;
    if (this.kind === "spapr-v1" && first !== undefined) return "EBUSY";
    if (this.kind === "spapr-v2" && group.dynamicWindows === 0) return "EINVAL";
    if (first !== undefined && first.windowOps !== group.windowOps) return "EPERM";
    if (this.#groups.some(({ number }) => number === group.number)) return "EBUSY";
    return group.windowOps === undefined && group.fixedTables.length === 0 ? "ENODEV" : undefined;
  }

  #windowAt(iova: bigint): WindowInUse | Errno {
    return this.#windows.makeDefault(this.#groups) ?? this.#windows.at(iova) ?? "ENXIO";
  }

  #releaseGroups(): Errno | undefined {
    while (this.#groups.length > 0) {
      const errno = (this.#groups[0] as SpaprGroup).releaseOwnership();
      if (errno !== undefined) return errno;
      this.#groups = this.#groups.slice(1);
    }
    return undefined;
  }

  #unregisterAll(): Errno | undefined {
    const regions = this.#pinned.regionsOf(this.owner, this.user);
    if (isErrno(regions)) return regions;
    for (const region of regions) {
      const errno = this.#pinned.put(region, this.user);
      if (errno !== undefined && errno !== "ENOENT") return errno;
    }
    return undefined;
  }

  #endCharge(): Errno | undefined {
    const errno = this.#charge === undefined ? undefined : this.#pinned.uncharge(this.#charge);
    if (errno === "EAGAIN") return errno;
    this.#charge = undefined;
    this.#isEnabled = false;
    return undefined;
  }
}

/** Entries of a range; undefined: it is not aligned to the window's pages, or ends beyond the window. */
function rangeIn(
  { table }: WindowInUse,
  request: { readonly iova: bigint; readonly bytes: bigint; readonly userAddress?: bigint },
): { readonly first: number; readonly count: number } | undefined {
  const { base, pageShift, entries } = table.window;
  const { iova, bytes, userAddress = 0n } = request;
  const offset = iova - base;
  const shift = BigInt(pageShift);
  const mask = (1n << shift) - 1n;
  if (((offset | bytes | userAddress) & mask) !== 0n || offset + bytes > BigInt(entries) << shift) return undefined;
  return { first: Number(offset >> shift), count: Number(bytes >> shift) };
}
