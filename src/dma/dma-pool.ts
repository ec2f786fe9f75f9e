/**
 * A pool of small coherent blocks of one size: descriptors, mailboxes, PRP lists. Blocks are cut from chunks of coherent memory of at least
 * a page. A chunk is allocated when the pool has no free block, and freed when the pool is destroyed.
 *
 * The pool belongs to one thread, as its device does, so it needs no lock. Wrong frees always throw; the debug option also detects writes
 * to freed blocks and past a block's end.
 */

import type { Memory } from "../machine/contract.ts";
import { hexadecimal } from "../units/counts.ts";
import { checkInteger, FreeError, InvalidArgumentError, IovaError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { checkKeys } from "../units/keys.ts";
import { DEVICE_READS_AND_WRITES } from "../units/numbers.ts";
import { roundUp } from "../units/pages.ts";
import type { CoherentMemory, DmaOperations } from "./contract.ts";
import { zeroBytes } from "./memory/bytes.ts";
import { checkMapping, powerOfTwoFor } from "./requests.ts";

/** Smallest chunk: one page. */
const LEAST_CHUNK_BYTES = 4096;
const MAX_BLOCK_BYTES = 2 ** 30;
/** Fill patterns of debug mode, for free blocks and for the bytes between blocks: neither text nor a likely address. */
const FREE_POISON = 0xdb;
const GAP_POISON = 0xdc;
/** In debug mode, the least bytes between the end of a block and the next block or the end of the chunk. */
const GUARD_BYTES = 16;

/** Options of a `DmaPool`. */
export interface DmaPoolOptions {
  /** Size of a block in bytes: 1 .. 2^30. */
  readonly blockBytes: number;
  /** Alignment of physical and bus address in bytes: a power of two, 1 .. 2^30. Default 1. */
  readonly alignment?: number;
  /** No block crosses a multiple of this many bytes: a power of two, at least the block size. Default: no boundary. */
  readonly boundary?: number;
  /**
   * Fills free blocks, and at least 16 guard bytes after every block, with patterns, and checks that they do not change. Default false.
   */
  readonly debug?: boolean;
}

/** Error of the option `debug`: a free block, or the guard bytes after a block, were overwritten. The block is never allocated again. */
export class DmaPoolCorruption extends IovaError {
  /** Name of the class. */
  override readonly name = "DmaPoolCorruption";
  /** Physical address of the block. */
  readonly address: number;
  /** Offset of the first changed byte from the start of the block; at or above the block size it lies past the end. */
  readonly offset: number;
  /** The pattern's byte, 0 .. 255. */
  readonly expected: number;
  /** The byte that was found, 0 .. 255. */
  readonly found: number;

  constructor(what: string, address: number, offset: number, expected: number, found: number) {
    super(
      "dma-pool-corruption",
      `${what} at ${hexadecimal(address)}: byte ${offset} is ${hexadecimal(found)}; expected ${hexadecimal(expected)}`,
    );
    this.address = address;
    this.offset = offset;
    this.expected = expected;
    this.found = found;
  }
}

/** Coherent memory, cut into blocks. */
interface Chunk {
  readonly memory: CoherentMemory;
  /** 1 for each allocated block. */
  readonly used: Uint8Array;
}

/** A block by its position: a chunk, and an index in it. */
interface BlockPosition {
  readonly chunk: Chunk;
  readonly index: number;
}

/**
 * Pool of coherent blocks of one size: descriptors, mailboxes, PRP lists. It allocates coherent memory in chunks of at least a page and cuts
 * them into blocks; `destroy` frees all chunks. It belongs to one thread, as its device does.
 *
 * @example
 * ```ts
 * import { DmaDevice, DmaPool, orThrow } from "iova";
 * import { LinearPlatform, PhysicalPages, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
 * const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const coherentPages = PhysicalPages.create({ address: 0x1_0000, bytes: 2 ** 16, crew: machine.crew });
 * const device = new DmaDevice(table, {}, { memory: machine.memory, coherentPages });
 *
 * const descriptors = new DmaPool(device, machine.memory, { blockBytes: 64, alignment: 64 });
 * const { iova, address } = orThrow(descriptors.allocate());
 * console.log(iova % 64n, address % 64, descriptors.blocksInUse);
 * ```
 * ```text output
 * 0n 0 1
 * ```
 */
export class DmaPool {
  readonly #device: DmaOperations;
  readonly #memory: Memory;
  readonly #blockBytes: number;
  /** Offsets of the blocks in a chunk, and the block's index by offset. */
  readonly #starts: readonly number[];
  readonly #indexes: ReadonlyMap<number, number>;
  readonly #chunkBytes: number;
  readonly #debug: boolean;
  /** Chunks by bus address. Chunks are aligned to their size, so a block's bus address gives its chunk's. */
  readonly #chunks: Map<bigint, Chunk> = new Map();
  /** Free blocks, a stack: the block that was freed last is still in the CPU's cache. */
  readonly #free: BlockPosition[] = [];
  #inUse = 0;
  #destroyed = false;

  /**
   * Makes a pool; it allocates no memory yet. `memory`: the machine's memory, in which the device's coherent memory lies.
   * @throws InvalidArgumentError for options out of range
   */
  constructor(device: DmaOperations, memory: Memory, options: DmaPoolOptions) {
    checkKeys("a DMA pool", options, { blockBytes: "any", alignment: "any", boundary: "any", debug: "boolean" });
    const { blockBytes, alignment = 1, boundary } = options;
    checkInteger("block size of a DMA pool in bytes", blockBytes, 1, MAX_BLOCK_BYTES);
    checkPowerOfTwo("alignment of a DMA pool in bytes", alignment, 1);
    if (boundary !== undefined) checkPowerOfTwo("boundary of a DMA pool in bytes", boundary, blockBytes);
    this.#device = device;
    this.#memory = memory;
    this.#blockBytes = blockBytes;
    this.#debug = options.debug ?? false;
    // Chunks are aligned to their size, so offsets in a chunk determine alignment and boundary.
    const guardBytes = this.#debug ? GUARD_BYTES : 0;
    this.#chunkBytes = powerOfTwoFor(Math.max(blockBytes + guardBytes, alignment), LEAST_CHUNK_BYTES);
    this.#starts = startsOf(this.#chunkBytes, {
      blockBytes,
      guardBytes,
      alignment,
      boundary: boundary ?? this.#chunkBytes,
    });
    this.#indexes = new Map(this.#starts.map((start, index) => [start, index]));
  }

  /** Number of allocated blocks. */
  get blocksInUse(): number {
    return this.#inUse;
  }

  /**
   * Returns a zeroed block, or a failure if no memory is left.
   * @throws DmaPoolCorruption in debug mode if the block was overwritten while it was free; the next call returns another block
   */
  allocate(): CoherentMemory | Failure {
    this.#checkOpen();
    if (this.#free.length === 0) {
      const failure = this.#grow();
      if (failure !== undefined) return failure;
    }
    const position = this.#free.pop() as BlockPosition;
    const block = this.#blockAt(position);
    if (this.#debug) this.#checkFilled("a free block of the pool", block, 0, this.#blockBytes, FREE_POISON);
    zeroBytes(this.#memory, block.address, this.#blockBytes);
    position.chunk.used[position.index] = 1;
    this.#inUse++;
    return block;
  }

  /**
   * Frees a block.
   * @throws FreeError, and changes nothing, for a block of another pool, or one that is already free
   * @throws DmaPoolCorruption in debug mode if bytes past the end of the block were overwritten; the block is not in use afterwards
   */
  free(block: CoherentMemory): void {
    this.#checkOpen();
    checkMapping(block);
    const position = this.#positionOf(block);
    position.chunk.used[position.index] = 0;
    this.#inUse--;
    if (this.#debug) {
      this.#checkFilled("past a block of the pool", block, this.#blockBytes, this.#gapEnd(position.index), GAP_POISON);
      this.#fill(block.address, this.#blockBytes, FREE_POISON);
    }
    this.#free.push(position);
  }

  /**
   * Frees the pool's memory. A failure: some of it could not be invalidated, and stays allocated.
   * @throws IovaError "dma-pool-in-use", and changes nothing, while blocks are in use. The message has their number and the address of one
   */
  destroy(): Failure | undefined {
    this.#checkOpen();
    if (this.#inUse > 0) {
      const chunk = [...this.#chunks.values()].find(({ used }) => used.includes(1)) as Chunk;
      const example = chunk.memory.address + this.#starts[chunk.used.indexOf(1)]!;
      throw new IovaError(
        "dma-pool-in-use",
        `destroy of a DMA pool with ${this.#inUse} blocks in use, one at ${hexadecimal(example)}`,
      );
    }
    this.#destroyed = true;
    let failure: Failure | undefined;
    for (const { memory } of this.#chunks.values()) {
      const failed = this.#device.freeCoherent(memory);
      failure ??= failed;
    }
    this.#chunks.clear();
    this.#free.length = 0;
    return failure;
  }

  /** Allocates another chunk and adds its blocks to the free ones. */
  #grow(): Failure | undefined {
    const memory = this.#device.allocateCoherent(this.#chunkBytes);
    if (typeof memory === "string") return memory;
    const chunk = { memory, used: new Uint8Array(this.#starts.length) };
    if (this.#debug) this.#fill(memory.address, this.#chunkBytes, GAP_POISON);
    this.#chunks.set(memory.iova, chunk);
    // The lowest block is allocated first.
    for (let index = this.#starts.length - 1; index >= 0; index--) {
      this.#free.push({ chunk, index });
      if (this.#debug) this.#fill(memory.address + this.#starts[index]!, this.#blockBytes, FREE_POISON);
    }
    return undefined;
  }

  #blockAt({ chunk: { memory }, index }: BlockPosition): CoherentMemory {
    const start = this.#starts[index]!;
    return {
      iova: memory.iova + BigInt(start),
      bytes: this.#blockBytes,
      access: DEVICE_READS_AND_WRITES,
      address: memory.address + start,
    };
  }

  /** The position of an allocated block. Throws FreeError for any other block. */
  #positionOf({ iova, bytes, address }: CoherentMemory): BlockPosition {
    const what = `free of ${bytes} bytes at bus address ${hexadecimal(iova)} to a DMA pool`;
    const start = Number(iova % BigInt(this.#chunkBytes));
    const chunk = this.#chunks.get(iova - BigInt(start));
    if (chunk === undefined) throw new FreeError("out-of-range", `${what}: not of this pool`);
    const index = this.#indexes.get(start);
    if (index === undefined) throw new FreeError("not-allocated", `${what}: no block begins there`);
    if (bytes !== this.#blockBytes) throw new FreeError("wrong-length", `${what}: blocks have ${this.#blockBytes}`);
    if (address !== chunk.memory.address + start) {
      throw new FreeError(
        "wrong-owner",
        `${what}: the block is at ${hexadecimal(chunk.memory.address + start)}, not ${hexadecimal(address)}`,
      );
    }
    if (chunk.used[index] === 0) throw new FreeError("not-allocated", `${what}: the block is free already`);
    return { chunk, index };
  }

  /** End of the guard bytes after a block, as an offset from the start of the block. */
  #gapEnd(index: number): number {
    return (this.#starts[index + 1] ?? this.#chunkBytes) - this.#starts[index]!;
  }

  #fill(address: number, bytes: number, value: number): void {
    this.#memory.write(address, new Uint8Array(bytes).fill(value));
  }

  #checkFilled(what: string, { address }: CoherentMemory, from: number, end: number, expected: number): void {
    const bytes = new Uint8Array(end - from);
    this.#memory.read(address + from, bytes);
    const at = bytes.findIndex((value) => value !== expected);
    if (at >= 0) throw new DmaPoolCorruption(what, address, from + at, expected, bytes[at]!);
  }

  #checkOpen(): void {
    if (this.#destroyed) throw new IovaError("dma-pool-destroyed", "use of a DMA pool after destroy");
  }
}

interface BlockShape {
  readonly blockBytes: number;
  /** Guard bytes after a block. */
  readonly guardBytes: number;
  readonly alignment: number;
  readonly boundary: number;
}

/** Offsets of the blocks in a chunk. */
function startsOf(chunkBytes: number, { blockBytes, guardBytes, alignment, boundary }: BlockShape): number[] {
  const starts: number[] = [];
  const taken = blockBytes + guardBytes;
  for (let start = 0; start + taken <= chunkBytes; start = roundUp(start + taken, alignment)) {
    // No block crosses a boundary that divides the alignment; a greater boundary is a multiple of the alignment.
    if ((start % boundary) + blockBytes > boundary) start = roundUp(start, boundary);
    if (start + taken <= chunkBytes) starts.push(start);
  }
  return starts;
}

function checkPowerOfTwo(what: string, value: number, least: number): void {
  if (value >= least && value <= MAX_BLOCK_BYTES && 2 ** Math.round(Math.log2(value)) === value) return;
  throw new InvalidArgumentError(what, value, `a power of two from ${least} to 2^30`);
}
