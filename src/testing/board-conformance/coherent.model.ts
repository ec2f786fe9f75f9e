/** Coherent memory as the DMA contract asks for it, as short as can be: what the suite's coherent cases are tried on. */
import type { AreaConstraints } from "../../allocator/constraints.ts";
import type { CoherentMemory, DmaOperations } from "../../dma/contract.ts";
import { DmaDevice } from "../../dma/device.ts";
import type { Board } from "../../machines/board.ts";
import type { MappingTable } from "../../table/contract.ts";
import { FreeError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { DmaWindow, EntryAccess } from "../../units/numbers.ts";

/** Pieces of 16 KiB from 2 MiB on in memory: as many as this. */
const PIECES = 8;
const PIECE_BYTES = 16384;
const FIRST_ADDRESS = 2 ** 21;

/** All that is mapped through it is coherent memory. */
class CoherentTable implements MappingTable {
  readonly window: DmaWindow;
  readonly #table: MappingTable;

  constructor(table: MappingTable) {
    this.window = table.window;
    this.#table = table;
  }

  allocate(count: number, constraints: AreaConstraints, after: number): number {
    return this.#table.allocate(count, constraints, after);
  }
  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const table = this.#table;
    return table.setCoherent === undefined
      ? table.set(first, count, page, access)
      : table.setCoherent(first, count, page, access);
  }
  flush(): Failure | undefined {
    return this.#table.flush();
  }
  commit(first: number, count: number): void {
    this.#table.commit(first, count);
  }
  abandon(first: number, count: number): void {
    this.#table.abandon(first, count);
  }
  abandonAll(firsts: Int32Array, counts: Int32Array, areas: number): void {
    this.#table.abandonAll(firsts, counts, areas);
  }
  unmap(first: number, count: number): Failure | undefined {
    return this.#table.unmap(first, count);
  }
  unmapAll(firsts: Int32Array, counts: Int32Array, areas: number): Failure | undefined {
    return this.#table.unmapAll(firsts, counts, areas);
  }
}

class InMemoryCoherent {
  readonly #board: Board;
  readonly #device: DmaDevice;
  readonly #zeroes: boolean;
  readonly #free: number[] = Array.from({ length: PIECES }, (_, i) => i);
  readonly #taken = new Map<number, CoherentMemory>();

  constructor(board: Board, table: MappingTable, zeroes: boolean) {
    this.#board = board;
    this.#zeroes = zeroes;
    this.#device = new DmaDevice(new CoherentTable(table), { alignment: PIECE_BYTES });
  }

  allocateCoherent(bytes: number): CoherentMemory | Failure {
    const piece = this.#free.shift();
    if (piece === undefined) return "table-full";
    const address = FIRST_ADDRESS + piece * PIECE_BYTES;
    if (this.#zeroes) this.#board.machine.memory.write(address, new Uint8Array(bytes));
    const mapping = this.#device.map(BigInt(address), bytes, 3);
    if (typeof mapping === "string") return mapping;
    const memory = { ...mapping, address };
    this.#taken.set(address, memory);
    return memory;
  }

  freeCoherent(memory: CoherentMemory): Failure | undefined {
    if (!this.#taken.delete(memory.address)) {
      throw new FreeError("not-allocated", `no coherent memory is at ${memory.address}`);
    }
    const failure = this.#device.unmap(memory);
    this.#free.push((memory.address - FIRST_ADDRESS) / PIECE_BYTES);
    return failure;
  }
}

/** Of all operations the two that the cases use. */
export const inMemoryCoherent = (board: Board, table: MappingTable): DmaOperations =>
  new InMemoryCoherent(board, table, true) as unknown as DmaOperations;

/** The bug that is planted: memory is handed out as it is. */
export const forgetsToZero = (board: Board, table: MappingTable): DmaOperations =>
  new InMemoryCoherent(board, table, false) as unknown as DmaOperations;
