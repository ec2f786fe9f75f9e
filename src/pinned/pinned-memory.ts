/**
 * Pinned memory: processes register regions of their memory, whose pages are then charged to their limit of locked memory and stay where they
 * are, so that devices can be let at them. A region can't be unregistered while anything of it is mapped.
 *
 *     const pinned = PinnedMemory.create({ memoryBytes: 2 ** 26 });
 *     const owner = pinned.addOwner({ limitBytes: 2 ** 24 }, memory);      // a process; `memory`: its UserMemory
 *     const region = pinned.register(owner, userPage, 256);                // a number, or "ENOMEM", "EFAULT", "EINVAL"
 *     const taken = pinned.take(owner, userPage + 3, 1);                   // the region, with one more live mapping
 *     const page = pinned.physicalPage(taken, userPage + 3, 12);           // … which the caller writes to a table, and then
 *     pinned.keep();
 *     pinned.lower(taken, 1);                                              // once no device can use it any more
 *     pinned.unregister(owner, userPage, 256);
 *
 * `register`, `get`, `put` and `charge` hold one lock for as long as they run. `take`, `physicalPage`, `keep`, `lower` and `markDirty` hold
 * none (counts.ts). Answers that a running system must expect are error numbers by name; misuse throws InvalidArgumentError.
 *
 * A thread that dies in any of these is recovered by `crew.reclaim` (recovery.ts), after the tables. With scope "everything" its owner ends too,
 * when no other thread has joined it: its regions are unpinned and uncharged. While one is still mapped, nothing of it is, and the reclaim fails: pages
 * that a device may reach do not come back.
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
  /** Bytes of physical memory from address 0 on: pages above can't be pinned. A multiple of 4096, below 8 TiB. */
  readonly memoryBytes: number;
  /** Most regions at a time: 1 .. 2^20. Default 64. */
  readonly regions?: number;
  /** Most pages in all regions at a time, device memory aside. Default: those of the memory. */
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

/** A process. */
export interface OwnerOptions {
  /** The most bytes of locked memory: rounded down to pages. Infinity: without a limit. */
  readonly limitBytes: number;
}

/** How a region is registered. */
export interface RegisterOptions {
  /** Who uses the region: a number that the caller chooses, such as that of a container. 0 .. 2^31 − 1; default 0. */
  readonly user?: number;
  /**
   * The region may overlap others, and lookups do not find it: for mappings that each pin their own memory. The end of the owner waits for its
   * users ("EBUSY"): they count no mappings. Default false.
   */
  readonly isShared?: boolean;
  /** The region may overlap others, lookups do not find it, and its pages are not charged: a charge of the caller covers them. Default false. */
  readonly isCovered?: boolean;
}

const EFAULT = errnoCode("EFAULT");
const MAX_USER = 2 ** 31 - 1;
const FIRST_NEW_USER = 2 ** 30;

/** One thread's view: post `handle`, and `attach` in each other thread. */
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
  /** What ends with an owner, by this thread's views. */
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
    // Before tables and processes end: what they pinned is unpinned with the lock.
    attachment.onReclaim("bridge", (dead) => this.#takeOverLock(dead));
    attachment.onReclaim("process", (dead, scope) => this.#endProcess(dead, scope));
    this.#counts = new MappingCounts(state, this.thread);
  }

  /** Makes a pinned memory without owners, and attaches this thread. Throws InvalidArgumentError. */
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

  /** A new process. Returns its number; "ENOMEM": there are as many as there can be. `memory`: for this thread's registrations. */
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
   * This thread belongs to the process from now on: the death of its last thread ends the process. `memory`: for this thread's registrations;
   * not needed in the thread that has added the owner. "ESRCH": there is no such process. Throws IovaError "already-joined" when the thread belongs to another.
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

  /** Where the owner's memory lies, for this thread's registrations: for a thread that does not belong to the process. */
  setMemory(owner: number, memory: UserMemory): void {
    this.#memories.set(owner, memory);
  }

  /**
   * Ends a process: its tables and containers end (`onOwnerEnd`), then its regions are unpinned and uncharged, also those in use, its charges end, and its number is free. "EBUSY": some
   * regions are still mapped; those that are not are gone. No call registers anything for it any more; repeat the call later. "ESRCH": there is no such process.
   */
  endOwner(owner: number): Errno | undefined {
    if (!this.hasOwner(owner)) return "ESRCH";
    return this.#runEndings(owner) ?? this.#locked(() => this.#endOwner(owner));
  }

  /**
   * Registers what has to end with the owner before its regions: a table or a container, in this thread's view. `end` removes the mappings;
   * it may be called again. Whichever thread ends the owner runs those that it has views of, the last registered first. Returns how to
   * take it back.
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

  /** Pages charged to the owner: of its regions, device memory aside, and its charges. */
  chargedPages(owner: number): number {
    return this.#ownerState(owner) === OWNER_FREE ? 0 : glance(this.#state.words, this.#ownerAt(owner) + OWNER.charged);
  }

  // Regions.

  /** A number for a user of regions and charges that no other call has returned: from 2^30 on. */
  newUser(): number {
    return FIRST_NEW_USER + (add(this.#state.words, JOURNAL.userNumbers, 1) & (FIRST_NEW_USER - 1));
  }

  /**
   * Registers a range: charges its pages (else "ENOMEM"), pins them (else "EFAULT": one is not present), and looks for regions that it overlaps
   * (then "EINVAL"). All or nothing. Returns the region's number. "EINVAL" also for no pages, and for a range beyond 2^64 bytes; "ENOMEM" also
   * when there is no room for the region; "ESRCH": no such owner.
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
   * Registers device memory, which lies at `physicalPage` on: it is neither pinned nor charged. "EINVAL": it overlaps a region of the owner,
   * or as `register`.
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

  /** One more user of the region with exactly these pages. Returns the region; "ENOENT": there is none. "ENOMEM": too many users. */
  get(owner: number, userPage: number, pages: number, user = 0): number | Errno {
    checkInteger("user of a region", user, 0, MAX_USER);
    return this.#locked(() => {
      const region = this.#exactly(owner, userPage, pages);
      if (region === NONE) return "ENOENT";
      return addUser(this.#state, region, user) ? region : "ENOMEM";
    });
  }

  /** One more user of a region that is in use. "ENOENT": it is not registered. "ENOMEM": too many users. */
  use(region: number, user = 0): Errno | undefined {
    this.#checkRegion(region);
    checkInteger("user of a region", user, 0, MAX_USER);
    return this.#locked(() => {
      if (stageOf(this.#state, region) !== LIVE) return "ENOENT";
      return addUser(this.#state, region, user) ? undefined : "ENOMEM";
    });
  }

  /** The region with exactly these pages that has this user; undefined: there is none. */
  find(owner: number, userPage: number, pages: number, user = 0): number | Errno | undefined {
    checkUse(owner, user);
    return this.#locked(() => {
      const region = this.#exactly(owner, userPage, pages);
      return region !== NONE && this.#hasUser(region, user) ? region : undefined;
    });
  }

  /**
   * Ends a use of the region. The last one unregisters it: unpins and uncharges its pages. "ENOENT": this user does not use it. "EBUSY": it is the
   * last use, and something is mapped; the use stays. `isWritten`: devices may have written any page of the region.
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

  /** As `put`, for the region with exactly these pages. "ENOENT" too when there is none. */
  unregister(owner: number, userPage: number, pages: number, user = 0): Errno | undefined {
    return this.#locked(() => {
      const region = this.#exactly(owner, userPage, pages);
      return region === NONE ? "ENOENT" : this.#put(region, user);
    });
  }

  /** The regions that a user uses, once for each use. */
  regionsOf(owner: number, user = 0): readonly number[] | Errno {
    checkUse(owner, user);
    return this.#locked(() =>
      liveRegions(this.#state, owner).flatMap((region) =>
        usersOf(this.#state, region).flatMap((slot) => (this.#userIn(slot) === user ? [region] : [])),
      ),
    );
  }

  /** A region's facts. Throws InvalidArgumentError if the slot is free. */
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

  /** 1 + the live mappings. Exact while no other thread maps. */
  mapped(region: number): number {
    this.#checkRegion(region);
    return 1 + mappedOf(this.#state, region);
  }

  /** How often the physical page is pinned. A page with pins may not be freed or used for anything else. */
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
   * Charges pages that are not in a region, such as those of a whole window. Returns the charge's number, for `uncharge`. "ENOMEM": the limit
   * is reached; "ESRCH": no such owner. `user`: as for regions.
   */
  charge(owner: number, pages: number, user = 0): number | Errno {
    checkInteger("pages of a charge", pages, 0, MAX_ENTRIES);
    checkInteger("user of a charge", user, 0, MAX_USER);
    return this.#locked(() => this.#charge(owner, pages, user));
  }

  /** Ends a charge. "ENOENT": there is no such charge. */
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

  /** The numbers of a user's charges. */
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
   * Looks up the region of the owner that contains these pages, and adds `count` to its live mappings (default 1), so that it stays. Returns the
   * region; -2 (ENOENT): there is none; -6 (ENXIO): it is being released. Then either `keep` or `drop`, before the next `take` or `lower` of this
   * thread.
   */
  take(owner: number, userPage: number, pages: number, count = 1): number {
    if (this.#isClosed) throw viewClosed();
    if (!isPageCount(pages) || !isPageCount(count) || typeof userPage !== "number")
      throw badTake(userPage, pages, count);
    return this.#counts.take(owner, userPage, pages, count);
  }

  /** As `take`, for a region that the caller knows. -6 (ENXIO): it is not live. */
  takeRegion(region: number, count = 1): number {
    if (this.#isClosed) throw viewClosed();
    this.#checkRegion(region);
    if (!isPageCount(count)) throw badTake(0, 1, count);
    return this.#counts.takeRegion(region, count);
  }

  /** What was taken is mapped: its mappings count until `lower`. */
  keep(): void {
    this.#counts.keep();
  }

  /** Takes the last `take` back: nothing was mapped. */
  drop(): void {
    this.#counts.drop();
  }

  /**
   * Subtracts `count` live mappings, which were removed: call it once no device can use them, that is after the invalidation. Throws
   * InvalidArgumentError, and changes nothing, if the region has fewer.
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
   * The physical page of 4 KiB behind a user page. Only while a mapping of the region is counted. `shift`: log2 of the bytes that are to be
   * mapped there at once. -14 (EFAULT): outside of the region, or more than the smallest page that backs the region.
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

  /** A device may have written these pages. Before the `lower` of the mapping through which it did. */
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
   * What a dead thread has taken and neither kept nor dropped, or was lowering.
   *
   * @internal
   */
  handOf(thread: number): Hand | undefined {
    return handOf(this.#state, thread);
  }

  /**
   * Settles the hand of a dead thread: its `take` counts as kept, or dropped; its `lower` as made, or not made. What no container settles: a take
   * is dropped, a `lower` is made. Can be repeated.
   *
   * @internal
   */
  settleHand(thread: number, isMade: boolean): void {
    settleHand(this.#state, thread, isMade);
  }

  /**
   * What a thread's part of the region's count holds: of this thread, or of a dead one. A container notes it before it lowers; then a recovery
   * knows what it has to be (`restoreCell`).
   *
   * @internal
   */
  cellOf(region: number, thread: number = this.thread): number {
    return load(this.#state.words, cellAt(this.#state, thread, region));
  }

  /**
   * Stores this or a dead thread's part of a region's count, and settles its hand. Can be repeated.
   *
   * @internal
   */
  restoreCell(thread: number, region: number, value: number): void {
    this.#checkRegion(region);
    store(this.#state.words, cellAt(this.#state, thread, region), value | 0);
    poke(this.#state.words, threadAt(this.#state, thread) + THREAD.handRegion, 0);
  }

  /** The owner that ends with this dead thread, when everything of it is reclaimed: no other thread has joined it. Undefined: none does. */
  ownerEndingWith(thread: number): number | undefined {
    const { words, threads } = this.#state;
    const owner = load(words, threadAt(this.#state, thread) + THREAD.owner) - 1;
    for (let other = 0; other < threads; other++) {
      if (other !== thread && load(words, threadAt(this.#state, other) + THREAD.owner) === owner + 1) return undefined;
    }
    return owner < 0 ? undefined : owner;
  }

  /** Detaches this thread; regions, mappings and owners stay. Later calls throw IovaError "view-closed". A second call does nothing. */
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

  /** Runs with the lock held. If it throws, what it has left half done is put right, as after a death. */
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

  /** Pages that may still be charged. */
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

  /** Before the tables are given back: the mappings of a process end with its last thread. */
  #endProcess(thread: number, scope: ReclaimScope): Recovered | undefined {
    const owner = this.ownerEndingWith(thread);
    if (scope !== "everything" || owner === undefined) return undefined;
    const errno = this.#runEndings(owner);
    if (errno === undefined) return undefined;
    const failure = new IovaError("in-use", `the mappings of owner ${owner} of thread ${thread} can't end: ${errno}`);
    return { ranges: [], isLeft: true, failure };
  }

  /** Ends what a dead thread was doing with the lock. */
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

/** False: an empty range, or one beyond the address space. Throws InvalidArgumentError for what is no number of pages. */
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
