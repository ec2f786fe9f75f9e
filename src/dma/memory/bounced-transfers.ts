/**
 * The transfers of a device with bounce buffers (bounce.ts), on any route. A bounce buffer has the same offset in its page as the driver's
 * buffer, so a mapping has the same number of pages either way. In a list, only the elements that need it are bounced.
 *
 * Such a device works in strict mode, even on a table with lazy invalidation: an unmap waits for the invalidation, because the memory may
 * be reused right after it.
 *
 * The records belong to one object of one thread: the object that mapped a buffer must unmap it.
 */
import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../memory/physical-pages.ts";
import { hexadecimal } from "../../units/counts.ts";
import { FreeError } from "../../units/errors.ts";
import { type Failure, failureOf } from "../../units/failure.ts";
import type { Access } from "../../units/numbers.ts";
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import type { Mapping, MappingAttributes, MappingPart } from "../contract.ts";
import { digestOf } from "../mapped-list.ts";
import { entryAccess } from "../requests.ts";
import type { BounceRule, Route } from "../route.ts";
import type { ScatterList } from "../scatter-list.ts";
import { type BounceBuffer, BounceBuffers, type Toward } from "./bounce.ts";

const NONE = -1;
const NO_BUFFERS: readonly BounceBuffer[] = [];

export class BouncedTransfers {
  readonly #route: Route;
  readonly #rule: BounceRule;
  readonly #buffers: BounceBuffers;
  /** The buffers of single mappings, by their keys on the route. */
  readonly #mapped: Map<number, BounceBuffer> = new Map();

  /** Throws InvalidArgumentError for pages that are not in this memory. */
  constructor(route: Route, rule: BounceRule, memory: Memory, pages: PhysicalPages) {
    this.#route = route;
    this.#rule = rule;
    this.#buffers = new BounceBuffers(memory, pages, rule);
  }

  /** Throws InvalidArgumentError if the bytes must be bounced and are not memory. */
  isBounced(address: number, bytes: number): boolean {
    return this.#buffers.isBounced(address, bytes);
  }

  /** Maps a bounce buffer for these bytes, at the bus address `iova` if it is given. Returns its key, or a failure code. */
  map(address: number, bytes: number, access: Access, attributes?: MappingAttributes, iova?: bigint): number {
    // Checked first, so that a mapping which can never succeed allocates no memory.
    const refusal = this.#rule.refusal(address, bytes);
    if (refusal !== 0) return refusal;
    const buffer = this.#buffers.take(address, bytes, access, attributes);
    if (typeof buffer === "number") return buffer;
    let key = NONE;
    try {
      const at = BigInt(buffer.address);
      const wanted = entryAccess(access, attributes);
      key = iova === undefined ? this.#route.map(at, bytes, wanted) : this.#route.mapAt(iova, at, bytes, wanted);
    } finally {
      // Pages that the device may still reach stay allocated for good.
      if (key < 0 && !this.#route.isStranded) this.#buffers.giveBack(buffer);
    }
    if (key < 0) return key;
    this.forget(key);
    this.#mapped.set(key, buffer);
    return key;
  }

  /**
   * Called for a new mapping under this key. If a buffer is still recorded for the key, another object unmapped it, which is misuse. It
   * must not be copied back when the new mapping ends.
   */
  forget(key: number): void {
    const stale = this.#mapped.get(key);
    if (stale === undefined) return;
    this.#mapped.delete(key);
    this.#buffers.giveBack(stale);
  }

  /** Unmaps a mapping, bounced or not. Throws FreeError. */
  unmap(key: number, mapping: Mapping): Failure | undefined {
    const buffer = this.#bufferOf(key, mapping);
    if (buffer === undefined && this.#rule.isOnlyBounced(key, mapping)) {
      // The object that has the buffer must copy it back. `checkMapped` distinguishes that from a double unmap.
      this.#route.checkMapped(key, mapping);
      const what = `unmap of ${mapping.bytes} bytes at bus address ${hexadecimal(mapping.iova)}`;
      throw new FreeError("wrong-owner", `${what}: not mapped by this object's \`map\``);
    }
    return this.finish(key, this.#route.unmap(key, mapping));
  }

  /** Ends the buffer of a mapping that the route has unmapped. `failure`: the result of that unmap. */
  finish(key: number, failure: Failure | undefined): Failure | undefined {
    const buffer = this.#mapped.get(key);
    this.#mapped.delete(key);
    return this.#awaitAndFinish(failure, buffer === undefined ? NO_BUFFERS : [buffer]);
  }

  /** If ops throw, the buffers end as after a failure: the device may still use them. */
  #awaitAndFinish(failure: Failure | undefined, buffers: readonly BounceBuffer[]): Failure | undefined {
    let outcome: Failure | undefined = "platform-refused";
    try {
      outcome = failure ?? this.#route.awaitInvalidation();
    } finally {
      for (const buffer of buffers) this.#buffers.finish(buffer, outcome);
    }
    return outcome;
  }

  /** True if the mapping under this key is bounced. */
  holds(key: number): boolean {
    return this.#mapped.has(key);
  }

  /** Copies a part of a mapping if it is bounced. Throws FreeError if its length or offset differs from the recorded one. */
  sync(key: number, mapping: Mapping, part: MappingPart, toward: Toward): void {
    const buffer = this.#bufferOf(key, mapping);
    if (buffer !== undefined) this.#buffers.copy(buffer, toward, part);
  }

  mapSg(list: ScatterList, access: Access, attributes: MappingAttributes | undefined): Failure | undefined {
    const { lists } = this.#route;
    const refused = lists.refusalFor(list) ?? this.#bounceElements(list, access, attributes);
    if (refused !== undefined) return refused;
    try {
      const failure = lists.map(list, entryAccess(access, attributes));
      // unmapSg compares the driver's columns.
      if (failure === undefined) list.mapping.digest = digestOf(list);
      return failure;
    } finally {
      if (list.mapping.device === undefined) {
        for (const buffer of takeBounced(list)) if (!lists.isStranded) this.#buffers.giveBack(buffer);
      }
    }
  }

  unmapSg(list: ScatterList): Failure | undefined {
    const failure = this.#unmapElements(list);
    return this.#awaitAndFinish(failure, takeBounced(list));
  }

  #unmapElements(list: ScatterList): Failure | undefined {
    const wasMapped = list.mapping.device !== undefined;
    try {
      return this.#route.lists.unmap(list);
    } catch (error) {
      // The table has given the list's ranges up, and the device may still use the buffers: as after a failure.
      if (wasMapped && list.mapping.device === undefined) {
        for (const buffer of takeBounced(list)) this.#buffers.finish(buffer, "platform-refused");
      }
      throw error;
    }
  }

  syncSg(list: ScatterList, toward: Toward): void {
    for (const buffer of list.mapping.bounced) this.#buffers.copy(buffer, toward);
  }

  /**
   * Replaces elements by bounce buffers in a copy of the address column, which is then mapped. The driver's columns do not change. On
   * failure the list is as before.
   */
  #bounceElements(list: ScatterList, access: Access, attributes: MappingAttributes | undefined): Failure | undefined {
    const words = list.mapping.addressWords.slice(0, 2 * list.length);
    // All elements are checked before a buffer is allocated: this throws for addresses that are not memory.
    const elements = this.#bouncedElements(list);
    const bounced: BounceBuffer[] = [];
    for (const i of elements) {
      const buffer = this.#buffers.take(addressOf(words, i), list.bytes[i]!, access, attributes);
      if (typeof buffer === "number") {
        for (const taken of bounced) this.#buffers.giveBack(taken);
        return failureOf(buffer);
      }
      bounced.push(buffer);
      words[2 * i + LOW_WORD] = buffer.address;
      words[2 * i + HIGH_WORD] = buffer.address / 2 ** 32;
    }
    if (bounced.length === 0) return undefined;
    list.mapping.mappedWords = words;
    list.mapping.bounced = bounced;
    return undefined;
  }

  #bouncedElements(list: ScatterList): number[] {
    const elements: number[] = [];
    for (let i = 0; i < list.length; i++) {
      const bytes = list.bytes[i]!;
      if (bytes > 0 && this.isBounced(addressOf(list.mapping.addressWords, i), bytes)) elements.push(i);
    }
    return elements;
  }

  /** The bounce buffer of a mapping, if it has one. The route checks pages; this function checks bytes. */
  #bufferOf(key: number, mapping: Mapping): BounceBuffer | undefined {
    const buffer = this.#mapped.get(key);
    if (buffer === undefined) return undefined;
    const offset = this.#offsetOf(mapping);
    const found = buffer.address - buffer.pagesAt;
    if (found === offset && buffer.bytes === mapping.bytes) return buffer;
    throw new FreeError(
      "wrong-length",
      `${mapping.bytes} bytes from byte ${offset} of a page on: mapped were ${buffer.bytes} from byte ${found} on`,
    );
  }

  /** Offset of a mapping in its page: the same on the bus and in memory. */
  #offsetOf({ iova }: Mapping): number {
    return Number(iova & BigInt(this.#rule.pageSize - 1));
  }
}

/** Exact below 2^53, rounded above. */
function addressOf(words: Uint32Array, element: number): number {
  return words[2 * element + HIGH_WORD]! * 2 ** 32 + words[2 * element + LOW_WORD]!;
}

/** Removes the bounce buffers from the list and returns them. */
function takeBounced(list: ScatterList): readonly BounceBuffer[] {
  const { bounced } = list.mapping;
  list.mapping.mappedWords = list.mapping.addressWords;
  list.mapping.bounced = NO_BUFFERS;
  return bounced;
}
