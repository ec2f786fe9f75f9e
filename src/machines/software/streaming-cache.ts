/**
 * The streaming cache of a bridge (Psycho's "streaming buffer"): lines of 64 bytes between devices and memory, for pages whose entries
 * enable it. A device's write stays in a line until it is evicted, or flushed and synced. A device's read may come from a line that was
 * fetched before memory changed. So a missing flush has the same effects as on hardware.
 *
 * A line's tag is its entry in the table and its offset in the page; it keeps the physical address from its allocation. A flush drops
 * fetched lines and marks written ones as draining. A sync writes draining lines to memory, as does a DMA that needs the line. All threads
 * share the lines under one lock.
 *
 * A thread that is killed may leave the lock taken. Each line is always valid or empty: its state is stored last when it is filled, and it
 * is emptied only after memory has its data. So `forget` only releases the lock.
 */
import type { Regions, RegionView } from "../../memory/regions.ts";
import { inherit, LOCK_WORDS, lock, tagOf, unlock } from "../../shared/lock.ts";
import {
  bytesOf,
  copyIn,
  copyOut,
  load,
  mayWait,
  peek,
  poke,
  type SharedBuffer,
  type SharedBytes,
  type SharedWords,
  store,
  wordsOf,
} from "../../shared/memory.ts";
import { DEVICE_WRITES } from "../../units/numbers.ts";
import { MAY_NOT_WAIT, PASSED, STILL_IN_FLIGHT } from "./threads.ts";

const LINE_BYTES = 64;
/** Number of lines, as in hardware. */
const STREAMING_CACHE_LINES = 16;

/** Words before the lines: the lock, then the next line to evict. */
const CURSOR = LOCK_WORDS;
const ENABLED: number = CURSOR + 1;
const LINES_AT = 32;
/** Words of one line; its bytes begin at `data`. */
const LINE = {
  state: 0,
  entry: 1,
  offset: 2,
  context: 3,
  addressLow: 4,
  addressHigh: 5,
  mask: 6,
  data: 8,
  words: 32,
} as const;
export const STREAMING_CACHE_WORDS: number = LINES_AT + STREAMING_CACHE_LINES * LINE.words;

// States of a line.
const EMPTY = 0;
/** The whole line was fetched from memory. */
const FETCHED = 1;
/** A device has written the bytes in the mask. */
const WRITTEN = 2;
/** Written and flushed: no longer found, not yet in memory. */
const DRAINING = 3;

const NO_LINE = -1;

export interface StreamingCacheOptions {
  readonly memory: Regions;
  readonly state: SharedBuffer;
  /** Index of its first word in the state. Initially all words are 0. */
  readonly at: number;
  readonly thread: number;
  /** Time limit for the lock in milliseconds. */
  readonly patienceMs: number;
}

/** One thread's view. Stateless. */
export class StreamingCache {
  readonly #words: SharedWords;
  readonly #stateBytes: SharedBytes;
  readonly #memory: Regions;
  readonly #at: number;
  readonly #linesAt: number;
  readonly #linesEnd: number;
  readonly #tag: number;
  readonly #patienceMs: number;
  readonly #scratch: Uint8Array = new Uint8Array(LINE_BYTES);

  constructor({ memory, state, at, thread, patienceMs }: StreamingCacheOptions) {
    this.#words = wordsOf(state);
    this.#stateBytes = bytesOf(state);
    this.#memory = memory;
    this.#at = at;
    this.#linesAt = at + LINES_AT;
    this.#linesEnd = this.#linesAt + STREAMING_CACHE_LINES * LINE.words;
    this.#tag = tagOf(thread);
    this.#patienceMs = patienceMs;
  }

  /**
   * Moves bytes between a device and memory at `address`, inside the page of `entry` and one region. False: the lock was not available, and no bytes have
   * moved. Only between `begin` and `end` of a DMA.
   */
  transfer(entry: number, context: number, address: number, bytes: Uint8Array, access: number): boolean {
    if (!this.enabled) {
      const region = this.#regionOf(address);
      if (access === DEVICE_WRITES) copyIn(region.bytes, address - region.address, bytes);
      else copyOut(region.bytes, address - region.address, bytes);
      return true;
    }
    if (!this.#lock()) return false;
    for (let moved = 0; moved < bytes.length; ) {
      const within = (address + moved) % LINE_BYTES;
      const part = bytes.subarray(moved, moved + LINE_BYTES - within);
      const lineAddress = address + moved - within;
      if (access === DEVICE_WRITES) this.#write(entry, context, lineAddress, within, part);
      else this.#read(entry, context, lineAddress, within, part);
      moved += part.length;
    }
    unlock(this.#words, this.#at);
    return true;
  }

  /** Whether the cache is on; initially it is off, and DMA bypasses it. Switching it off keeps its lines until they are flushed. */
  get enabled(): boolean {
    return load(this.#words, this.#at + ENABLED) !== 0;
  }
  set enabled(on: boolean) {
    store(this.#words, this.#at + ENABLED, on ? 1 : 0);
  }

  /** Flushes the lines of an entry. Like all flushes, returns PASSED, or another code if the lock was not available. */
  flushEntry(entry: number): number {
    return this.#flush(LINE.entry, entry);
  }

  /** Flushes the lines of a context. */
  flushContext(context: number): number {
    return this.#flush(LINE.context, context);
  }

  /** Writes flushed lines to memory. */
  sync(): number {
    if (!this.#lock()) return this.#unavailable();
    for (let line = this.#linesAt; line < this.#linesEnd; line += LINE.words) {
      if (peek(this.#words, line + LINE.state) === DRAINING) this.#writeOut(line);
    }
    unlock(this.#words, this.#at);
    return PASSED;
  }

  /** The entry of a line, or -1. Read atomically without the lock: a snapshot. */
  entryOf(line: number): number {
    const at = this.#linesAt + line * LINE.words;
    const state = load(this.#words, at + LINE.state);
    return state === FETCHED || state === WRITTEN ? load(this.#words, at + LINE.entry) : -1;
  }

  /** Releases the lock if a killed thread held it. */
  forget(thread: number): void {
    if (inherit(this.#words, this.#at, tagOf(thread), this.#tag)) unlock(this.#words, this.#at);
  }

  #write(entry: number, context: number, address: number, within: number, bytes: Uint8Array): void {
    const words = this.#words;
    let line = this.#find(entry, address);
    // A fetched line becomes a written one, of which only the bytes in the mask are valid.
    if (line !== NO_LINE && peek(words, line + LINE.state) !== WRITTEN) {
      this.#discard(line);
      line = NO_LINE;
    }
    if (line === NO_LINE) {
      line = this.#take(entry, context, address);
      poke(words, line + LINE.mask, 0);
      poke(words, line + LINE.mask + 1, 0);
    }
    copyIn(this.#stateBytes, (line + LINE.data) * 4 + within, bytes);
    for (let i = within; i < within + bytes.length; i++) {
      const mask = line + LINE.mask + (i >>> 5);
      poke(words, mask, peek(words, mask) | (1 << (i & 31)));
    }
    store(words, line + LINE.state, WRITTEN);
  }

  #read(entry: number, context: number, address: number, within: number, into: Uint8Array): void {
    let line = this.#find(entry, address);
    if (line !== NO_LINE && peek(this.#words, line + LINE.state) !== FETCHED) {
      this.#writeOut(line);
      line = NO_LINE;
    }
    if (line === NO_LINE) {
      line = this.#take(entry, context, address);
      const region = this.#regionOf(address);
      copyOut(region.bytes, address - region.address, this.#scratch);
      copyIn(this.#stateBytes, (line + LINE.data) * 4, this.#scratch);
      store(this.#words, line + LINE.state, FETCHED);
    }
    copyOut(this.#stateBytes, (line + LINE.data) * 4 + within, into);
  }

  /** The line with this tag. A draining line is written to memory first, so that it does not overwrite later data. */
  #find(entry: number, address: number): number {
    const words = this.#words;
    for (let line = this.#linesAt; line < this.#linesEnd; line += LINE.words) {
      const state = peek(words, line + LINE.state);
      if (state === EMPTY || peek(words, line + LINE.entry) !== entry) continue;
      if (peek(words, line + LINE.offset) !== offsetOf(address)) continue;
      if (state !== DRAINING) return line;
      this.#writeOut(line);
    }
    return NO_LINE;
  }

  /** Allocates a line with this tag: the next one in turn, after its data was written to memory. */
  #take(entry: number, context: number, address: number): number {
    const words = this.#words;
    const index = peek(words, this.#at + CURSOR) % STREAMING_CACHE_LINES;
    poke(words, this.#at + CURSOR, index + 1);
    const line = this.#linesAt + index * LINE.words;
    if (peek(words, line + LINE.state) >= WRITTEN) this.#writeOut(line);
    else this.#discard(line);
    store(words, line + LINE.entry, entry);
    poke(words, line + LINE.offset, offsetOf(address));
    poke(words, line + LINE.context, context);
    poke(words, line + LINE.addressLow, address | 0);
    poke(words, line + LINE.addressHigh, Math.floor(address / 2 ** 32));
    return line;
  }

  /** A line lies in one region: regions begin at multiples of 4096. The device has checked that its page is memory. */
  #regionOf(address: number): RegionView {
    return this.#memory.find(address) as RegionView;
  }

  #discard(line: number): void {
    store(this.#words, line + LINE.state, EMPTY);
  }

  /** Writes only the bytes that the device has written. */
  #writeOut(line: number): void {
    const words = this.#words;
    const address = peek(words, line + LINE.addressHigh) * 2 ** 32 + (peek(words, line + LINE.addressLow) >>> 0);
    const region = this.#regionOf(address);
    copyOut(this.#stateBytes, (line + LINE.data) * 4, this.#scratch);
    for (let i = 0; i < LINE_BYTES; i++) {
      if (((peek(words, line + LINE.mask + (i >>> 5)) >>> (i & 31)) & 1) === 0) continue;
      copyIn(region.bytes, address - region.address + i, this.#scratch.subarray(i, i + 1));
    }
    this.#discard(line);
  }

  #flush(word: number, value: number): number {
    if (!this.#lock()) return this.#unavailable();
    for (let line = this.#linesAt; line < this.#linesEnd; line += LINE.words) {
      if (peek(this.#words, line + word) !== value) continue;
      const state = peek(this.#words, line + LINE.state);
      if (state === FETCHED) this.#discard(line);
      else if (state === WRITTEN) store(this.#words, line + LINE.state, DRAINING);
    }
    unlock(this.#words, this.#at);
    return PASSED;
  }

  #lock(): boolean {
    return lock(this.#words, this.#at, this.#tag, this.#patienceMs) === 0;
  }

  #unavailable(): number {
    return mayWait() ? STILL_IN_FLIGHT : MAY_NOT_WAIT;
  }
}

/** The offset in the largest page, in lines. */
function offsetOf(address: number): number {
  return Math.floor(address / LINE_BYTES) % 1024;
}
