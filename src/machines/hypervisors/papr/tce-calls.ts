/**
 * The four calls that read and write TCEs, in the three personalities.
 *
 * Entries are written as their walk needs it (machines/software/walk.ts): the word with the permissions last, and an entry that
 * changes from one page to another is empty in between. When anything that was valid has changed, the IOTLB forgets the range
 * before the call returns; a DMA in flight that does not end in the machine's time makes it long-busy, and the call can be repeated.
 *
 * Calls of several threads meet no lock. On different entries they have nothing to do with each other; on the same entry, which
 * is a bug of the guest, the last wins, and what stands there may be halves of both. A thread that is killed in a call leaves some
 * of its entries written: they are in ranges that its guest reclaims.
 */
import { HIGH_WORD, LOW_WORD } from "../../../dma/pages.ts";
import * as addresses from "../../../formats/address.ts";
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
import type { SoftwareMemory } from "../../software/memory.ts";
import { PASSED } from "../../software/threads.ts";
import type { TranslationUnit } from "../../software/translation.ts";
import { type Personality, TAKEN } from "./personalities.ts";
import { HEADER } from "./state.ts";
import type { Windows } from "./windows.ts";

const { swapBytes } = addresses;

const PERMISSIONS = 3;
const LIST_ALIGNMENT = 4096;

/** Bus addresses of peers' registers, which are no memory and may be mapped all the same: pages of 4 KiB, [first, end). */
export interface PeerPages {
  readonly first: number;
  readonly end: number;
}

export interface TceCallParts {
  readonly personality: Personality;
  readonly multiTce: boolean;
  readonly windows: Windows;
  readonly memory: SoftwareMemory;
  /** As much of memory as the guest is given. */
  readonly guestMemory: SoftwareMemory;
  readonly unit: TranslationUnit;
  readonly words: SharedWords;
  readonly peers: PeerPages;
}

/** One thread's. */
export class TceCalls {
  readonly #parts: TceCallParts;
  readonly #personality: Personality;
  readonly #windows: Windows;
  readonly #memory: SoftwareMemory;
  /** Entries as they stand in memory: little-endian words of big-endian TCEs. */
  readonly #list: Uint32Array = new Uint32Array(2 * TCES_PER_CALL);
  readonly #listBytes: Uint8Array = new Uint8Array(this.#list.buffer);
  /** Words of this call's arguments. */
  #args: Uint32Array = this.#list;

  constructor(parts: TceCallParts) {
    this.#parts = parts;
    this.#personality = parts.personality;
    this.#windows = parts.windows;
    this.#memory = parts.memory;
  }

  /** `limit`: how many entries it may write, when it is to be cut off. */
  call(number: number, args: Uint32Array, limit: number): number {
    this.#args = args;
    if (!this.#parts.multiTce && (number === H_STUFF_TCE || number === H_PUT_TCE_INDIRECT)) return H_FUNCTION;
    if (this.#high(0) !== 0 || !this.#windows.enter(this.#low(0))) return this.#personality.unknownLiobn;
    const code = this.#inWindow(number, limit);
    this.#windows.leave();
    return code;
  }

  #inWindow(number: number, limit: number): number {
    const first = this.#entry();
    if (number === H_GET_TCE) return this.#get(first);
    if (number === H_PUT_TCE) return this.#put(first, limit);
    return number === H_STUFF_TCE ? this.#stuff(first, limit) : this.#putIndirect(first, limit);
  }

  #get(entry: number): number {
    if (!this.#inTable(entry, 1)) return H_PARAMETER;
    const at = this.#windows.tableAddress + entry * 8;
    let low = this.#memory.load32(at + 4);
    let high = this.#memory.load32(at);
    // Until no call has changed it in between.
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
    const code = this.#judge(0);
    if (code !== TAKEN) return code;
    return this.#write(entry, Math.min(1, limit));
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
    const judged = this.#judge(0);
    if (judged !== TAKEN) return judged;
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
    // A copy: the guest may change its list while it is looked at.
    this.#parts.guestMemory.read(list, this.#listBytes);
    const good = this.#judgeAll(fitting);
    if (good.code !== TAKEN && this.#personality.checksFirst) return good.code;
    const code = this.#write(first, Math.min(good.entries, limit));
    if (code !== H_SUCCESS) return code;
    if (good.code !== TAKEN) return good.code;
    return fitting < count ? H_PARAMETER : H_SUCCESS;
  }

  /** How many entries of the list are good, and the code of the first that is not. */
  #judgeAll(count: number): { readonly entries: number; readonly code: number } {
    for (let i = 0; i < count; i++) {
      const code = this.#judge(i);
      if (code !== TAKEN) return { entries: i, code };
    }
    return { entries: count, code: TAKEN };
  }

  /** May the guest have this entry of the list? Without permissions it is taken as it is: it maps nothing. */
  #judge(index: number): number {
    const low = swapBytes(this.#list[2 * index + 1] as number) >>> 0;
    if ((low & PERMISSIONS) === 0) return TAKEN;
    const high = swapBytes(this.#list[2 * index] as number) >>> 0;
    const pageBytes = 2 ** this.#windows.pageShift;
    const address4K = high * 2 ** 20 + Math.floor(low / 4096);
    const page = Math.floor(address4K / (pageBytes / 4096));
    if (this.#personality.badPage === TAKEN) {
      const start = page * (pageBytes / 4096);
      if (this.#isHypervisors(start, pageBytes / 4096)) return H_PARAMETER;
      this.#list[2 * index] = swapBytes(start / 2 ** 20);
      this.#list[2 * index + 1] = swapBytes(((start % 2 ** 20) * 4096) | (low & PERMISSIONS));
      return TAKEN;
    }
    const aligned = (low & 0xffc) === 0 && page * (pageBytes / 4096) === address4K;
    return aligned && this.#isGuests(address4K, pageBytes / 4096) ? TAKEN : this.#personality.badPage;
  }

  #isGuests(first: number, count: number): boolean {
    const { peers, words } = this.#parts;
    if (first + count <= peek(words, HEADER.memoryPages)) return true;
    return first >= peers.first && first + count <= peers.end;
  }

  /** The tables' own memory: the one page that even qemu refuses here, since a device would get there. */
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

  /** True when the IOTLB may still know what was there before. */
  #store(first: number, count: number): boolean {
    const memory = this.#memory;
    const at = this.#windows.tableAddress + first * 8;
    let changed = false;
    for (let i = 0; i < count && !changed; i++) changed = hasPermissions(memory.load32(at + 8 * i + 4));
    // Emptying what is empty also invalidates: a call before, cut off or long-busy, may have emptied it and not got so far.
    let forgets = changed;
    for (let i = 0; i < count && !forgets; i++) forgets = !hasPermissions(this.#list[2 * i + 1] as number);
    if (changed) this.#replace(at, count);
    else memory.storeWords(at, this.#list, 2 * count, 1);
    memory.fence();
    return forgets;
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

  /** The entry in which the second argument, a bus address, lies; outside of the table, one that is none. */
  #entry(): number {
    const page4K = this.#high(1) * 2 ** 20 + Math.floor(this.#low(1) / 4096);
    return Math.floor((page4K - this.#windows.basePage) / 2 ** (this.#windows.pageShift - 12));
  }

  #inTable(first: number, count: number): boolean {
    return this.#fitting(first, count) === count;
  }

  /** How many of the entries [first, first + count) the table has, from the first on. */
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

/** Of the second word of an entry in memory: its last byte is the highest. */
function hasPermissions(word: number): boolean {
  return ((word >>> 24) & PERMISSIONS) !== 0;
}
