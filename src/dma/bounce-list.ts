/**
 * Bounce buffers for the elements of a scatterlist. The driver's columns stay as they are: what is mapped is a copy of the
 * address column, in which bounced elements have the addresses of their buffers. Element by element: one that need not be bounced is
 * mapped where it is.
 */
import type { Failure } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import type { BounceBuffer, BounceBuffers } from "./bounce.ts";
import type { MappingAttributes } from "./contract.ts";
import { HIGH_WORD, LOW_WORD } from "./pages.ts";
import type { ScatterList } from "./scatter-list.ts";

const NO_BUFFERS: readonly BounceBuffer[] = [];

/** Puts bounce buffers in the place of elements. On failure the list is as before. */
export function bounceList(
  list: ScatterList,
  buffers: BounceBuffers,
  access: Access,
  attributes: MappingAttributes | undefined,
): Failure | undefined {
  const words = list.mapping.addressWords.slice(0, 2 * list.length);
  // All are looked at before any is taken: this throws for what is no memory.
  const elements = bouncedElements(list, buffers);
  const bounced: BounceBuffer[] = [];
  for (const i of elements) {
    const buffer = buffers.take(addressOf(words, i), list.bytes[i]!, access, attributes);
    if (typeof buffer === "string") {
      for (const taken of bounced) buffers.giveBack(taken);
      return buffer;
    }
    bounced.push(buffer);
    words[2 * i + LOW_WORD] = buffer.address;
    words[2 * i + HIGH_WORD] = buffer.address / 2 ** 32;
  }
  if (bounced.length > 0) {
    list.mapping.mappedWords = words;
    list.mapping.bounced = bounced;
  }
  return undefined;
}

function bouncedElements(list: ScatterList, buffers: BounceBuffers): number[] {
  const elements: number[] = [];
  for (let i = 0; i < list.length; i++) {
    const bytes = list.bytes[i]!;
    if (bytes > 0 && buffers.isBounced(addressOf(list.mapping.addressWords, i), bytes)) elements.push(i);
  }
  return elements;
}

/** Exact below 2^53; a rounded number from there on. */
function addressOf(words: Uint32Array, element: number): number {
  return words[2 * element + HIGH_WORD]! * 2 ** 32 + words[2 * element + LOW_WORD]!;
}

/** Forgets the buffers, for whoever keeps or gives them back: the list is that of the driver again. */
export function takeBounced(list: ScatterList): readonly BounceBuffer[] {
  const { bounced } = list.mapping;
  list.mapping.mappedWords = list.mapping.addressWords;
  list.mapping.bounced = NO_BUFFERS;
  return bounced;
}
