/**
 * The reader of ftrace text: chunks of bytes in, events in packed columns out. It knows what tracefs' `trace` and
 * `trace_pipe`, `trace-cmd report` and `perf script` print. No line is dropped silently: each falls into one class, and
 * every class is counted, with its first line.
 *
 * Bytes, not strings: a regular expression per line reads about 1 M events/s on the machine of docs/performance.md, this several times as many.
 */
import { FormatError } from "../units/errors.ts";
import {
  CARRIAGE_RETURN,
  EQUALS,
  GREATER,
  HASH,
  HEX_DIGIT,
  NEWLINE,
  printable,
  SPACE,
  skipBlanks,
  startsWith,
} from "./bytes.ts";
import { CanonicalReader } from "./canonical.ts";
import {
  type LineClasses,
  type LineTally,
  MOST_NAMES,
  NO_STACK,
  type Trace,
  TraceEvents,
  UNKNOWN_TASK,
} from "./events.ts";
import { FieldReader } from "./fields.ts";
import { CONSOLE_EVENT, LOST_EVENT, PrefixReader, STACK_EVENT, skipMarks } from "./prefix.ts";
import { LineRouter, type LineSink } from "./router.ts";
import { StackReader } from "./stacks.ts";
import { NameTable } from "./words.ts";

/** Longer lines don't occur in traces: a list has at most 128 elements of 19 characters, three times. */
export const MAX_LINE_BYTES: number = 2 ** 20;
const SHOWN_CHARACTERS = 160;
/** Mail programs wrap at 72 to 80 characters: lines of events into two or three, lists into more. */
const MOST_WRAPPED = 12;

/** An event's line that ended too early: a mail program may have wrapped it. */
interface Wrapped {
  bytes: Uint8Array;
  readonly line: number;
  lines: number;
}

class Tally implements LineTally {
  count = 0;
  firstLine = 0;
  firstText = "";

  /** Counts the line that begins at `first`. */
  note(line: number, bytes: Uint8Array, first: number): void {
    if (this.count++ === 0) this.#keep(line, bytes, first);
  }

  #keep(line: number, bytes: Uint8Array, first: number): void {
    this.firstLine = line;
    this.firstText = lineText(bytes, skipBlanks(bytes, first), SHOWN_CHARACTERS);
  }

  /** The line that was noted last belongs elsewhere. */
  withdraw(): void {
    if (--this.count > 0) return;
    this.firstLine = 0;
    this.firstText = "";
  }
}

/** Feed it the file from its first byte on, in chunks of any size, then call `finish` once. */
export class TraceParser {
  /** Length of the input in bytes, to allocate room for its events at once; 0: unknown. The result does not depend on it. */
  expectedBytes = 0;
  readonly #events = new TraceEvents();
  // A broken input could name a new device or task in every line.
  readonly #devices = new NameTable(MOST_NAMES);
  readonly #tasks = new NameTable(MOST_NAMES);
  readonly #stacks = new StackReader(this.#events);
  readonly #router: LineRouter;
  readonly #prefix = new PrefixReader();
  readonly #canonical = new CanonicalReader();
  readonly #fields = new FieldReader(this.#devices);
  readonly #classes = {
    events: new Tally(),
    otherEvents: new Tally(),
    malformed: new Tally(),
    lost: new Tally(),
    stacks: new Tally(),
    comments: new Tally(),
    blank: new Tally(),
    foreign: new Tally(),
  } satisfies Record<keyof LineClasses, Tally>;
  readonly #headless = new Tally();
  /** The beginning of a line whose end is in a later chunk. */
  #carry: Uint8Array = new Uint8Array(0);
  #bytes = 0;
  #line = 0;
  #malformedReason = "";
  #stackEntries = 0;
  #cutLastLine = false;
  #headerCpus = 0;
  #entriesInBuffer = -1;
  #entriesWritten = -1;
  #overrunLine = 0;
  #lostEvents = 0;
  #wrapped: Wrapped | undefined;

  /** @param sink - gets what stands in the input beside the trace: a log that holds lines of a trace, or a trace that holds lines of a log */
  constructor(sink?: LineSink) {
    this.#router = new LineRouter(sink);
  }

  /** Events read so far. */
  get eventCount(): number {
    return this.#events.length;
  }

  /** Lines read so far. */
  get lineCount(): number {
    return this.#line;
  }

  /** Reads the next piece of the file. The bytes may be reused afterwards. Throws FormatError on an endless line. */
  write(chunk: Uint8Array): void {
    let first = 0;
    if (this.#carry.length > 0) {
      const newline = chunk.indexOf(NEWLINE);
      first = newline < 0 ? chunk.length : newline + 1;
      const line = joined(this.#carry, chunk.subarray(0, first));
      this.#carry = newline < 0 ? line : new Uint8Array(0);
      if (newline >= 0) this.#readOneLine(line);
    }
    // Every line that is read ends in a newline: the readers need no other bound.
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    this.#canonical.open(chunk);
    while (first < end) first = this.#readLine(chunk, first);
    this.#router.flush(chunk);
    if (first < chunk.length) this.#carry = chunk.slice(first);
    this.#bytes += chunk.length;
    if (this.#carry.length > MAX_LINE_BYTES) {
      throw new FormatError(
        `line ${this.#line + 1} is longer than ${MAX_LINE_BYTES} bytes (it begins at byte ` +
          `${this.#bytes - this.#carry.length}); expected the lines of a trace`,
      );
    }
  }

  /** Ends the reading. What stands after the last newline counts as a line when it is whole. */
  finish(): Trace {
    if (this.#carry.length > 0) this.#readUnterminated();
    this.#router.finish();
    this.#stacks.end();
    const classes = this.#classes;
    return {
      events: this.#events,
      devices: this.#devices.names,
      tasks: this.#tasks.names,
      stacks: this.#stacks.stacks,
      bytes: this.#bytes,
      lines: this.#line,
      classes,
      malformedReason: this.#malformedReason,
      cutLastLine: this.#cutLastLine,
      headerCpus: this.#headerCpus,
      entriesInBuffer: this.#entriesInBuffer,
      entriesWritten: this.#entriesWritten,
      overrunLine: this.#overrunLine,
      lostEvents: this.#lostEvents,
      entriesRead: classes.events.count + classes.otherEvents.count + classes.malformed.count + this.#stackEntries,
      clockCounts: this.#prefix.clockCounts,
      headless: this.#headless,
    };
  }

  #readOneLine(bytes: Uint8Array): void {
    this.#canonical.open(bytes);
    this.#readLine(bytes, 0);
    this.#router.flush(bytes);
  }

  /** Reads the line that begins at `first`; returns where the next one begins. */
  #readLine(bytes: Uint8Array, first: number): number {
    const newline = bytes.indexOf(NEWLINE, first);
    this.#line++;
    const events = this.#events;
    if (events.isFull) events.grow(this.#expectedRows(first));
    const row = events.length;
    const head = bytes[first] === HASH ? -1 : this.#prefix.readHead(bytes, first, newline);
    let isText = false;
    if (head >= 0) {
      this.#wrapped = undefined;
      if (this.#canonical.read(head, newline, events, row) || this.#readEvent(bytes, first, head, row)) {
        this.#keepRow(bytes, first, this.#line);
      }
    } else isText = !this.#belongsToTrace(bytes, first, newline);
    this.#router.take(bytes, first, newline + 1, isText);
    return newline + 1;
  }

  /** Rows at the end of the input, if it goes on as it began; a fiftieth more, so that they are enough. `offset`: of the line in its chunk. */
  #expectedRows(offset: number): number {
    const read = this.#bytes + offset;
    return read === 0 ? 0 : Math.ceil(this.#events.length * Math.min(1e6, this.expectedBytes / read) * 1.02);
  }

  /** The line is an event, whose fields stand in the next free row: keeps it. */
  #keepRow(bytes: Uint8Array, first: number, line: number): void {
    const events = this.#events;
    const prefix = this.#prefix;
    const row = events.length;
    events.cpu[row] = prefix.cpu;
    events.time[row] = prefix.time;
    events.context[row] = prefix.context;
    events.task[row] =
      prefix.taskEnd > prefix.taskFirst ? this.#tasks.number(bytes, prefix.taskFirst, prefix.taskEnd) : UNKNOWN_TASK;
    events.stack[row] = NO_STACK;
    events.line[row] = line;
    events.length = row + 1;
    this.#stacks.event(row, prefix.cpu);
    this.#classes.events.note(line, bytes, first);
  }

  /** True when the line is an event of ours, whose fields stand in `row` then; else it has been counted. */
  #readEvent(bytes: Uint8Array, first: number, head: number, row: number): boolean {
    const kind = this.#prefix.readName(bytes, head);
    if (kind <= 0) {
      this.#readOtherEvent(kind, bytes, first);
      return false;
    }
    if (!this.#fields.read(bytes, this.#prefix.fields, kind, this.#events)) {
      this.#addMalformed(this.#fields.reason, bytes, first);
      const end = bytes.indexOf(NEWLINE, first) + 1;
      this.#wrapped = { bytes: bytes.slice(first, end), line: this.#line, lines: 1 };
      return false;
    }
    this.#fields.store(kind, this.#events, row);
    return true;
  }

  /** A line without an event's head: is it nevertheless the trace's? A trace that was pasted may be wrapped, or cut at its beginning. */
  #belongsToTrace(bytes: Uint8Array, first: number, newline: number): boolean {
    if (this.#wrapped !== undefined && this.#goesOn(this.#wrapped, bytes, first, newline)) return true;
    const head = this.#prefix.readCutHead(bytes, first, newline);
    const kind = head < 0 ? 0 : this.#prefix.readName(bytes, head);
    if (kind > 0 && this.#fields.read(bytes, this.#prefix.fields, kind, this.#events)) {
      this.#fields.store(kind, this.#events, this.#events.length);
      this.#keepRow(bytes, first, this.#line);
      return true;
    }
    return this.#readOtherLine(bytes, first);
  }

  /** Tries the wrapped line together with this one. */
  #goesOn(wrapped: Wrapped, bytes: Uint8Array, first: number, newline: number): boolean {
    const from = skipMarks(bytes, first);
    if (from >= newline || bytes[from] === CARRIAGE_RETURN || bytes[from] === HASH || ++wrapped.lines > MOST_WRAPPED) {
      this.#wrapped = undefined;
      return false;
    }
    const line = joined(wrapped.bytes, bytes.subarray(from, newline + 1));
    line[wrapped.bytes.length - 1] = SPACE;
    const head = this.#prefix.readHead(line, 0, line.length - 1);
    const kind = head < 0 ? 0 : this.#prefix.readName(line, head);
    if (kind <= 0) return false;
    wrapped.bytes = line;
    if (!this.#fields.read(line, this.#prefix.fields, kind, this.#events)) return isFields(bytes, from);
    this.#fields.store(kind, this.#events, this.#events.length);
    this.#classes.malformed.withdraw();
    if (this.#classes.malformed.count === 0) this.#malformedReason = "";
    this.#keepRow(line, 0, wrapped.line);
    this.#wrapped = undefined;
    return true;
  }

  #addMalformed(reason: string, bytes: Uint8Array, first: number): void {
    if (this.#classes.malformed.count === 0) this.#malformedReason = reason;
    this.#classes.malformed.note(this.#line, bytes, first);
  }

  #readOtherEvent(kind: number, bytes: Uint8Array, first: number): void {
    const { stacks, otherEvents } = this.#classes;
    if (kind === LOST_EVENT) {
      this.#addLost(bytes, first, /PERF_RECORD_LOST\S*\s+(?:lost\s+)?(\d+)/);
      return;
    }
    if (kind === CONSOLE_EVENT) {
      const message = lineText(bytes, skipBlanks(bytes, this.#prefix.fields), MAX_LINE_BYTES);
      this.#router.console(bytes, message, this.#prefix.time / 1e9);
    }
    if (kind === STACK_EVENT) {
      this.#stackEntries++;
      this.#stacks.begin(this.#prefix.cpu);
    }
    (kind === STACK_EVENT ? stacks : otherEvents).note(this.#line, bytes, first);
  }

  #addLost(bytes: Uint8Array, first: number, pattern: RegExp): void {
    const count = pattern.exec(lineText(bytes, first, 256))?.[1];
    this.#lostEvents += Number(count ?? 0);
    this.#classes.lost.note(this.#line, bytes, first);
  }

  /** A line without the head of an event; false when it is no line of a trace. */
  #readOtherLine(bytes: Uint8Array, line: number): boolean {
    const first = skipMarks(bytes, line);
    const { blank, stacks, foreign } = this.#classes;
    if (bytes[first] === HASH || isReportHead(bytes, first)) this.#readComment(bytes, first);
    else if (isLost(bytes, first)) {
      this.#addLost(bytes, first, LOST);
      return true;
    } else if (bytes[first] === NEWLINE || bytes[first] === CARRIAGE_RETURN) blank.note(this.#line, bytes, line);
    else if (isStackFrame(bytes, line, first)) {
      stacks.note(this.#line, bytes, line);
      if (this.#stacks.isOpen) this.#stacks.frame(lineText(bytes, first, 256));
      return this.#stacks.isOpen;
    } else {
      foreign.note(this.#line, bytes, line);
      if (startsWith(bytes, first, "map: IOMMU:") || startsWith(bytes, first, "unmap: IOMMU:")) {
        this.#headless.note(this.#line, bytes, line);
      }
    }
    this.#stacks.end();
    return false;
  }

  /** The header's numbers stand in comments, and in the head lines of trace-cmd. */
  #readComment(bytes: Uint8Array, first: number): void {
    const text = lineText(bytes, first, 256);
    const entries = /entries-in-buffer\/entries-written: (\d+)\/(\d+)/.exec(text);
    if (entries !== null) {
      // Several traces in one file: their counts add up.
      this.#entriesInBuffer = Math.max(0, this.#entriesInBuffer) + Number(entries[1]);
      this.#entriesWritten = Math.max(0, this.#entriesWritten) + Number(entries[2]);
      if (this.#overrunLine === 0 && Number(entries[2]) > Number(entries[1])) this.#overrunLine = this.#line;
    }
    const cpus = /#P:(\d+)|^cpus=(\d+)|^# nrcpus avail : (\d+)/.exec(text);
    if (cpus !== null) this.#headerCpus = Math.max(this.#headerCpus, Number(cpus[1] ?? cpus[2] ?? cpus[3]));
    this.#classes.comments.note(this.#line, bytes, first);
  }

  #readUnterminated(): void {
    // The blank keeps the line from the fast path: only the general reader knows whether it is whole.
    const bytes = joined(this.#carry, Uint8Array.of(SPACE, NEWLINE));
    const { events, blank, comments } = this.#classes;
    const row = this.#events.length;
    const lists = this.#events.lists.length;
    const elements = this.#events.elements.length;
    const segments = this.#events.segments.length;
    const harmless = blank.count + comments.count;
    this.#readOneLine(bytes);
    const isEvent = this.#events.length > row;
    if (isEvent && this.#fields.provenWhole(this.#events.kind[row] as number)) return;
    this.#cutLastLine = blank.count + comments.count === harmless;
    if (!isEvent) return;
    // Digits may be missing at its end: a request of a wrong size would be worse than none.
    this.#events.length = row;
    this.#events.lists.length = lists;
    this.#events.elements.length = elements;
    this.#events.segments.length = segments;
    events.withdraw();
    this.#addMalformed("the file ends in the middle of the line", bytes, 0);
  }
}

function lineText(bytes: Uint8Array, first: number, most: number): string {
  const newline = bytes.indexOf(NEWLINE, first);
  return printable(bytes, first, bytes[newline - 1] === CARRIAGE_RETURN ? newline - 1 : newline, most);
}

function joined(head: Uint8Array, tail: Uint8Array): Uint8Array {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head);
  whole.set(tail, head.length);
  return whole;
}

/** `paddr=0x…`, `0x… size=4096`, `0xffff1000,0xffff2000}`: what the fields of an event go on with. */
function isFields(bytes: Uint8Array, first: number): boolean {
  return /^(?:[a-z_]+=|0x[0-9a-f]|- 0x|IOMMU:|[0-9a-f]{4}:[0-9a-f]{2}:)/.test(lineText(bytes, first, 32));
}

/** ` => function` of ftrace, and `\tffffffff81234567 function+0x10 (module)` of perf. */
function isStackFrame(bytes: Uint8Array, line: number, first: number): boolean {
  if (bytes[first] === EQUALS && bytes[first + 1] === GREATER) return true;
  if (first === line) return false;
  let at = first;
  while ((HEX_DIGIT[bytes[at] as number] as number) >= 0) at++;
  return at - first >= 4 && bytes[at] === SPACE;
}

/** `CPU:3 [LOST 12 EVENTS]`, `CPU:3 [LOST EVENTS]` of ftrace; `CPU:3 [12 EVENTS DROPPED]` of trace-cmd. */
const LOST = /^\s*CPU:\d+ \[(?:LOST )?(\d*) ?EVENTS/;

function isLost(bytes: Uint8Array, first: number): boolean {
  return startsWith(bytes, first, "CPU:") && LOST.test(lineText(bytes, first, 256));
}

/** `cpus=4`, `version = 7`, `CPU 3 is empty` of trace-cmd. */
function isReportHead(bytes: Uint8Array, first: number): boolean {
  if (startsWith(bytes, first, "cpus=") || startsWith(bytes, first, "version =")) return true;
  return startsWith(bytes, first, "CPU ") && /^CPU \d+ is empty$/.test(lineText(bytes, first, 40));
}

/** A whole trace that is in memory already. */
export function parseTrace(bytes: Uint8Array): Trace {
  const parser = new TraceParser();
  parser.write(bytes);
  return parser.finish();
}
