/**
 * The maps and unmaps that a log itself records (dynamic debug of the IOMMU code), as a trace: they say the same as its events, by the clock of the
 * log.
 */
import type { Fact, MappingFact } from "../../log/facts.ts";
import {
  EMPTY_LIST,
  type LineTally,
  MAP,
  NO_STACK,
  type Trace,
  TraceEvents,
  UNKNOWN_DEVICE,
  UNKNOWN_DIRECTION,
  UNKNOWN_TASK,
  UNMAP,
} from "../../trace/events.ts";

/** Further ones count as lost: memory is bounded. */
const MOST_ROWS = 2 ** 20;
const NONE: LineTally = { count: 0, firstLine: 0, firstText: "" };

export class DebugLines {
  readonly #events = new TraceEvents();
  #lost = 0;

  /** Takes a fact of the log. Only those with a time since boot can be put in order with faults. */
  add(fact: Fact): void {
    if (fact.kind === "mapping" && fact.clock === "uptime" && fact.time !== undefined) this.#addRow(fact, fact.time);
    if (fact.kind === "loss" && fact.what === "messages") this.#lost += fact.count ?? 1;
  }

  /** The rows so far; messages that were lost may have been maps and unmaps. */
  get trace(): Trace {
    return {
      events: this.#events,
      devices: [],
      tasks: [],
      stacks: [],
      bytes: 0,
      lines: 0,
      classes: {
        events: NONE,
        otherEvents: NONE,
        malformed: NONE,
        lost: NONE,
        stacks: NONE,
        comments: NONE,
        blank: NONE,
        foreign: NONE,
      },
      malformedReason: "",
      cutLastLine: false,
      headerCpus: 0,
      entriesInBuffer: -1,
      entriesWritten: -1,
      overrunLine: 0,
      lostEvents: this.#lost,
      entriesRead: this.#events.length,
      clockCounts: false,
      headless: NONE,
    };
  }

  #addRow({ action, iova, bytes, physical = 0n, lines }: MappingFact, seconds: number): void {
    const events = this.#events;
    if (events.length === MOST_ROWS) {
      this.#lost++;
      return;
    }
    if (events.isFull) events.grow(0);
    const row = events.length++;
    events.kind[row] = action === "map" ? MAP : UNMAP;
    events.time[row] = Math.round(seconds * 1e9);
    events.line[row] = lines[0]?.line ?? 0;
    events.iovaLow[row] = Number(BigInt.asIntN(32, iova));
    events.iovaHigh[row] = Number(BigInt.asIntN(32, iova >> 32n));
    events.physicalLow[row] = Number(BigInt.asIntN(32, physical));
    events.physicalHigh[row] = Number(BigInt.asIntN(32, physical >> 32n));
    events.bytes[row] = Number(bytes);
    events.device[row] = UNKNOWN_DEVICE;
    events.direction[row] = UNKNOWN_DIRECTION;
    events.task[row] = UNKNOWN_TASK;
    events.stack[row] = NO_STACK;
    events.list[row] = EMPTY_LIST;
  }
}
