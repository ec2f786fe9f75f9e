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

/** All boards of this process's machines. QEMU's are in `iova/qemu`. */
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

/** The board with this name. Throws InvalidArgumentError for an unknown name. */
export function boardNamed(name: string): BoardKind {
  const kind = BOARD_KINDS.find((candidate) => candidate.name === name);
  if (kind !== undefined) return kind;
  throw new InvalidArgumentError(
    "platform",
    name,
    `one of ${BOARD_KINDS.map((candidate) => candidate.name).join(", ")}`,
  );
}

/** A view for the calling thread, of a board of any kind; `crew` as of SoftwareMachine.attach. Throws FormatError for an invalid handle. */
export function attachBoard(handle: BoardHandle, crew?: Crew): Board {
  checkHandle("a board", handle, { kind: "string", machine: "object", platform: "object" });
  return boardNamed(handle.kind).attach(handle, crew);
}
