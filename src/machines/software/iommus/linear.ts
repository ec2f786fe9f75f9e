/**
 * One thread's view of the linear IOMMU's registers: the programming model of platforms/linear/registers.ts. All devices share one window.
 */
import { WideRegisters } from "../../../machine/wide-registers.ts";
import {
  CONTROL,
  DIRTY_BASE,
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
  TABLE_BASE,
  WINDOW_BASE,
} from "../../../platforms/linear/registers.ts";
import { load, peek, poke, type SharedWords, store } from "../../../shared/memory.ts";
import { checkInteger, InvalidArgumentError, inWords } from "../../../units/errors.ts";
import { MAX_ENTRIES } from "../../../units/numbers.ts";
import { highHalf, joinHalves, lowHalf } from "../../../units/words64.ts";
import { PASSED, STILL_IN_FLIGHT } from "../threads.ts";
import type { TranslationUnit } from "../translation.ts";
import { type IommuModel, type IommuParts, unknownRegister } from "./model.ts";

/** Words of the registers that are not banked. */
const WORD = { control: 0, entries: 1, pageShift: 2, tableLow: 3, tableHigh: 4, windowLow: 5, windowHigh: 6 } as const;
const WORDS = 32;
const NAMED_BY = "platforms/linear/registers.ts";

class LinearRegisters extends WideRegisters {
  readonly #state: SharedWords;
  readonly #at: number;
  readonly #unit: TranslationUnit;
  readonly #faultsLost: () => number;
  // The banked frame: private to this thread, so not in shared memory.
  #invalidateFirst = 0;
  #invalidateResult = RESULT_DONE;

  constructor(parts: IommuParts) {
    super();
    this.#state = parts.state;
    this.#at = parts.at;
    this.#unit = parts.unit;
    this.#faultsLost = parts.faultsLost;
  }

  /** Throws InvalidArgumentError for an unknown 32-bit register. */
  read32(at: number): number {
    switch (at) {
      case INVALIDATE_RESULT:
        return this.#invalidateResult;
      case INVALIDATE_FIRST:
        return this.#invalidateFirst;
      case CONTROL:
        return load(this.#state, this.#at + WORD.control);
      case ENTRIES:
        return peek(this.#state, this.#at + WORD.entries);
      case PAGE_SHIFT:
        return peek(this.#state, this.#at + WORD.pageShift);
      case FAULTS_LOST:
        return this.#faultsLost() % 2 ** 32;
      default:
        throw unknownRegister("32-bit register to read", at, NAMED_BY);
    }
  }

  /** Throws InvalidArgumentError for an unknown register, a value out of range, or enabling an invalid set-up. */
  write32(at: number, value: number): void {
    switch (at) {
      case INVALIDATE_FIRST:
        this.#invalidateFirst = value;
        return;
      case INVALIDATE_COUNT:
        this.#invalidate(value);
        return;
      case INVALIDATE_ALL:
        this.#invalidateResult = resultOf(this.#unit.invalidateAll());
        return;
      case CONTROL:
        this.#control(value);
        return;
      case ENTRIES:
        checkInteger("register ENTRIES", value, 1, MAX_ENTRIES);
        this.#configure("ENTRIES", WORD.entries, value);
        return;
      case PAGE_SHIFT:
        checkInteger("register PAGE_SHIFT", value, 12, 34);
        this.#configure("PAGE_SHIFT", WORD.pageShift, value);
        return;
      default:
        throw unknownRegister("32-bit register to write", at, NAMED_BY);
    }
  }

  /** Throws InvalidArgumentError for an unknown 64-bit register. */
  read64(at: number): bigint {
    switch (at) {
      case TABLE_BASE:
        return this.#wide(WORD.tableLow, WORD.tableHigh);
      case WINDOW_BASE:
        return this.#wide(WORD.windowLow, WORD.windowHigh);
      default:
        throw unknownRegister("64-bit register to read", at, NAMED_BY);
    }
  }

  /** Throws InvalidArgumentError for an unknown register. */
  write64(at: number, value: bigint): void {
    const low = lowHalf(value);
    const high = highHalf(value);
    switch (at) {
      case TABLE_BASE:
        this.#configure("TABLE_BASE", WORD.tableLow, low);
        this.#configure("TABLE_BASE", WORD.tableHigh, high);
        return;
      case WINDOW_BASE:
        this.#configure("WINDOW_BASE", WORD.windowLow, low);
        this.#configure("WINDOW_BASE", WORD.windowHigh, high);
        return;
      case DIRTY_BASE:
        this.#invalidateResult = resultOf(this.#unit.recordWrites(0, 0, Number(value)));
        return;
      default:
        throw unknownRegister("64-bit register to write", at, NAMED_BY);
    }
  }

  #wide(low: number, high: number): bigint {
    const [lowWord, highWord] = [peek(this.#state, this.#at + low), peek(this.#state, this.#at + high)];
    return joinHalves(highWord, lowWord);
  }

  /** Plain stores: one thread writes these words, and only the write that enables translation reads them. */
  #configure(name: string, word: number, value: number): void {
    if ((load(this.#state, this.#at + WORD.control) & ENABLE) !== 0) {
      throw new InvalidArgumentError(
        `register ${name}`,
        inWords("written while translation is on"),
        "CONTROL without ENABLE first",
      );
    }
    poke(this.#state, this.#at + word, value);
  }

  #control(value: number): void {
    const answer =
      (value & ENABLE) !== 0 ? this.#open((value >>> FORMAT_SHIFT) & FORMAT_MASK) : this.#unit.closeWindow(0, 0);
    store(this.#state, this.#at + WORD.control, value | 0);
    this.#invalidateResult = resultOf(answer);
  }

  #open(format: number): number {
    return this.#unit.openWindow(0, 0, {
      base: this.read64(WINDOW_BASE),
      pageShift: peek(this.#state, this.#at + WORD.pageShift),
      entries: peek(this.#state, this.#at + WORD.entries),
      format,
      tableAddress: Number(this.read64(TABLE_BASE)),
    });
  }

  #invalidate(entries: number): void {
    const first = this.#invalidateFirst;
    const integers = (first | 0) === first && (entries | 0) === entries;
    if (!(integers && first >= 0 && entries >= 1 && first + entries <= MAX_ENTRIES)) throw badRange(first, entries);
    this.#invalidateResult = resultOf(this.#unit.invalidate(0, 0, first, first + entries));
  }
}

export const linearIommu: IommuModel = { name: "linear", words: WORDS, create: (parts) => new LinearRegisters(parts) };

function resultOf(answer: number): number {
  if (answer === PASSED) return RESULT_DONE;
  return answer === STILL_IN_FLIGHT ? RESULT_BUSY : RESULT_WOULD_BLOCK;
}

function badRange(first: number, entries: number): InvalidArgumentError {
  const range = `[${first}, ${first + entries})`;
  return new InvalidArgumentError("range to invalidate", inWords(range), `at least one entry in [0, ${MAX_ENTRIES})`);
}
