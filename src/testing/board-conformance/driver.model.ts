/**
 * A driver on a thread of its own, for any board: it maps pieces of memory that are its alone, has the device read and write them,
 * and unmaps them, until it is stopped or killed. Round each piece stand canaries, which no DMA may touch.
 */

import type { Mapping } from "../../dma/contract.ts";
import { DmaDevice } from "../../dma/device.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import type { Board, BoardHandle } from "../../machines/board.ts";

/** Parameters of a driver. */
export interface DriverPart {
  readonly handle: BoardHandle;
  /** Int32: a word of COMMAND for all, then REPORT.words for each driver. */
  readonly report: SharedArrayBuffer;
  readonly driver: number;
  /** Physical address of its memory: PIECES pieces, `stride` bytes apart. */
  readonly address: number;
  readonly stride: number;
  /** Number of the driver, not used twice. */
  readonly tag: number;
  /** True if a device's writes are in memory when unmap returns: not in lazy mode. */
  readonly strict: boolean;
  /** The bug that is planted: invalidations that do nothing. */
  readonly forgetsToInvalidate: boolean;
}

/** Commands to all drivers. */
export const COMMAND = { go: 0, stop: 1, rest: 2 } as const;

/** Words of a driver's report, from `1 + driver * words` on. Threads are one more than their number; 0: not attached yet. */
export const REPORT = { thread: 0, rounds: 1, wrong: 2, busy: 3, resting: 4, words: 5 } as const;

export const PIECES = 8;
/** A piece: canary, what is mapped, canary. */
const CANARY_BYTES = 16;
const MAPPED_BYTES = 64;
const CANARY = 0xc5;

export class Driver {
  readonly #part: DriverPart;
  readonly #board: Board;
  readonly #device: DmaDevice;
  readonly #report: Int32Array;
  readonly #mapped: (Mapping | undefined)[] = Array.from({ length: PIECES }, () => undefined);
  readonly #list = new ScatterList(PIECES);
  #random: number;

  constructor(part: DriverPart, board: Board) {
    this.#part = part;
    this.#board = board;
    this.#random = part.tag;
    this.#device = new DmaDevice(board.table);
    this.#report = new Int32Array(part.report);
    if (part.forgetsToInvalidate) {
      board.table.ops.invalidate = () => undefined;
      board.table.ops.invalidateAll = () => undefined;
    }
    const piece = new Uint8Array(2 * CANARY_BYTES + MAPPED_BYTES).fill(CANARY);
    for (let i = 0; i < PIECES; i++) board.machine.memory.write(this.#at(i) - CANARY_BYTES, piece);
    this.#set(REPORT.thread, board.crew.thread + 1);
  }

  /** Runs until COMMAND.stop. */
  run(): void {
    for (let told = this.#told(); told !== COMMAND.stop; told = this.#told()) {
      if (told === COMMAND.rest) this.#rest();
      else this.#step();
    }
    for (let i = 0; i < PIECES; i++) this.#unmap(i);
    this.#board.close();
  }

  #told(): number {
    return Atomics.load(this.#report, 0);
  }

  #rest(): void {
    this.#set(REPORT.resting, 1);
    while (Atomics.wait(this.#report, 0, COMMAND.rest, 100) === "timed-out");
    this.#set(REPORT.resting, 0);
  }

  #step(): void {
    this.#set(REPORT.rounds, this.#get(REPORT.rounds) + 1);
    this.#random = (Math.imul(this.#random, 0x19660d) + 0x3c6ef35f) | 0;
    const piece = (this.#random >>> 16) % PIECES;
    if ((this.#random >>> 24) % 8 === 0) this.#mapList();
    else if (this.#mapped[piece] === undefined) this.#map(piece);
    else this.#unmap(piece);
  }

  #map(i: number): void {
    this.#write(i, this.#byte(i));
    const mapping = this.#device.map(BigInt(this.#at(i)), MAPPED_BYTES, 3);
    if (typeof mapping === "string") {
      this.#count(REPORT.busy);
      return;
    }
    this.#mapped[i] = mapping;
    this.#expectRead(mapping.iova, this.#byte(i), `piece ${i}`);
  }

  #unmap(i: number): void {
    const mapping = this.#mapped[i];
    if (mapping === undefined) return;
    const granted = this.#board.machine.device(0).dmaWrite(mapping.iova, new Uint8Array(MAPPED_BYTES).fill(i + 1));
    if (!granted) this.#wrong(`piece ${i}: a write of the device is refused`);
    this.#mapped[i] = undefined;
    const failure = this.#device.unmap(mapping);
    if (failure !== undefined) {
      this.#count(REPORT.busy);
      return;
    }
    const found = new Uint8Array(2 * CANARY_BYTES + MAPPED_BYTES);
    this.#board.machine.memory.read(this.#at(i) - CANARY_BYTES, found);
    found.forEach((byte, at) => {
      const inside = at >= CANARY_BYTES && at < CANARY_BYTES + MAPPED_BYTES;
      if (inside ? this.#part.strict && byte !== i + 1 : byte !== CANARY) {
        this.#wrong(`piece ${i}: byte ${at} ${inside ? "that the device wrote" : "of a canary"} is ${byte}`);
      }
    });
  }

  /** All pieces that are not mapped, as one list. */
  #mapList(): void {
    const list = this.#list;
    list.clear();
    for (let i = 0; i < PIECES; i++) {
      if (this.#mapped[i] !== undefined) continue;
      this.#write(i, this.#byte(i));
      list.addNumber(this.#at(i), MAPPED_BYTES);
    }
    if (this.#device.mapSg(list, 1) !== undefined) {
      this.#count(REPORT.busy);
      return;
    }
    let segment = 0;
    for (let i = 0; i < PIECES; i++) {
      if (this.#mapped[i] !== undefined) continue;
      this.#expectRead(list.iovas[segment++] as bigint, this.#byte(i), `piece ${i} in a list`);
    }
    if (this.#device.unmapSg(list) !== undefined) this.#count(REPORT.busy);
  }

  #expectRead(iova: bigint, byte: number, what: string): void {
    const seen = new Uint8Array(MAPPED_BYTES);
    const granted = this.#board.machine.device(0).dmaRead(iova, seen);
    if (!granted) this.#wrong(`${what}: a read of the device at 0x${iova.toString(16)} is refused`);
    else if (seen.some((found) => found !== byte))
      this.#wrong(`${what}: the device reads ${seen[0]}; memory has ${byte}`);
  }

  #wrong(what: string): void {
    if (this.#get(REPORT.wrong) === 0 && !this.#part.forgetsToInvalidate) {
      console.log(`driver ${this.#part.tag}, round ${this.#get(REPORT.rounds)}: ${what}`);
    }
    this.#count(REPORT.wrong);
  }

  #write(i: number, byte: number): void {
    this.#board.machine.memory.write(this.#at(i), new Uint8Array(MAPPED_BYTES).fill(byte));
  }

  /** Where the mapped part of a piece begins. */
  #at(i: number): number {
    return this.#part.address + i * this.#part.stride + CANARY_BYTES;
  }

  /** Differs between pieces and drivers, and from what the device writes. */
  #byte(i: number): number {
    return 16 + ((this.#part.tag * PIECES + i) % 160);
  }

  #get(word: number): number {
    return this.#report[1 + this.#part.driver * REPORT.words + word] as number;
  }
  #set(word: number, value: number): void {
    Atomics.store(this.#report, 1 + this.#part.driver * REPORT.words + word, value);
  }
  #count(word: number): void {
    this.#set(word, this.#get(word) + 1);
  }
}
