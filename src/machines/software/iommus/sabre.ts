/**
 * One thread's view of the registers of sun4u's PCI bridges: the programming model of platforms/sun4u/registers.ts. All devices share one
 * window. Sabre, the bridge in UltraSPARC-IIi, has no streaming cache; Psycho has one, here with the context flush of later bridges.
 *
 * Simplification: a flush that could not wait for a DMA in flight is reported only to its own thread, by the time-out error in that
 * thread's next read of CONTROL.
 */
import type { Registers } from "../../../machine/contract.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import {
  CONTROL,
  ENABLE,
  END_OF_WINDOW,
  ERROR,
  ERROR_STATUS,
  ERROR_TIME_OUT,
  FLUSH,
  SMALLEST_TSB,
  STREAMING_CONTEXT_FLUSH,
  STREAMING_CONTROL,
  STREAMING_ENABLE,
  STREAMING_FLAG_BYTES,
  STREAMING_FLUSH_SYNC,
  STREAMING_LINES,
  STREAMING_PAGE_FLUSH,
  STREAMING_TAG_VALID,
  STREAMING_TAGS,
  TAG_COUNT,
  TAGS,
  TSB_ALIGNMENT,
  TSB_BASE,
  TSB_SIZE_MASK,
  TSB_SIZE_SHIFT,
  WIDE_PAGES,
} from "../../../platforms/sun4u/registers.ts";
import { load, peek, poke, type SharedWords, store } from "../../../shared/memory.ts";
import { InvalidArgumentError, inWords } from "../../../units/errors.ts";
import { highHalf, joinHalves, lowHalf } from "../../../units/words64.ts";
import { STREAMING_CACHE_WORDS, type StreamingCache } from "../streaming-cache.ts";
import { PASSED } from "../threads.ts";
import type { TranslationUnit } from "../translation.ts";
import { type IommuModel, type IommuParts, unknownRegister } from "./model.ts";

/** Format code of IOPTEs in walk.ts. */
const IOPTE = 2;
const WORD = { control: 0, tableLow: 1, tableHigh: 2 } as const;
const WORDS = 32;
const NAMED_BY = "platforms/sun4u/registers.ts";
const ALL_TAGS = 2 ** TAG_COUNT - 1;
/** A context has 12 bits. */
const CONTEXT_MASK = 0xfff;

class SabreRegisters implements Registers {
  readonly #state: SharedWords;
  readonly #at: number;
  readonly #unit: TranslationUnit;
  readonly #memory: PhysicalMemory;
  readonly #streaming: StreamingCache | undefined;
  /**
   * State of this thread: whether a flush has timed out since the last read of CONTROL, and the tags emptied since the last invalidation.
   */
  #timedOut = false;
  #emptiedTags = 0;

  constructor(parts: IommuParts) {
    this.#state = parts.state;
    this.#at = parts.at;
    this.#unit = parts.unit;
    this.#memory = parts.memory;
    this.#streaming = parts.streaming;
  }

  read32(at: number): number {
    throw unknownRegister("32-bit register to read", at, NAMED_BY);
  }

  write32(at: number): void {
    throw unknownRegister("32-bit register to write", at, NAMED_BY);
  }

  /** Throws InvalidArgumentError for an unknown register. */
  read64(at: number): bigint {
    const low = this.readLow64(at);
    return joinHalves(this.#highOf(at), low);
  }

  readHigh64(at: number): number {
    // Reads the low half as well, so that a read of CONTROL takes the time-out error.
    this.readLow64(at);
    return this.#highOf(at) >>> 0;
  }

  readLow64(at: number): number {
    switch (at) {
      case CONTROL: {
        const error = this.#timedOut ? ERROR | ERROR_TIME_OUT : 0;
        this.#timedOut = false;
        return (load(this.#state, this.#at + WORD.control) | error) >>> 0;
      }
      case TSB_BASE:
        return peek(this.#state, this.#at + WORD.tableLow) >>> 0;
      default:
        if (this.#streaming !== undefined && isStreaming(at)) return this.#readStreaming(this.#streaming, at);
        throw unknownRegister("64-bit register to read", at, NAMED_BY);
    }
  }

  /** Throws InvalidArgumentError for an unknown register, and for enabling an invalid set-up. */
  write64(at: number, value: bigint): void {
    this.writeHalves64(at, highHalf(value), lowHalf(value));
  }

  writeHalves64(at: number, high: number, low: number): void {
    if (at === FLUSH) this.#flush(low);
    else if (at === CONTROL) this.#control(low);
    else if (at === TSB_BASE) this.#setTable(high, low);
    else if (at >= TAGS && at < TAGS + 8 * TAG_COUNT && at % 8 === 0) this.#writeTag((at - TAGS) / 8, high, low);
    else if (this.#streaming !== undefined && isStreaming(at)) this.#writeStreaming(this.#streaming, at, high, low);
    else throw unknownRegister("64-bit register to write", at, NAMED_BY);
  }

  /** The high half of a register: only TSB_BASE has one. */
  #highOf(at: number): number {
    return at === TSB_BASE ? peek(this.#state, this.#at + WORD.tableHigh) : 0;
  }

  /** Ignores the high half of the bus address: all windows lie below 4 GiB. */
  #flush(iova: number): void {
    const control = load(this.#state, this.#at + WORD.control);
    if ((control & ENABLE) === 0) return;
    const entry = entryAt(control, iova);
    this.#note(this.#unit.invalidate(0, 0, entry, entry + 1));
  }

  #readStreaming(streaming: StreamingCache, at: number): number {
    if (at === STREAMING_CONTROL) return streaming.enabled ? STREAMING_ENABLE : 0;
    const line = (at - STREAMING_TAGS) / 8;
    if (!(Number.isInteger(line) && line >= 0 && line < STREAMING_LINES)) {
      throw unknownRegister("64-bit register to read", at, NAMED_BY);
    }
    const entry = streaming.entryOf(line);
    if (entry < 0) return 0;
    const control = load(this.#state, this.#at + WORD.control);
    // The address modulo 2^32, the end of the window.
    return (((entry - entriesOf(control)) << pageShiftOf(control)) | STREAMING_TAG_VALID) >>> 0;
  }

  #writeStreaming(streaming: StreamingCache, at: number, high: number, low: number): void {
    switch (at) {
      case STREAMING_CONTROL:
        streaming.enabled = (low & STREAMING_ENABLE) !== 0;
        return;
      case STREAMING_PAGE_FLUSH:
        this.#note(streaming.flushEntry(entryAt(load(this.#state, this.#at + WORD.control), low)));
        return;
      case STREAMING_CONTEXT_FLUSH:
        this.#note(streaming.flushContext(low & CONTEXT_MASK));
        return;
      case STREAMING_FLUSH_SYNC:
        this.#sync(streaming, numberOf(high, low));
        return;
      default:
        throw unknownRegister("64-bit register to write", at, NAMED_BY);
    }
  }

  /** Stores a big-endian 1 as the flag, unless flushed data could not be written to memory. */
  #sync(streaming: StreamingCache, flag: number): void {
    if (flag % STREAMING_FLAG_BYTES !== 0) {
      throw new InvalidArgumentError("flag of a flush sync", flag, `a multiple of ${STREAMING_FLAG_BYTES}`);
    }
    if (streaming.sync() === PASSED) this.#memory.store32(flag + 4, 0x01000000);
  }

  /** The hardware's IOTLB has one entry for each tag. When the last tag is emptied, the machine's IOTLB is emptied. */
  #writeTag(tag: number, high: number, low: number): void {
    if ((high | low) !== 0) {
      throw new InvalidArgumentError(
        `tag ${tag} of the IOTLB`,
        joinHalves(high, low),
        "0: the model can only empty it",
      );
    }
    this.#emptiedTags |= 1 << tag;
    if (this.#emptiedTags !== ALL_TAGS) return;
    this.#emptiedTags = 0;
    this.#note(this.#unit.invalidateAll());
  }

  #control(value: number): void {
    const answer = (value & ENABLE) === 0 ? this.#unit.closeWindow(0, 0) : this.#open(value);
    store(this.#state, this.#at + WORD.control, value & ~(ERROR | ERROR_STATUS));
    this.#note(answer);
  }

  #open(control: number): number {
    const entries = entriesOf(control);
    const pageShift = pageShiftOf(control);
    const base = END_OF_WINDOW - (BigInt(entries) << BigInt(pageShift));
    if (base < 0n) {
      throw new InvalidArgumentError("entries of the TSB", entries, `pages of ${2 ** pageShift} bytes that 2^32 holds`);
    }
    const tableAddress = numberOf(this.#highOf(TSB_BASE), this.readLow64(TSB_BASE));
    return this.#unit.openWindow(0, 0, { base, pageShift, entries, format: IOPTE, tableAddress });
  }

  /** Plain stores: one thread sets the IOMMU up, and only the write that enables translation reads these words. */
  #setTable(high: number, low: number): void {
    if ((load(this.#state, this.#at + WORD.control) & ENABLE) !== 0) {
      throw new InvalidArgumentError(
        "TSB_BASE",
        inWords("written while translation is on"),
        "CONTROL without ENABLE first",
      );
    }
    if (low % TSB_ALIGNMENT !== 0) {
      throw new InvalidArgumentError("TSB_BASE", joinHalves(high, low), `a multiple of ${TSB_ALIGNMENT}`);
    }
    poke(this.#state, this.#at + WORD.tableLow, low);
    poke(this.#state, this.#at + WORD.tableHigh, high);
  }

  #note(answer: number): void {
    if (answer !== PASSED) this.#timedOut = true;
  }
}

export const sabreIommu: IommuModel = { name: "sabre", words: WORDS, create: (parts) => new SabreRegisters(parts) };

export const psychoIommu: IommuModel = {
  name: "psycho",
  words: WORDS + STREAMING_CACHE_WORDS,
  streamingCacheAt: WORDS,
  create: (parts) => new SabreRegisters(parts),
};

function isStreaming(at: number): boolean {
  return (at >= STREAMING_CONTROL && at <= STREAMING_CONTEXT_FLUSH) || (at >= STREAMING_TAGS && at % 8 === 0);
}

/** The TSB's entries, from CONTROL. */
function entriesOf(control: number): number {
  return SMALLEST_TSB << ((control >>> TSB_SIZE_SHIFT) & TSB_SIZE_MASK);
}

function pageShiftOf(control: number): number {
  return (control & WIDE_PAGES) === 0 ? 13 : 16;
}

/** The entry of a bus address. Ignores bits above the window. */
function entryAt(control: number, iova: number): number {
  return (iova >>> pageShiftOf(control)) & (entriesOf(control) - 1);
}

/** A physical address from its halves. */
function numberOf(high: number, low: number): number {
  return (high >>> 0) * 2 ** 32 + (low >>> 0);
}
