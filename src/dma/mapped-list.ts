/**
 * Checks, before every unmap and sync, that the same device mapped the list and that its elements have not changed since.
 */
import { type FreeError, InvalidArgumentError, inWords, type SyncError } from "../units/errors.ts";
import { HIGH_WORD, LOW_WORD } from "../units/words64.ts";
import type { ScatterList } from "./scatter-list.ts";

/** Factors of the digest: odd, so that each step is a bijection of every word, with well mixed bits. mapSg folds the digest into its own loop. */
export const DIGEST_STEP = 0x27d4eb2f;
export const DIGEST_LOW = 0x9e3779b1;
export const DIGEST_HIGH = 0x85ebca6b;
export const DIGEST_BYTES = 0xc2b2ae35;

/** Throws InvalidArgumentError if the list is mapped. */
export function checkNotMapped(list: ScatterList): void {
  if (list.mapping.device === undefined) return;
  throw new InvalidArgumentError(
    "scatterlist",
    inWords("mapped already"),
    "one that is not mapped: call unmapSg first",
  );
}

/** Throws the given error unless this device mapped the list, and its elements have not changed since. */
export function checkMappedBy(
  list: ScatterList,
  device: object,
  call: string,
  WrongUse: typeof FreeError | typeof SyncError,
): void {
  const { device: mappedBy, digest } = list.mapping;
  if (mappedBy === device && digestOf(list) === digest) return;
  const what = `${call} of a scatterlist of ${list.length} elements`;
  if (mappedBy === undefined) throw new WrongUse("not-allocated", `${what} that is not mapped`);
  if (mappedBy !== device) throw new WrongUse("wrong-owner", `${what} that another device mapped`);
  throw new WrongUse("wrong-length", `${call} of a scatterlist whose ${list.length} elements were changed since mapSg`);
}

/**
 * A digest of the elements. A change of one word always changes it; changes of several words are missed with a probability of 2^-32. The
 * number of elements can't change while a list is mapped.
 */
export function digestOf(list: ScatterList): number {
  const words = list.mapping.addressWords;
  const bytes = list.bytes;
  const length = list.length;
  const lowWord = LOW_WORD | 0;
  const highWord = HIGH_WORD | 0;
  let digest = 0;
  for (let i = 0; i < length; i++) {
    // Multiplied side by side: a chain of multiplications would take twice the time.
    const address = Math.imul(words[2 * i + lowWord]!, DIGEST_LOW) + Math.imul(words[2 * i + highWord]!, DIGEST_HIGH);
    digest = (Math.imul(digest, DIGEST_STEP) + address + Math.imul(bytes[i]!, DIGEST_BYTES)) | 0;
  }
  return digest;
}

/** The error for a list whose elements may need more segments than it has room for. */
export function tooManySegments(list: ScatterList, maxSegmentBytes: number, segments: number): InvalidArgumentError {
  return new InvalidArgumentError(
    `segment capacity of a list with elements longer than ${maxSegmentBytes} bytes`,
    list.iovas.length,
    `at least ${segments} (second argument of ScatterList)`,
  );
}
