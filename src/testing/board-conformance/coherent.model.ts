/** Coherent memory as the DMA contract asks for it, as short as can be, and with a bug: what the suite must find. */
import type { CoherentMemory, DmaOperations } from "../../dma/contract.ts";
import { DmaDevice } from "../../dma/device.ts";
import type { Board } from "../../machines/board.ts";
import type { MappingTable } from "../../table/contract.ts";
import { FreeError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";

/** Pieces of 16 KiB from 2 MiB on in memory: as many as this. */
const PIECES = 8;
const PIECE_BYTES = 16384;
const FIRST_ADDRESS = 2 ** 21;

/** A bug that can be planted. */
export type CoherentBug = "not zeroed" | "misaligned" | "not given back";

class InMemoryCoherent {
  readonly #board: Board;
  readonly #device: DmaDevice;
  readonly #bug: CoherentBug | undefined;
  readonly #free: number[] = Array.from({ length: PIECES }, (_, i) => i);
  readonly #taken = new Map<number, CoherentMemory>();

  constructor(board: Board, table: MappingTable, bug?: CoherentBug) {
    this.#board = board;
    this.#bug = bug;
    this.#device = new DmaDevice(table, { alignment: PIECE_BYTES });
  }

  allocateCoherent(bytes: number): CoherentMemory | Failure {
    const piece = this.#free.shift();
    if (piece === undefined) return "table-full";
    const address = FIRST_ADDRESS + piece * PIECE_BYTES + (this.#bug === "misaligned" ? 64 : 0);
    if (this.#bug !== "not zeroed") this.#board.machine.memory.write(address, new Uint8Array(bytes));
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
    if (this.#bug !== "not given back") this.#free.push(Math.floor((memory.address - FIRST_ADDRESS) / PIECE_BYTES));
    return failure;
  }
}

/** Coherent memory with this bug; it has only those DMA operations that the cases use. */
export const coherentWith =
  (bug: CoherentBug) =>
  (board: Board, table: MappingTable): DmaOperations =>
    new InMemoryCoherent(board, table, bug) as unknown as DmaOperations;
