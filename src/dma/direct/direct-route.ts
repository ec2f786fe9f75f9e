/**
 * The route through a direct window: bus address = physical address + offset, with no table, so nothing is taken or invalidated, and
 * no record is kept. A mapping's place is its physical address.
 */
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger, FreeError, InvalidArgumentError, inWords } from "../../units/errors.ts";
import { type Failure, failureOf } from "../../units/failure.ts";
import type { EntryAccess, Iova } from "../../units/numbers.ts";
import type { Mapping } from "../contract.ts";
import { checkDeviceOptions, type DmaDeviceOptions } from "../device-options.ts";
import { checkDirectWindow, type DirectWindow } from "../device-window.ts";
import { checkedLimits, type DeviceLimits } from "../limits.ts";
import { powerOfTwoFor } from "../requests.ts";
import type { BounceRule, Route } from "../route.ts";
import { DirectLists } from "./direct-lists.ts";
import { DirectReach } from "./direct-reach.ts";

const PAGE_BYTES = 4096;

export class DirectRoute implements Route {
  readonly lists: DirectLists;
  readonly pageSize: number = PAGE_BYTES;
  /** There are no entries. */
  readonly isStranded = false;
  readonly bouncing: BounceRule;
  readonly #reach: DirectReach;
  readonly #coherentReach: DirectReach;

  /** @throws InvalidArgumentError for a window, limit or option outside its range, and for a device that is not trusted */
  constructor(window: DirectWindow, limits: DeviceLimits, options: DmaDeviceOptions) {
    checkDeviceOptions(options);
    const { merge = true, bounce } = options;
    checkDirectWindow(window);
    if (bounce?.untrusted === true) {
      throw new InvalidArgumentError("window of a device that is not trusted", inWords("direct"), "a translated one");
    }
    const checked = checkedLimits(limits);
    this.#reach = new DirectReach(window, checked.mask, checked);
    this.#coherentReach = new DirectReach(window, checked.coherentMask, checked);
    this.lists = new DirectLists(this.#reach, checked.maxSegmentBytes, merge);
    this.bouncing = reachRule(this.#reach, checked.alignment);
  }

  map(address: bigint, bytes: number, _access: EntryAccess): number {
    // An address that a double can't hold is beyond every window.
    const physical = Number(address);
    const refusal = this.#reach.refusal(physical, bytes);
    return refusal === 0 ? physical : refusal;
  }

  iovaOf(place: number): Iova {
    return this.#reach.busAddress(place);
  }

  placeOf({ iova, bytes }: Mapping): number {
    checkInteger("length in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    const address = this.#reach.physicalAddress(iova);
    if (address >= 0 && this.#reach.isInside(address, bytes)) return address;
    throw new FreeError("out-of-range", `${bytes} bytes at ${hexadecimal(iova)}: not inside the direct window`);
  }

  checkMapped(): void {}

  unmap(): undefined {}

  awaitInvalidation(): undefined {}

  synchronize(): void {}

  synchronizeList(): void {}

  coherentRefusal(): undefined {}

  placeCoherent(address: number, bytes: number, alignment: number): Iova | Failure {
    const refusal = this.#coherentReach.refusal(address, bytes);
    if (refusal !== 0) return failureOf(refusal);
    const iova = this.#coherentReach.busAddress(address);
    // A window at an odd place: natural alignment in memory is none on the bus.
    return iova % BigInt(alignment) === 0n ? iova : "platform-refused";
  }

  removeCoherent(): undefined {}
}

/** A device gets everything as it is that it can use, and a bounce buffer that it can use for the rest. */
function reachRule(reach: DirectReach, alignment: number): BounceRule {
  const least = Math.max(PAGE_BYTES, alignment);
  const isBounced = (address: number, bytes: number) => reach.refusal(address, bytes) !== 0;
  return {
    pageSize: PAGE_BYTES,
    isBounced,
    isOnlyBounced: (place, { bytes }) => isBounced(place, bytes),
    refusal: () => 0,
    // Aligned to the power of two that holds them, the pages lie between two boundaries wherever they are.
    alignment: (_, pagesBytes) => (reach.hasBoundary ? powerOfTwoFor(pagesBytes, least) : least),
  };
}
