/**
 * The replacement of src/shared/memory.ts under which code is explored: the same exports, each of which asks the execution for
 * its turn. hook.ts puts it in the real one's place. Outside of an execution (set-up, checks) accesses are direct.
 */
import type { SharedBuffer, SharedBytes, SharedHalves, SharedWords } from "../src/shared/memory.ts";
import * as kinds from "./accesses.ts";
import { NOT_STORED, perform } from "./perform.ts";
import { execution, storage } from "./session.ts";
import type { ByteView, View } from "./storage.ts";

export type { SharedBuffer, SharedBytes, SharedHalves, SharedWords };

export function isShared(value: unknown): value is SharedBuffer {
  return value instanceof SharedArrayBuffer;
}
export function createShared(byteLength: number): SharedBuffer {
  if (execution !== undefined) throw new Error("explored threads can't create shared memory: the set-up does");
  return new SharedArrayBuffer(byteLength);
}
export function wordsOf(buffer: SharedBuffer, byteOffset?: number, length?: number): SharedWords {
  return storage.words(buffer, byteOffset, length) as unknown as SharedWords;
}
export function halvesOf(buffer: SharedBuffer, byteOffset?: number, length?: number): SharedHalves {
  return storage.halves(buffer, byteOffset, length) as unknown as SharedHalves;
}
export function bytesOf(buffer: SharedBuffer, byteOffset?: number, length?: number): SharedBytes {
  return storage.bytes(buffer, byteOffset, length) as unknown as SharedBytes;
}

/** Placeholder without a buffer. It is never read. */
export const NO_WORDS: SharedWords = {} as unknown as SharedWords;
export const NO_HALVES: SharedHalves = {} as unknown as SharedHalves;

function access(kind: number, shared: SharedWords | SharedHalves, at: number, first: number, second: number): number {
  const view = shared as unknown as View;
  if (execution !== undefined) return execution.access(kind, view, at, first, second);
  const before = view.array[at];
  if (before === undefined) throw new RangeError(`${kinds.ACCESS_NAMES[kind]} at index ${at} of ${view.array.length}`);
  const answer = perform(kind, view, at, before, first, second);
  return answer === NOT_STORED ? before : answer;
}

export function load(words: SharedWords, at: number): number {
  return access(kinds.LOAD, words, at, 0, 0);
}
export function store(words: SharedWords, at: number, value: number): void {
  access(kinds.STORE, words, at, value, 0);
}
export function add(words: SharedWords, at: number, value: number): number {
  return access(kinds.ADD, words, at, value, 0);
}
export function exchange(words: SharedWords, at: number, value: number): number {
  return access(kinds.EXCHANGE, words, at, value, 0);
}
export function compareExchange(words: SharedWords, at: number, expected: number, wanted: number): number {
  return access(kinds.COMPARE_EXCHANGE, words, at, expected, wanted);
}
export function loadHalf(halves: SharedHalves, at: number): number {
  return access(kinds.LOAD_HALF, halves, at, 0, 0);
}
export function compareExchangeHalf(halves: SharedHalves, at: number, expected: number, wanted: number): number {
  return access(kinds.COMPARE_EXCHANGE_HALF, halves, at, expected, wanted);
}

export function peek(words: SharedWords, at: number): number {
  return access(kinds.PEEK, words, at, 0, 0);
}
export function poke(words: SharedWords, at: number, value: number): void {
  access(kinds.POKE, words, at, value, 0);
}
export function peekHalf(halves: SharedHalves, at: number): number {
  return access(kinds.PEEK_HALF, halves, at, 0, 0);
}
export function pokeHalf(halves: SharedHalves, at: number, value: number): void {
  access(kinds.POKE_HALF, halves, at, value, 0);
}

export function glance(words: SharedWords, at: number): number {
  return access(kinds.GLANCE, words, at, 0, 0);
}
export function glanceHalf(halves: SharedHalves, at: number): number {
  return access(kinds.GLANCE_HALF, halves, at, 0, 0);
}
export function hintTo(words: SharedWords, at: number, value: number): void {
  access(kinds.HINT, words, at, value, 0);
}

export function copyOut(bytes: SharedBytes, at: number, into: Uint8Array): void {
  const view = bytes as unknown as ByteView;
  if (execution !== undefined) execution.bulk(kinds.COPY_OUT, view, at, into.length, into);
  else into.set(view.array.subarray(at, at + into.length));
}
export function copyIn(bytes: SharedBytes, at: number, from: Uint8Array): void {
  const view = bytes as unknown as ByteView;
  if (execution !== undefined) execution.bulk(kinds.COPY_IN, view, at, from.length, from);
  else view.storage.writeBytes(view.array, at, from.length, from);
}
export function zero(bytes: SharedBytes, at: number, length: number): void {
  const view = bytes as unknown as ByteView;
  if (execution !== undefined) execution.bulk(kinds.ZERO, view, at, length, undefined);
  else view.storage.writeBytes(view.array, at, length, undefined);
}

export function mayWait(): boolean {
  return true;
}
export function waitWhile(words: SharedWords, at: number, value: number, milliseconds: number): void {
  const found = access(kinds.WAIT, words, at, value, milliseconds);
  if (execution === undefined && found === value) {
    throw new Error(`a wait while word ${at} is ${value}, outside of any thread: no thread could wake it`);
  }
}
export function notify(words: SharedWords, at: number, count: number): void {
  access(kinds.NOTIFY, words, at, count, 0);
}

export function milliseconds(): number {
  return execution === undefined ? 0 : execution.now();
}

/** No spinning: each read would be a step of its own, and to the explorer a sleep is the same. */
export const SPINS = 0;
export const LONGEST_PAUSE = 0;

export function idle(): void {}
