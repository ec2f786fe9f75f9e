/** How wide a line of text may be: the report, tables and help texts of all verbs keep to it. */

/** Where the output is no terminal, and nothing says otherwise: files and pipes. */
const WITHOUT_TERMINAL = 100;
/** A terminal that does not say its width: what terminals have had since punched cards. */
const USUAL_TERMINAL = 80;
/** Below this, tables and commands can't be read any more, so lines break as the terminal likes. */
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
