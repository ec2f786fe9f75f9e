/** The boards there are, by name: a new platform adds its line here. */

import type { Crew } from "../shared/crew.ts";
import { checkHandle } from "../table/handle.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import type { Board, BoardHandle, BoardKind } from "./board.ts";
import { ldcBoard } from "./boards/ldc.ts";
import { linearIopteBoard, linearTceBoard } from "./boards/linear.ts";
import { powernvBoard } from "./boards/powernv.ts";
import { pseriesBoard } from "./boards/pseries.ts";
import { sun4uBoard } from "./boards/sun4u.ts";
import { sun4vAtuBoard, sun4vBoard } from "./boards/sun4v.ts";

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

/** Throws InvalidArgumentError for a name that none has. */
export function boardNamed(name: string): BoardKind {
  const kind = BOARD_KINDS.find((candidate) => candidate.name === name);
  if (kind !== undefined) return kind;
  throw new InvalidArgumentError(
    "platform",
    name,
    `one of ${BOARD_KINDS.map((candidate) => candidate.name).join(", ")}`,
  );
}

/** A view for the calling thread, whatever kind of board it is; `crew` as of SoftwareMachine.attach. Throws FormatError for a handle that is none. */
export function attachBoard(handle: BoardHandle, crew?: Crew): Board {
  checkHandle("a board", handle, { kind: "string", machine: "object", platform: "object" });
  return boardNamed(handle.kind).attach(handle, crew);
}
