/**
 * What a trace holds after reading: events in packed columns, one row an event in the order of the file. Columns are typed
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

/** 64-bit numbers, side by side with a byte count. Grows by doubling. */
export class AddressColumns {
  length = 0;
  low: Int32Array = new Int32Array(256);
  high: Int32Array = new Int32Array(256);
  bytes: Float64Array = new Float64Array(256);

  push(low: number, high: number, bytes: number): void {
    if (this.length === this.low.length) this.#grow();
    this.low[this.length] = low;
    this.high[this.length] = high;
    this.bytes[this.length] = bytes;
    this.length++;
  }

  #grow(): void {
    const capacity = this.low.length * 2;
    this.low = grownInt32(this.low, capacity);
    this.high = grownInt32(this.high, capacity);
    this.bytes = grownFloat64(this.bytes, capacity);
  }
}

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
  device: Int32Array = new Int32Array(1024);
  direction: Int8Array = new Int8Array(1024);
  /** Index in `Trace.tasks`, or UNKNOWN_TASK. */
  task: Int32Array = new Int32Array(1024);
  /** Task, soft interrupt or hard interrupt. */
  context: Uint8Array = new Uint8Array(1024);
  /** Index in `Trace.stacks`, or NO_STACK. */
  stack: Int32Array = new Int32Array(1024);
  /** Lists: first row in `elements`, and how many. */
  elementFirst: Int32Array = new Int32Array(1024);
  elementCount: Int32Array = new Int32Array(1024);
  /** Lists: first row in `segments`, and how many. */
  segmentFirst: Int32Array = new Int32Array(1024);
  segmentCount: Int32Array = new Int32Array(1024);
  /** Physical addresses of scatterlists (bytes: 0, the events don't say). */
  readonly elements: AddressColumns = new AddressColumns();
  /** DMA addresses and sizes of scatterlists. */
  readonly segments: AddressColumns = new AddressColumns();

  /** Makes room for one more row, all of it 0, and returns its index; the row counts once `length` is raised. */
  reserve(): number {
    if (this.length === this.kind.length) this.#grow();
    return this.length;
  }

  #grow(): void {
    const capacity = this.kind.length * 2;
    const kind = new Uint8Array(capacity);
    kind.set(this.kind);
    this.kind = kind;
    const direction = new Int8Array(capacity);
    direction.set(this.direction);
    this.direction = direction;
    const context = new Uint8Array(capacity);
    context.set(this.context);
    this.context = context;
    this.task = grownInt32(this.task, capacity);
    this.stack = grownInt32(this.stack, capacity);
    this.time = grownFloat64(this.time, capacity);
    this.bytes = grownFloat64(this.bytes, capacity);
    this.cpu = grownInt32(this.cpu, capacity);
    this.line = grownInt32(this.line, capacity);
    this.iovaLow = grownInt32(this.iovaLow, capacity);
    this.iovaHigh = grownInt32(this.iovaHigh, capacity);
    this.physicalLow = grownInt32(this.physicalLow, capacity);
    this.physicalHigh = grownInt32(this.physicalHigh, capacity);
    this.device = grownInt32(this.device, capacity);
    this.elementFirst = grownInt32(this.elementFirst, capacity);
    this.elementCount = grownInt32(this.elementCount, capacity);
    this.segmentFirst = grownInt32(this.segmentFirst, capacity);
    this.segmentCount = grownInt32(this.segmentCount, capacity);
  }
}

function grownInt32(old: Int32Array, capacity: number): Int32Array {
  const grown = new Int32Array(capacity);
  grown.set(old);
  return grown;
}

function grownFloat64(old: Float64Array, capacity: number): Float64Array {
  const grown = new Float64Array(capacity);
  grown.set(old);
  return grown;
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
