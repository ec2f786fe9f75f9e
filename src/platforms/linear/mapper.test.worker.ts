/**
 * A driver that maps and unmaps pages of its own through the generic table, as fast as it can, and has its device read each
 * mapping, on any board. Every page begins with a tag while it is mapped, and with a secret once `unmap` has returned.
 */
import { workerData } from "node:worker_threads";
import { UNCONSTRAINED } from "../../allocator/constraints.ts";
import type { BoardHandle } from "../../machines/board.ts";
import { attachBoard } from "../../machines/boards.ts";
import { iovaOf } from "../../table/iommu-table.ts";
import { failureOf } from "../../units/failure.ts";

export interface MapperData {
  readonly board: BoardHandle;
  /** Of the board's machine. */
  readonly devices: number;
  /** Words: mappings made, mappings whose device read something else, failures of map and of unmap. */
  readonly report: SharedArrayBuffer;
  readonly rounds: number;
  /** The pages [firstPage, firstPage + pages) are this driver's. */
  readonly firstPage: number;
  readonly pages: number;
  /** Written to a page when it is unmapped; 0: pages keep their tag. */
  readonly secret: number;
  /** The bug that is planted: invalidations that do nothing. */
  readonly forgetsToInvalidate: boolean;
}

const data = workerData as MapperData;
const board = attachBoard(data.board);
const { machine, table: generic } = board;
if (data.forgetsToInvalidate) {
  generic.ops.invalidate = () => undefined;
  generic.ops.invalidateAll = () => undefined;
}
const { pageShift } = generic.window;
const device = machine.device(board.crew.thread % data.devices);
const report = new Int32Array(data.report);
const content = new Uint8Array(64);
const seen = new Uint8Array(64);
const free = Array.from({ length: data.pages }, (_, i) => data.firstPage + i);
const live: { entry: number; page: number }[] = [];

function map(tag: number): void {
  const page = free.shift() as number;
  machine.memory.write(page << pageShift, content.fill(tag));
  const entry = generic.allocate(1, UNCONSTRAINED, -1);
  const failed = entry < 0 ? failureOf(entry) : generic.set(entry, 1, page, 3);
  if (failed !== undefined) {
    console.log(`map: ${failed}`);
    Atomics.add(report, 2, 1);
    return;
  }
  generic.publish();
  generic.commit(entry, 1);
  live.push({ entry, page });
  Atomics.add(report, 0, 1);
  const granted = device.dmaRead(iovaOf(generic.window, entry), seen);
  if (!granted || seen.some((byte) => byte !== tag)) Atomics.add(report, 1, 1);
}

function unmap({ entry, page }: { entry: number; page: number }): void {
  const failed = generic.unmap(entry, 1);
  if (failed !== undefined) {
    console.log(`unmap: ${failed}`);
    Atomics.add(report, 3, 1);
  }
  if (data.secret !== 0) machine.memory.write(page << pageShift, content.fill(data.secret));
  free.push(page);
}

for (let round = 0, state = board.crew.thread; round < data.rounds; round++) {
  state = (Math.imul(state, 0x19660d) + 0x3c6ef35f) | 0;
  if (free.length > 0 && (live.length === 0 || (state & 0x10000) !== 0)) map(1 + (round % 199));
  else unmap(live.splice((state >>> 8) % live.length, 1)[0] as { entry: number; page: number });
}
while (live.length > 0) unmap(live.pop() as { entry: number; page: number });
board.close();
