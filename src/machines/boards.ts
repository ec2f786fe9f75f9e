/** All boards by name. A new platform adds a line here. */

import type { Crew } from "../crew/crew.ts";
import { checkHandle } from "../table/handle.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import type { Board, BoardHandle, BoardKind } from "./board.ts";
import { ldcBoard } from "./boards/ldc.ts";
import { linearIopteBoard, linearTceBoard } from "./boards/linear.ts";
import { powernvBoard } from "./boards/powernv.ts";
import { pseriesBoard } from "./boards/pseries.ts";
import { sun4uBoard } from "./boards/sun4u.ts";
import { sun4vAtuBoard, sun4vBoard } from "./boards/sun4v.ts";

/** All kinds of boards on software machines. `QEMU_BOARDS` of `iova/qemu` has others. */
export const BOARD_KINDS: readonly BoardKind[] = [
  linearTceBoard,
  linearIopteBoard,
  powernvBoard,
  pseriesBoard,
  sun4uBoard,
  sun4vBoard,
  sun4vAtuBoard,
  ldcBoard,
];

/**
 * Returns the kind of board with this name. Throws InvalidArgumentError for an unknown name, with the known ones: "linear-tce", "powernv",
 * "pseries", "sun4u", …
 *
 * @example
 * ```ts
 * import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
 * import { boardNamed } from "iova/platform";
 *
 * const board = boardNamed("pseries").create({ memoryBytes: 2 ** 24, entries: 1024, devices: ["nvme0"] });
 * const dma = new DmaDevice(board.table);
 * const buffer = orThrow(dma.map(0x5000n, 4096, DEVICE_WRITES));
 * console.log(board.machine.device("nvme0").dmaWrite(buffer.iova, Uint8Array.of(1, 2, 3)));
 * console.log(dma.unmap(buffer) ?? "unmapped");
 * console.log(board.machine.device("nvme0").dmaWrite(buffer.iova, Uint8Array.of(4)), board.takeFaults()[0]?.reason);
 * board.close();
 * ```
 * ```text output
 * true
 * unmapped
 * false not-mapped
 * ```
 */
export function boardNamed(name: string): BoardKind {
  const kind = BOARD_KINDS.find((candidate) => candidate.name === name);
  if (kind !== undefined) return kind;
  throw new InvalidArgumentError(
    "platform",
    name,
    `one of ${BOARD_KINDS.map((candidate) => candidate.name).join(", ")}`,
  );
}

/**
 * Attaches the calling thread to a board of any kind in `BOARD_KINDS`. `crew`: this thread's view of the board's crew; default: the thread
 * joins the crew. Throws FormatError for an invalid handle, and InvalidArgumentError for an unknown kind.
 */
export function attachBoard(handle: BoardHandle, crew?: Crew): Board {
  checkHandle("a board", handle, { kind: "string", machine: "object", platform: "object" });
  return boardNamed(handle.kind).attach(handle, crew);
}
