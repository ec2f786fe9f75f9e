/** One schedule as text: a line for each access, in order, to find the bug by. */
import { ACCESS_NAMES, CLOCK } from "./accesses.ts";
import type { TraceEntry } from "./execution.ts";
import type { Storage } from "./storage.ts";

/** The name of a place, for people; undefined: it has no name. */
export type NameOf = (byteOffset: number, buffer: number) => string | undefined;

/** A place: its name, or buffer and byte offset. */
export function placeName(unit: number, storage: Storage, nameOf: NameOf | undefined): string {
  const { buffer, byteOffset } = storage.placeOf(unit);
  return nameOf?.(byteOffset, buffer) ?? `${buffer === 0 ? "" : `buffer ${buffer} `}byte ${byteOffset}`;
}

/** The lines of a trace. `threads`: their number; threads with higher numbers are reclaimers. */
export function formatTrace(
  trace: readonly TraceEntry[],
  threads: number,
  storage: Storage,
  nameOf: NameOf | undefined,
): string {
  const lines: string[] = [];
  for (const [step, entry] of trace.entries()) {
    const who = entry.thread < threads ? `thread ${entry.thread}` : `reclaimer ${entry.thread - threads}`;
    const what = entry.unit < 0 ? entry.note : describe(entry, placeName(entry.unit, storage, nameOf));
    lines.push(`${String(step + 1).padStart(4)}  ${who.padEnd(11)}  ${what}`);
  }
  return lines.join("\n");
}

function describe(entry: TraceEntry, place: string): string {
  const access = entry.kind === CLOCK ? "" : `${(ACCESS_NAMES[entry.kind] as string).padEnd(19)}  ${place}`;
  if (entry.note === "bytes") return `${access}  ${entry.after} bytes`;
  if (entry.note !== "") return `${access}  ${entry.note}`;
  return entry.before === entry.after ? `${access}  ${entry.before}` : `${access}  ${entry.before} -> ${entry.after}`;
}
