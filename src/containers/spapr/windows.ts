/**
 * The windows of an sPAPR container: at most two, each the same table in all groups. The default window is pending, from the first group on,
 * until it is needed: 4 KiB pages, one level.
 */
import type { PinnedMemory } from "../../pinned/pinned-memory.ts";
import { PinnedTable } from "../../pinned/pinned-table.ts";
import { USER_PAGE_SHIFT, type UserRange } from "../../pinned/user-memory.ts";
import { type Errno, isErrno } from "../../units/errno.ts";
import type { Access } from "../../units/numbers.ts";
import type { SpaprGroup, SpaprTable, SpaprWindowShape } from "./group.ts";

const WINDOWS = [0, 1] as const;
/** Page shift of the default window: 4 KiB. */
const DEFAULT_PAGE_SHIFT = 12;
/** Levels of the default window's table. */
const DEFAULT_LEVELS = 1;

/** A window that exists. */
export interface WindowInUse {
  readonly platform: SpaprTable;
  readonly table: PinnedTable;
  /** The charge for the table's memory; undefined for a fixed table. */
  readonly charge?: number;
  /** The table stays with the group. */
  readonly isFixed: boolean;
  /** The groups in which it is set. */
  readonly groups: Set<SpaprGroup>;
  /** Version 1: regions that may have lost their last mapping while the platform was busy. The next successful call unpins them. */
  readonly loose: Set<number>;
  /** True if its pinned table is removed, and the platform's is not released yet. */
  isEmptied: boolean;
}

export interface SpaprWindowsOptions {
  readonly pinned: PinnedMemory;
  readonly owner: number;
  /** The container's number as a user of regions and charges. */
  readonly user: number;
  /** True: each map pins its own memory. */
  readonly isVersion1: boolean;
}

export class SpaprWindows {
  readonly #options: SpaprWindowsOptions;
  /** Window 0 and window 1. */
  readonly #windows: (WindowInUse | undefined)[] = [undefined, undefined];
  #isDefaultPending = false;
  /** Windows that could not be set in all groups, and whose removal waits for the platform. */
  #left: WindowInUse[] = [];
  /** Groups in which not all windows could be set, and whose return to the kernel waits for the platform. */
  #leaving: SpaprGroup[] = [];

  constructor(options: SpaprWindowsOptions) {
    this.#options = options;
  }

  /** The windows that exist, in the order of their bus addresses. */
  get inUse(): readonly WindowInUse[] {
    return this.#windows.filter((window) => window !== undefined);
  }

  /** The window with this bus address. */
  at(iova: bigint): WindowInUse | undefined {
    return this.inUse.find(({ table: { window } }) => {
      const offset = iova - window.base;
      return offset >= 0n && offset < BigInt(window.entries) << BigInt(window.pageShift);
    });
  }

  /**
   * Sets all windows in a group whose ownership was taken. `isFirst`: the group's fixed tables become the windows, or its default window becomes
   * pending. After a failure the group is returned to the kernel, at the latest by `removeLeft`.
   */
  setAllIn(group: SpaprGroup, isFirst: boolean): Errno | undefined {
    if (group.windowOps === undefined) {
      group.fixedTables.forEach((platform, i) => {
        this.#windows[i] = this.#windowOf(platform, undefined, true);
      });
      return undefined;
    }
    for (const window of this.inUse) {
      const errno = setIn(group, window);
      if (errno === undefined) continue;
      this.#leaving.push(group);
      this.removeLeft();
      return errno;
    }
    if (isFirst && this.inUse.length === 0) this.#isDefaultPending = group.defaultWindow !== undefined;
    return undefined;
  }

  /** Removes all windows from a group. `isLast`: fixed windows are removed from the container too. */
  unsetAllIn(group: SpaprGroup, isLast: boolean): Errno | undefined {
    for (const window of this.inUse) {
      const isEnd = window.isFixed && isLast;
      const errno = isEnd ? this.remove(window) : unsetIn(group, window);
      if (errno !== undefined) return errno;
    }
    return undefined;
  }

  /** Makes the default window, if it is pending. */
  makeDefault(groups: readonly SpaprGroup[]): Errno | undefined {
    const bytes = groups[0]?.defaultWindow?.bytes;
    if (!this.#isDefaultPending || bytes === undefined) return undefined;
    const shape = { pageShift: DEFAULT_PAGE_SHIFT, windowBytes: bytes, levels: DEFAULT_LEVELS };
    const made = this.create(groups, shape);
    if (isErrno(made)) return made;
    this.#isDefaultPending = false;
    return undefined;
  }

  /** Cancels a pending default window: it is never made. False: it is not pending. */
  cancelDefault(): boolean {
    const wasPending = this.#isDefaultPending;
    this.#isDefaultPending = false;
    return wasPending;
  }

  /** Makes a window in all groups, or in none. Returns its bus address. */
  create(groups: readonly SpaprGroup[], shape: SpaprWindowShape): bigint | Errno {
    const left = this.removeLeft();
    if (left !== undefined) return left;
    const number = WINDOWS.find((window) => this.#windows[window] === undefined);
    if (number === undefined) return "ENOSPC";
    const [first] = groups;
    const ops = first?.windowOps;
    if (first === undefined || ops === undefined) return "EPERM";
    if (!first.pageShifts.includes(shape.pageShift)) return "EINVAL";
    const bytes = ops.tableBytes(first, shape);
    if (isErrno(bytes)) return bytes;
    const { pinned, owner, user } = this.#options;
    const charge = pinned.charge(owner, Math.ceil(bytes / 2 ** USER_PAGE_SHIFT), user);
    if (isErrno(charge)) return charge;
    const platform = ops.createTable(first, number, shape);
    if (isErrno(platform)) {
      pinned.uncharge(charge);
      return platform;
    }
    let window: WindowInUse | undefined;
    try {
      window = this.#windowOf(platform, charge, false);
    } finally {
      // The crew has no room for one more table.
      if (window === undefined) {
        platform.release();
        pinned.uncharge(charge);
      }
    }
    const errno = this.#setInAll(groups, window);
    if (errno !== undefined) {
      if (this.remove(window) !== undefined) this.#left.push(window);
      return errno;
    }
    this.#windows[number] = window;
    return window.table.window.base;
  }

  /** Empties a window, removes it from all groups, and releases its table. After a failure it can be repeated. */
  remove(window: WindowInUse): Errno | undefined {
    const errno = window.isEmptied ? undefined : this.#empty(window);
    if (errno !== undefined) return errno;
    window.isEmptied = true;
    const released = window.isFixed ? undefined : window.platform.release();
    if (released !== undefined) return released;
    if (window.charge !== undefined) this.#options.pinned.uncharge(window.charge);
    const at = this.#windows.indexOf(window);
    if (at >= 0) this.#windows[at] = undefined;
    return undefined;
  }

  /** Removes all windows. After a failure it can be repeated. */
  removeAll(): Errno | undefined {
    this.#isDefaultPending = false;
    for (const window of this.inUse) {
      const errno = this.remove(window);
      if (errno !== undefined) return errno;
    }
    return this.removeLeft();
  }

  /** Completes failed calls: returns groups that still have windows, and removes windows that are still set. */
  removeLeft(): Errno | undefined {
    for (const group of [...this.#leaving]) {
      // A group is returned to the kernel without windows of the container.
      for (const window of this.inUse) {
        const errno = unsetIn(group, window);
        if (errno !== undefined) return errno;
      }
      const errno = group.releaseOwnership();
      if (errno !== undefined) return errno;
      this.#leaving = this.#leaving.filter((other) => other !== group);
    }
    for (const window of [...this.#left]) {
      const errno = this.remove(window);
      if (errno !== undefined) return errno;
      this.#left = this.#left.filter((other) => other !== window);
    }
    return undefined;
  }

  map(
    window: WindowInUse,
    range: { readonly first: number; readonly count: number },
    memory: UserRange,
    access: Access,
  ): Errno | undefined {
    const { first, count } = range;
    if (!this.#options.isVersion1) return this.#mapRegistered(window, range, memory, access);
    const { pinned, owner, user } = this.#options;
    const region = pinned.register(owner, memory.userPage, memory.pages, { user, isCovered: true });
    if (isErrno(region)) return region;
    const replaced = this.#regionsIn(window, first, count);
    let errno: Errno | undefined = "EAGAIN";
    try {
      errno = window.table.mapRegion(first, count, region, memory.userPage, access);
      return errno === "EFAULT" ? "EPERM" : errno;
    } finally {
      // If ops throw, the change waits as when the platform is busy: either the new region or the replaced ones stay mapped.
      if (errno === "EAGAIN") for (const one of [region, ...replaced]) window.loose.add(one);
      else this.#unpin(window, errno === undefined ? replaced : [region]);
    }
  }

  unmap(window: WindowInUse, first: number, count: number): Errno | undefined {
    const regions = this.#options.isVersion1 ? this.#regionsIn(window, first, count) : [];
    let errno: Errno | undefined = "EAGAIN";
    try {
      errno = window.table.unmap(first, count);
      return errno;
    } finally {
      if (errno === undefined) this.#unpin(window, regions);
      else for (const region of regions) window.loose.add(region);
    }
  }

  #mapRegistered(
    { table }: WindowInUse,
    range: { readonly first: number; readonly count: number },
    { userPage, pages }: UserRange,
    access: Access,
  ): Errno | undefined {
    const errno = table.map(range.first, range.count, userPage, access);
    if (errno === "ENOENT") return "EINVAL";
    if (errno !== "EFAULT") return errno;
    return this.#hasDeviceMemory(userPage, pages) ? "EPERM" : "EINVAL";
  }

  #hasDeviceMemory(userPage: number, pages: number): boolean {
    const { pinned, owner } = this.#options;
    for (let page = userPage; page < userPage + pages; page++) {
      const region = pinned.take(owner, page, 1);
      if (region < 0) continue;
      const { isDevice } = pinned.regionOf(region);
      pinned.drop();
      if (isDevice) return true;
    }
    return false;
  }

  /** Version 1: the regions to which entries lead. */
  #regionsIn({ table }: WindowInUse, first: number, count: number): readonly number[] {
    const regions = new Set<number>();
    for (let entry = first; entry < first + count; entry++) {
      const value = table.get(entry);
      if (typeof value === "object") regions.add(value.region);
    }
    return [...regions];
  }

  /** Version 1: unpins those of these regions, and of the loose ones, to which no entry leads any more. No change of the table waits. */
  #unpin({ loose }: WindowInUse, regions: readonly number[]): void {
    for (const region of [...regions, ...loose]) {
      if (this.#options.pinned.put(region, this.#options.user) === "EAGAIN") loose.add(region);
      else loose.delete(region);
    }
  }

  #empty(window: WindowInUse): Errno | undefined {
    const errno = this.unmap(window, 0, window.table.window.entries);
    if (errno !== undefined) return errno;
    for (const group of window.groups) {
      const failed = unsetIn(group, window);
      if (failed !== undefined) return failed;
    }
    return window.table.remove();
  }

  #setInAll(groups: readonly SpaprGroup[], window: WindowInUse): Errno | undefined {
    for (const group of groups) {
      const errno = setIn(group, window);
      if (errno !== undefined) return errno;
    }
    return undefined;
  }

  #windowOf(platform: SpaprTable, charge: number | undefined, isFixed: boolean): WindowInUse {
    const { pinned, owner } = this.#options;
    const table = PinnedTable.create(pinned, owner, platform.window, platform.ops);
    const window = {
      platform,
      table,
      isFixed,
      groups: new Set<SpaprGroup>(),
      loose: new Set<number>(),
      isEmptied: false,
    };
    return charge === undefined ? window : { ...window, charge };
  }
}

function setIn(group: SpaprGroup, window: WindowInUse): Errno | undefined {
  const errno = group.windowOps?.setWindow(group, window.platform);
  if (errno === undefined) window.groups.add(group);
  return errno;
}

function unsetIn(group: SpaprGroup, window: WindowInUse): Errno | undefined {
  if (!window.groups.has(group)) return undefined;
  const errno = group.windowOps?.unsetWindow(group, window.platform);
  if (errno === undefined) window.groups.delete(group);
  return errno;
}
