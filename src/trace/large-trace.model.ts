/**
 * Makes a large trace out of a small one: the same events again and again, each time later by the recording's length. For measurements and for
 * tests of memory.
 */

const EVENT = /^(.{16}.*?\[\d+\] \S+ +)(\d+\.\d+)(: .*)$/;
/** Between the last event of a repetition and the first one of the next. */
const PAUSE_SECONDS = 0.001;

/** The events of `text` (tracefs' shape) `times` times, a repetition a piece. Other lines are left out. */
export function* repeatedTrace(text: string, times: number): Generator<Uint8Array, undefined> {
  const events = text
    .split("\n")
    .map((line) => EVENT.exec(line))
    .filter((match) => match !== null)
    .map(([, head, seconds, fields]) => ({ head, seconds: Number(seconds), fields }));
  const length = (events.at(-1)?.seconds ?? 0) - (events[0]?.seconds ?? 0) + PAUSE_SECONDS;
  const encoder = new TextEncoder();
  for (let time = 0; time < times; time++) {
    const lines = events.map(
      ({ head, seconds, fields }) => `${head}${(seconds + time * length).toFixed(6)}${fields}\n`,
    );
    yield encoder.encode(lines.join(""));
  }
}
