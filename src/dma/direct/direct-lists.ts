/**
 * mapSg on a direct window: an element has its bus address already, so what is left is to look whether the device can use it, and
 * to join what is adjacent in memory. Nothing is taken and nothing is written but the list's output: one segment an element, joined
 * where they are adjacent. An element that crosses a segment boundary is refused: "longer-than-boundary".
 */
import { FreeError, SyncError } from "../../units/errors.ts";
import { type Failure, failureOf } from "../../units/failure.ts";
import { HIGH_WORD, LOW_WORD } from "../../units/words64.ts";
import { checkMappedBy, checkNotMapped, digestOf, tooManySegments } from "../mapped-list.ts";
import type { ListMapper } from "../route.ts";
import type { ScatterList } from "../scatter-list.ts";
import type { DirectReach } from "./direct-reach.ts";

const WORD = 2 ** 32;
const NONE = -1;

export class DirectLists implements ListMapper {
  /** There are no entries. */
  readonly isStranded = false;
  readonly #reach: DirectReach;
  readonly #maxSegmentBytes: number;
  readonly #merge: boolean;

  constructor(reach: DirectReach, maxSegmentBytes: number, merge: boolean) {
    this.#reach = reach;
    this.#maxSegmentBytes = maxSegmentBytes;
    this.#merge = merge;
  }

  /** None: what the device can't use may have a bounce buffer. */
  refusalFor(list: ScatterList): undefined {
    checkNotMapped(list);
    this.#checkSegments(list);
  }

  map(list: ScatterList): Failure | undefined {
    this.refusalFor(list);
    list.mapping.segments = 0;
    const refusal = this.#place(list);
    if (refusal !== 0) {
      this.#empty(list);
      return failureOf(refusal);
    }
    list.mapping.digest = digestOf(list);
    list.mapping.device = this;
    return undefined;
  }

  unmap(list: ScatterList): undefined {
    checkMappedBy(list, this, "unmapSg", FreeError);
    list.mapping.segments = 0;
    list.mapping.device = undefined;
  }

  checkSync(list: ScatterList): void {
    checkMappedBy(list, this, "sync", SyncError);
  }

  /** Throws InvalidArgumentError when the segments of longer elements may not fit the list. */
  #checkSegments(list: ScatterList): void {
    const most = this.#maxSegmentBytes;
    let segments = 0;
    for (let i = 0; i < list.length; i++) segments += Math.ceil(list.bytes[i]! / most);
    if (segments > list.iovas.length) throw tooManySegments(list, most, segments);
  }

  /** Fills in the output. A failure code: an element can't be used where it is. */
  #place(list: ScatterList): number {
    const reach = this.#reach;
    const words = list.mapping.mappedWords;
    // The physical address at which a neighbour would continue the open segment.
    let joint = NONE;
    for (let i = 0; i < list.length; i++) {
      const bytes = list.bytes[i]!;
      if (bytes === 0) continue;
      const address = words[2 * i + HIGH_WORD]! * WORD + words[2 * i + LOW_WORD]!;
      const refusal = reach.refusal(address, bytes);
      if (refusal !== 0) return refusal;
      const continues = this.#merge && address === joint && !reach.isBoundary(address);
      this.#append(list, address, bytes, continues);
      joint = address + bytes;
    }
    return 0;
  }

  /** Adds an element to the open segment, if it continues it and there is room, or in segments of its own. */
  #append(list: ScatterList, address: number, bytes: number, continues: boolean): void {
    const most = this.#maxSegmentBytes;
    const { mapping, segmentBytes } = list;
    const last = mapping.segments - 1;
    if (continues && segmentBytes[last]! + bytes <= most) {
      segmentBytes[last] = segmentBytes[last]! + bytes;
      return;
    }
    for (let done = 0; done < bytes; done += most) {
      const at = mapping.segments;
      this.#reach.storeBusAddress(mapping.iovaWords, at, address + done);
      segmentBytes[at] = Math.min(most, bytes - done);
      mapping.segments = at + 1;
    }
  }

  /** The output as of a list that is not mapped. */
  #empty(list: ScatterList): void {
    list.iovas.fill(0n, 0, list.mapping.segments);
    list.segmentBytes.fill(0, 0, list.mapping.segments);
    list.mapping.segments = 0;
  }
}
