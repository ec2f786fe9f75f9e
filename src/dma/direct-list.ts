/**
 * mapSg on a direct window: an element has its bus address already, so what is left is to look whether the device can use it, and
 * to join what is adjacent in memory. Nothing is taken and nothing is written but the list's output.
 */
import { InvalidArgumentError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import type { DirectReach } from "./direct-reach.ts";
import { digestOf } from "./map-sg.ts";
import { HIGH_WORD, LOW_WORD } from "./pages.ts";
import type { ScatterList } from "./scatter-list.ts";

const WORD = 2 ** 32;
const NONE = -1;

export interface DirectListOptions {
  readonly reach: DirectReach;
  readonly maxSegmentBytes: number;
  readonly merge: boolean;
}

/** Throws InvalidArgumentError when the segments of longer elements may not fit the list. */
export function checkSegments(list: ScatterList, maxSegmentBytes: number): void {
  let segments = 0;
  for (let i = 0; i < list.length; i++) segments += Math.ceil(list.bytes[i]! / maxSegmentBytes);
  if (segments <= list.iovas.length) return;
  throw new InvalidArgumentError(
    `segment capacity of a list with elements longer than ${maxSegmentBytes} bytes`,
    list.iovas.length,
    `at least ${segments} (second argument of ScatterList)`,
  );
}

/** Fills in the output. A failure: an element can't be used where it is; the list has no segments then. */
export function placeDirectly(list: ScatterList, owner: object, options: DirectListOptions): Failure | undefined {
  const { reach, merge } = options;
  const { mapping } = list;
  const words = mapping.mappedWords;
  // The physical address at which a neighbour would continue the open segment.
  let joint = NONE;
  mapping.segments = 0;
  for (let i = 0; i < list.length; i++) {
    const bytes = list.bytes[i]!;
    if (bytes === 0) continue;
    const address = words[2 * i + HIGH_WORD]! * WORD + words[2 * i + LOW_WORD]!;
    const refusal = reach.refusal(address, bytes);
    if (refusal !== 0) {
      emptyOutput(list);
      return failureOf(refusal);
    }
    const continues = merge && address === joint && !reach.isBoundary(address);
    append(list, address, bytes, continues, options);
    joint = address + bytes;
  }
  mapping.digest = digestOf(list);
  mapping.device = owner;
  return undefined;
}

/** The output as of a list that is not mapped. */
function emptyOutput(list: ScatterList): void {
  list.iovas.fill(0n, 0, list.mapping.segments);
  list.segmentBytes.fill(0, 0, list.mapping.segments);
  list.mapping.segments = 0;
}

/** Adds an element to the open segment, if it continues it and there is room, or in segments of its own. */
function append(
  list: ScatterList,
  address: number,
  bytes: number,
  continues: boolean,
  { reach, maxSegmentBytes }: DirectListOptions,
): void {
  const { mapping, segmentBytes } = list;
  const last = mapping.segments - 1;
  if (continues && segmentBytes[last]! + bytes <= maxSegmentBytes) {
    segmentBytes[last] = segmentBytes[last]! + bytes;
    return;
  }
  for (let done = 0; done < bytes; done += maxSegmentBytes) {
    const at = mapping.segments;
    reach.storeBusAddress(mapping.iovaWords, at, address + done);
    segmentBytes[at] = Math.min(maxSegmentBytes, bytes - done);
    mapping.segments = at + 1;
  }
}
