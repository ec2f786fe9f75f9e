/**
 * The registers of the software IOMMU, as one thread sees them: the programming model of platforms/linear/registers.ts.
 *
 * An invalidation is three steps. The caller has emptied the entries, or stored others in their place:
 * (a) Wait for the DMAs in flight to pass. One of them may have read an entry before that, and be about to put it into the
 *     IOTLB. One that begins from now on reads the entries as they are.
 * (b) Take the translations away from the IOTLB.
 * (c) Wait for the DMAs in flight once more. One of them may have found its translation in the IOTLB before (b).
 * Without (a) a stale translation would stay in the IOTLB for ever; without (c) a DMA could still be moving bytes when the
 * page goes to its next owner. In the common case nothing is in flight: an atomic store and two atomic loads.
 */
import type { Registers } from "../../machine/contract.ts";
import * as frame from "../../platforms/linear/registers.ts";
import { count } from "../../shared/counters.ts";
import type { SharedWords } from "../../shared/memory.ts";
import * as memory from "../../shared/memory.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";
import type { FaultRecord } from "./faults.ts";
import type { Iotlb } from "./iotlb.ts";
import type { Layout } from "./layout.ts";
import * as layouts from "./layout.ts";
import type { DmaInFlight } from "./threads.ts";
import * as threads from "./threads.ts";
import { DECODERS } from "./walk.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const {
  CONTROL,
  ENABLE,
  ENTRIES,
  FAULTS_LOST,
  FORMAT_MASK,
  FORMAT_SHIFT,
  INVALIDATE_ALL,
  INVALIDATE_COUNT,
  INVALIDATE_FIRST,
  INVALIDATE_RESULT,
  PAGE_SHIFT,
  RESULT_BUSY,
  RESULT_DONE,
  RESULT_WOULD_BLOCK,
  TABLE_ALIGNMENT,
  TABLE_BASE,
  WINDOW_BASE,
} = frame;
const { load, peek, poke, store } = memory;
const { IOMMU, THREAD } = layouts;
const { closed, PASSED, STILL_IN_FLIGHT, slotAt } = threads;

const ENTRY_BYTES = 8;

export interface RegisterParts {
  readonly state: SharedWords;
  readonly layout: Layout;
  readonly thread: number;
  readonly memoryBytes: number;
  readonly iotlb: Iotlb;
  readonly inFlight: DmaInFlight;
  readonly faults: FaultRecord;
}

export class SoftwareRegisters implements Registers {
  readonly #state: SharedWords;
  readonly #memoryBytes: number;
  readonly #iotlb: Iotlb;
  readonly #inFlight: DmaInFlight;
  readonly #faults: FaultRecord;
  readonly #slotAt: number;
  // The banked frame: nobody else sees it, so it need not lie in shared memory.
  #invalidateFirst = 0;
  #invalidateResult = RESULT_DONE;
  #open = true;

  constructor(parts: RegisterParts) {
    this.#state = parts.state;
    this.#memoryBytes = parts.memoryBytes;
    this.#iotlb = parts.iotlb;
    this.#inFlight = parts.inFlight;
    this.#faults = parts.faults;
    this.#slotAt = slotAt(parts.layout, parts.thread);
  }

  /** Throws InvalidArgumentError when there is no such register of 32 bits. */
  read32(at: number): number {
    switch (at) {
      case INVALIDATE_RESULT:
        return this.#invalidateResult;
      case INVALIDATE_FIRST:
        return this.#invalidateFirst;
      case CONTROL:
        return load(this.#state, IOMMU.control);
      case ENTRIES:
        return peek(this.#state, IOMMU.entries);
      case PAGE_SHIFT:
        return peek(this.#state, IOMMU.pageShift);
      case FAULTS_LOST:
        return this.#faults.lost() % 2 ** 32;
      default:
        throw unknown("32-bit register to read", at);
    }
  }

  /** Throws InvalidArgumentError for an unknown register, a value out of range, or a set-up that can't be enabled. */
  write32(at: number, value: number): void {
    if (!this.#open) throw closed();
    switch (at) {
      case INVALIDATE_FIRST:
        this.#invalidateFirst = value;
        return;
      case INVALIDATE_COUNT:
        this.#invalidate(value);
        return;
      case INVALIDATE_ALL:
        this.#invalidateResult = this.#forget(0, -1);
        return;
      case CONTROL:
        this.#control(value);
        return;
      case ENTRIES:
        checkInteger("register ENTRIES", value, 1, MAX_ENTRIES);
        this.#configure("ENTRIES", IOMMU.entries, value);
        return;
      case PAGE_SHIFT:
        checkInteger("register PAGE_SHIFT", value, 12, 34);
        this.#configure("PAGE_SHIFT", IOMMU.pageShift, value);
        return;
      default:
        throw unknown("32-bit register to write", at);
    }
  }

  /** Throws InvalidArgumentError when there is no such register of 64 bits. */
  read64(at: number): bigint {
    switch (at) {
      case TABLE_BASE:
        return this.#wide(IOMMU.tableLow, IOMMU.tableHigh);
      case WINDOW_BASE:
        return this.#wide(IOMMU.windowLow, IOMMU.windowHigh);
      default:
        throw unknown("64-bit register to read", at);
    }
  }

  /** Throws InvalidArgumentError for an unknown register, or a value beyond 64 bits. */
  write64(at: number, value: bigint): void {
    if (!this.#open) throw closed();
    if (value < 0n || value >= 1n << 64n) throw new InvalidArgumentError("register value", value, "64 bits, unsigned");
    const low = Number(BigInt.asIntN(32, value));
    const high = Number(BigInt.asIntN(32, value >> 32n));
    switch (at) {
      case TABLE_BASE:
        this.#configure("TABLE_BASE", IOMMU.tableLow, low);
        this.#configure("TABLE_BASE", IOMMU.tableHigh, high);
        return;
      case WINDOW_BASE:
        this.#configure("WINDOW_BASE", IOMMU.windowLow, low);
        this.#configure("WINDOW_BASE", IOMMU.windowHigh, high);
        return;
      default:
        throw unknown("64-bit register to write", at);
    }
  }

  /** No write is taken any more: the thread's slot may be another's soon. */
  close(): void {
    this.#open = false;
  }

  #wide(low: number, high: number): bigint {
    return (BigInt(peek(this.#state, high) >>> 0) << 32n) | BigInt(peek(this.#state, low) >>> 0);
  }

  /** Plain stores: translation is off, and turning it off has waited for the DMAs that used these. */
  #configure(name: string, word: number, value: number): void {
    if ((load(this.#state, IOMMU.control) & ENABLE) !== 0) {
      throw new InvalidArgumentError(
        `register ${name}`,
        "written while translation is on",
        "CONTROL without ENABLE first",
      );
    }
    poke(this.#state, word, value);
  }

  /** The store of CONTROL pairs with the load at the start of each DMA: who sees ENABLE sees the other registers. */
  #control(value: number): void {
    if ((value & ENABLE) !== 0) this.#checkSetUp((value >>> FORMAT_SHIFT) & FORMAT_MASK);
    store(this.#state, IOMMU.control, value | 0);
    this.#invalidateResult = this.#forget(0, -1);
  }

  #checkSetUp(code: number): void {
    const state = this.#state;
    const decoder = DECODERS[code];
    if (decoder === undefined) {
      throw new InvalidArgumentError("format code in CONTROL", code, `1 to ${DECODERS.length - 1}`);
    }
    const entries = peek(state, IOMMU.entries);
    checkInteger("register ENTRIES", entries, 1, MAX_ENTRIES);
    const pageShift = peek(state, IOMMU.pageShift);
    if (!decoder.pageShifts.includes(pageShift)) {
      const shifts = decoder.pageShifts.join(", ");
      throw new InvalidArgumentError("register PAGE_SHIFT", pageShift, `one of ${shifts} with format code ${code}`);
    }
    const table = this.read64(TABLE_BASE);
    const end = table + BigInt(entries) * BigInt(ENTRY_BYTES);
    if (table % BigInt(TABLE_ALIGNMENT) !== 0n || end > BigInt(this.#memoryBytes)) {
      const expected = `a multiple of ${TABLE_ALIGNMENT} with ${entries} entries below ${this.#memoryBytes}`;
      throw new InvalidArgumentError("register TABLE_BASE", table, expected);
    }
    const window = this.read64(WINDOW_BASE);
    const pageBytes = 1n << BigInt(pageShift);
    if (window % pageBytes !== 0n || window + BigInt(entries) * pageBytes > 1n << 64n) {
      const expected = `a multiple of ${pageBytes} with ${entries} pages below 2^64`;
      throw new InvalidArgumentError("register WINDOW_BASE", window, expected);
    }
  }

  #invalidate(entries: number): void {
    const first = this.#invalidateFirst;
    const integers = (first | 0) === first && (entries | 0) === entries;
    if (!(integers && first >= 0 && entries >= 1 && first + entries <= MAX_ENTRIES)) throw badRange(first, entries);
    this.#invalidateResult = this.#forget(first, first + entries);
  }

  /** Steps (a), (b), (c); `end` < 0 for all. */
  #forget(first: number, end: number): number {
    const state = this.#state;
    count(state, this.#slotAt + THREAD.invalidations, 1);
    // Before the look at the DMAs in flight, what this thread stored must be visible: a DMA that is not seen sees it.
    store(state, this.#slotAt + THREAD.doorbell, first);
    const before = this.#inFlight.awaitPassing();
    // Even when one has not passed: less is stale without these translations than with them.
    if (end < 0) this.#iotlb.forgetAll();
    else this.#iotlb.forget(first, end);
    return resultOf(before === PASSED ? this.#inFlight.awaitPassing() : before);
  }
}

function resultOf(answer: number): number {
  if (answer === PASSED) return RESULT_DONE;
  return answer === STILL_IN_FLIGHT ? RESULT_BUSY : RESULT_WOULD_BLOCK;
}

function unknown(what: string, at: number): InvalidArgumentError {
  return new InvalidArgumentError(what, `0x${at.toString(16)}`, "one that platforms/linear/registers.ts names");
}

function badRange(first: number, entries: number): InvalidArgumentError {
  const range = `[${first}, ${first + entries})`;
  return new InvalidArgumentError("range to invalidate", range, `at least one entry in [0, ${MAX_ENTRIES})`);
}
