/** Pages of an address space that devices have written, from the records of its domains. */
import { USER_PAGE_SHIFT } from "../pinned/user-memory.ts";
import type { Errno } from "../units/errno.ts";
import { checkInteger, InvalidArgumentError } from "../units/errors.ts";
import { checkKeys } from "../units/keys.ts";
import { DEVICE_WRITES } from "../units/numbers.ts";
import type { AddressSpace } from "./address-space.ts";
import type { Domain } from "./domain.ts";
import type { UserMapping } from "./mappings.ts";
import { type BusRange, busRange } from "./requests.ts";

/** A range of bus addresses, and the page size of its bitmap. */
export interface DirtyRange extends BusRange {
  /** Page size of the bitmap in bytes: a power of two, 4096 .. 2^34. Default 4096. */
  readonly pageBytes?: number;
}

/**
 * Sets bit i of `into` (bit i % 8 of byte i >> 3) for page i of the range if a device has written it since the last call. Other bits stay.
 * `kept`: pages of removed domains. "EINVAL": the range is not a multiple of the page size, or divides a mapping; the bitmap is too short.
 */
export function takeDirtyPages(
  space: AddressSpace,
  range: DirtyRange,
  into: Uint8Array,
  kept: KeptDirtyPages = new KeptDirtyPages(),
): Errno | undefined {
  checkKeys("a range of dirty pages", range, { iova: "any", bytes: "any", pageBytes: "any" });
  const { pageBytes = 2 ** USER_PAGE_SHIFT } = range;
  checkInteger("pageBytes of a bitmap", pageBytes, 2 ** USER_PAGE_SHIFT, 2 ** 34);
  if (Math.log2(pageBytes) % 1 !== 0) {
    throw new InvalidArgumentError("pageBytes of a bitmap", pageBytes, "a power of two");
  }
  if (!(into instanceof Uint8Array)) throw new InvalidArgumentError("bitmap of dirty pages", into, "a Uint8Array");
  const asked = busRange(range, Math.max(pageBytes, space.unitBytes));
  if (asked === undefined) return "EINVAL";
  const [first, end] = asked;
  const scale = pageBytes / 2 ** USER_PAGE_SHIFT;
  if ((end - first) / scale > into.length * 8) return "EINVAL";
  const mappings = space.mappings.overlapping(first, end);
  if (mappings.some(({ busPage, pages }) => busPage < first || busPage + pages > end)) return "EINVAL";
  const mark = (busPage: number, pages: number): void => {
    for (let page = busPage; page < busPage + pages; page++) {
      const bit = Math.floor((page - first) / scale);
      into[bit >>> 3] = (into[bit >>> 3] as number) | (1 << (bit & 7));
    }
  };
  for (const mapping of mappings) for (const domain of space.domains) takeOf(domain, mapping, mark);
  kept.take(first, end, mark);
  return undefined;
}

type Mark = (busPage: number, pages: number) => void;

/** Written pages of domains that a container has removed, until they are taken: ranges of pages of 4 KiB. */
export class KeptDirtyPages {
  #ranges: { readonly busPage: number; readonly pages: number }[] = [];

  /** Keeps the record of a domain that is being removed. Its entries are empty and invalidated. */
  keep(space: AddressSpace, domain: Domain): void {
    const mark = (busPage: number, pages: number): void => void this.#ranges.push({ busPage, pages });
    for (const mapping of space.mappings) takeOf(domain, mapping, mark);
  }

  /** Marks the pages in [first, end), and forgets them. */
  take(first: number, end: number, mark: Mark): void {
    this.#ranges = this.#ranges.flatMap(({ busPage, pages }) => {
      const [from, to] = [Math.max(first, busPage), Math.min(end, busPage + pages)];
      if (from >= to) return [{ busPage, pages }];
      mark(from, to - from);
      const rest = [
        { busPage, pages: from - busPage },
        { busPage: to, pages: busPage + pages - to },
      ];
      return rest.filter((one) => one.pages > 0);
    });
  }

  clear(): void {
    this.#ranges = [];
  }
}

function takeOf({ dirtyLog, window }: Domain, mapping: UserMapping, mark: Mark): void {
  if ((mapping.access & DEVICE_WRITES) === 0) return;
  if (dirtyLog === undefined) {
    mark(mapping.busPage, mapping.pages);
    return;
  }
  const scale = 2 ** (window.pageShift - USER_PAGE_SHIFT);
  const basePage = Number(window.base >> BigInt(USER_PAGE_SHIFT));
  const first = (mapping.busPage - basePage) / scale;
  dirtyLog.take(first, mapping.pages / scale, (entry) => mark(basePage + entry * scale, scale));
}
