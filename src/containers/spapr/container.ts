/**
 * A VFIO container of the kind for PowerPC: a process fills windows of its groups' tables with mappings of its own memory.
 *
 *     const container = SpaprContainer.open({ pinned, owner, kind: "spapr-v2" });       // or "EINVAL"
 *     container.attachGroup(powernvSpaprGroup(phb, group));
 *     container.register({ userAddress, bytes });                                       // v2: registers memory once, …
 *     container.createWindow({ pageShift: 16, windowBytes: 2n ** 30n, levels: 1 });     // the window's bus address
 *     container.map({ iova, userAddress, bytes, flags: 3 });                            // … and maps it any number of times
 *     container.close();
 *
 * Version 1 has one group with a 32-bit window, whose whole size `enable` charges; each map pins its own memory. Version 2 has any number of
 * groups, whose windows are made at run time and are the same for all; it maps registered memory only. The 32-bit window of groups with
 * windows of their own is made when it is first needed.
 *
 * The container belongs to the thread that opened it; its tables (pinned-table.ts) can be used by others. The process's end
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
 * Version of the container's interface: 1 pins all of a process's memory up to its limit at ENABLE; 2 registers
 * memory first.
 */
export type SpaprKind = "spapr-v1" | "spapr-v2";

/** Options of a `SpaprContainer`. */
export interface SpaprOptions {
  /** This thread's view. */
  readonly pinned: PinnedMemory;
  /** The process that is charged. */
  readonly owner: number;
  /** Any other kind is "EINVAL". */
  readonly kind: string;
}

/** What `info` answers. */
export interface SpaprInfo {
  /** The 32-bit window: its bus address and size in bytes; 0 if there is none. */
  readonly dma32Start: bigint;
  /** Size of the 32-bit window in bytes; 0 if there is none. */
  readonly dma32Bytes: bigint;
  /** Windows that each group can have at a time, IO page sizes as log2 of bytes, most levels. Version 1: 0, [], 0. */
  readonly dynamicWindows: number;
  /** IO page sizes of dynamic windows, as log2 of bytes. Version 1: []. */
  readonly pageShifts: readonly number[];
  /** Most levels of a dynamic window's table. Version 1: 0. */
  readonly levels: number;
}

/** Methods answer error numbers by name. `caller`: the calling process; default: that which opened the container. Another one is "EPERM". */
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

  /** A container without groups. "EINVAL": there is no such kind. "ESRCH": no such process. */
  static open(options: SpaprOptions): SpaprContainer | Errno {
    checkKeys("a container", options, { pinned: "object", owner: "any", kind: "any" });
    const { kind, owner, pinned } = options;
    if (kind !== "spapr-v1" && kind !== "spapr-v2") return "EINVAL";
    checkInstance("pinned of a container", pinned, PinnedMemory, "a view of a pinned memory");
    return pinned.hasOwner(owner) ? new SpaprContainer(options, kind) : "ESRCH";
  }

  /**
   * Adds a group, and sets the container's windows in it. "EBUSY": the group is in the container already; version 1 has one group; or the kernel uses
   * the group. "EINVAL": version 2, and the group has no dynamic windows. "EPERM": its windows are not made as those of the other groups. "ENODEV": the
   * group has no table at all. "EAGAIN": the platform is busy.
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
   * Removes a group: its devices reach nothing of the container any more. Windows and mappings stay for the other groups, and for later ones.
   * "ENODEV": it is not in the container. "EAGAIN": the platform is busy; repeat the call.
   */
  detachGroup(group: SpaprGroup, caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (!this.#groups.includes(group)) return "ENODEV";
    const errno = this.#windows.unsetAllIn(group, this.#groups.length === 1) ?? group.releaseOwnership();
    if (errno === undefined) this.#groups = this.#groups.filter((other) => other !== group);
    return errno;
  }

  /** The windows of the container, in the order of their bus addresses. "ENXIO": it has no group. */
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
   * Charges the whole 32-bit window. "ENOTTY": version 2. "EBUSY": enabled already. "ENODEV": no group. "EPERM": the group has no 32-bit window.
   * "ENOMEM": the limit of locked memory is reached.
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

  /** Ends the charge; what is mapped stays mapped. Of a container that is not enabled: does nothing. "ENOTTY": version 2. */
  disable(caller: number = this.owner): Errno | undefined {
    if (!this.#isCaller(caller)) return "EPERM";
    if (this.kind !== "spapr-v1") return "ENOTTY";
    return this.#endCharge();
  }

  // Version 2.

  /**
   * Registers user memory: charged and pinned, once, for any number of maps. "ENOTTY": version 1. "EINVAL": a short request, flags, not aligned to
   * pages, beyond 2^64, or overlapping a region. "EBUSY": this container has registered it. "ENOMEM", "EFAULT": as PinnedMemory.register. The first
   * one enables the container.
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
   * Ends a registration. "ENOTTY": version 1. "EPERM": nothing was ever registered. "EINVAL": as `register`. "ENOENT": this container has not registered
   * exactly this range. "EBUSY": something of it is mapped.
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
   * Makes a window in all groups. Returns its bus address. "ENOTTY": version 1. "EINVAL": a short request, flags, or a shape that the platform does not
   * have. "ENXIO": no group. "ENOSPC": there are two windows. "EPERM": the groups can't make windows. "ENOMEM": the limit of locked memory, or no memory
   * for the table. "EBUSY", "EAGAIN": a group can't set it; then no group has it. A default window that is not made yet is made first.
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
   * Removes the window that contains the address, with what is mapped in it. At address 0, a default window that is not made yet is never made.
   * "ENOTTY": version 1. "EINVAL": a short request, flags, or no such window. "EAGAIN": the platform is busy; repeat the call.
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
   * Maps user memory at exactly `iova`; live entries are replaced. All or nothing.
   * "EPERM": not enabled; or the IO page is larger than a page behind the memory, in version 1 and for device memory (version 2: "EINVAL").
   * "EINVAL": a short request, bad flags, neither read nor write, not aligned, beyond the window's end, or not registered. "ENXIO": no window there, or the
   * memory is being unregistered. "EFAULT": version 1, a page is not present. "ENOMEM": no memory for the table. "EAGAIN": the platform is busy.
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
   * Unmaps entries; empty ones stay empty. "EPERM": not enabled. "EINVAL": a short request, flags, not aligned, or beyond the window's end. "ENXIO": no
   * window there. "EAGAIN": the platform is busy; repeat the call.
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

  /** The tables of the windows, with user addresses. Post their handles to threads that map too, or that reclaim this one. */
  get tables(): readonly PinnedTable[] {
    return this.#windows.inUse.map(({ table }) => table);
  }

  /** The handles of the platform's tables below `tables`, in the same order: for the ops of other threads. */
  get platformHandles(): readonly object[] {
    return this.#windows.inUse.map(({ platform }) => platform.handle);
  }

  /** The platform's tables of the windows, in the same order. */
  get platformTables(): readonly SpaprTable[] {
    return this.#windows.inUse.map(({ platform }) => platform);
  }

  /**
   * Ends everything in order: entries are emptied and invalidated, windows leave the groups, the groups go back to the kernel, registrations and charges
   * end. "EAGAIN": the platform is busy; repeat the call. A second call does nothing.
   */
  close(): Errno | undefined {
    if (!this.#isOpen) return undefined;
    const errno = this.#windows.removeAll() ?? this.#releaseGroups() ?? this.#unregisterAll() ?? this.#endCharge();
    if (errno !== undefined) return errno;
    this.#isOpen = false;
    this.#forgetEnding();
    return undefined;
  }

  /** `using` ends it as `close` does. Throws IovaError "in-use" if that is not possible now. */
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

/** The entries of a range; undefined: not aligned to the window's pages, or beyond its end. */
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
