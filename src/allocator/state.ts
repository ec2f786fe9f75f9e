/**
 * The shared buffer of one allocator: made once by its creator, opened by every thread.
 */

import { addStructure, type CrewHandle, openCrewState } from "../crew/crew.ts";
import {
  createShared,
  halvesOf,
  isShared,
  peek,
  poke,
  type SharedBuffer,
  type SharedHalves,
  type SharedWords,
  wordsOf,
} from "../shared/memory.ts";
import { FormatError, InvalidArgumentError, postHint, shown } from "../units/errors.ts";
import { boundWords, checkHeader, HEADER, LAYOUT_VERSION, type Layout, layoutOf, MAGIC, POOL } from "./layout.ts";
import type { CheckedOptions } from "./options.ts";
import { Pool } from "./pool.ts";

/** Data that a thread attaches to: structured-cloneable, so it can be posted. */
export interface AllocatorHandle {
  /** Version of the buffer's layout. */
  readonly version: number;
  /** The shared buffer that holds all mutable state of the allocator. */
  readonly state: SharedBuffer;
  /** The threads that may attach. */
  readonly crew: CrewHandle;
  /** Number of the allocator among the structures of the crew. */
  readonly structure: number;
}

/** An opened buffer. */
export interface OpenState {
  readonly handle: AllocatorHandle;
  readonly words: SharedWords;
  readonly ledger: SharedHalves;
  readonly layout: Layout;
  readonly options: CheckedOptions;
}

/** Longest buffer that today's engines index by 32-bit words without loss. */
const MAX_BYTES = 2 ** 33;

/** Makes and initialises the buffer, for the threads of a crew. The engine throws RangeError when it can't give that much memory. */
export function createState(options: CheckedOptions, crew: CrewHandle): OpenState {
  const layout = layoutOf(options);
  if (layout.bytes > MAX_BYTES)
    throw new InvalidArgumentError("memory of the table in bytes", layout.bytes, `at most ${MAX_BYTES}`);
  const buffer = createShared(layout.bytes);
  const words = wordsOf(buffer);
  writeHeader(words, options, layout);
  let boundsAt = layout.boundsAt;
  for (const [i, end] of layout.poolEnds.entries()) {
    const first = layout.poolEnds[i - 1] ?? 0;
    Pool.initialize(words, layout.poolsAt + i * POOL.words, first, end, boundsAt);
    boundsAt += boundWords(end - first);
  }
  const structure = addStructure(openCrewState(crew));
  return view({ version: LAYOUT_VERSION, state: buffer, crew, structure }, words, layout, options);
}

/** Opens a posted buffer. Throws FormatError, which says what was found and what is expected. */
export function openState(handle: AllocatorHandle): OpenState {
  if (handle?.version !== LAYOUT_VERSION) {
    const found = `the handle has version ${shown(handle?.version)}`;
    throw new FormatError(`${found}; this library reads version ${LAYOUT_VERSION}${postHint(handle)}`);
  }
  const buffer = handle.state;
  if (!isShared(buffer)) {
    throw new FormatError("the handle holds no shared memory (in a browser: is the page cross-origin isolated?)");
  }
  const words = wordsOf(buffer, 0, Math.floor(buffer.byteLength / 4));
  checkHeader((at) => peek(words, at), buffer.byteLength);
  openCrewState(handle.crew);
  const { version, state, crew, structure } = handle;
  if (!(Number.isSafeInteger(structure) && structure >= 0)) {
    throw new FormatError(`the handle's number in its crew is ${shown(structure)}; expected an integer from 0 on`);
  }
  const options = readHeader(words);
  return view({ version, state, crew, structure }, words, layoutOf(options), options);
}

function view(handle: AllocatorHandle, words: SharedWords, layout: Layout, options: CheckedOptions): OpenState {
  const ledger = halvesOf(handle.state, layout.ledgerAt, options.entries);
  return { handle, words, ledger, layout, options };
}

function writeHeader(words: SharedWords, options: CheckedOptions, layout: Layout): void {
  poke(words, HEADER.magic, MAGIC);
  poke(words, HEADER.version, LAYOUT_VERSION);
  poke(words, HEADER.entries, options.entries);
  poke(words, HEADER.pools, options.pools);
  poke(words, HEADER.largePool, Number(options.largePool));
  poke(words, HEADER.threads, options.threads);
  poke(words, HEADER.cache, Number(options.cache));
  poke(words, HEADER.lazy, Number(options.lazy));
  poke(words, HEADER.ownerOnly, Number(options.ownerOnly));
  poke(words, HEADER.cacheLimit, options.cacheLimit);
  poke(words, HEADER.bytes, layout.bytes | 0);
  poke(words, HEADER.bytes + 1, Math.floor(layout.bytes / 2 ** 32));
}

function readHeader(words: SharedWords): CheckedOptions {
  return {
    entries: peek(words, HEADER.entries),
    pools: peek(words, HEADER.pools),
    largePool: peek(words, HEADER.largePool) === 1,
    threads: peek(words, HEADER.threads),
    cache: peek(words, HEADER.cache) === 1,
    lazy: peek(words, HEADER.lazy) === 1,
    ownerOnly: peek(words, HEADER.ownerOnly) === 1,
    cacheLimit: peek(words, HEADER.cacheLimit),
    reserved: [],
  };
}
