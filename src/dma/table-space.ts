/** Where a device with a table keeps coherent memory: entries under the coherent mask. */
import type { MappingTable } from "../table/contract.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import { DEVICE_READS_AND_WRITES, type Iova } from "../units/numbers.ts";
import type { CoherentPlaces } from "./coherent.ts";
import type { CompiledLimits } from "./limits.ts";
import { pagesCovering } from "./pages.ts";
import type { RangeMapper } from "./range-mapper.ts";

export class TableSpace implements CoherentPlaces {
  readonly pageSize: number;
  readonly #table: MappingTable;
  readonly #ranges: RangeMapper;

  constructor(table: MappingTable, limits: CompiledLimits, ranges: RangeMapper) {
    this.pageSize = limits.pageSize;
    this.#table = table;
    this.#ranges = ranges;
  }

  get isStranded(): boolean {
    return this.#ranges.isStranded;
  }

  coherentRefusal(bytes: number): Failure | undefined {
    const refusal = this.#ranges.coherentRefusal(bytes);
    return refusal === 0 ? undefined : failureOf(refusal);
  }

  placeCoherent(address: number, bytes: number, alignment: number): Iova | Failure {
    const page = address / this.pageSize;
    const entry = this.#ranges.mapCoherent(page, bytes, alignment, DEVICE_READS_AND_WRITES);
    if (entry < 0) return failureOf(entry);
    const { base, pageShift } = this.#table.window;
    return (base + (BigInt(entry) << BigInt(pageShift))) as Iova;
  }

  removeCoherent(iova: Iova, bytes: number): Failure | undefined {
    const { base, pageShift } = this.#table.window;
    const entry = Number((iova - base) >> BigInt(pageShift));
    // Both are said: in lazy mode only after a flush is the memory nobody's.
    return this.#table.unmap(entry, pagesCovering(0, bytes, this.pageSize)) ?? this.#table.awaitInvalidation?.();
  }
}
