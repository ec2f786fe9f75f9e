/**
 * A guest's hypercalls for TCEs, as KVM answers them from the guest's tables, and calls that KVM leaves to user space.
 *
 * The rules are PAPR's: a whole call is checked before anything is written. H_TOO_HARD is the answer if KVM can't resolve a call: for an unknown
 * liobn, and for a guest page that is misaligned, has no memory slot, or, with a hardware table attached, is not registered. This code goes to
 * user space, never to the guest. User space registers the memory and repeats the call (`answer`), or answers itself. A busy platform is
 * H_LONG_BUSY_FIRST: the guest repeats the call. A platform that refuses is H_HARDWARE.
 *
 * Calls of several vCPU threads run at once; for one entry, one after another. docs/verification.md lists the answers that no kernel has
 * confirmed yet.
 */
import { swapBytes } from "../../formats/address.ts";
import type { Hypercall } from "../../machine/contract.ts";
import {
  H_FUNCTION,
  H_GET_TCE,
  H_HARDWARE,
  H_LONG_BUSY_FIRST,
  H_PARAMETER,
  H_PUT_TCE,
  H_PUT_TCE_INDIRECT,
  H_STUFF_TCE,
  H_SUCCESS,
  H_TOO_HARD,
  TCES_PER_CALL,
} from "../../platforms/pseries/papr.ts";
import type { Errno } from "../../units/errno.ts";
import { checkInstance, InvalidArgumentError, InvariantError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import { type FoundTable, PERMISSIONS } from "./guest-changes.ts";
import { NO_PAGE } from "./guest-memory.ts";
import { GuestTables } from "./guest-tables.ts";

const LIST_ALIGNMENT = 4096;
/** Pages of 4 KiB in 4 GiB. */
const PAGES_IN_LOW = 2 ** 20;
/** Reserved bits of a TCE: between its page and its permissions. */
const RESERVED_BITS = 0xffc;

/** A call that KVM leaves to user space. */
export interface GuestCall {
  /** Number of the hypercall. */
  readonly number: number;
  /** Arguments from R4 on. User space stores results over them, from `args[0]` on. */
  readonly args: BigUint64Array;
}

/** Options of `GuestCalls`. */
export interface GuestCallsOptions {
  /** This thread's view of the guest's tables. */
  readonly tables: GuestTables;
  /** Reads `into.length` bytes, at most 4096, from the beginning of a user page of 4 KiB. Returns false if the page is not present. */
  readonly readUser: (userPage: number, into: Uint8Array) => boolean;
  /**
   * User space: answers calls that are not for TCEs, and those that KVM answers by H_TOO_HARD. Returns the code for the guest. It may change tables,
   * memory and regions, and repeat the call by `answer`. Default: H_PARAMETER for TCEs, H_FUNCTION for other calls.
   */
  readonly userSpace?: (call: GuestCall) => number;
}

/**
 * The hypercalls of one vCPU thread, answered from the guest's tables. Codes are PAPR's: 0 is H_SUCCESS. `GuestTables` has an example. For a guest that
 * runs a `PseriesPlatform`, its machine's `hypercall` is the one of this object.
 */
export class GuestCalls {
  /** Answers a call of the guest, for `Machine.hypercall`. Throws InvariantError if user space returns H_TOO_HARD (9999). */
  readonly hypercall: Hypercall;
  readonly #tables: GuestTables;
  readonly #readUser: GuestCallsOptions["readUser"];
  readonly #userSpace: (call: GuestCall) => number;
  readonly #found: FoundTable = { table: 0, word: 0, pageShift: 0, basePage: 0, size: 0, first: 0 };
  /** The list of a call, big-endian, and the user pages behind its entries. */
  readonly #list: Uint32Array = new Uint32Array(2 * TCES_PER_CALL);
  readonly #listBytes: Uint8Array = new Uint8Array(this.#list.buffer);
  readonly #userPages: Float64Array = new Float64Array(TCES_PER_CALL);
  readonly #tce: Uint32Array = new Uint32Array(2);
  /** The argument buffer of the last call and its words: guests reuse the buffer. */
  #args: BigUint64Array = new BigUint64Array(0);
  #words: Uint32Array = new Uint32Array(0);

  /** Throws InvalidArgumentError for options of other types. */
  constructor(options: GuestCallsOptions) {
    checkKeys("a guest's calls", options, { tables: "object", readUser: "function", userSpace: "function" });
    const { tables, readUser, userSpace = refuse } = options;
    checkInstance("tables of a guest's calls", tables, GuestTables, "a view of a guest's tables");
    if (readUser === undefined) throw new InvalidArgumentError("readUser of a guest's calls", readUser, "a function");
    this.#tables = tables;
    this.#readUser = readUser;
    this.#userSpace = userSpace;
    this.hypercall = (number, args) => this.#hypercall(number, args);
  }

  /**
   * KVM's own answer, without user space. H_TOO_HARD (9999): KVM leaves the call to user space, as it does all calls that are not for TCEs. Throws
   * InvalidArgumentError unless `args` is a BigUint64Array of at least 4 elements.
   */
  answer(number: number, args: BigUint64Array): number {
    if (!isTceCall(number)) return H_TOO_HARD;
    if (args !== this.#args) {
      if (!(args instanceof BigUint64Array)) throw new InvalidArgumentError("arguments", args, "a BigUint64Array");
      if (args.length < 4) throw new InvalidArgumentError("arguments of a hypercall", args.length, "room for 4");
      this.#args = args;
      this.#words = new Uint32Array(args.buffer, args.byteOffset, args.length * 2);
    }
    if (this.#high(0) !== 0 || !this.#tables.find(this.#low(0), this.#found)) return H_TOO_HARD;
    const first = this.#entry();
    if (number === H_GET_TCE) return this.#get(first);
    if (number === H_PUT_TCE) return this.#putOne(first);
    return number === H_STUFF_TCE ? this.#stuff(first) : this.#putList(first);
  }

  #hypercall(number: number, args: BigUint64Array): number {
    const code = this.answer(number, args);
    if (code !== H_TOO_HARD) return code;
    const answered = this.#userSpace({ number, args });
    if (answered === H_TOO_HARD) throw new InvariantError(`user space answers H_TOO_HARD to call ${number}`);
    return answered;
  }

  #get(entry: number): number {
    if (!this.#isInside(entry, 1)) return H_PARAMETER;
    const errno = this.#tables.changes.get(this.#found, entry, this.#tce);
    if (errno !== undefined) return codeOf(errno);
    this.#words[HIGH_WORD] = this.#tce[HIGH_WORD] as number;
    this.#words[LOW_WORD] = this.#tce[LOW_WORD] as number;
    return H_SUCCESS;
  }

  #putOne(entry: number): number {
    if (!this.#isInside(entry, 1)) return H_PARAMETER;
    const userPage = this.#userPageOf(this.#high(2), this.#low(2));
    return userPage === NO_PAGE ? H_TOO_HARD : this.#put(entry, this.#high(2), this.#low(2), userPage);
  }

  /** `count` may exceed 512: KVM does not check it. */
  #stuff(first: number): number {
    const count = this.#high(3) * 2 ** 32 + this.#low(3);
    const high = this.#high(2);
    const low = this.#low(2);
    if ((low & PERMISSIONS) !== 0) return H_PARAMETER;
    if (count === 0) return H_SUCCESS;
    if (!this.#isInside(first, count)) return H_PARAMETER;
    const { changes } = this.#tables;
    for (let entry = first; entry < first + count; ) {
      const part = Math.min(first + count - entry, changes.leftInBlock(this.#found, entry));
      const errno = changes.clear(this.#found, entry, part, high, low);
      if (errno !== undefined) return codeOf(errno);
      entry += part;
    }
    return H_SUCCESS;
  }

  #putList(first: number): number {
    const count = this.#high(3) * 2 ** 32 + this.#low(3);
    if (count > TCES_PER_CALL || this.#low(2) % LIST_ALIGNMENT !== 0) return H_PARAMETER;
    if (count === 0) return H_SUCCESS;
    if (!this.#isInside(first, count)) return H_PARAMETER;
    const listPage = this.#tables.memory.userPageOf(pageOf(this.#high(2), this.#low(2)), 1);
    // A copy: the guest may change its list meanwhile.
    if (listPage === NO_PAGE || !this.#readUser(listPage, this.#listBytes.subarray(0, 8 * count))) return H_TOO_HARD;
    for (let i = 0; i < count; i++) {
      const userPage = this.#userPageOf(this.#listHigh(i), this.#listLow(i));
      if (userPage === NO_PAGE) return H_TOO_HARD;
      this.#userPages[i] = userPage;
    }
    for (let i = 0; i < count; i++) {
      const code = this.#put(first + i, this.#listHigh(i), this.#listLow(i), this.#userPages[i] as number);
      if (code !== H_SUCCESS) return code;
    }
    return H_SUCCESS;
  }

  #put(entry: number, high: number, low: number, userPage: number): number {
    const { changes } = this.#tables;
    const isMapped = (low & PERMISSIONS) !== 0;
    const errno = isMapped
      ? changes.put(this.#found, entry, high, low, userPage)
      : changes.clear(this.#found, entry, 1, high, low);
    return errno === undefined ? H_SUCCESS : codeOf(errno);
  }

  /** User page behind the page of a TCE; NO_PAGE: it can't be mapped. 0 for a TCE without permissions. */
  #userPageOf(high: number, low: number): number {
    if ((low & PERMISSIONS) === 0) return 0;
    const pages = 2 ** (this.#found.pageShift - 12);
    const guestPage = pageOf(high, low);
    if ((low & RESERVED_BITS) !== 0 || guestPage % pages !== 0) return NO_PAGE;
    const userPage = this.#tables.memory.userPageOf(guestPage, pages);
    if (userPage === NO_PAGE || this.#tables.check(this.#found, userPage) !== undefined) return NO_PAGE;
    return userPage;
  }

  /** Entry of the bus address in the second argument. It may be outside of the table. */
  #entry(): number {
    const { basePage, pageShift } = this.#found;
    return Math.floor((pageOf(this.#high(1), this.#low(1)) - basePage) / 2 ** (pageShift - 12));
  }

  #isInside(first: number, count: number): boolean {
    return first >= 0 && first + count <= this.#found.size;
  }

  #low(argument: number): number {
    return this.#words[2 * argument + LOW_WORD] as number;
  }
  #high(argument: number): number {
    return this.#words[2 * argument + HIGH_WORD] as number;
  }
  #listHigh(i: number): number {
    return swapBytes(this.#list[2 * i] as number);
  }
  #listLow(i: number): number {
    return swapBytes(this.#list[2 * i + 1] as number);
  }
}

/** The page of 4 KiB with this address. */
function pageOf(high: number, low: number): number {
  return (high >>> 0) * PAGES_IN_LOW + (low >>> 12);
}

function codeOf(errno: Errno): number {
  if (errno === "EAGAIN") return H_LONG_BUSY_FIRST;
  return errno === "ENOMEM" ? H_HARDWARE : H_TOO_HARD;
}

function isTceCall(number: number): boolean {
  return number === H_PUT_TCE || number === H_PUT_TCE_INDIRECT || number === H_STUFF_TCE || number === H_GET_TCE;
}

function refuse({ number }: GuestCall): number {
  return isTceCall(number) ? H_PARAMETER : H_FUNCTION;
}
