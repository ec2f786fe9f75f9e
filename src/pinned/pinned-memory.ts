/**
 * Pinned memory: processes register regions of their memory, whose pages are then charged to their limit of locked memory and stay where they
 * are, so that devices can use them. A region can't be unregistered while anything of it is mapped.
 *
 * `register`, `get`, `put` and `charge` hold one lock for as long as they run. `take`, `physicalPage`, `keep`, `lower` and `markDirty` hold
 * none (counts.ts). Failures that a running system must expect are error numbers by name; misuse throws InvalidArgumentError.
 *
 * A thread that dies in any of these is recovered by `crew.reclaim` (recovery.ts), after the tables. With scope "everything" its owner ends too,
 * when no other thread has joined it: its regions are unpinned and uncharged. While a region is still mapped, it stays pinned and charged, and the
 * reclaim fails: pages that a device may reach are not given back.
 */

import {
  type Attachment,
  addStructure,
  Crew,
  type CrewHandle,
  checkCrew,
  createCrewState,
  openCrewState,
  type ReclaimScope,
  type Recovered,
  threadsFor,
} from "../crew/crew.ts";
import { findRun, setBits } from "../shared/bitmap.ts";
import { inherit, lock, tagOf, unlock } from "../shared/lock.ts";
import { add, glance, hintTo, load, peek, poke, type SharedBuffer, store } from "../shared/memory.ts";
import { checkHandle } from "../table/handle.ts";
import { type Errno, errnoCode } from "../units/errno.ts";
import { checkInteger, InvalidArgumentError, InvariantError, IovaError } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import { MAX_ENTRIES } from "../units/numbers.ts";
import { type Hand, handOf, hasMappings, MappingCounts, mappedOf, settleHand } from "./counts.ts";
import {
  CHARGE,
  cellAt,
  createPinnedState,
  FREE,
  isCharged,
  isFound,
  JOURNAL,
  KIND_COVERED,
  KIND_DEVICE,
  KIND_EXCLUSIVE,
  KIND_SHARED,
  LIVE,
  LOCK_AT,
  MAKING,
  OWNER,
  OWNER_ENDING,
  OWNER_FREE,
  OWNER_LIVE,
  openPinnedState,
  ownerAt,
  type PinnedState,
  REGION,
  RELEASING,
  regionAt,
  THREAD,
  threadAt,
  USER,
} from "./layout.ts";
import { alignmentOf, beginPinning, beginUnpinning, pin } from "./pinning.ts";
import { charge, freeOwner, keepLive, remove, repair } from "./recovery.ts";
import {
  addUser,
  firstOf,
  isExactly,
  liveRegions,
  NONE,
  overlaps,
  ownerState,
  type Region,
  regionsEnd,
  stageOf,
  userAt,
  usersOf,
} from "./regions.ts";
import { checkUserMemory, USER_PAGE_SHIFT, USER_PAGES, type UserMemory } from "./user-memory.ts";

/** Options of `PinnedMemory.create`. */
export interface PinnedMemoryOptions {
  /** Bytes of physical memory from address 0 on: pages above can't be pinned. A multiple of 4096, from 4096 to 8 TiB − 4096. */
  readonly memoryBytes: number;
  /** Most regions at a time: 1 .. 2^20. Default 64. */
  readonly regions?: number;
  /** Most pages in all regions at a time, without those of device memory: 1 .. 2^30. Default: the pages of `memoryBytes`. */
  readonly pages?: number;
  /** Most owners at a time: 1 .. 4096. Default 16. */
  readonly owners?: number;
  /** Most charges without a region at a time: 1 .. 2^20. Default 64. */
  readonly charges?: number;
  /** Most attached threads: 1 .. 256. Default 32, or the crew's limit. */
  readonly threads?: number;
  /** The crew of the machine with this memory. Default: a new crew. */
  readonly crew?: Crew;
}

/** Structured-cloneable: post it to another thread and `PinnedMemory.attach` there. */
export interface PinnedMemoryHandle {
  /** @internal */
  readonly state: SharedBuffer;
  /** @internal */
  readonly crew: CrewHandle;
  /** @internal */
  readonly structure: number;
}

/** Limits of a process. */
export interface OwnerOptions {
  /** Limit of locked memory in bytes, from 0 on; rounded down to pages of 4 KiB. Infinity: no limit. */
  readonly limitBytes: number;
}

/** Options of `PinnedMemory.register`. */
export interface RegisterOptions {
  /** The region's first user: a number that the caller chooses, such as that of a container. 0 .. 2^31 − 1; default 0. */
  readonly user?: number;
  /**
   * True: the region may overlap others, and lookups (`take`, `get`, `find`, `unregister`) do not find it. For mappings that each pin their own
   * memory. Its users count no mappings, so `endOwner` answers "EBUSY" until they have put it. Default false.
   */
  readonly isShared?: boolean;
  /**
   * True: the region may overlap others, lookups do not find it, and its pages are not charged, because a charge of the caller covers them. Its
   * mappings are counted (`takeRegion`). Default false.
   */
  readonly isCovered?: boolean;
}

const EFAULT = errnoCode("EFAULT");
const MAX_USER = 2 ** 31 - 1;
const FIRST_NEW_USER = 2 ** 30;

/**
 * Processes, the regions of their memory that devices may use, and the limits of locked memory. One thread's view: post `handle`, and `attach` in
 * each other thread.
 *
 * A page is 4 KiB. User page = user address / 4096. Methods answer error numbers by name; "EAGAIN" from any of them: another thread held the
 * lock for too long; repeat the call. Arguments of another type or range throw InvalidArgumentError. After `close`, methods that take the lock
 * or count mappings throw IovaError "view-closed".
 *
 * @example
 * A process of 1024 pages registers 256 of them, and one page is mapped for a device.
 *
 * ```ts
 * import assert from "node:assert/strict";
 * import { isErrno, PinnedMemory } from "iova/platform";
 *
 * // User page n lies in physical page n − 1000.
 * const memory = {
 *   pageOf: (userPage: number) => (userPage >= 1000 && userPage < 2024 ? userPage - 1000 : -1),
 *   backingShift: () => 12,
 * };
 * const pinned = PinnedMemory.create({ memoryBytes: 2 ** 22 });
 * const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, memory);
 * assert.ok(!isErrno(owner));
 * const region = pinned.register(owner, 1000, 256);
 * assert.ok(!isErrno(region));
 * assert.equal(pinned.register(owner, 1500, 1), "ENOMEM"); // the limit is 256 pages
 *
 * const taken = pinned.take(owner, 1003, 1); // the region; it counts one more mapping
 * assert.equal(pinned.physicalPage(taken, 1003, 12), 3); // write it to the IO page table, then:
 * pinned.keep();
 * assert.equal(pinned.unregister(owner, 1000, 256), "EBUSY"); // the device may use the page
 *
 * pinned.lower(taken); // after the entry was cleared and invalidated
 * assert.equal(pinned.unregister(owner, 1000, 256), undefined);
 * pinned.close();
 * ```
 */
export class PinnedMemory {
  /** Structured-cloneable: post it to another thread and `PinnedMemory.attach` there. */
  readonly handle: PinnedMemoryHandle;
  /** The threads of the machine. This thread's membership. */
  readonly crew: Crew;
  /** This thread's number in the crew. */
  readonly thread: number;
  readonly #state: PinnedState;
  readonly #counts: MappingCounts;
  readonly #attachment: Attachment;
  readonly #hasOwnCrew: boolean;
  /** The memory of the owners that this thread has added or joined. */
  readonly #memories = new Map<number, UserMemory>();
  /** Callbacks of `onOwnerEnd`, in the order of their registration. */
  readonly #endings = new Set<Ending>();
  #isClosed = false;

  private constructor(handle: PinnedMemoryHandle, state: PinnedState, crew: Crew | undefined) {
    this.#hasOwnCrew = crew === undefined;
    this.crew = crew ?? Crew.attach(handle.crew);
    this.thread = this.crew.thread;
    this.handle = handle;
    this.#state = state;
    let attachment: Attachment | undefined;
    try {
      const { structure } = handle;
      attachment = this.crew.enter(structure, "pinned", (dead, scope) => this.#recover(dead, scope));
    } finally {
      if (attachment === undefined && this.#hasOwnCrew) this.crew.close();
    }
    this.#attachment = attachment;
    // Before tables and processes end: they need the lock to unpin their memory.
    attachment.onReclaim("bridge", (dead) => this.#takeOverLock(dead));
    attachment.onReclaim("process", (dead, scope) => this.#endProcess(dead, scope));
    this.#counts = new MappingCounts(state, this.thread);
  }

  /** A pinned memory without owners, in new shared memory; this thread is attached. Throws InvalidArgumentError. */
  static create(options: PinnedMemoryOptions): PinnedMemory {
    checkKeys("a pinned memory", options, {
      memoryBytes: "any",
      regions: "any",
      pages: "any",
      owners: "any",
      charges: "any",
      threads: "any",
      crew: "object",
    });
    const { memoryBytes, regions = 64, owners = 16, charges = 64, crew } = options;
    const pageBytes = 2 ** USER_PAGE_SHIFT;
    if (!Number.isSafeInteger(memoryBytes) || memoryBytes < pageBytes || memoryBytes % pageBytes !== 0) {
      throw new InvalidArgumentError("memoryBytes of a pinned memory", memoryBytes, `a multiple of ${pageBytes}`);
    }
    const physicalPages = memoryBytes / pageBytes;
    checkInteger("physical pages of a pinned memory", physicalPages, 1, MAX_ENTRIES);
    const { pages: columnPages = physicalPages } = options;
    checkInteger("regions of a pinned memory", regions, 1, 2 ** 20);
    checkInteger("pages of a pinned memory", columnPages, 1, 2 ** 30);
    checkInteger("owners of a pinned memory", owners, 1, 4096);
    checkInteger("charges of a pinned memory", charges, 1, 2 ** 20);
    const threads = threadsFor("threads of the pinned memory", crew, options.threads);
    const crewHandle = crew?.handle ?? createCrewState({ threads });
    const structure = addStructure(openCrewState(crewHandle));
    const state = createPinnedState({ regions, columnPages, physicalPages, owners, charges, threads });
    return new PinnedMemory({ state: state.buffer, crew: crewHandle, structure }, state, crew);
  }

  /**
   * A view for the calling thread. `crew`: this thread's view of the crew; default: attaches to the crew. Throws FormatError for a foreign
   * handle, and as Crew.attach and Crew.enter.
   */
  static attach(handle: PinnedMemoryHandle, crew?: Crew): PinnedMemory {
    checkHandle("a pinned memory", handle, { state: "shared", crew: "object", structure: "count" });
    const state = openPinnedState(handle.state);
    checkCrew("the pinned memory", crew, handle.crew);
    return new PinnedMemory(handle, state, crew);
  }

  // Owners.

  /**
   * Adds a process. Returns its number, or "ENOMEM" when the limit of owners is reached. `memory` is used by this thread's registrations; another
   * thread gives its own to `join` or `setMemory`. The calling thread does not belong to the process until it calls `join`.
   */
  addOwner(options: OwnerOptions, memory: UserMemory): number | Errno {
    checkKeys("an owner", options, { limitBytes: "any" });
    checkUserMemory(memory);
    const { limitBytes } = options;
    if (typeof limitBytes !== "number" || !(limitBytes >= 0)) {
      throw new InvalidArgumentError("limitBytes of an owner", limitBytes, "a number of bytes from 0 on");
    }
    const limit = Math.min(MAX_ENTRIES, Math.floor(limitBytes / 2 ** USER_PAGE_SHIFT));
    const owner = this.#locked(() => this.#addOwner(limit));
    if (typeof owner === "number") this.#memories.set(owner, memory);
    return owner;
  }

  /**
   * Makes this thread a thread of the process: the process ends when its last thread has died and is reclaimed. `memory` is used by this thread's
   * registrations; the thread that added the owner may omit it. "ESRCH": the process does not exist or is ending. Throws IovaError
   * "already-joined" when the thread belongs to another process.
   */
  join(owner: number, memory?: UserMemory): Errno | undefined {
    if (memory !== undefined) checkUserMemory(memory);
    const at = threadAt(this.#state, this.thread) + THREAD.owner;
    const answer = this.#locked(() => {
      if (this.#ownerState(owner) !== OWNER_LIVE) return "ESRCH";
      const joined = load(this.#state.words, at) - 1;
      if (joined >= 0 && joined !== owner) {
        throw new IovaError("already-joined", `thread ${this.thread} belongs to owner ${joined}`);
      }
      store(this.#state.words, at, owner + 1);
      return undefined;
    });
    if (answer === undefined && memory !== undefined) this.#memories.set(owner, memory);
    return answer;
  }

  /** Sets the memory of an owner for this thread's registrations: for a thread that does not belong to the process. */
  setMemory(owner: number, memory: UserMemory): void {
    checkInteger("owner", owner, 0, MAX_USER);
    checkUserMemory(memory);
    this.#memories.set(owner, memory);
  }

  /**
   * Ends a process. Its tables and containers end first (`onOwnerEnd`); then its regions are unpinned and uncharged, even if they have users; then
   * its charges end and its number is free. "EBUSY": some regions are still mapped, or shared; the others are unregistered, and no call registers
   * anything for the process any more. Repeat the call later. "ESRCH": the process does not exist. Errors of the callbacks of `onOwnerEnd` are
   * returned too.
   */
  endOwner(owner: number): Errno | undefined {
    if (!this.hasOwner(owner)) return "ESRCH";
    return this.#runEndings(owner) ?? this.#locked(() => this.#endOwner(owner));
  }

  /**
   * Registers a callback that removes mappings before the owner's regions are unpinned: the end of a table or a container. `end` returns an errno
   * if mappings are left; it may be called again. The thread that ends the owner runs the callbacks of its own view, the last registered first.
   * Returns a function that removes the callback.
   */
  onOwnerEnd(owner: number, end: () => Errno | undefined): () => void {
    checkInteger("owner", owner, 0, 2 ** 31 - 1);
    if (typeof end !== "function") throw new InvalidArgumentError("end of an owner", end, "a function");
    const ending = { owner, end };
    this.#endings.add(ending);
    return () => this.#endings.delete(ending);
  }

  /** True until the owner has ended. */
  hasOwner(owner: number): boolean {
    return this.#ownerState(owner) !== OWNER_FREE;
  }

  /** Pages charged to the owner: those of its charged regions and of its charges. 0 if the owner does not exist. */
  chargedPages(owner: number): number {
    return this.#ownerState(owner) === OWNER_FREE ? 0 : glance(this.#state.words, this.#ownerAt(owner) + OWNER.charged);
  }

  // Regions.

  /** A number for a user of regions and charges: 2^30 .. 2^31 − 1. It is repeated after 2^30 calls. */
  newUser(): number {
    return FIRST_NEW_USER + (add(this.#state.words, JOURNAL.userNumbers, 1) & (FIRST_NEW_USER - 1));
  }

  /**
   * Registers `pages` pages of the owner from `userPage` on: charges and pins them. All or nothing. Returns the region's number.
   *
   * - "ENOMEM": the owner's limit is reached, or there is no room for the region;
   * - "EFAULT": a page is not present;
   * - "EINVAL": the range overlaps a region that lookups find, has no pages, or ends beyond 2^64 bytes;
   * - "ESRCH": the owner does not exist or is ending.
   *
   * The limit is checked before pages are pinned, and overlaps after. Throws InvalidArgumentError when this view has no UserMemory of the owner, or
   * when the UserMemory returns a page outside of the physical memory.
   */
  register(owner: number, userPage: number, pages: number, options: RegisterOptions = {}): number | Errno {
    checkKeys("a region", options, { user: "any", isShared: "boolean", isCovered: "boolean" });
    const { user = 0, isShared = false, isCovered = false } = options;
    const isRange = checkRange(userPage, pages, user);
    if (!isRange) return "EINVAL";
    if (pages > MAX_ENTRIES) return "ENOMEM";
    const memory = this.#memoryOf(owner);
    const kind = isCovered ? KIND_COVERED : isShared ? KIND_SHARED : KIND_EXCLUSIVE;
    return this.#locked(() => this.#register({ owner, userPage, pages, kind, user }, memory, 0));
  }

  /**
   * Registers device memory, which is neither pinned nor charged. Its first physical page is `physicalPage`: 0 .. 2^52 − 1. Returns the region's
   * number. Errors as `register`; "EFAULT" does not occur.
   */
  registerDevice(owner: number, userPage: number, pages: number, physicalPage: number, user = 0): number | Errno {
    const isRange = checkRange(userPage, pages, user);
    checkInteger("physical page of device memory", physicalPage, 0, USER_PAGES - 1);
    if (!isRange || physicalPage + pages > USER_PAGES) return "EINVAL";
    if (pages > MAX_ENTRIES) return "ENOMEM";
    return this.#locked(() =>
      this.#register({ owner, userPage, pages, kind: KIND_DEVICE, user }, undefined, physicalPage),
    );
  }

  /**
   * Adds a user to the region that has exactly these pages. Returns the region's number. "ENOENT": no such region. "ENOMEM": too many users: beyond
   * the first user of each region, a pinned memory holds as many as it can have regions.
   */
  get(owner: number, userPage: number, pages: number, user = 0): number | Errno {
    checkInteger("user of a region", user, 0, MAX_USER);
    return this.#locked(() => {
      const region = this.#exactly(owner, userPage, pages);
      if (region === NONE) return "ENOENT";
      return addUser(this.#state, region, user) ? region : "ENOMEM";
    });
  }

  /** Adds a user to a region. "ENOENT": it is not registered. "ENOMEM": too many users, as `get`. */
  use(region: number, user = 0): Errno | undefined {
    this.#checkRegion(region);
    checkInteger("user of a region", user, 0, MAX_USER);
    return this.#locked(() => {
      if (stageOf(this.#state, region) !== LIVE) return "ENOENT";
      return addUser(this.#state, region, user) ? undefined : "ENOMEM";
    });
  }

  /** The region that has exactly these pages and this user; undefined: no such region. */
  find(owner: number, userPage: number, pages: number, user = 0): number | Errno | undefined {
    checkUse(owner, user);
    return this.#locked(() => {
      const region = this.#exactly(owner, userPage, pages);
      return region !== NONE && this.#hasUser(region, user) ? region : undefined;
    });
  }

  /**
   * Removes a user from a region. The last one unregisters it: its pages are unpinned and uncharged. `isWritten`: true if devices may have written
   * any page of the region; all its pages are marked dirty then. "ENOENT": the region does not have this user. "EBUSY": it is the last user, and
   * something is mapped; the user stays.
   */
  put(region: number, user = 0, isWritten = false): Errno | undefined {
    this.#checkRegion(region);
    return this.#locked(() => {
      if (isWritten && stageOf(this.#state, region) === LIVE) {
        const at = regionAt(this.#state, region);
        this.markDirty(region, firstOf(this.#state.words, at), peek(this.#state.words, at + REGION.pages));
      }
      return this.#put(region, user);
    });
  }

  /** As `put`, for the region that has exactly these pages. "ENOENT" also if no region has them. */
  unregister(owner: number, userPage: number, pages: number, user = 0): Errno | undefined {
    return this.#locked(() => {
      const region = this.#exactly(owner, userPage, pages);
      return region === NONE ? "ENOENT" : this.#put(region, user);
    });
  }

  /** Numbers of the owner's regions that have this user, in ascending order. A region is repeated if it has the user several times. */
  regionsOf(owner: number, user = 0): readonly number[] | Errno {
    checkUse(owner, user);
    return this.#locked(() =>
      liveRegions(this.#state, owner).flatMap((region) =>
        usersOf(this.#state, region).flatMap((slot) => (this.#userIn(slot) === user ? [region] : [])),
      ),
    );
  }

  /** Owner, pages and backing of a region. Throws InvalidArgumentError if the region is not registered. */
  regionOf(region: number): Region {
    this.#checkRegion(region);
    const at = regionAt(this.#state, region);
    if (stageOf(this.#state, region) === FREE) throw new InvalidArgumentError("region", region, "a registered one");
    const { words } = this.#state;
    return {
      owner: glance(words, at + REGION.owner),
      userPage: firstOf(this.#state.words, at),
      pages: glance(words, at + REGION.pages),
      backingShift: glance(words, at + REGION.shift),
      isDevice: glance(words, at + REGION.kind) === KIND_DEVICE,
    };
  }

  /** Number of the region's live mappings, plus 1 for the registration. Exact while no other thread maps. */
  mapped(region: number): number {
    this.#checkRegion(region);
    return 1 + mappedOf(this.#state, region);
  }

  /** Pin count of a physical page of 4 KiB. A page with pins may not be freed or used for anything else. */
  pinsOf(physicalPage: number): number {
    checkInteger("physical page", physicalPage, 0, this.#state.physicalPages - 1);
    return glance(this.#state.words, this.#state.pinsAt + physicalPage);
  }

  /** The sum of the pins of all pages. Exact while no other thread registers. */
  get pins(): number {
    let sum = 0;
    for (let page = 0; page < this.#state.physicalPages; page++) sum += this.pinsOf(page);
    return sum;
  }

  // Charges without a region.

  /**
   * Charges pages that are not in a region, such as those of a whole window. `pages`: 0 .. 2^31 − 1. `user`: 0 .. 2^31 − 1, for `chargesOf`. Returns the
   * charge's number, for `uncharge`. "ENOMEM": the owner's limit or the number of charges is reached. "ESRCH": the owner does not exist or is
   * ending.
   */
  charge(owner: number, pages: number, user = 0): number | Errno {
    checkInteger("pages of a charge", pages, 0, MAX_ENTRIES);
    checkInteger("user of a charge", user, 0, MAX_USER);
    return this.#locked(() => this.#charge(owner, pages, user));
  }

  /** Ends a charge. "ENOENT": the charge has ended already. */
  uncharge(number: number): Errno | undefined {
    checkInteger("charge", number, 0, this.#state.charges - 1);
    return this.#locked(() => {
      const { words, chargesAt } = this.#state;
      const at = chargesAt + number * CHARGE.words;
      const owner = peek(words, at + CHARGE.owner) - 1;
      if (owner < 0) return "ENOENT";
      const pages = peek(words, at + CHARGE.pages);
      poke(words, at + CHARGE.owner, 0);
      charge(this.#state, owner, -pages);
      poke(words, JOURNAL.chargeHint, number);
      return undefined;
    });
  }

  /** Numbers of the owner's charges that have this user, in ascending order. */
  chargesOf(owner: number, user = 0): readonly number[] | Errno {
    checkUse(owner, user);
    return this.#locked(() => {
      const { words, chargesAt, charges } = this.#state;
      return Array.from({ length: charges }, (_, slot) => slot).filter((slot) => {
        const at = chargesAt + slot * CHARGE.words;
        return peek(words, at + CHARGE.owner) === owner + 1 && peek(words, at + CHARGE.user) === user;
      });
    });
  }

  // Live mappings: without a lock.

  /**
   * Finds the region of the owner that contains these pages, and adds `count` (default 1) to its live mappings, so that it can't be unregistered.
   * Returns the region's number; -2 (ENOENT): no region contains them; -6 (ENXIO): the region is being released. After a result from 0 on call
   * `keep` or `drop`, before the next `take` or `lower` of this thread. Takes no lock and allocates nothing.
   */
  take(owner: number, userPage: number, pages: number, count = 1): number {
    if (this.#isClosed) throw viewClosed();
    if (!isPageCount(pages) || !isPageCount(count) || typeof userPage !== "number")
      throw badTake(userPage, pages, count);
    return this.#counts.take(owner, userPage, pages, count);
  }

  /** As `take`, for a known region. -6 (ENXIO): it is not registered, or is being released. */
  takeRegion(region: number, count = 1): number {
    if (this.#isClosed) throw viewClosed();
    this.#checkRegion(region);
    if (!isPageCount(count)) throw badTake(0, 1, count);
    return this.#counts.takeRegion(region, count);
  }

  /** Confirms the last `take`: its mappings count until `lower`. */
  keep(): void {
    this.#counts.keep();
  }

  /** Undoes the last `take`: nothing was mapped. */
  drop(): void {
    this.#counts.drop();
  }

  /**
   * Subtracts `count` removed mappings from a region. Call it after the invalidation, when no device can use them any more. Another thread may have
   * made the mappings. Throws InvalidArgumentError, and changes nothing, if the region has fewer.
   */
  lower(region: number, count = 1): void {
    if (this.#isClosed) throw viewClosed();
    this.#checkRegion(region);
    checkInteger("mappings that were removed", count, 0, MAX_ENTRIES);
    if (!hasMappings(this.#state, region, count)) {
      const most = mappedOf(this.#state, region);
      throw new InvalidArgumentError(`mappings that were removed from region ${region}`, count, `at most ${most}`);
    }
    this.#counts.lower(region, count);
  }

  /**
   * The physical page of 4 KiB behind a user page. Valid only while a mapping of the region is counted (`take`). `shift`: log2 of the bytes of the
   * IO page that is to be mapped there. -14 (EFAULT): the page is outside of the region, or the IO page is larger than the smallest page that
   * backs the region.
   */
  physicalPage(region: number, userPage: number, shift: number): number {
    if (typeof userPage !== "number") throw badTake(userPage, 1, 1);
    const { words } = this.#state;
    const at = regionAt(this.#state, region);
    const index = userPage - firstOf(this.#state.words, at);
    if (!(index >= 0 && index < peek(words, at + REGION.pages) && shift <= peek(words, at + REGION.shift)))
      return EFAULT;
    if (peek(words, at + REGION.kind) === KIND_DEVICE) return deviceFirst(this.#state, at) + index;
    return peek(words, this.#state.columnAt + 2 * (peek(words, at + REGION.column) + index));
  }

  /**
   * Marks pages that a device may have written; `UserMemory.onUnpin` gets the mark. Call it before the `lower` of the mapping through which the
   * device wrote. Throws InvalidArgumentError for pages outside of the region. Device memory has no marks.
   */
  markDirty(region: number, userPage: number, pages = 1): void {
    this.#checkRegion(region);
    checkInteger("user page", userPage, 0, Number.MAX_SAFE_INTEGER);
    const { words } = this.#state;
    const at = regionAt(this.#state, region);
    const index = userPage - firstOf(this.#state.words, at);
    checkInteger("page of the region", index, 0, peek(words, at + REGION.pages) - 1);
    checkInteger("pages", pages, 1, peek(words, at + REGION.pages) - index);
    if (peek(words, at + REGION.kind) === KIND_DEVICE) return;
    const column = this.#state.columnAt + 2 * (peek(words, at + REGION.column) + index) + 1;
    // Any number of threads may store the same 1. The store of a cell in `lower` orders it before the unpinning.
    for (let page = 0; page < pages; page++) hintTo(words, column + 2 * page, 1);
  }

  // For recoveries of containers, at the stage "table".

  /**
   * The unsettled change of a dead thread: a `take` without `keep` or `drop`, or a `lower` that it did not end. Undefined: none.
   *
   * @internal
   */
  handOf(thread: number): Hand | undefined {
    return handOf(this.#state, thread);
  }

  /**
   * Settles the hand of a dead thread. `isMade`: its `take` is kept, its `lower` is made; otherwise neither is. A hand that no container settles is
   * settled by the recovery of the pinned memory: a `take` is dropped, a `lower` is made. Can be repeated.
   *
   * @internal
   */
  settleHand(thread: number, isMade: boolean): void {
    settleHand(this.#state, thread, isMade);
  }

  /**
   * The part of a thread in the region's count: of this thread, or of a dead one. A container notes it before it lowers, so that its recovery can
   * store the right value (`restoreCell`).
   *
   * @internal
   */
  cellOf(region: number, thread: number = this.thread): number {
    return load(this.#state.words, cellAt(this.#state, thread, region));
  }

  /**
   * Stores the part of this thread or of a dead thread in a region's count, and settles its hand. Can be repeated.
   *
   * @internal
   */
  restoreCell(thread: number, region: number, value: number): void {
    this.#checkRegion(region);
    store(this.#state.words, cellAt(this.#state, thread, region), value | 0);
    poke(this.#state.words, threadAt(this.#state, thread) + THREAD.handRegion, 0);
  }

  /** The owner that ends when everything of this dead thread is reclaimed. Undefined: the thread belongs to no owner, or its owner has other threads. */
  ownerEndingWith(thread: number): number | undefined {
    const { words, threads } = this.#state;
    const owner = load(words, threadAt(this.#state, thread) + THREAD.owner) - 1;
    for (let other = 0; other < threads; other++) {
      if (other !== thread && load(words, threadAt(this.#state, other) + THREAD.owner) === owner + 1) return undefined;
    }
    return owner < 0 ? undefined : owner;
  }

  /** Detaches this thread from the pinned memory and from its owner; regions, mappings and owners stay. A second call does nothing. */
  close(): void {
    if (this.#isClosed) return;
    const errno = this.#locked(() => {
      store(this.#state.words, threadAt(this.#state, this.thread) + THREAD.owner, 0);
      return undefined;
    });
    this.#isClosed = true;
    // Without the lock the thread still belongs to its owner: its number stays taken until it is reclaimed.
    this.crew.leave(this.#attachment, errno !== undefined);
    if (this.#hasOwnCrew) this.crew.close();
  }

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Runs `action` with the lock held. If it throws, its unfinished changes are repaired, as after a death. */
  #locked<Answer>(action: () => Answer): Answer | "EAGAIN" {
    if (this.#isClosed) throw viewClosed();
    const { words } = this.#state;
    if (lock(words, LOCK_AT, tagOf(this.thread)) !== 0) return "EAGAIN";
    let isDone = false;
    try {
      const answer = action();
      isDone = true;
      return answer;
    } finally {
      if (!isDone) repair(this.#state);
      unlock(words, LOCK_AT);
    }
  }

  #addOwner(limit: number): number | Errno {
    const { words, owners } = this.#state;
    for (let slot = 0; slot < owners; slot++) {
      const at = ownerAt(this.#state, slot);
      if (load(words, at + OWNER.state) !== OWNER_FREE) continue;
      const generation = (load(words, at + OWNER.generation) + 1) % Math.floor(2 ** 30 / owners);
      poke(words, at + OWNER.limit, limit);
      poke(words, at + OWNER.charged, 0);
      store(words, at + OWNER.generation, generation);
      store(words, at + OWNER.state, OWNER_LIVE);
      return generation * owners + slot;
    }
    return "ENOMEM";
  }

  #endOwner(owner: number): Errno | undefined {
    if (this.#ownerState(owner) === OWNER_FREE) return "ESRCH";
    const { words } = this.#state;
    store(words, this.#ownerAt(owner) + OWNER.state, OWNER_ENDING);
    let isBusy = false;
    for (const region of liveRegions(this.#state, owner)) {
      const isHeld = peek(words, regionAt(this.#state, region) + REGION.kind) === KIND_SHARED;
      if (isHeld || this.#release(region) !== undefined) isBusy = true;
    }
    if (isBusy) return "EBUSY";
    freeOwner(this.#state, owner);
    for (let thread = 0; thread < this.#state.threads; thread++) {
      const at = threadAt(this.#state, thread) + THREAD.owner;
      if (load(words, at) === owner + 1) store(words, at, 0);
    }
    return undefined;
  }

  #register(request: Request, memory: UserMemory | undefined, devicePage: number): number | Errno {
    const { owner, pages, kind, user } = request;
    if (this.#ownerState(owner) !== OWNER_LIVE) return "ESRCH";
    const { words } = this.#state;
    const isPinned = kind !== KIND_DEVICE;
    if (isCharged(kind) && pages > this.#room(owner)) return "ENOMEM";
    const region = this.#freeRegion();
    const column = isPinned ? this.#freeColumn(pages) : 0;
    if (region === NONE || column === NONE) return "ENOMEM";
    this.#describe(region, request, column, devicePage);
    beginPinning(this.#state);
    store(words, regionAt(this.#state, region), MAKING);
    if (isPinned) {
      if (isCharged(kind)) charge(this.#state, owner, pages);
      setBits(words, this.#state.bitmapAt, column, column + pages);
    }
    const errno = memory !== undefined && !pin(this.#state, region, memory) ? "EFAULT" : this.#overlap(request);
    if (errno !== undefined) {
      remove(this.#state, region, memory);
      return errno;
    }
    addUser(this.#state, region, user);
    keepLive(this.#state, region);
    return region;
  }

  #overlap({ owner, userPage, pages, kind }: Request): Errno | undefined {
    if (!isFound(kind)) return undefined;
    const found = liveRegions(this.#state, owner, (at) => overlaps(this.#state, at, userPage, pages));
    return found.length > 0 ? "EINVAL" : undefined;
  }

  #describe(region: number, { owner, userPage, pages, kind }: Request, column: number, devicePage: number): void {
    const { words } = this.#state;
    const at = regionAt(this.#state, region);
    hintTo(words, at + REGION.owner, owner);
    hintTo(words, at + REGION.firstLow, userPage | 0);
    hintTo(words, at + REGION.firstHigh, Math.floor(userPage / 2 ** 32));
    hintTo(words, at + REGION.pages, pages);
    hintTo(words, at + REGION.column, column);
    hintTo(words, at + REGION.kind, kind);
    hintTo(words, at + REGION.deviceLow, devicePage | 0);
    hintTo(words, at + REGION.deviceHigh, Math.floor(devicePage / 2 ** 32));
    const shift =
      kind === KIND_DEVICE ? Math.min(alignmentOf(devicePage, pages), alignmentOf(userPage, pages)) : USER_PAGE_SHIFT;
    hintTo(words, at + REGION.shift, shift);
    if (region >= regionsEnd(this.#state)) store(words, JOURNAL.regionsEnd, region + 1);
    poke(words, JOURNAL.regionHint, region + 1);
  }

  #put(region: number, user: number): Errno | undefined {
    if (stageOf(this.#state, region) !== LIVE) return "ENOENT";
    const slots = usersOf(this.#state, region);
    const slot = slots.findLast((used) => this.#userIn(used) === user);
    if (slot === undefined) return "ENOENT";
    if (slots.length === 1) return this.#release(region);
    poke(this.#state.words, userAt(this.#state, slot) + USER.region, 0);
    return undefined;
  }

  /** Unregisters a live region, unless something is mapped. */
  #release(region: number): Errno | undefined {
    const { words } = this.#state;
    const at = regionAt(this.#state, region);
    // Stored before the cells are read: see counts.ts.
    store(words, at, RELEASING);
    const mappings = mappedOf(this.#state, region);
    if (mappings !== 0) {
      keepLive(this.#state, region);
      if (mappings < 0) throw new InvariantError(`region ${region} has ${mappings} live mappings`);
      return "EBUSY";
    }
    const owner = peek(words, at + REGION.owner);
    beginUnpinning(this.#state, region);
    remove(this.#state, region, this.#memories.get(owner));
    return undefined;
  }

  #charge(owner: number, pages: number, user: number): number | Errno {
    if (this.#ownerState(owner) !== OWNER_LIVE) return "ESRCH";
    if (pages > this.#room(owner)) return "ENOMEM";
    const { words, chargesAt, charges } = this.#state;
    const slot = firstFree(
      charges,
      peek(words, JOURNAL.chargeHint),
      (n) => peek(words, chargesAt + n * CHARGE.words) === 0,
    );
    if (slot === NONE) return "ENOMEM";
    const at = chargesAt + slot * CHARGE.words;
    poke(words, at + CHARGE.pages, pages);
    poke(words, at + CHARGE.user, user);
    // Last: it says that the charge is there.
    poke(words, at + CHARGE.owner, owner + 1);
    charge(this.#state, owner, pages);
    poke(words, JOURNAL.chargeHint, slot + 1);
    return slot;
  }

  /** Pages that can be charged before the owner's limit is reached. */
  #room(owner: number): number {
    const { words } = this.#state;
    const at = this.#ownerAt(owner);
    return peek(words, at + OWNER.limit) - peek(words, at + OWNER.charged);
  }

  #freeRegion(): number {
    const { words, regions } = this.#state;
    return firstFree(regions, peek(words, JOURNAL.regionHint), (region) => stageOf(this.#state, region) === FREE);
  }

  #freeColumn(pages: number): number {
    const { words, bitmapAt, columnPages } = this.#state;
    return pages > columnPages ? NONE : findRun(words, bitmapAt, 0, columnPages - pages + 1, pages);
  }

  #exactly(owner: number, userPage: number, pages: number): number {
    return liveRegions(this.#state, owner, (at) => isExactly(this.#state, at, userPage, pages))[0] ?? NONE;
  }

  #hasUser(region: number, user: number): boolean {
    return usersOf(this.#state, region).some((slot) => this.#userIn(slot) === user);
  }

  #userIn(slot: number): number {
    return peek(this.#state.words, userAt(this.#state, slot) + USER.user);
  }

  #memoryOf(owner: number): UserMemory {
    const memory = this.#memories.get(owner);
    if (memory !== undefined) return memory;
    throw new InvalidArgumentError(
      "owner",
      owner,
      "one whose UserMemory this view has: by addOwner, join or setMemory",
    );
  }

  #ownerState(owner: number): number {
    checkInteger("owner", owner, 0, 2 ** 31 - 1);
    return ownerState(this.#state, owner);
  }

  #ownerAt(owner: number): number {
    return ownerAt(this.#state, owner);
  }

  #checkRegion(region: number): void {
    checkInteger("region", region, 0, this.#state.regions - 1);
  }

  #runEndings(owner: number): Errno | undefined {
    let errno: Errno | undefined;
    for (const ending of [...this.#endings].reverse()) if (ending.owner === owner) errno ??= ending.end();
    return errno;
  }

  /** Before tables are returned: ends the mappings of a process with its last thread. */
  #endProcess(thread: number, scope: ReclaimScope): Recovered | undefined {
    const owner = this.ownerEndingWith(thread);
    if (scope !== "everything" || owner === undefined) return undefined;
    const errno = this.#runEndings(owner);
    if (errno === undefined) return undefined;
    const failure = new IovaError("in-use", `the mappings of owner ${owner} of thread ${thread} can't end: ${errno}`);
    return { ranges: [], isLeft: true, failure };
  }

  /** Takes the lock of a dead thread over, and repairs what the thread did with it. */
  #takeOverLock(thread: number): undefined {
    const { words } = this.#state;
    if (!inherit(words, LOCK_AT, tagOf(thread), tagOf(this.thread))) return;
    repair(this.#state);
    unlock(words, LOCK_AT);
  }

  #recover(thread: number, scope: ReclaimScope): Recovered | undefined {
    const { words } = this.#state;
    const hand = handOf(this.#state, thread);
    if (hand !== undefined) settleHand(this.#state, thread, hand.count < 0);
    const owner = load(words, threadAt(this.#state, thread) + THREAD.owner) - 1;
    if (owner < 0) return undefined;
    if (scope === "in-flight") return { ranges: [], isLeft: true };
    // Without the lock, which another dead thread may hold, unless the owner ends.
    const isEnd = this.ownerEndingWith(thread) === owner && this.hasOwner(owner);
    const errno = isEnd ? this.#locked(() => this.#endOwner(owner)) : undefined;
    if (errno === undefined) store(words, threadAt(this.#state, thread) + THREAD.owner, 0);
    if (errno === undefined) return undefined;
    const failure = new IovaError("in-use", `owner ${owner} of thread ${thread} can't end: ${errno}`);
    return { ranges: [], isLeft: true, failure };
  }
}

interface Ending {
  readonly owner: number;
  readonly end: () => Errno | undefined;
}

interface Request {
  readonly owner: number;
  readonly userPage: number;
  readonly pages: number;
  readonly kind: number;
  readonly user: number;
}

function viewClosed(): IovaError {
  return new IovaError("view-closed", "this view of the pinned memory is closed; attach a new one");
}

function isPageCount(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= MAX_ENTRIES;
}

function badTake(userPage: number, pages: number, count: number): InvalidArgumentError {
  if (typeof userPage !== "number") return new InvalidArgumentError("user page", userPage, "a number");
  const [what, value] = isPageCount(pages) ? ["mappings to count", count] : ["pages to look up", pages];
  return new InvalidArgumentError(what as string, value, `an integer from 0 to ${MAX_ENTRIES}`);
}

function checkUse(owner: number, user: number): void {
  checkInteger("owner", owner, 0, MAX_USER);
  checkInteger("user of regions and charges", user, 0, MAX_USER);
}

/** False: the range is empty, or ends beyond the address space. Throws InvalidArgumentError unless all three are integers in range. */
function checkRange(userPage: number, pages: number, user: number): boolean {
  checkInteger("user page", userPage, 0, Number.MAX_SAFE_INTEGER);
  checkInteger("pages of a region", pages, 0, Number.MAX_SAFE_INTEGER);
  checkInteger("user of a region", user, 0, MAX_USER);
  return pages > 0 && userPage + pages <= USER_PAGES;
}

function deviceFirst({ words }: PinnedState, at: number): number {
  return peek(words, at + REGION.deviceHigh) * 2 ** 32 + (peek(words, at + REGION.deviceLow) >>> 0);
}

function firstFree(slots: number, hint: number, isFree: (slot: number) => boolean): number {
  for (let i = 0; i < slots; i++) {
    const slot = hint + i < slots ? hint + i : hint + i - slots;
    if (slot < slots && isFree(slot)) return slot;
  }
  return NONE;
}
