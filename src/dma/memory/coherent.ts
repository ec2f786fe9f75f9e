/**
 * Coherent memory: allocates, zeroes and maps pages in one step, and records the blocks to detect wrong frees. Physical and bus address are
 * aligned to the next power of two of the block's length. Drivers rely on that, and so a block no longer than a boundary does not cross
 * one.
 *
 * The records belong to one object of one thread: free a block by the device object that allocated it.
 */

import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../memory/physical-pages.ts";
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger, FreeError } from "../../units/errors.ts";
import { type Failure, failureOf } from "../../units/failure.ts";
import { DEVICE_READS_AND_WRITES } from "../../units/numbers.ts";
import { roundUp } from "../../units/pages.ts";
import type { CoherentMemory } from "../contract.ts";
import { memoryFailure, powerOfTwoFor } from "../requests.ts";
import type { CoherentRoute } from "../route.ts";
import { checkPages } from "./bounce.ts";
import { zeroBytes } from "./bytes.ts";

export class CoherentBlocks {
  readonly #memory: Memory;
  readonly #pages: PhysicalPages;
  readonly #route: CoherentRoute;
  /** The blocks by their first page on the bus: a plain number below 2^52. */
  readonly #blocks: Map<number, CoherentMemory> = new Map();

  /** Throws InvalidArgumentError for pages that are not in this memory. */
  constructor(memory: Memory, pages: PhysicalPages, route: CoherentRoute) {
    checkPages(memory, pages);
    this.#memory = memory;
    this.#pages = pages;
    this.#route = route;
  }

  /** See `DmaOperations.allocateCoherent`. */
  allocate(bytes: number): CoherentMemory | Failure {
    checkInteger("length of coherent memory in bytes", bytes, 1, Number.MAX_SAFE_INTEGER);
    const refusal = this.#route.coherentRefusal(bytes);
    if (refusal !== undefined) return refusal;
    const pagesBytes = roundUp(bytes, this.#route.pageSize);
    const alignment = powerOfTwoFor(bytes, this.#route.pageSize);
    const address = this.#pages.allocate(pagesBytes, alignment);
    if (address < 0) return failureOf(memoryFailure(address));
    // Zeroed before the mapping exists, so that the device never sees old data.
    zeroBytes(this.#memory, address, pagesBytes);
    let iova: bigint | Failure = "platform-refused";
    try {
      iova = this.#route.mapCoherent(address, bytes, alignment);
    } finally {
      // Also if ops threw. Pages that the device may still reach stay allocated.
      if (typeof iova === "string" && !this.#route.isStranded) this.#pages.free(address, pagesBytes);
    }
    if (typeof iova === "string") return iova;
    const block: CoherentMemory = { iova, bytes, access: DEVICE_READS_AND_WRITES, address };
    this.#blocks.set(this.#pageOf(iova), block);
    return block;
  }

  /** See `DmaOperations.freeCoherent`. After a failure the pages stay allocated: the device may still use them. */
  free({ iova, bytes, address }: CoherentMemory): Failure | undefined {
    const block = this.#blocks.get(this.#pageOf(iova));
    const what = `freeCoherent of ${bytes} bytes at bus address ${hexadecimal(iova)}`;
    if (block?.iova !== iova) throw new FreeError("not-allocated", `${what}: no coherent memory begins there`);
    if (block.bytes !== bytes) throw new FreeError("wrong-length", `${what}: ${block.bytes} were allocated there`);
    if (block.address !== address) {
      throw new FreeError(
        "wrong-owner",
        `${what}: its memory is at ${hexadecimal(block.address)}, not ${hexadecimal(address)}`,
      );
    }
    // If ops throw here, the block stays mapped. If they throw in `awaitInvalidation`, it is unmapped and its pages stay allocated.
    const failed = this.#route.unmapCoherent(iova, bytes);
    this.#blocks.delete(this.#pageOf(iova));
    const failure = failed ?? this.#route.awaitInvalidation();
    if (failure === undefined) this.#pages.free(address, roundUp(bytes, this.#route.pageSize));
    return failure;
  }

  /** True if this bus address lies in the first page of a block. A table refuses an unmap that begins in a later page. */
  has(iova: bigint): boolean {
    return this.#blocks.has(this.#pageOf(iova));
  }

  /** As `has`, for the number of a page on the bus. */
  hasPage(page: number): boolean {
    return this.#blocks.has(page);
  }

  #pageOf(iova: bigint): number {
    return Number(iova / BigInt(this.#route.pageSize));
  }
}
