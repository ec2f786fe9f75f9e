/**
 * The only module that touches shared memory. Everything else goes through these functions, so that one test can replace
 * this module and see, order and cut off every access (explorer). `SharedWords` has no index signature:
 * `words[i]` does not compile anywhere else.
 *
 * Three kinds of access, and each use says which it is:
 * - atomic (`load`, `store`, `compareExchange` …): orders; two threads meet here.
 * - plain (`peek`, `poke`): only where a lock or ownership already orders the threads. Two threads that meet in a plain
 *   access are a race, and the explorer fails on it.
 * - relaxed (`glance`, `hintTo`): a plain access that may race on purpose. It orders nothing; its reader must be right
 *   with a stale value.
 */
import { IovaError } from "../units/errors.ts";

declare const sharedWords: unique symbol;
declare const sharedHalves: unique symbol;
declare const sharedBytes: unique symbol;

/** 32-bit words in shared memory, read as signed numbers. Opaque: no `words[i]`. */
export interface SharedWords {
  readonly [sharedWords]: true;
}
/** 16-bit halfwords in shared memory, read as unsigned numbers. */
export interface SharedHalves {
  readonly [sharedHalves]: true;
}
/** Bytes in shared memory: bulk copies of what devices and CPUs read and write. */
export interface SharedBytes {
  readonly [sharedBytes]: true;
}

/** Memory that threads share; structured-cloneable. */
export type SharedBuffer = SharedArrayBuffer;

// Browsers hide the constructor from pages that are not cross-origin isolated.
const isSupported = typeof SharedArrayBuffer !== "undefined";

/** True if the value is shared memory. */
export function isShared(value: unknown): value is SharedBuffer {
  return isSupported && value instanceof SharedArrayBuffer;
}

/**
 * `byteLength` bytes of zeros that threads can share. Throws IovaError where the engine has no shared memory, RangeError when memory is
 * short.
 */
export function createShared(byteLength: number): SharedBuffer {
  if (isSupported) return new SharedArrayBuffer(byteLength);
  throw new IovaError(
    "no-shared-memory",
    "there is no SharedArrayBuffer here; a web page needs the headers Cross-Origin-Opener-Policy: same-origin and " +
      "Cross-Origin-Embedder-Policy: require-corp to be cross-origin isolated",
  );
}

/** Words over `buffer` from byte `byteOffset` (a multiple of 4) on; `length` in words. */
export function wordsOf(buffer: SharedBuffer, byteOffset?: number, length?: number): SharedWords {
  return new Int32Array(buffer, byteOffset, length) as unknown as SharedWords;
}
/** Halfwords over `buffer` from byte `byteOffset` (a multiple of 2) on; `length` in halfwords. */
export function halvesOf(buffer: SharedBuffer, byteOffset?: number, length?: number): SharedHalves {
  return new Uint16Array(buffer, byteOffset, length) as unknown as SharedHalves;
}
/** Bytes over `buffer` from byte `byteOffset` on. */
export function bytesOf(buffer: SharedBuffer, byteOffset?: number, length?: number): SharedBytes {
  return new Uint8Array(buffer, byteOffset, length) as unknown as SharedBytes;
}

/**
 * Views of no memory: what a field of a hot class holds until its constructor sets it. V8 then knows the field's type from the
 * start; a field that begins as undefined is checked again at every use.
 */
export const NO_WORDS: SharedWords = new Int32Array(0) as unknown as SharedWords;
export const NO_HALVES: SharedHalves = new Uint16Array(0) as unknown as SharedHalves;

// Atomic accesses: sequentially consistent.

export function load(words: SharedWords, at: number): number {
  return Atomics.load(words as unknown as Int32Array, at);
}
export function store(words: SharedWords, at: number, value: number): void {
  Atomics.store(words as unknown as Int32Array, at, value);
}
/** Adds and returns the old value. */
export function add(words: SharedWords, at: number, value: number): number {
  return Atomics.add(words as unknown as Int32Array, at, value);
}
/** Stores and returns the old value. */
export function exchange(words: SharedWords, at: number, value: number): number {
  return Atomics.exchange(words as unknown as Int32Array, at, value);
}
/** Stores `wanted` if the word holds `expected`; returns what it held. */
export function compareExchange(words: SharedWords, at: number, expected: number, wanted: number): number {
  return Atomics.compareExchange(words as unknown as Int32Array, at, expected, wanted);
}
export function loadHalf(halves: SharedHalves, at: number): number {
  return Atomics.load(halves as unknown as Uint16Array, at);
}
/**
 * As `compareExchange`, for slots that their owner changes by plain stores. Only a success orders. Callers must tolerate a spurious
 * failure; it cannot occur for a thread that already synchronised with the store of `expected`.
 */
export function compareExchangeHalf(halves: SharedHalves, at: number, expected: number, wanted: number): number {
  return Atomics.compareExchange(halves as unknown as Uint16Array, at, expected, wanted);
}

// Plain accesses: under a lock, or of memory that one thread owns. An index outside the view is a bug of the caller.

export function peek(words: SharedWords, at: number): number {
  return (words as unknown as Int32Array)[at] as number;
}
export function poke(words: SharedWords, at: number, value: number): void {
  (words as unknown as Int32Array)[at] = value;
}
export function peekHalf(halves: SharedHalves, at: number): number {
  return (halves as unknown as Uint16Array)[at] as number;
}
export function pokeHalf(halves: SharedHalves, at: number, value: number): void {
  (halves as unknown as Uint16Array)[at] = value;
}

// Relaxed accesses: may race, order nothing, never tear (an aligned word is one access in the memory model).

export function glance(words: SharedWords, at: number): number {
  return (words as unknown as Int32Array)[at] as number;
}
export function glanceHalf(halves: SharedHalves, at: number): number {
  return (halves as unknown as Uint16Array)[at] as number;
}
/** A store that only relaxed readers of other threads see: statistics. */
export function hintTo(words: SharedWords, at: number, value: number): void {
  (words as unknown as Int32Array)[at] = value;
}

// Bulk.

/** Copies `into.length` bytes from `at` on out of shared memory. */
export function copyOut(bytes: SharedBytes, at: number, into: Uint8Array): void {
  into.set((bytes as unknown as Uint8Array).subarray(at, at + into.length));
}
/** Copies `from` into shared memory from `at` on. */
export function copyIn(bytes: SharedBytes, at: number, from: Uint8Array): void {
  (bytes as unknown as Uint8Array).set(from, at);
}
/** Sets `length` bytes from `at` on to zero. */
export function zero(bytes: SharedBytes, at: number, length: number): void {
  (bytes as unknown as Uint8Array).fill(0, at, at + length);
}

// Waiting, and time.

// A browser's main thread may not wait: Atomics.wait throws there. Asked once, since code that the explorer replays
// may hold no `catch`.
const waiting = ((): boolean => {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return true;
  } catch {
    return false;
  }
})();

/** True if this thread may wait. False on a browser's main thread. */
export function mayWait(): boolean {
  return waiting;
}
/** Sleeps while the word holds `value`, until notified, for at most `milliseconds`. May return early. */
export function waitWhile(words: SharedWords, at: number, value: number, milliseconds: number): void {
  Atomics.wait(words as unknown as Int32Array, at, value, milliseconds);
}
/** Wakes up to `count` threads that wait on the word. */
export function notify(words: SharedWords, at: number, count: number): void {
  Atomics.notify(words as unknown as Int32Array, at, count);
}

declare const performance: { now(): number };

/** A clock for waits and statistics, in milliseconds with fractions; its zero is arbitrary. */
export function milliseconds(): number {
  return performance.now();
}

/** A unit of patience for loops that poll shared memory: 100 looks take about 1 µs. */
export const SPINS = 100;

/**
 * The longest pause between two looks at a contended lock, in turns of `idle`. All pauses together, 1 + 2 + 4 + … + 1024 turns, take some 10 to
 * 20 µs: about what a sleep and the wake-up cost, so a waiter loses at most half of its time by not having slept at once.
 */
export const LONGEST_PAUSE = 1024;

const ownWord = new Int32Array(1);

/** Passes time, 5 to 10 ns a turn, without touching memory that other threads use. */
export function idle(turns: number): void {
  for (let i = 0; i < turns; i++) Atomics.load(ownWord, 0);
}
