/** A moment of a log, as `--at` of `iova explain` takes it: seconds, or a time as the log prints it. */
import { splitPrefix } from "../log/prefix.ts";
import { seconds } from "./options.ts";
import { InvalidArgumentError } from "./vendor.ts";

/** The year 2286, in seconds since 1970. */
const MOST_SECONDS = 1e10;

export interface Moment {
  /** By the clock of the log. */
  readonly seconds: number;
  /** For a sentence: `12.5 s`, `Nov 30 12:00:01`. */
  readonly text: string;
}

/** Reads `12.5`, `200ms`, `[   12.345678]`, `Nov 30 12:00:01`, `2026-11-30T12:00:01Z`, `[Mon Nov 30 12:00:01 2026]`. */
export function momentOf(text: string): Moment {
  const asked = text.trim();
  // The blank ends a time in a log.
  const printed = splitPrefix(`${asked} `);
  if (printed.time !== undefined && printed.text.trim() === "") return { seconds: printed.time, text: asked };
  try {
    const value = seconds(MOST_SECONDS)(asked);
    return { seconds: value, text: `${value} s` };
  } catch {
    throw new InvalidArgumentError(
      `Found '${text}'; expected seconds, such as 12.345678, or a time as the log prints it, such as '[   12.345678]' or 'Nov 30 12:00:01'.`,
    );
  }
}
