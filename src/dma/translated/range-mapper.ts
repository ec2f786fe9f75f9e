/**
 * Maps one range of physical pages: checks the limits, allocates entries, writes them, commits. Only this class and `ScatterListMapper`
 * apply a device's limits to its table. Results are entries or failure codes; on failure nothing stays allocated.
 */
import { type AreaConstraints, areaConstraints } from "../../allocator/constraints.ts";
import type { MappingTable } from "../../table/contract.ts";
import type { Failure } from "../../units/failure.ts";
import * as failures from "../../units/failure.ts";
import type { EntryAccess } from "../../units/numbers.ts";
import * as pages from "../../units/pages.ts";
import type { CompiledLimits } from "./compiled-limits.ts";
import * as limits from "./compiled-limits.ts";

// Local constants: V8 folds these, imported ones it looks up at every use (docs/decisions/local-constants.md).
const { constraintsOf, crossesSubPageBoundary, refusalOf } = limits;
const { pagesCovering } = pages;
const { failureCode, LONGER_THAN_BOUNDARY } = failures;

export class RangeMapper {
  /** True if the last failed map left entries that could not be invalidated. A device may still reach their memory. */
  isStranded = false;
  readonly #table: MappingTable;
  readonly #limits: CompiledLimits;
  /** Constraints of coherent memory, by log2 of the alignment in pages. */
  readonly #coherent: AreaConstraints[] = [];

  constructor(table: MappingTable, limits: CompiledLimits) {
    this.#table = table;
    this.#limits = limits;
  }

  /** Maps `bytes` bytes from byte `offset` of physical page `page` on, under the mask. */
  map(page: number, offset: number, bytes: number, access: EntryAccess): number {
    const limits = this.#limits;
    const pages = pagesCovering(offset, bytes, limits.pageSize);
    if (limits.subPageBoundary !== 0 && crossesSubPageBoundary(limits, offset, bytes)) return LONGER_THAN_BOUNDARY;
    const cpuAligned = holdsCpuPages(limits, page, offset, bytes);
    const constraints = constraintsOf(limits, limits.streaming, cpuAligned, offset + bytes);
    const refusal = refusalOf(limits, constraints, pages);
    return refusal === 0 ? this.#mapArea(page, pages, constraints, access, false) : refusal;
  }

  /** A failure code if a range can never be mapped, even in an empty table; else 0. */
  refusal(page: number, offset: number, bytes: number): number {
    const limits = this.#limits;
    if (crossesSubPageBoundary(limits, offset, bytes)) return LONGER_THAN_BOUNDARY;
    const cpuAligned = holdsCpuPages(limits, page, offset, bytes);
    const constraints = constraintsOf(limits, limits.streaming, cpuAligned, offset + bytes);
    return refusalOf(limits, constraints, pagesCovering(offset, bytes, limits.pageSize));
  }

  /** As `refusal`, for coherent memory. */
  coherentRefusal(bytes: number): number {
    const limits = this.#limits;
    if (crossesSubPageBoundary(limits, 0, bytes)) return LONGER_THAN_BOUNDARY;
    return refusalOf(limits, limits.coherent.plainBelow, pagesCovering(0, bytes, limits.pageSize));
  }

  /**
   * Maps whole pages for both directions under the coherent mask, at a bus address that is a multiple of `alignment` bytes (a
   * power of two, at least a page). The caller has checked `coherentRefusal`.
   */
  mapCoherent(page: number, bytes: number, alignment: number, access: EntryAccess): number {
    const { pageSize } = this.#limits;
    const constraints = this.#coherentConstraints(alignment / pageSize);
    return this.#mapArea(page, pagesCovering(0, bytes, pageSize), constraints, access, true);
  }

  #mapArea(page: number, pages: number, constraints: AreaConstraints, access: EntryAccess, coherent: boolean): number {
    const table = this.#table;
    this.isStranded = false;
    const entry = table.allocate(pages, constraints, -1);
    if (entry < 0) return entry;
    let failure: Failure | undefined;
    try {
      failure =
        (coherent && table.setCoherent !== undefined
          ? table.setCoherent(entry, pages, page, access)
          : table.set(entry, pages, page, access)) ?? table.publish();
    } catch (error) {
      this.#abandonAfterThrow(entry, pages);
      throw error;
    }
    if (failure !== undefined) {
      this.isStranded = true;
      this.isStranded = table.abandon(entry, pages) !== undefined;
      return failureCode(failure);
    }
    table.commit(entry, pages);
    return entry;
  }

  /** Abandons a range after ops threw. If they throw again, that error is dropped and the first one is reported. */
  #abandonAfterThrow(entry: number, pages: number): void {
    this.isStranded = true;
    try {
      this.isStranded = this.#table.abandon(entry, pages) !== undefined;
    } catch {
      // The table has quarantined the range.
    }
  }

  #coherentConstraints(naturalPages: number): AreaConstraints {
    const limits = this.#limits;
    const alignmentPages = Math.max(naturalPages, limits.alignmentPages);
    // Whole pages are mapped, so the mask must reach the end of the last.
    const { limit, boundaryPages } = limits.coherent.plainBelow;
    this.#coherent[Math.log2(alignmentPages)] ??= areaConstraints(this.#table.window, {
      limit: Math.min(limit, limits.entries),
      alignmentPages,
      boundaryPages,
    });
    return this.#coherent[Math.log2(alignmentPages)]!;
  }
}

/** True for a page-aligned piece of at least one CPU page, if IO pages are smaller than CPU pages. */
function holdsCpuPages(limits: CompiledLimits, page: number, offset: number, bytes: number): boolean {
  if (limits.cpuAlignmentPages === limits.alignmentPages || offset !== 0) return false;
  return bytes >= limits.cpuPageBytes && (page * limits.pageSize) % limits.cpuPageBytes === 0;
}
