/**
 * IOPTE: the entry of a sun4u IOMMU's table (its TSB).
 *
 * 8 bytes, big-endian (UltraSPARC-IIi user's manual, "TTE format" of the IOMMU):
 *
 *     bit 63      VALID: the device may read
 *     bit 61      64K: the page has 64 KiB; else 8 KiB
 *     bit 60      STREAM: through the streaming buffer
 *     bits 58–47  context, for flushes of the streaming buffer; 0 means none
 *     bits 46–13  physical address: mask 0x00007fffffffe000
 *     bit 4       CACHE: memory that CPUs cache, as all that a driver maps
 *     bit 1       WRITE: the device may write too
 *
 * The empty entry is all zeros, which is not VALID: the device's access is refused. Or, with a dummy page, it is VALID and leads
 * there: a stray access lands in a page that nobody else uses. Such an entry changes to another page and back without a moment in which
 * it is not VALID, and memory is stored in words of 32 bits; so that no device sees halves of two addresses, the dummy page and all
 * others lie below 4 GiB, where bits 46–32 are 0: address and WRITE are then in one word, and what the other one may be late with is
 * context and STREAM, of a page that is or has just been mapped.
 */
import type { EntryValue } from "../table/contract.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import { DEVICE_WRITES, type EntryAccess } from "../units/numbers.ts";
import * as addresses from "./address.ts";
import type { EntryFormat } from "./contract.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { addressHigh, addressLow, pageAt, pagesFit, swapBytes } = addresses;

// In bits 63..32.
const VALID = 1 << 31;
const SIZE_64K = 1 << 29;
const STREAM = 1 << 28;
const CONTEXT_SHIFT = 15;
const ADDRESS_HIGH = 0x7fff;
// In bits 31..0.
const ADDRESS_LOW = 0xffffe000;
const CACHE = 0x10;
const WRITE = 2;

const SHIFT_8K = 13;
const SHIFT_64K = 16;
/** Addresses end at bit 46. */
const ADDRESS_BITS = 47;

export interface Sun4uIopteOptions {
  /** Streaming buffer context, 0 .. 4095. Default 0: none. */
  readonly context?: number;
  /** Through the streaming buffer. Default false. */
  readonly streaming?: boolean;
  /** The empty entry leads here. Default: none, the empty entry is not VALID. */
  readonly dummy?: DummyPage;
}

/** A page of memory that stray accesses may read and write. */
export interface DummyPage {
  /** Physical address: a multiple of the page size, below 4 GiB. */
  readonly address: number;
  /** 13 or 16: that of the table whose empty entries lead here. */
  readonly pageShift: number;
}

/**
 * IOPTEs that carry this context and streaming bit. With a dummy page they are for tables of its page size, and pages below 4 GiB
 * other than it. Throws InvalidArgumentError for a context beyond 12 bits, or a dummy page that can't be.
 */
export function createSun4uIopte(options: Sun4uIopteOptions = {}): EntryFormat {
  const { context = 0, streaming = false, dummy } = options;
  checkInteger("context of sun4u-iopte", context, 0, 0xfff);
  const attributes = VALID | (streaming ? STREAM : 0) | (context << CONTEXT_SHIFT);
  if (dummy === undefined) return formatOf(attributes, [SHIFT_8K, SHIFT_64K], [0, 0], NO_PAGE);
  checkDummy(dummy);
  const dummyPage = dummy.address / 2 ** dummy.pageShift;
  return formatOf(attributes, [dummy.pageShift], dummyEntry(dummy), dummyPage);
}

/** As dummy page: there is none. */
const NO_PAGE = -1;

function formatOf(
  attributes: number,
  pageShifts: readonly number[],
  empty: readonly [number, number],
  dummyPage: number,
): EntryFormat {
  const addressBits = dummyPage === NO_PAGE ? ADDRESS_BITS : 32;
  const largest8K = 2 ** (addressBits - SHIFT_8K) - 1;
  const largest64K = 2 ** (addressBits - SHIFT_64K) - 1;
  return {
    name: "sun4u-iopte",
    pageShifts,
    grants: { 1: 1, 2: 3, 3: 3 },
    // VALID is in byte 0.
    validWord: 0,
    empty,
    largestPage(pageShift: number): number {
      return pageShift === SHIFT_64K ? largest64K : largest8K;
    },
    encode(page: number, count: number, access: EntryAccess, pageShift: number, into: Uint32Array): boolean {
      const large = pageShift === SHIFT_64K;
      if (!pagesFit(page, count, large ? largest64K : largest8K)) return false;
      if (dummyPage >= page && dummyPage < page + count) return false;
      const high = attributes | (large ? SIZE_64K : 0);
      const low = (access & DEVICE_WRITES) === 0 ? CACHE : CACHE | WRITE;
      for (let i = 0; i < count; i++) {
        into[2 * i] = swapBytes(high | addressHigh(page + i, pageShift));
        into[2 * i + 1] = swapBytes(low | addressLow(page + i, pageShift));
      }
      return true;
    },
    decode(from: Uint32Array, at: number, pageShift: number, into: EntryValue): void {
      decode(from, at, pageShift, into);
      if (into.page !== dummyPage) return;
      into.page = 0;
      into.access = 0;
    },
  };
}

function checkDummy({ address, pageShift }: DummyPage): void {
  if (pageShift !== SHIFT_8K && pageShift !== SHIFT_64K) {
    throw new InvalidArgumentError("page shift of the dummy page", pageShift, `${SHIFT_8K} or ${SHIFT_64K}`);
  }
  const pageBytes = 2 ** pageShift;
  if (Number.isInteger(address) && address >= 0 && address < 2 ** 32 && address % pageBytes === 0) return;
  throw new InvalidArgumentError("address of the dummy page", address, `a multiple of ${pageBytes} below 2^32`);
}

/** No context, not through the streaming buffer: nothing need be flushed for it. */
function dummyEntry({ address, pageShift }: DummyPage): [number, number] {
  const page = address / 2 ** pageShift;
  const high = VALID | (pageShift === SHIFT_64K ? SIZE_64K : 0);
  return [swapBytes(high), swapBytes(CACHE | WRITE | addressLow(page, pageShift))];
}

function decode(from: Uint32Array, at: number, pageShift: number, into: EntryValue): void {
  const high = swapBytes(from[at] as number);
  const low = swapBytes(from[at + 1] as number);
  if ((high & VALID) === 0) {
    into.page = 0;
    into.access = 0;
    return;
  }
  into.page = pageAt(high & ADDRESS_HIGH, low & ADDRESS_LOW, pageShift);
  into.access = (low & WRITE) === 0 ? 1 : 3;
}

/** Pages of 8 KiB and 64 KiB, no context, not through the streaming buffer. */
export const sun4uIopte: EntryFormat = createSun4uIopte();
