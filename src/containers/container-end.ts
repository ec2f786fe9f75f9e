/**
 * The end of a container whose opener dies: a thread that *watches* the container empties its domains, invalidates, and unpins its memory, in
 * `crew.reclaim`, at the stage "table". Only then does the stage "pinned" end the process.
 *
 * The shared state is one word: the number of the thread that opened the container, + 1; 0 before it is opened and once it has ended. Its mappings
 * are in the tables of its domains, and its regions are in the pinned memory, with the container's number as their user. So a recovery needs no
 * other record, and can be repeated.
 */
import type { Attachment, Recovered } from "../crew/crew.ts";
import { PinnedMemory } from "../pinned/pinned-memory.ts";
import {
  compareExchange,
  createShared,
  load,
  type SharedBuffer,
  type SharedWords,
  store,
  wordsOf,
} from "../shared/memory.ts";
import { checkHandle } from "../table/handle.ts";
import { type Errno, isErrno } from "../units/errno.ts";
import { checkInstance, FormatError, InvalidArgumentError, IovaError } from "../units/errors.ts";
import { checkDomain, type Domain } from "./domain.ts";

/** The shared state: one word. */
const STATE_BYTES = 4;

/** Identifies a container in other threads. Structured-cloneable. */
export interface ContainerHandle {
  /** @internal */
  readonly state: SharedBuffer;
  /** @internal */
  readonly structure: number;
  /** The process: a number of `PinnedMemory.addOwner`. */
  readonly owner: number;
  /** The container's number as a user of regions. */
  readonly user: number;
}

/**
 * The end of a container (`Type1Container` or `IoAddressSpace`) by another thread, after the death of the thread that opened it.
 *
 * Two ways: the thread that will call `crew.reclaim` makes an `offer`, and posts its handle to the thread that opens the container with it. Or it
 * watches a container that is open already (`watch`); but if the opener dies before it has posted the handle, no thread can end the container.
 */
export class ContainerEnd {
  /** Structured-cloneable: post it to a thread that calls `ContainerEnd.watch`. */
  readonly handle: ContainerHandle;
  readonly #pinned: PinnedMemory;
  readonly #words: SharedWords;
  readonly #domains: readonly Domain[];
  readonly #isOpener: boolean;
  readonly #attachment: Attachment;
  readonly #forgetEnding: () => void;
  #isClosed = false;

  private constructor(pinned: PinnedMemory, handle: ContainerHandle, domains: readonly Domain[], isOpener: boolean) {
    this.#pinned = pinned;
    this.handle = handle;
    this.#words = wordsOf(handle.state);
    this.#domains = domains;
    this.#isOpener = isOpener;
    this.#attachment = pinned.crew.enter(handle.structure, "table", (dead) => this.#recover(dead));
    this.#forgetEnding = isOpener ? () => undefined : pinned.onOwnerEnd(handle.owner, () => this.#endNow());
  }

  /**
   * The end of a container that another thread will open with this one's `handle`. `pinned`, `domains`: as `watch`. Throws InvalidArgumentError
   * if the owner has ended, and IovaError "no-structure" if the crew has 1024 structures.
   */
  static offer(pinned: PinnedMemory, owner: number, domains: readonly Domain[]): ContainerEnd {
    checkWatcher(pinned, domains);
    if (!pinned.hasOwner(owner))
      throw new InvalidArgumentError("owner of a container", owner, "one that has not ended");
    return new ContainerEnd(pinned, newHandle(pinned, owner), domains, false);
  }

  /**
   * The end of a container that the calling thread opens now; `Type1Container.open` and `IoAddressSpace.create` call it. `offered`: handle of an offer
   * by another thread; default: a new container. Throws FormatError for a foreign handle, InvalidArgumentError for a handle of another owner, and
   * IovaError "already-open" if a thread has opened the container.
   */
  static begin(pinned: PinnedMemory, owner: number, offered?: ContainerHandle): ContainerEnd {
    if (offered !== undefined) {
      checkContainerHandle(offered);
      if (offered.owner !== owner) {
        throw new InvalidArgumentError(
          "owner of a container's handle",
          offered.owner,
          `${owner}, that of the container`,
        );
      }
    }
    const end = new ContainerEnd(pinned, offered ?? newHandle(pinned, owner), [], true);
    const holder = compareExchange(end.#words, 0, 0, pinned.thread + 1) - 1;
    if (holder < 0) return end;
    pinned.crew.leave(end.#attachment);
    throw new IovaError("already-open", `thread ${holder} has opened this container`);
  }

  /**
   * Watches a container that another thread opened: a reclaim of that thread by the calling thread ends the container. `pinned`: this thread's view.
   * `domains`: this thread's views of all domains that the container may have. Throws FormatError for a foreign handle.
   */
  static watch(handle: ContainerHandle, pinned: PinnedMemory, domains: readonly Domain[]): ContainerEnd {
    checkContainerHandle(handle);
    checkWatcher(pinned, domains);
    return new ContainerEnd(pinned, handle, domains, false);
  }

  /** True if no thread has the container open: before it is opened, and once it is closed or ended by a reclaim. */
  get isEnded(): boolean {
    return load(this.#words, 0) === 0;
  }

  /**
   * Called by a watcher: stops to watch. Called by the container: it is empty and closed. If the container is not open afterwards, its handle can't
   * be used any more. A second call does nothing.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#isOpener) store(this.#words, 0, 0);
    const isLast = this.isEnded;
    this.#forgetEnding();
    this.#pinned.crew.leave(this.#attachment);
    if (isLast) this.#pinned.crew.removeStructure(this.handle.structure);
  }

  #recover(dead: number): Recovered | undefined {
    if (load(this.#words, 0) !== dead + 1) return undefined;
    const errno = this.#endNow();
    if (errno === undefined) return undefined;
    const failure = new IovaError("in-use", `the container of thread ${dead} can't end: ${errno}`);
    return { ranges: [], isLeft: true, failure };
  }

  /** Ends the container without its opener. */
  #endNow(): Errno | undefined {
    if (this.isEnded) return undefined;
    const errno = this.#empty() ?? this.#unpin();
    if (errno === undefined) store(this.#words, 0, 0);
    return errno;
  }

  #empty(): Errno | undefined {
    for (const { ops, window } of this.#domains) {
      ops.clear(0, window.entries);
      const failure = ops.publish();
      if ((ops.invalidateAll() ?? failure) !== undefined) return "EBUSY";
    }
    return undefined;
  }

  #unpin(): Errno | undefined {
    const regions = this.#pinned.regionsOf(this.handle.owner, this.handle.user);
    if (isErrno(regions)) return regions;
    for (const region of regions) {
      // Written, to be safe: only the opener knew the access of each mapping.
      const errno = this.#pinned.put(region, this.handle.user, true);
      if (errno !== undefined && errno !== "ENOENT") return errno;
    }
    return undefined;
  }
}

function newHandle(pinned: PinnedMemory, owner: number): ContainerHandle {
  return { state: createShared(STATE_BYTES), structure: pinned.crew.addStructure(), owner, user: pinned.newUser() };
}

function checkWatcher(pinned: PinnedMemory, domains: readonly Domain[]): void {
  checkInstance("pinned of a container's end", pinned, PinnedMemory, "a view of a pinned memory");
  if (!Array.isArray(domains)) throw new InvalidArgumentError("domains of a container's end", domains, "an array");
  for (const domain of domains) checkDomain(domain);
}

function checkContainerHandle(handle: ContainerHandle): void {
  checkHandle("a container", handle, { state: "shared", structure: "count", owner: "count", user: "count" });
  const { byteLength } = handle.state;
  if (byteLength !== STATE_BYTES)
    throw new FormatError(`state of a container has ${byteLength} bytes; expected ${STATE_BYTES}`);
}
