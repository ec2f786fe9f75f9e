/**
 * Physical memory of a board in QEMU.
 *
 * If the board's memory is a file that QEMU has mapped, this module reads and writes that file: the kernel uses the same pages, so QEMU
 * sees changes at once (3 to 10 µs an access). Else it uses qtest's commands (12 to 100 µs).
 *
 * Every access and every DMA holds the machine's lock, so no thread sees a part of one. Stores, `storeWords` and `compareExchange32` are
 * atomic among all threads of this process, and no other process writes this memory. A thread that is killed during an access holds the
 * lock: see qtest.ts.
 */
import { readSync, writeSync } from "node:fs";
import type { Memory } from "../../machine/contract.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import type { Qtest } from "./qtest.ts";

/** Bytes of physical memory. The caller checks addresses. */
export interface ByteStore {
  read(at: number, into: Uint8Array): void;
  write(at: number, from: Uint8Array): void;
}

/** The memory as the file that QEMU has mapped. */
export function fileStore(file: number): ByteStore {
  return {
    read(at, into) {
      for (let done = 0; done < into.length; ) done += readSync(file, into, done, into.length - done, at + done);
    },
    write(at, from) {
      for (let done = 0; done < from.length; ) done += writeSync(file, from, done, from.length - done, at + done);
    },
  };
}

/** The memory by qtest's commands. */
export function qtestStore(qtest: Qtest): ByteStore {
  return { read: (at, into) => qtest.readBytes(at, into), write: (at, from) => qtest.writeBytes(at, from) };
}

/** One thread's view. */
export class QemuMemory implements Memory {
  readonly bytes: number;
  readonly #qtest: Qtest;
  readonly #store: ByteStore;
  readonly #word: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(4));
  readonly #wordBytes: Uint8Array = new Uint8Array(this.#word.buffer);

  constructor(qtest: Qtest, store: ByteStore, bytes: number) {
    this.#qtest = qtest;
    this.#store = store;
    this.bytes = bytes;
  }

  read(at: number, into: Uint8Array): void {
    this.#check(at, into.length, 1);
    this.#qtest.locked(() => this.#store.read(at, into));
  }

  write(at: number, from: Uint8Array): void {
    this.#check(at, from.length, 1);
    this.#qtest.locked(() => this.#store.write(at, from));
  }

  load32(at: number): number {
    this.#check(at, 4, 4);
    return this.#qtest.locked(() => this.#load(at));
  }

  store32(at: number, value: number): void {
    this.#check(at, 4, 4);
    this.#qtest.locked(() => this.#put(at, value));
  }

  compareExchange32(at: number, expected: number, wanted: number): number {
    this.#check(at, 4, 4);
    return this.#qtest.locked(() => {
      const found = this.#load(at);
      if (found === expected >>> 0) this.#put(at, wanted);
      return found;
    });
  }

  /** Atomic, like every access here, so the order of the words of a pair does not matter. */
  storeWords(at: number, from: Uint32Array, count: number, _last: 0 | 1): void {
    if ((count & 1) !== 0 || !(count >= 0 && count <= from.length)) {
      throw new InvalidArgumentError("count of words", count, `an even number from 0 to ${from.length}`);
    }
    this.#check(at, count * 4, 4);
    const words = new DataView(new ArrayBuffer(count * 4));
    for (let i = 0; i < count; i++) words.setUint32(i * 4, from[i] as number, true);
    this.#qtest.locked(() => this.#store.write(at, new Uint8Array(words.buffer)));
  }

  /** Does nothing: a later access takes the lock after this thread has released it. */
  fence(): void {}

  #load(at: number): number {
    this.#store.read(at, this.#wordBytes);
    return this.#word.getUint32(0, true);
  }

  #put(at: number, value: number): void {
    this.#word.setUint32(0, value, true);
    this.#store.write(at, this.#wordBytes);
  }

  #check(at: number, length: number, alignment: 1 | 4): void {
    if (Number.isInteger(at) && at >= 0 && at % alignment === 0 && at + length <= this.bytes) return;
    const multiple = alignment === 1 ? "" : "a multiple of 4 with ";
    throw new InvalidArgumentError(
      `physical address of ${length} bytes`,
      at,
      `${multiple}all bytes in [0, ${this.bytes})`,
    );
  }
}
