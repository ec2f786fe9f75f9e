/** Rows of a trace in the order of time. A file may hold the buffers of several CPUs, or several traces, one behind the other. */
import { type AddressColumns, EVENT_COLUMNS, type Trace, TraceEvents } from "../../trace/events.ts";

/** Columns that are equal when an event stands twice; its lists are compared apart. A stack is printed once, behind the first or the second. */
const COMPARED = EVENT_COLUMNS.filter((name) => name !== "line" && name !== "stack" && name !== "list");

/** The same trace when its rows are in order already; else a sorted copy. Rows that stand twice, as in a quoted mail, are kept once. */
export function inOrderOfTime(trace: Trace): Trace {
  const { events } = trace;
  if (isSorted(events)) return trace;
  const order = new Uint32Array(events.length).map((_, row) => row);
  order.sort((a, b) => (events.time[a] as number) - (events.time[b] as number) || a - b);
  return {
    ...trace,
    events: picked(
      events,
      order.filter((row, at) => !isRepeated(events, order, row, at)),
    ),
  };
}

function isSorted({ time, length }: TraceEvents): boolean {
  for (let row = 1; row < length; row++) if ((time[row] as number) < (time[row - 1] as number)) return false;
  return true;
}

/** The same event stands among the rows of the same time before. */
function isRepeated(events: TraceEvents, order: Uint32Array, row: number, at: number): boolean {
  for (let before = at - 1; before >= 0; before--) {
    const other = order[before] as number;
    if (events.time[other] !== events.time[row]) return false;
    if (COMPARED.every((name) => events[name][other] === events[name][row]) && haveEqualLists(events, other, row))
      return true;
  }
  return false;
}

function haveEqualLists({ list, lists, elements, segments }: TraceEvents, row: number, other: number): boolean {
  const [a, b] = [list[row] as number, list[other] as number];
  if (a === b) return true;
  const elementCount = lists.elementCount[a] as number;
  const segmentCount = lists.segmentCount[a] as number;
  return (
    elementCount === lists.elementCount[b] &&
    segmentCount === lists.segmentCount[b] &&
    areEqual(elements, lists.elementFirst[a] as number, lists.elementFirst[b] as number, elementCount) &&
    areEqual(segments, lists.segmentFirst[a] as number, lists.segmentFirst[b] as number, segmentCount)
  );
}

function areEqual({ low, high }: AddressColumns, a: number, b: number, count: number): boolean {
  for (let at = 0; at < count; at++) if (low[a + at] !== low[b + at] || high[a + at] !== high[b + at]) return false;
  return true;
}

function picked(events: TraceEvents, order: Uint32Array): TraceEvents {
  const copy = new TraceEvents();
  for (const name of EVENT_COLUMNS) {
    const from = events[name];
    const column = from.slice(0, Math.max(1, order.length));
    for (let row = 0; row < order.length; row++) column[row] = from[order[row] as number] as number;
    Object.assign(copy, { [name]: column });
  }
  // The side tables are shared: their rows stay where they are.
  Object.assign(copy, { lists: events.lists, elements: events.elements, segments: events.segments });
  copy.length = order.length;
  return copy;
}
