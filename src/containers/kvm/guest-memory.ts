/**
 * Memory slots of a guest: each maps a range of guest physical addresses to user addresses of the VMM. vCPUs look pages up without a lock, while the
 * VMM changes slots.
 *
 * While a slot is being changed it is unused. Each change has a number: a reader that loads the same number before and after the fields has read the
 * fields of one change. All accesses are sequentially consistent.
 */

import { USER_PAGE_SHIFT, USER_PAGES, userRange } from "../../pinned/user-memory.ts";
import { load, store } from "../../shared/memory.ts";
import type { Errno } from "../../units/errno.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";
import { type GuestState, MEMORY, memoryAt } from "./guest-layout.ts";

/** No user page: the guest has no memory there. */
export const NO_PAGE = -1;

/** A range of guest memory. All members are multiples of 4096. */
export interface GuestMemoryRange {
  /** Guest physical address of the first byte. */
  readonly guestAddress: bigint;
  /** Size in bytes, below 8 TiB. 0n: the slot becomes unused. */
  readonly bytes: bigint;
  /** User address of the first byte in the VMM. */
  readonly userAddress: bigint;
}

/** A range in pages of 4 KiB. */
export interface GuestPages {
  readonly guestPage: number;
  readonly pages: number;
  readonly userPage: number;
}

/** Converts a range to pages. "EINVAL": it is not aligned, ends beyond 2^64, or has 8 TiB and more. Throws InvalidArgumentError for other types. */
export function guestPagesOf(range: GuestMemoryRange): GuestPages | Errno {
  checkKeys("a range of guest memory", range, { guestAddress: "any", bytes: "any", userAddress: "any" });
  const { guestAddress, bytes, userAddress } = range;
  if (typeof bytes !== "bigint") throw new InvalidArgumentError("bytes of guest memory", bytes, "a bigint");
  const guest = userRange(guestAddress, bytes === 0n ? 4096n : bytes);
  const user = userRange(userAddress, bytes === 0n ? 4096n : bytes);
  if (typeof guest === "string" || typeof user === "string") return "EINVAL";
  const pages = Number(bytes >> BigInt(USER_PAGE_SHIFT));
  return pages > MAX_ENTRIES ? "EINVAL" : { guestPage: guest.userPage, pages, userPage: user.userPage };
}

/** One thread's view. */
export class GuestMemory {
  readonly #state: GuestState;

  constructor(state: GuestState) {
    this.#state = state;
  }

  /** Sets a slot; with 0 pages it becomes unused. "EEXIST": the range overlaps another slot. With the lock of changes held. */
  set(slot: number, { guestPage, pages, userPage }: GuestPages): Errno | undefined {
    checkInteger("memory slot", slot, 0, this.#state.memorySlots - 1);
    for (let other = 0; other < this.#state.memorySlots; other++) {
      if (other === slot || pages === 0) continue;
      const at = memoryAt(this.#state, other);
      if (load(this.#state.words, at + MEMORY.state) === 0) continue;
      const first = this.#page(at + MEMORY.guestLow);
      if (first < guestPage + pages && guestPage < first + load(this.#state.words, at + MEMORY.pages)) return "EEXIST";
    }
    const { words } = this.#state;
    const at = memoryAt(this.#state, slot);
    const change = (load(words, at + MEMORY.changes) % (2 ** 31 - 2)) + 1;
    store(words, at + MEMORY.state, 0);
    store(words, at + MEMORY.changes, change);
    this.#setPage(at + MEMORY.guestLow, guestPage);
    this.#setPage(at + MEMORY.userLow, userPage);
    store(words, at + MEMORY.pages, pages);
    if (pages > 0) store(words, at + MEMORY.state, change);
    return undefined;
  }

  /** User page behind a guest page; it and the next `pages` − 1 pages lie in one slot. NO_PAGE: no such slot. */
  userPageOf(guestPage: number, pages: number): number {
    const { words, memorySlots } = this.#state;
    if (guestPage + pages > USER_PAGES) return NO_PAGE;
    for (let slot = 0; slot < memorySlots; slot++) {
      const at = memoryAt(this.#state, slot);
      const change = load(words, at + MEMORY.state);
      if (change === 0) continue;
      const offset = guestPage - this.#page(at + MEMORY.guestLow);
      if (offset < 0 || offset + pages > load(words, at + MEMORY.pages)) continue;
      const userPage = this.#page(at + MEMORY.userLow) + offset;
      if (load(words, at + MEMORY.state) === change) return userPage;
    }
    return NO_PAGE;
  }

  #page(at: number): number {
    const { words } = this.#state;
    return load(words, at + 1) * 2 ** 32 + (load(words, at) >>> 0);
  }
  #setPage(at: number, page: number): void {
    const { words } = this.#state;
    store(words, at, page | 0);
    store(words, at + 1, Math.floor(page / 2 ** 32));
  }
}
