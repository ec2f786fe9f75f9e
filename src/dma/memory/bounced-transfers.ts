/**
 * The transfers of a device some of whose memory is bounced (bounce.ts says what that means), by whatever route. A bounce buffer has
 * the driver's offset in its page, so a mapping has the same pages either way. In a list, element by element: one that need not be
 * bounced is mapped where it is.
 *
 * Such a device works in strict mode, also on a table that invalidates lazily: an unmap waits for the invalidation. What the device
 * could still use afterwards, bounce buffer or not, would be someone else's by then.
 *
 * The records are one object's, of one thread: whoever mapped a buffer unmaps it, by the same object.
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

  /** Throws InvalidArgumentError for bytes that must be bounced and are no memory. */
  isBounced(address: number, bytes: number): boolean {
    return this.#buffers.isBounced(address, bytes);
  }

  /** Maps a bounce buffer for these bytes: its key, or a failure code. */
  map(address: number, bytes: number, access: Access, attributes?: MappingAttributes): number {
    // Said first: what can never be mapped takes no memory.
    const refusal = this.#rule.refusal(address, bytes);
    if (refusal !== 0) return refusal;
    const buffer = this.#buffers.take(address, bytes, access, attributes);
    if (typeof buffer === "number") return buffer;
    let key = NONE;
    try {
      key = this.#route.map(BigInt(buffer.address), bytes, entryAccess(access, attributes));
    } finally {
      // What the device may still reach stays taken for good.
      if (key < 0 && !this.#route.isStranded) this.#buffers.giveBack(buffer);
    }
    if (key < 0) return key;
    this.forget(key);
    this.#mapped.set(key, buffer);
    return key;
  }

  /**
   * Something new is mapped under this key: a buffer that is still kept for it was unmapped past this object, which is misuse. It must
   * not be copied back when the new mapping ends.
   */
  forget(key: number): void {
    const stale = this.#mapped.get(key);
    if (stale === undefined) return;
    this.#mapped.delete(key);
    this.#buffers.giveBack(stale);
  }

  /** Unmaps a mapping of `map`, or one that was mapped as it is. Throws FreeError. */
  unmap(key: number, mapping: Mapping): Failure | undefined {
    const buffer = this.#bufferOf(key, mapping);
    if (buffer === undefined && this.#rule.isOnlyBounced(key, mapping)) {
      // Whoever has the buffer must copy it back. A double unmap is told from that by the route.
      this.#route.checkMapped(key, mapping);
      const what = `unmap of ${mapping.bytes} bytes at bus address ${hexadecimal(mapping.iova)}`;
      throw new FreeError("wrong-owner", `${what}: not mapped by this object's \`map\``);
    }
    return this.finish(key, this.#route.unmap(key, mapping));
  }

  /** What was mapped under this key has been unmapped: `failure` is the answer so far. */
  finish(key: number, failure: Failure | undefined): Failure | undefined {
    const buffer = this.#mapped.get(key);
    this.#mapped.delete(key);
    return this.#awaitAndFinish(failure, buffer === undefined ? NO_BUFFERS : [buffer]);
  }

  /** The buffers are finished also when ops throw: the device may still use them then, as after a failure. */
  #awaitAndFinish(failure: Failure | undefined, buffers: readonly BounceBuffer[]): Failure | undefined {
    let outcome: Failure | undefined = "platform-refused";
    try {
      outcome = failure ?? this.#route.awaitInvalidation();
    } finally {
      for (const buffer of buffers) this.#buffers.finish(buffer, outcome);
    }
    return outcome;
  }

  /** Is what was mapped under this key bounced? */
  holds(key: number): boolean {
    return this.#mapped.has(key);
  }

  /** Copies a part of a mapping if it is bounced. Throws FreeError when it is none of ours. */
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
      // The driver's columns are what is compared at unmap.
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
      // The list is given up, and the device may still use it: as after a failure.
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
   * Puts bounce buffers instead of elements. The driver's columns stay as they are: what is mapped is a copy of the address
   * column. On failure the list is as before.
   */
  #bounceElements(list: ScatterList, access: Access, attributes: MappingAttributes | undefined): Failure | undefined {
    const words = list.mapping.addressWords.slice(0, 2 * list.length);
    // All are looked at before any is taken: this throws for what is no memory.
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

  /** The bounce buffer of a mapping, if it has one. Pages are checked by the route, bytes here. */
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

  /** Where in its page a mapping begins: the same on the bus and in memory. */
  #offsetOf({ iova }: Mapping): number {
    return Number(iova & BigInt(this.#rule.pageSize - 1));
  }
}

/** Exact below 2^53; a rounded number from there on. */
function addressOf(words: Uint32Array, element: number): number {
  return words[2 * element + HIGH_WORD]! * 2 ** 32 + words[2 * element + LOW_WORD]!;
}

/** Forgets the buffers, for whoever keeps or gives them back: the list is that of the driver again. */
function takeBounced(list: ScatterList): readonly BounceBuffer[] {
  const { bounced } = list.mapping;
  list.mapping.mappedWords = list.mapping.addressWords;
  list.mapping.bounced = NO_BUFFERS;
  return bounced;
}
