/**
 * map_sg and unmap_sg for any table. Depends on the MappingTable contract, not on a platform.
 *
 * There are two passes. The first counts pages and refuses lists that can never be mapped, before anything is changed. The second writes
 * entries and output segments. In between, one area for the whole list is allocated, in which each element starts on its own IO page. If
 * that fails, every element gets its own area, requested at the end of the previous one so that areas are adjacent if possible.
 *
 * Most lists are *runs*: each element lies in one page, and elements meet at page borders, as the pages of a buffer do. The first pass
 * collects the pages of a run in a column, so one `setPages` writes all entries, and the second pass only cuts the run into segments.
 *
 * All areas stay pending until the end. On a failure they are all abandoned, including that of the failing element. On success one
 * `publish` follows, which may still fail, and then all areas are committed.
 */
import type { AreaConstraints } from "../../allocator/constraints.ts";
import type { MappingTable } from "../../table/contract.ts";
import { FreeError, InvalidArgumentError, SyncError } from "../../units/errors.ts";
import {
  type Failure,
  failureOf,
  LONGER_THAN_BOUNDARY,
  LONGER_THAN_TABLE,
  MASK_TOO_LOW,
  TABLE_FULL,
} from "../../units/failure.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import {
  offsetInPage,
  pageNumber,
  pagesCovering,
  roundUp,
  storeAddress,
  storeNarrowAddress,
} from "../../units/pages.ts";
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import {
  checkMappedBy,
  checkNotMapped,
  DIGEST_BYTES,
  DIGEST_HIGH,
  DIGEST_LOW,
  DIGEST_STEP,
  digestOf,
  tooManySegments,
} from "../mapped-list.ts";
import type { ListMapper } from "../route.ts";
import type { ScatterList } from "../scatter-list.ts";
import { type CompiledLimits, constraintsOf, crossesSubPageBoundary, refusalOf } from "./compiled-limits.ts";

/** No entry: nothing to continue, no preference. */
const NONE = -1;

const NO_PAGES = new Float64Array(0);

/** IO pages up to 1 GiB: page arithmetic stays in 32 bits. */
const LAST_NARROW_SHIFT = 30;

/** Longer lists are not looked at as runs. Bounds the column of pages: 32 KiB a device. */
const LONGEST_RUN = 4096;

/** Results of the first pass. One object per device, overwritten by each list. */
class Measure {
  /** Elements that are not empty. */
  elements = 0;
  /** Pages of all elements; `areaPages` adds the gaps for alignment in one area. */
  pages = 0;
  areaPages = 0;
  /** Pages of the longest element. */
  longest = 0;
  /** Most output segments that this list can need. */
  segments = 0;
  /** True if an element holds whole CPU pages and is aligned to one. */
  cpuAligned = false;
  /** The first and the last element that are not empty. */
  first = 0;
  last = 0;
  /** True if the list is a run (see above), whose pages the column holds. */
  isRun = false;
  digest = 0;
  /** True if an element crosses a boundary that is smaller than an IO page. */
  crosses = false;

  clear(): void {
    this.cpuAligned = false;
    this.crosses = false;
  }
}

export class ScatterListMapper implements ListMapper {
  /** True if the last failed map left entries that could not be invalidated. A device may still reach their memory. */
  isStranded = false;
  readonly #table: MappingTable;
  readonly #limits: CompiledLimits;
  /** Above 0 if elements need special checks: of CPU page alignment, or of a boundary below the IO page. */
  readonly #specials: number = 0;
  /** As `boundaryLow` of the limits. Without merging 0, which ends a segment before every entry. */
  readonly #stopLow: number = 0;
  readonly #measure: Measure = new Measure();
  /** True if runs are mapped as such: elements merge, need no special checks, and their offsets have 32 bits. */
  readonly #takesRuns: boolean = false;
  /** The pages of a run: page numbers, an element each. Grows to the length of the longest list. */
  #pages: Float64Array = new Float64Array(64);

  constructor(table: MappingTable, limits: CompiledLimits, merge: boolean) {
    this.#table = table;
    this.#limits = limits;
    this.#specials = (limits.cpuAlignmentPages > 1 ? 1 : 0) + (limits.subPageBoundary !== 0 ? 1 : 0);
    this.#stopLow = merge ? limits.boundaryLow : 0;
    this.#takesRuns = merge && this.#specials === 0 && limits.pageShift <= LAST_NARROW_SHIFT;
  }

  /** Maps the list with the addresses in `mapping.mappedWords`; see `RoutedDevice.mapSg`. */
  map(list: ScatterList, access: EntryAccess): Failure | undefined {
    const refusal = this.#measuredRefusal(list);
    if (refusal !== 0) return this.#fail(refusal);
    const measure = this.#measure;
    const mapping = list.mapping;
    mapping.areas = 0;
    mapping.segments = 0;
    if (measure.elements > 0) {
      const whole = this.#allocateWhole(list);
      if (whole < 0 && !canChain(whole, measure.elements)) return this.#fail(whole);
      const failure = this.#write(list, access, whole);
      if (failure !== undefined) {
        this.#undo(list);
        return failure;
      }
      this.#commit(list);
    }
    mapping.digest = measure.digest;
    mapping.device = this;
    return undefined;
  }

  /** The second pass, and the `publish` that ends it. */
  #write(list: ScatterList, access: EntryAccess, whole: number): Failure | undefined {
    try {
      const isWhole = whole >= 0 && this.#measure.isRun;
      const failure = isWhole ? this.#mapRun(list, access, whole) : this.#mapElements(list, access, whole);
      return failure ?? this.#table.publish();
    } catch (error) {
      try {
        this.#undo(list);
      } catch {
        // Ops may throw again here. The table has quarantined the areas, and the first error is reported.
      }
      throw error;
    }
  }

  /** The failure if this list can never be mapped. Runs the first pass only. Throws as `map` does. */
  refusalFor(list: ScatterList): Failure | undefined {
    const refusal = this.#measuredRefusal(list);
    return refusal === 0 ? undefined : failureOf(refusal);
  }

  #measuredRefusal(list: ScatterList): number {
    if (list.mapping.device !== undefined) checkNotMapped(list);
    const measure = this.#measure;
    this.#measureList(list);
    if (measure.segments > list.iovas.length) {
      throw tooManySegments(list, this.#limits.maxSegmentBytes, measure.segments);
    }
    return this.#refusal();
  }

  /** The failure of a map that has allocated nothing. */
  #fail(code: number): Failure {
    this.isStranded = false;
    return failureOf(code);
  }

  /** Throws SyncError unless this object mapped the list and its elements have not changed since. */
  checkSync(list: ScatterList): void {
    checkMappedBy(list, this, "sync", SyncError);
  }

  /** Unmaps the list; see `RoutedDevice.unmapSg`. */
  unmap(list: ScatterList): Failure | undefined {
    const mapping = list.mapping;
    if (mapping.device !== this || digestOf(list) !== mapping.digest) checkMappedBy(list, this, "unmapSg", FreeError);
    try {
      // Throws on misuse, and then the list stays mapped. A failure is returned after the entries have been cleared.
      const failure =
        mapping.areas === 0 ? undefined : this.#table.unmapAll(mapping.firsts, mapping.counts, mapping.areas);
      forget(list);
      return failure;
    } catch (error) {
      // Ops may also throw after all areas were freed: in a flush of the IOTLB that makes room in the queue.
      if (this.#isGone(list)) forget(list);
      throw error;
    }
  }

  /** True if the table has freed the areas of this list. */
  #isGone({ mapping: { firsts, counts, areas } }: ScatterList): boolean {
    if (areas < 2) return false;
    for (let i = 0; i < areas; i++) {
      try {
        this.#table.checkUnmap?.(firsts[i]!, counts[i]!);
        return false;
      } catch {
        // This one is not mapped.
      }
    }
    return true;
  }

  /**
   * The first pass. Here and in `#mapElements` the page arithmetic is inlined, in 32 bits; only the widest pages use the functions of
   * pages.ts. A call of another module's function is looked up in each turn, which doubled the time.
   */
  #measureList(list: ScatterList): void {
    const { pageSize, pieceBytes } = this.#limits;
    const pageShift = this.#limits.pageShift | 0;
    const offsetMask = this.#limits.offsetMask | 0;
    const maxSegmentBytes = this.#limits.maxSegmentBytes >>> 0;
    const wide = pageShift > LAST_NARROW_SHIFT;
    const special = this.#specials > 0;
    const { length, bytes: bytesColumn } = list;
    const words = list.mapping.mappedWords;
    const lowWord = LOW_WORD | 0;
    const highWord = HIGH_WORD | 0;
    const measure = this.#measure;
    measure.clear();
    const pageColumn = this.#pageColumn(length);
    const { pagesPerWord } = this.#limits;
    // Not 0 once the list is known to be no run.
    let seams = pageColumn.length < length ? 1 : 0;
    let end = 0;
    let first = 0;
    let elements = 0;
    let pages = 0;
    let gaps = 0;
    let longest = 0;
    let pieces = 0;
    let last = 0;
    let digest = 0;
    for (let i = 0; i < length; i++) {
      const bytes = bytesColumn[i]!;
      const low = words[2 * i + lowWord]!;
      const high = words[2 * i + highWord]!;
      // As digestOf, without a second loop over the elements.
      const address = Math.imul(low, DIGEST_LOW) + Math.imul(high, DIGEST_HIGH);
      digest = (Math.imul(digest, DIGEST_STEP) + address + Math.imul(bytes, DIGEST_BYTES)) | 0;
      if (bytes === 0) continue;
      if (high === 0xffffffff) checkEnd(list, i);
      const offset = wide ? offsetInPage(high, low, pageShift) : low & offsetMask;
      const count = wide
        ? pagesCovering(offset, bytes, pageSize)
        : ((bytes >>> pageShift) + (((offset + (bytes & offsetMask) + offsetMask) | 0) >>> pageShift)) | 0;
      if (elements === 0) first = i;
      else seams |= end | offset;
      seams |= count ^ 1;
      if (seams === 0) pageColumn[elements] = high * pagesPerWord + (low >>> pageShift);
      end = (offset + bytes) & offsetMask;
      if (special) gaps += this.#gapBefore(pages + gaps, low, offset, bytes);
      if (bytes > maxSegmentBytes) pieces += Math.ceil(bytes / pieceBytes) - 1;
      elements++;
      pages += count;
      if (count > longest) longest = count;
      last = i;
    }
    measure.elements = elements;
    measure.pages = pages;
    measure.areaPages = pages + gaps;
    measure.longest = longest;
    measure.segments = elements + pieces;
    measure.first = first;
    measure.last = last;
    measure.isRun = seams === 0 && pieces === 0;
    measure.digest = digest;
  }

  /** Returns the column for the pages of a list with this number of elements; an empty one if such lists are not mapped as runs. */
  #pageColumn(elements: number): Float64Array {
    if (!this.#takesRuns || elements > LONGEST_RUN) return NO_PAGES;
    if (elements > this.#pages.length) this.#pages = new Float64Array(2 ** Math.ceil(Math.log2(elements)));
    return this.#pages;
  }

  /**
   * Number of pages that stay empty before an element in one area, for its alignment. Also records the element's other special properties.
   */
  #gapBefore(pages: number, low: number, offset: number, bytes: number): number {
    const limits = this.#limits;
    if (crossesSubPageBoundary(limits, offset, bytes)) this.#measure.crosses = true;
    const alignment = this.#alignmentOf(low, bytes);
    if (alignment > limits.alignmentPages) this.#measure.cpuAligned = true;
    return roundUp(pages, alignment) - pages;
  }

  /** The alignment of an element in pages. */
  #alignmentOf(low: number, bytes: number): number {
    const limits = this.#limits;
    const holdsCpuPages = bytes >= limits.cpuPageBytes && (low & (limits.cpuPageBytes - 1)) === 0;
    return holdsCpuPages ? limits.cpuAlignmentPages : limits.alignmentPages;
  }

  /** A failure code if this list can never be mapped, else 0. Called before anything is allocated. */
  #refusal(): number {
    const limits = this.#limits;
    const measure = this.#measure;
    if (measure.crosses) return LONGER_THAN_BOUNDARY;
    const refusal = refusalOf(limits, limits.streaming.plain, measure.longest);
    if (refusal !== 0) return refusal;
    if (measure.pages > limits.entries) return LONGER_THAN_TABLE;
    return measure.pages > limits.streaming.plain.limit ? MASK_TOO_LOW : 0;
  }

  /** Allocates one area for the whole list. Returns its first entry, or a failure code. */
  #allocateWhole(list: ScatterList): number {
    const limits = this.#limits;
    const { areaPages, cpuAligned, last } = this.#measure;
    const words = list.mapping.mappedWords;
    const offset = offsetInPage(words[2 * last + HIGH_WORD]!, words[2 * last + LOW_WORD]!, limits.pageShift);
    const constraints = constraintsOf(limits, limits.streaming, cpuAligned, offset + list.bytes[last]!);
    const first = this.#allocate(areaPages, constraints, NONE);
    if (first >= 0) this.#record(list, first, areaPages);
    return first;
  }

  /** Allocates an area for one element, at `after` if possible. */
  #allocateNext(list: ScatterList, low: number, offset: number, bytes: number, after: number): number {
    const limits = this.#limits;
    const cpuAligned = this.#alignmentOf(low, bytes) > limits.alignmentPages;
    const constraints = constraintsOf(limits, limits.streaming, cpuAligned, offset + bytes);
    const count = pagesCovering(offset, bytes, limits.pageSize);
    const preferred = after < Math.min(limits.entries, constraints.limit) ? after : NONE;
    const first = this.#allocate(count, constraints, preferred);
    if (first >= 0) this.#record(list, first, count);
    return first;
  }

  #allocate(count: number, constraints: AreaConstraints, after: number): number {
    const refusal = refusalOf(this.#limits, constraints, count);
    return refusal !== 0 ? refusal : this.#table.allocate(count, constraints, after);
  }

  #record(list: ScatterList, first: number, count: number): void {
    const mapping = list.mapping;
    mapping.firsts[mapping.areas] = first;
    mapping.counts[mapping.areas] = count;
    mapping.areas++;
  }

  /** The second pass: writes the entries and the output. `whole` is the area of the list; when negative, each element gets one of its own. */
  #mapElements(list: ScatterList, access: EntryAccess, whole: number): Failure | undefined {
    const table = this.#table;
    const { pageSize, pagesPerWord } = this.#limits;
    const pageShift = this.#limits.pageShift | 0;
    const offsetMask = this.#limits.offsetMask | 0;
    const maxSegmentBytes = this.#limits.maxSegmentBytes >>> 0;
    const boundaryFirst = this.#limits.boundaryFirst | 0;
    const stopLow = this.#stopLow | 0;
    const wide = pageShift > LAST_NARROW_SHIFT;
    const special = this.#specials > 0;
    const mapping = list.mapping;
    const words = mapping.mappedWords;
    const { bytes: bytesColumn, length, segmentBytes } = list;
    const lowWord = LOW_WORD | 0;
    const highWord = HIGH_WORD | 0;
    let entry = whole < 0 ? NONE : whole | 0;
    // The entry at which the next element would continue the open segment, and the bytes that the segment can still take.
    let joint = NONE;
    let room = 0;
    for (let i = 0; i < length; i++) {
      const bytes = bytesColumn[i]!;
      if (bytes === 0) continue;
      const low = words[2 * i + lowWord]!;
      const high = words[2 * i + highWord]!;
      const offset = wide ? offsetInPage(high, low, pageShift) : low & offsetMask;
      const count = wide
        ? pagesCovering(offset, bytes, pageSize)
        : ((bytes >>> pageShift) + (((offset + (bytes & offsetMask) + offsetMask) | 0) >>> pageShift)) | 0;
      const page = wide ? pageNumber(high, low, pageShift) : high * pagesPerWord + (low >>> pageShift);
      if (whole < 0) {
        entry = this.#allocateNext(list, low, offset, bytes, entry);
        if (entry < 0) return failureOf(entry);
      } else if (special) {
        entry = whole + roundUp(entry - whole, this.#alignmentOf(low, bytes));
      }
      const failure = table.set(entry, count, page, access);
      if (failure !== undefined) return failure;
      // No element crosses a boundary, so a merged segment can cross one only where two elements meet.
      const continues = offset === 0 && entry === joint && ((entry - boundaryFirst) & stopLow) !== 0;
      if (continues && bytes <= room) {
        room = (room - bytes) >>> 0;
        segmentBytes[mapping.segments - 1] = maxSegmentBytes - room;
      } else if (bytes <= maxSegmentBytes) {
        this.#append(list, entry, offset, bytes);
        room = (maxSegmentBytes - bytes) >>> 0;
      } else {
        room = (maxSegmentBytes - this.#appendPieces(list, entry, offset, bytes)) >>> 0;
      }
      entry += count;
      const full = wide ? (offset + bytes) % pageSize === 0 : ((offset + bytes) & offsetMask) === 0;
      joint = full ? entry : NONE;
    }
    return undefined;
  }

  /**
   * The second pass over a run: writes the entries from `whole` on, and cuts the run into segments of whole elements. One area crosses no
   * boundary, so only the segments' length matters.
   */
  #mapRun(list: ScatterList, access: EntryAccess, whole: number): Failure | undefined {
    const { elements, first, last } = this.#measure;
    const failure = this.#table.setPages(whole, this.#pages, elements, access);
    if (failure !== undefined) return failure;
    const { pageSize, offsetMask, maxSegmentBytes } = this.#limits;
    const words = list.mapping.mappedWords;
    let offset = words[2 * first + LOW_WORD]! & offsetMask;
    const lastEnd = ((words[2 * last + LOW_WORD]! & offsetMask) + list.bytes[last]!) & offsetMask;
    let left = elements * pageSize - offset - ((pageSize - lastEnd) & offsetMask);
    let entry = whole;
    while (left > 0) {
      const head = Math.min(pageSize - offset, left);
      // Elements are whole pages, but for the first and the last one. The last one may fit where a whole page would not.
      let bytes = maxSegmentBytes - ((maxSegmentBytes - head) & offsetMask);
      if (left <= maxSegmentBytes) bytes = left;
      this.#append(list, entry, offset, bytes);
      left -= bytes;
      entry += (offset + bytes) / pageSize;
      offset = 0;
    }
    return undefined;
  }

  /** Appends the segments of an element that is longer than a segment may be. Returns the length of the last one, which may still grow. */
  #appendPieces(list: ScatterList, entry: number, offset: number, bytes: number): number {
    const { pieceBytes, pageSize } = this.#limits;
    let done = 0;
    for (; done < bytes; done += pieceBytes) {
      const skipped = Math.floor((offset + done) / pageSize);
      const inPage = offset + done - skipped * pageSize;
      this.#append(list, entry + skipped, inPage, Math.min(pieceBytes, bytes - done));
    }
    return bytes - done + pieceBytes;
  }

  /** Appends a segment of `bytes` bytes from byte `offset` of `entry` on. */
  #append(list: ScatterList, entry: number, offset: number, bytes: number): void {
    const { basePage, pageShift } = this.#limits;
    const mapping = list.mapping;
    const at = mapping.segments;
    const page = basePage + entry;
    if (pageShift <= LAST_NARROW_SHIFT) storeNarrowAddress(mapping.iovaWords, at, page, offset, pageShift);
    else storeAddress(mapping.iovaWords, at, page, offset, pageShift);
    list.segmentBytes[at] = bytes;
    mapping.segments = at + 1;
  }

  #commit(list: ScatterList): void {
    const { firsts, counts, areas } = list.mapping;
    for (let i = 0; i < areas; i++) this.#table.commit(firsts[i]!, counts[i]!);
  }

  /** Abandons all areas, including that of the failing element, and empties the output. */
  #undo(list: ScatterList): void {
    const { firsts, counts, areas, segments } = list.mapping;
    list.iovas.fill(0n, 0, segments);
    list.segmentBytes.fill(0, 0, segments);
    forget(list);
    // Stays true if ops throw here.
    this.isStranded = true;
    this.isStranded = areas > 0 && this.#table.abandonAll(firsts, counts, areas) !== undefined;
  }
}

/** Marks the list as not mapped. */
function forget({ mapping }: ScatterList): void {
  mapping.areas = 0;
  mapping.segments = 0;
  mapping.device = undefined;
}

/** True if separate areas may succeed after this failure code: with several elements, and if the code says that space was missing. */
function canChain(code: number, elements: number): boolean {
  const lacksSpace =
    code === TABLE_FULL || code === MASK_TOO_LOW || code === LONGER_THAN_BOUNDARY || code === LONGER_THAN_TABLE;
  return lacksSpace && elements > 1;
}

/** Throws InvalidArgumentError for an element beyond 2^64, which columns that the caller wrote directly may hold. */
function checkEnd(list: ScatterList, element: number): void {
  const end = list.addresses[element]! + BigInt(list.bytes[element]!);
  if (end > 2n ** 64n) throw new InvalidArgumentError(`end of scatterlist element ${element}`, end, "at most 2^64");
}
