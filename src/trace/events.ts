/**
 * A trace after reading: events in packed columns, one row an event in the order of the file. Columns are typed
 * arrays, so that a million events are read at memory speed and cross to another thread without a copy of each.
 *
 * 64-bit addresses are two 32-bit columns, low and high (read them unsigned: `low >>> 0`). Lists of `dma_map_sg` and
 * `dma_unmap_sg` are runs in two side tables, `elements` (physical addresses) and `segments` (DMA addresses and sizes).
 */

/** Event kinds: the `iommu` events, and the `dma` events of Linux 6.12 and later. */
export const MAP = 1;
export const UNMAP = 2;
export const IO_PAGE_FAULT = 3;
export const ATTACH_DEVICE = 4;
export const DETACH_DEVICE = 5;
export const ADD_DEVICE = 6;
export const REMOVE_DEVICE = 7;
/** dma_map_page (6.12) and dma_map_phys (later). */
export const DMA_MAP = 8;
export const DMA_MAP_RESOURCE = 9;
export const DMA_UNMAP = 10;
export const DMA_UNMAP_RESOURCE = 11;
export const DMA_MAP_SG = 12;
/** A scatterlist that could not be mapped: its elements are physical addresses, whatever the label says. */
export const DMA_MAP_SG_ERROR = 13;
export const DMA_UNMAP_SG = 14;
/** dma_alloc, dma_alloc_pages, dma_alloc_sgt. */
export const DMA_ALLOC = 15;
/** dma_alloc_sgt_err: nothing was allocated. */
export const DMA_ALLOC_ERROR = 16;
/** dma_free, dma_free_pages, dma_free_sgt. */
export const DMA_FREE = 17;
export const DMA_SYNC_FOR_CPU = 18;
export const DMA_SYNC_FOR_DEVICE = 19;
/** Invalidation of translations: qi_submit of Intel's IOMMU with a descriptor of the IOTLB or of a device's, cache_tag_flush_…. */
export const INVALIDATION = 20;

/** The tracepoint's name of each kind, for people; index = kind. */
export const KIND_NAMES: readonly string[] = [
  "",
  "map",
  "unmap",
  "io_page_fault",
  "attach_device_to_domain",
  "detach_device_from_domain",
  "add_device_to_group",
  "remove_device_from_group",
  "dma_map",
  "dma_map_resource",
  "dma_unmap",
  "dma_unmap_resource",
  "dma_map_sg",
  "dma_map_sg_err",
  "dma_unmap_sg",
  "dma_alloc",
  "dma_alloc_err",
  "dma_free",
  "dma_sync_for_cpu",
  "dma_sync_for_device",
  "invalidation",
];
export const KINDS: number = KIND_NAMES.length;

/** `dir=` of a dma event. The numbers are the kernel's. */
export const BIDIRECTIONAL = 0;
export const TO_DEVICE = 1;
export const FROM_DEVICE = 2;
export const NO_DIRECTION = 3;
/** The line names no direction. */
export const UNKNOWN_DIRECTION = -1;

/** The line names no device. */
export const UNKNOWN_DEVICE = -1;

/** The line names no task, or more tasks have been met than are kept. */
export const UNKNOWN_TASK = -1;
/** No stack was recorded with the event. */
export const NO_STACK = -1;

/** `TraceEvents.context`: what the CPU was doing. In an interrupt, the task named is the one that was interrupted. */
export const TASK_CONTEXT = 0;
export const SOFT_INTERRUPT = 1;
export const HARD_INTERRUPT = 2;

/** 64-bit numbers. */
export class AddressColumns {
  length = 0;
  low: Int32Array = new Int32Array(256);
  high: Int32Array = new Int32Array(256);

  push(low: number, high: number): void {
    if (this.length === this.low.length) {
      const capacity = moreThan(this.length);
      this.low = grown(this.low, capacity);
      this.high = grown(this.high, capacity);
    }
    this.low[this.length] = low;
    this.high[this.length] = high;
    this.length++;
  }
}

/** 64-bit numbers, side by side with a byte count. */
export class SegmentColumns extends AddressColumns {
  bytes: Float64Array = new Float64Array(256);

  /** Adds a segment whose bytes are not known yet. */
  override push(low: number, high: number): void {
    super.push(low, high);
    if (this.bytes.length < this.low.length) this.bytes = grown(this.bytes, this.low.length);
  }
}

/** Where the lists of an event stand: runs of `TraceEvents.elements` and `TraceEvents.segments`. Most events have none; row 0 is theirs. */
export class ListColumns {
  /** Row 0 is the empty list. */
  length = 1;
  elementFirst: Int32Array = new Int32Array(256);
  elementCount: Int32Array = new Int32Array(256);
  segmentFirst: Int32Array = new Int32Array(256);
  segmentCount: Int32Array = new Int32Array(256);

  /** Makes room for one more row and returns its index; the row counts once `length` is raised. */
  reserve(): number {
    if (this.length === this.elementFirst.length) {
      const capacity = moreThan(this.length);
      this.elementFirst = grown(this.elementFirst, capacity);
      this.elementCount = grown(this.elementCount, capacity);
      this.segmentFirst = grown(this.segmentFirst, capacity);
      this.segmentCount = grown(this.segmentCount, capacity);
    }
    return this.length;
  }
}

/** `TraceEvents.list` of an event without lists. */
export const EMPTY_LIST = 0;

/** The columns of `TraceEvents`. */
export const EVENT_COLUMNS = [
  "kind",
  "time",
  "cpu",
  "line",
  "iovaLow",
  "iovaHigh",
  "bytes",
  "physicalLow",
  "physicalHigh",
  "device",
  "direction",
  "task",
  "context",
  "stack",
  "list",
] as const;

/** Names of one kind that are kept; their numbers fit the columns of 16 bits. */
export const MOST_NAMES: number = 2 ** 15;

/** One row an event. Only rows below `length` mean anything; columns that an event's kind does not use hold 0. */
export class TraceEvents {
  length = 0;
  kind: Uint8Array = new Uint8Array(1024);
  /** As printed, in nanoseconds (of an unknown zero); a counter clock's ticks when `Trace.clockCounts`. */
  time: Float64Array = new Float64Array(1024);
  cpu: Int32Array = new Int32Array(1024);
  /** Line of the file, from 1. */
  line: Int32Array = new Int32Array(1024);
  /** IOVA, or `dma_addr`. Lists: the first segment's. */
  iovaLow: Int32Array = new Int32Array(1024);
  iovaHigh: Int32Array = new Int32Array(1024);
  /** Bytes mapped or unmapped (what was really unmapped); the flags of an `io_page_fault`; the number of a group. Lists: sum of the segments. */
  bytes: Float64Array = new Float64Array(1024);
  physicalLow: Int32Array = new Int32Array(1024);
  physicalHigh: Int32Array = new Int32Array(1024);
  /** Index in `Trace.devices`, or UNKNOWN_DEVICE. */
  device: Int16Array = new Int16Array(1024);
  direction: Int8Array = new Int8Array(1024);
  /** Index in `Trace.tasks`, or UNKNOWN_TASK. */
  task: Int16Array = new Int16Array(1024);
  /** Task, soft interrupt or hard interrupt. */
  context: Uint8Array = new Uint8Array(1024);
  /** Index in `Trace.stacks`, or NO_STACK. */
  stack: Int16Array = new Int16Array(1024);
  /** Row in `lists`. */
  list: Int32Array = new Int32Array(1024);
  readonly lists: ListColumns = new ListColumns();
  /** Physical addresses of scatterlists. */
  readonly elements: AddressColumns = new AddressColumns();
  /** DMA addresses and sizes of scatterlists. */
  readonly segments: SegmentColumns = new SegmentColumns();

  /** True if all rows are in use: `grow` must make room for the next one. */
  get isFull(): boolean {
    return this.length === this.kind.length;
  }

  /**
   * Makes room for more rows. Each copy of the columns costs time, and memory until the old ones are collected.
   *
   * @param expected - how many rows there will be at the end; 0 when unknown. What it asks for beyond half as many again is only a guess
   */
  grow(expected: number): void {
    const most = this.length * MOST_GROWTH;
    const capacity = Math.max(moreThan(this.length), Math.min(expected, most));
    for (const name of EVENT_COLUMNS) Object.assign(this, { [name]: grown(this[name], capacity) });
  }
}

/** A guess from few rows may be far too high: columns grow at most by this factor at once. */
const MOST_GROWTH = 64;

type Column = Int8Array | Uint8Array | Int16Array | Int32Array | Float64Array;

/** By half: of columns that double, up to half may stand empty, and the old ones wait beside them to be collected. */
function moreThan(length: number): number {
  return length + (length >>> 1);
}

/** The column with room for `capacity` rows. */
export function grown<Kind extends Column>(old: Kind, capacity: number): Kind {
  const column = new (old.constructor as new (length: number) => Kind)(capacity);
  column.set(old);
  return column;
}

/** Lines of one class: how many, and where the first stands. */
export interface LineTally {
  readonly count: number;
  /** Line number of the first, from 1; 0 when there is none. */
  readonly firstLine: number;
  /** Text of the first, shortened, control characters escaped. */
  readonly firstText: string;
}

/** Every line of the file is in exactly one class; the counts add up to `lines`. */
export interface LineClasses {
  /** Events of the kinds above: the rows of `events`. */
  readonly events: LineTally;
  /** Well-formed events of other kinds: sched_switch, printk, … */
  readonly otherEvents: LineTally;
  /** Events of our kinds whose fields can't be read; `malformedReason` says why the first can't. */
  readonly malformed: LineTally;
  /** `CPU:n [LOST m EVENTS]` and its relatives. */
  readonly lost: LineTally;
  /** Stack traces: `<stack trace>`, ` => function`, call chains of perf. */
  readonly stacks: LineTally;
  /** `#` lines, and the head lines of trace-cmd. */
  readonly comments: LineTally;
  readonly blank: LineTally;
  /** Anything else. */
  readonly foreign: LineTally;
}

/** A trace that has been read. */
export interface Trace {
  readonly events: TraceEvents;
  /** Names of devices, as the lines give them: `0000:00:06.0`. */
  readonly devices: readonly string[];
  /** Tasks, as the lines give them: `node-174`. */
  readonly tasks: readonly string[];
  /** Different stacks that stand behind events, innermost function first. */
  readonly stacks: readonly (readonly string[])[];
  readonly bytes: number;
  readonly lines: number;
  readonly classes: LineClasses;
  /** Why the first malformed line is malformed; "" when there is none. */
  readonly malformedReason: string;
  /** The file's last line has no newline, and nothing proves it whole: the file is cut there. */
  readonly cutLastLine: boolean;
  /** `#P:n` of the header: CPUs of the recorded machine. 0: the file doesn't say. */
  readonly headerCpus: number;
  /** `entries-in-buffer` of the header; −1: the file doesn't say. */
  readonly entriesInBuffer: number;
  /** `entries-written` of the header; more than `entriesInBuffer` when the ring buffer overran. −1: doesn't say. */
  readonly entriesWritten: number;
  /** Line of the first header whose counts show that the ring buffer overran; 0: there is none. */
  readonly overrunLine: number;
  /** Events that `LOST` lines count. */
  readonly lostEvents: number;
  /** Entries of the ring buffer that stand in the file, of any kind: to compare with `entriesInBuffer`. */
  readonly entriesRead: number;
  /** Timestamps are counts without a unit (trace clock `counter` or `x86-tsc`). */
  readonly clockCounts: boolean;
  /** Lines with the text of a map or unmap, but without its head: examples in a mail or a patch. They have no time and are no events. */
  readonly headless: LineTally;
}

/** An address of the columns as a plain number. Exact below 2^53; larger addresses lose their low bits. */
export function addressOf(low: number, high: number): number {
  return (high >>> 0) * 4294967296 + (low >>> 0);
}
