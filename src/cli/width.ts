/** Width of a line of text, for the reports, tables and help texts of all verbs. */

/** Width in files and pipes, unless COLUMNS is set. */
const WITHOUT_TERMINAL = 100;
/** Width of a terminal that does not report one. */
const USUAL_TERMINAL = 80;
/** Least width: in narrower lines tables and commands can't be read, so the terminal breaks the lines. */
const LEAST = 40;
/** Longer lines of prose are hard to follow. */
const MOST = 120;

/** Properties of a stream. */
export interface Screen {
  readonly isTTY?: boolean;
  /** Undefined or 0: unknown. */
  readonly columns?: number;
}

/** Columns, 40 .. 120. `columnsVariable`: environment variable COLUMNS, which comes first if it is a positive whole number. */
export function widthOf(screen: Screen, columnsVariable: string | undefined): number {
  const wanted = /^[1-9]\d{0,4}$/.test(columnsVariable ?? "") ? Number(columnsVariable) : undefined;
  const own = screen.isTTY === true ? screen.columns || USUAL_TERMINAL : WITHOUT_TERMINAL;
  return Math.min(MOST, Math.max(LEAST, wanted ?? own));
}
