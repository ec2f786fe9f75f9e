/**
 * A driver on a board, whatever platform it is: maps and unmaps pages of its own as fast as it can, and has its device read each
 * mapping. Ends after so many rounds, or is killed.
 */
import { workerData } from "node:worker_threads";
import type { Mapping } from "../dma/contract.ts";
import { DmaDevice } from "../dma/device.ts";
import type { BoardHandle } from "./board.ts";
import { attachBoard } from "./boards.ts";

export interface BoardDriverData {
  readonly board: BoardHandle;
  readonly device: string;
  /**
   * Words: 1 + machine thread, 1 + table thread, mappings made, mappings whose device read something else, failures, and
   * those of them that a DMA of a killed thread explains, which nobody has forgotten yet.
   */
  readonly report: SharedArrayBuffer;
  readonly rounds: number;
  /** Pages of 4 KiB [firstPage, firstPage + pages) are this driver's. */
  readonly firstPage: number;
  readonly pages: number;
}

const data = workerData as BoardDriverData;
const report = new Int32Array(data.report);
const board = attachBoard(data.board);
const dma = new DmaDevice(board.table);
const device = board.machine.device(data.device);
Atomics.store(report, 1, board.table.thread + 1);
Atomics.store(report, 0, board.machineThread + 1);
const content = new Uint8Array(64);
const seen = new Uint8Array(64);
const free = Array.from({ length: data.pages }, (_, i) => data.firstPage + i);
const live: { mapping: Mapping; page: number }[] = [];

function map(tag: number): void {
  const page = free.shift() as number;
  board.machine.memory.write(page * 4096, content.fill(tag));
  const mapping = dma.map(BigInt(page * 4096), 4096, 3);
  if (typeof mapping === "string") {
    Atomics.add(report, 4, 1);
    free.push(page);
    return;
  }
  live.push({ mapping, page });
  Atomics.add(report, 2, 1);
  if (!device.dmaRead(mapping.iova, seen) || seen.some((byte) => byte !== tag)) Atomics.add(report, 3, 1);
}

function unmap({ mapping, page }: { mapping: Mapping; page: number }): void {
  const failure = dma.unmap(mapping);
  if (failure !== undefined) Atomics.add(report, failure === "platform-busy" ? 5 : 4, 1);
  free.push(page);
}

for (let round = 0, state = data.firstPage; round < data.rounds; round++) {
  state = (Math.imul(state, 0x19660d) + 0x3c6ef35f) | 0;
  if (free.length > 0 && (live.length === 0 || (state & 0x10000) !== 0)) map(1 + (round % 199));
  else unmap(live.splice((state >>> 8) % live.length, 1)[0] as { mapping: Mapping; page: number });
}
while (live.length > 0) unmap(live.pop() as { mapping: Mapping; page: number });
board.close();
