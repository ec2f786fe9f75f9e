/**
 * The four calls that read and write TCEs, in the three personalities.
 *
 * Entries are written as the walk needs it (machines/software/walk.ts): the word with the permissions last, and an entry that changes from
 * one page to another is empty in between. If a valid entry has changed, the range is invalidated before the call returns. A DMA in flight
 * that exceeds the machine's time limit makes the call answer long-busy, and it can be repeated.
 *
 * Calls take no lock. Concurrent calls for different entries are independent. Concurrent calls for the same entry are a bug of the guest:
 * the entry may combine halves of both. A thread that is killed in a call leaves some of its entries written; they lie in ranges that its
 * guest reclaims.
 */

import { swapBytes } from "../../../formats/address.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import {
  H_FUNCTION,
  H_GET_TCE,
  H_LONG_BUSY_FIRST,
  H_PARAMETER,
  H_PUT_TCE,
  H_PUT_TCE_INDIRECT,
  H_STUFF_TCE,
  H_SUCCESS,
  TCES_PER_CALL,
} from "../../../platforms/pseries/papr.ts";
import { peek, type SharedWords } from "../../../shared/memory.ts";
import { HIGH_WORD, LOW_WORD } from "../../../units/words64.ts";
import { PASSED } from "../../software/threads.ts";
import type { TranslationUnit } from "../../software/translation.ts";
import { type Personality, TAKEN } from "./personalities.ts";
import { HEADER } from "./state.ts";
import type { Windows } from "./windows.ts";

const PERMISSIONS = 3;
const LIST_ALIGNMENT = 4096;
/** Number of pages of 4 KiB in 4 GiB. */
const PAGES_IN_LOW = 2 ** 20;

/** Addresses of peers' registers, which may be mapped although they are not memory: [first, end) in pages of 4 KiB. */
export interface PeerPages {
  readonly first: number;
  readonly end: number;
}

export interface TceCallParts {
  readonly personality: Personality;
  readonly multiTce: boolean;
  readonly windows: Windows;
  readonly memory: PhysicalMemory;
  /** The part of memory that the guest has. */
  readonly guestMemory: PhysicalMemory;
  readonly unit: TranslationUnit;
  readonly words: SharedWords;
  readonly peers: PeerPages;
}

/** One thread's view. */
export class TceCalls {
  readonly #parts: TceCallParts;
  readonly #personality: Personality;
  readonly #windows: Windows;
  readonly #memory: PhysicalMemory;
  /** Entries as in memory: little-endian words of big-endian TCEs. */
  readonly #list: Uint32Array = new Uint32Array(2 * TCES_PER_CALL);
  readonly #listBytes: Uint8Array = new Uint8Array(this.#list.buffer);
  /** The previous entries. */
  readonly #old: Uint32Array = new Uint32Array(2 * TCES_PER_CALL);
  readonly #oldBytes: Uint8Array = new Uint8Array(this.#old.buffer);
  /** Words of this call's arguments. */
  #args: Uint32Array = this.#list;
  /**
   * The window of the last call: its page shift, its IO page size in pages of 4 KiB, and the masks, low and high, of page number bits that
   * must be 0 for alignment.
   */
  #pageShift = 12;
  #pagesPerEntry = 1;
  #lowBits = 0;
  #highBits = 0;
  /** Results of `#judge`: number of list entries with permissions, and the code of the first bad entry. */
  #leading = 0;
  #verdict = TAKEN;

  constructor(parts: TceCallParts) {
    this.#parts = parts;
    this.#personality = parts.personality;
    this.#windows = parts.windows;
    this.#memory = parts.memory;
  }

  /** `limit`: most entries that the call writes, for injected failures. */
  call(number: number, args: Uint32Array, limit: number): number {
    this.#args = args;
    if (!this.#parts.multiTce && (number === H_STUFF_TCE || number === H_PUT_TCE_INDIRECT)) return H_FUNCTION;
    if (this.#high(0) !== 0 || !this.#windows.enter(this.#low(0))) return this.#personality.unknownLiobn;
    const code = this.#inWindow(number, limit);
    this.#windows.leave();
    return code;
  }

  #inWindow(number: number, limit: number): number {
    if (this.#windows.pageShift !== this.#pageShift) this.#takePageShift(this.#windows.pageShift);
    const first = this.#entry();
    if (number === H_GET_TCE) return this.#get(first);
    if (number === H_PUT_TCE) return this.#put(first, limit);
    return number === H_STUFF_TCE ? this.#stuff(first, limit) : this.#putIndirect(first, limit);
  }

  #takePageShift(pageShift: number): void {
    this.#pageShift = pageShift;
    this.#pagesPerEntry = 2 ** (pageShift - 12);
    this.#lowBits = (this.#pagesPerEntry - 1) & (PAGES_IN_LOW - 1);
    this.#highBits = Math.max(1, this.#pagesPerEntry / PAGES_IN_LOW) - 1;
  }

  #get(entry: number): number {
    if (!this.#inTable(entry, 1)) return H_PARAMETER;
    const at = this.#windows.tableAddress + entry * 8;
    let low = this.#memory.load32(at + 4);
    let high = this.#memory.load32(at);
    // Repeated until no call has changed the entry in between.
    for (let again = this.#memory.load32(at + 4); again !== low; again = this.#memory.load32(at + 4)) {
      low = again;
      high = this.#memory.load32(at);
    }
    this.#args[HIGH_WORD] = swapBytes(high);
    this.#args[LOW_WORD] = swapBytes(low);
    return H_SUCCESS;
  }

  #put(entry: number, limit: number): number {
    if (!this.#inTable(entry, 1)) return H_PARAMETER;
    this.#list[0] = swapBytes(this.#high(2));
    this.#list[1] = swapBytes(this.#low(2));
    this.#judge(1);
    return this.#verdict === TAKEN ? this.#write(entry, Math.min(1, limit)) : this.#verdict;
  }

  #stuff(first: number, limit: number): number {
    const { checksFirst, nothing, stuffedPermissions, stuffLimit } = this.#personality;
    const count = this.#count(3);
    const value = swapBytes(this.#low(2));
    if (hasPermissions(value) && stuffedPermissions !== TAKEN) return stuffedPermissions;
    if (count > (stuffLimit === "table" ? this.#windows.entries : stuffLimit)) return H_PARAMETER;
    if (count === 0) return nothing;
    const fitting = this.#fitting(first, count);
    if (fitting < count && checksFirst) return H_PARAMETER;
    this.#list[0] = swapBytes(this.#high(2));
    this.#list[1] = value;
    this.#judge(1);
    if (this.#verdict !== TAKEN) return this.#verdict;
    for (let i = 1; i < Math.min(count, TCES_PER_CALL); i++) {
      this.#list[2 * i] = this.#list[0] as number;
      this.#list[2 * i + 1] = this.#list[1] as number;
    }
    const allowed = Math.min(fitting, limit);
    for (let done = 0; done < allowed; done += TCES_PER_CALL) {
      const part = Math.min(TCES_PER_CALL, allowed - done);
      const code = this.#write(first + done, part);
      if (code !== H_SUCCESS) return code;
    }
    return fitting < count ? H_PARAMETER : H_SUCCESS;
  }

  #putIndirect(first: number, limit: number): number {
    const count = this.#count(3);
    if (count > TCES_PER_CALL || this.#low(2) % LIST_ALIGNMENT !== 0) return H_PARAMETER;
    if (count === 0) return this.#personality.nothing;
    const fitting = this.#fitting(first, count);
    if (fitting < count && this.#personality.checksFirst) return H_PARAMETER;
    const list = this.#high(2) * 2 ** 32 + this.#low(2);
    if (list + LIST_ALIGNMENT > this.#parts.guestMemory.bytes) return H_PARAMETER;
    // A copy, because the guest may change its list concurrently.
    this.#parts.guestMemory.read(list, this.#listBytes);
    const good = this.#judge(fitting);
    const verdict = this.#verdict;
    if (verdict !== TAKEN && this.#personality.checksFirst) return verdict;
    const code = this.#write(first, Math.min(good, limit));
    if (code !== H_SUCCESS) return code;
    if (verdict !== TAKEN) return verdict;
    return fitting < count ? H_PARAMETER : H_SUCCESS;
  }

  /**
   * Number of leading entries, of the first `count` of the list, that the guest may write. An entry without permissions is always allowed.
   */
  #judge(count: number): number {
    const keepsAll = this.#personality.badPage === TAKEN;
    this.#leading = 0;
    this.#verdict = TAKEN;
    for (let i = 0; i < count; i++) {
      if (!hasPermissions(this.#list[2 * i + 1] as number)) continue;
      this.#verdict = keepsAll ? this.#round(i) : this.#check(i);
      if (this.#verdict !== TAKEN) return i;
      this.#leading++;
    }
    return count;
  }

  /** Checks that the entry's page is aligned and in the guest's memory. */
  #check(index: number): number {
    const low = swapBytes(this.#list[2 * index + 1] as number);
    const high = swapBytes(this.#list[2 * index] as number);
    const misaligned = (low & 0xffc) | ((low >>> 12) & this.#lowBits) | (high & this.#highBits);
    const first = (high >>> 0) * PAGES_IN_LOW + (low >>> 12);
    return misaligned === 0 && this.#isGuests(first, this.#pagesPerEntry) ? TAKEN : this.#personality.badPage;
  }

  /** qemu: clears the entry's bits below its page. Refuses only the hypervisor's memory. */
  #round(index: number): number {
    const low = swapBytes(this.#list[2 * index + 1] as number);
    const high = swapBytes(this.#list[2 * index] as number);
    const page4K = (high >>> 0) * PAGES_IN_LOW + (low >>> 12);
    const start = page4K - (page4K % this.#pagesPerEntry);
    if (this.#isHypervisors(start, this.#pagesPerEntry)) return H_PARAMETER;
    this.#list[2 * index] = swapBytes(start / PAGES_IN_LOW);
    this.#list[2 * index + 1] = swapBytes(((start % PAGES_IN_LOW) * 4096) | (low & PERMISSIONS));
    return TAKEN;
  }

  #isGuests(first: number, count: number): boolean {
    const { peers, words } = this.#parts;
    if (first + count <= peek(words, HEADER.memoryPages)) return true;
    return first >= peers.first && first + count <= peers.end;
  }

  /** True for the hypervisor's memory, which even qemu's personality refuses here, because devices would reach it. */
  #isHypervisors(first: number, count: number): boolean {
    return first + count > this.#parts.guestMemory.bytes / 4096 && first < this.#memory.bytes / 4096;
  }

  /** Writes the first `count` entries of the list. */
  #write(first: number, count: number): number {
    if (count > 0 && this.#store(first, count)) {
      const { partition, window } = this.#windows;
      if (this.#parts.unit.invalidate(partition, window, first, first + count) !== PASSED) return H_LONG_BUSY_FIRST;
    }
    return H_SUCCESS;
  }

  /** Stores entries. True if the IOTLB may contain the previous ones. */
  #store(first: number, count: number): boolean {
    const memory = this.#memory;
    const at = this.#windows.tableAddress + first * 8;
    const changed = this.#leading === 0 || this.#wasLeading(at, count);
    // The valid word is stored first for empty entries, and last for new ones.
    if (this.#leading === 0) memory.storeWords(at, this.#list, 2 * count, 0);
    else if (changed) this.#replace(at, count);
    else memory.storeWords(at, this.#list, 2 * count, 1);
    memory.fence();
    // Emptying an empty entry also invalidates: an earlier call may have emptied it and ended, interrupted or long-busy, before the
    // invalidation.
    return changed || this.#leading < count;
  }

  /** True if one of these entries of the table has permissions. */
  #wasLeading(at: number, count: number): boolean {
    if (count === 1) return hasPermissions(this.#memory.load32(at + 4));
    this.#memory.read(at, count === TCES_PER_CALL ? this.#oldBytes : this.#oldBytes.subarray(0, count * 8));
    for (let i = 0; i < count; i++) if (hasPermissions(this.#old[2 * i + 1] as number)) return true;
    return false;
  }

  #replace(at: number, count: number): void {
    const memory = this.#memory;
    for (let i = 0; i < count; i++) {
      const high = this.#list[2 * i] as number;
      if (memory.load32(at + 8 * i) !== high) {
        memory.store32(at + 8 * i + 4, 0);
        memory.store32(at + 8 * i, high);
      }
      memory.store32(at + 8 * i + 4, this.#list[2 * i + 1] as number);
    }
  }

  /** The entry of the bus address in the second argument; an invalid one outside of the table. */
  #entry(): number {
    const page4K = this.#high(1) * 2 ** 20 + Math.floor(this.#low(1) / 4096);
    return Math.floor((page4K - this.#windows.basePage) / 2 ** (this.#windows.pageShift - 12));
  }

  #inTable(first: number, count: number): boolean {
    return this.#fitting(first, count) === count;
  }

  /** Number of leading entries of [first, first + count) that lie in the table. */
  #fitting(first: number, count: number): number {
    return first < 0 ? 0 : Math.max(0, Math.min(count, this.#windows.entries - first));
  }

  #count(argument: number): number {
    return this.#high(argument) * 2 ** 32 + this.#low(argument);
  }
  #low(argument: number): number {
    return this.#args[2 * argument + LOW_WORD] as number;
  }
  #high(argument: number): number {
    return this.#args[2 * argument + HIGH_WORD] as number;
  }
}

/** True if an entry has permissions. `word`: its second word in memory, whose highest byte is the entry's last. */
function hasPermissions(word: number): boolean {
  return ((word >>> 24) & PERMISSIONS) !== 0;
}
