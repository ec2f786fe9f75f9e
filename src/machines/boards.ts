/** The boards there are, by name: a new platform adds its line here. */
import { FormatError, InvalidArgumentError } from "../units/errors.ts";
import type { Board, BoardHandle, BoardKind } from "./board.ts";
import { linearIopteBoard, linearTceBoard } from "./boards/linear.ts";
import { sun4uBoard } from "./boards/sun4u.ts";

export const BOARD_KINDS: readonly BoardKind[] = [linearTceBoard, linearIopteBoard, sun4uBoard];

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

/** A view for the calling thread, whatever kind of board it is. Throws FormatError for a handle that is none. */
export function attachBoard(handle: BoardHandle): Board {
  if (typeof handle?.kind !== "string") throw new FormatError("the handle is not that of a board");
  return boardNamed(handle.kind).attach(handle);
}
