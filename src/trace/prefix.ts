/**
 * Reads what stands before an event's fields: `task-pid [cpu] flags seconds.fraction: name:`. Three writers differ here:
 * tracefs prints flags, older trace-cmd none, perf puts the subsystem before the name (`iommu:map:`) and no flags. A task's
 * name may hold blanks, digits and brackets, so the anchor is the first `[cpu]` that a timestamp follows.
 */
import { isDigit, skipBlanks, skipWord, startsWith } from "./bytes.ts";
import {
  ADD_DEVICE,
  ATTACH_DEVICE,
  DETACH_DEVICE,
  DMA_ALLOC,
  DMA_ALLOC_ERROR,
  DMA_FREE,
  DMA_MAP,
  DMA_MAP_RESOURCE,
  DMA_MAP_SG,
  DMA_MAP_SG_ERROR,
  DMA_SYNC_FOR_CPU,
  DMA_SYNC_FOR_DEVICE,
  DMA_UNMAP,
  DMA_UNMAP_RESOURCE,
  DMA_UNMAP_SG,
  HARD_INTERRUPT,
  INVALIDATION,
  IO_PAGE_FAULT,
  MAP,
  REMOVE_DEVICE,
  SOFT_INTERRUPT,
  TASK_CONTEXT,
  UNMAP,
} from "./events.ts";
import { hashStep, WordTable } from "./words.ts";

// These stand here as plain constants, not in bytes.ts: an imported binding costs a load at each use.
const SPACE = 0x20;
const NEWLINE = 0x0a;
const COLON = 0x3a;
const DOT = 0x2e;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_PARENTHESIS = 0x28;
const CLOSE_PARENTHESIS = 0x29;
const GREATER = 0x3e;
const BAR = 0x7c;

/** Answers of `PrefixReader.readName` that are no kind of ours. */
const OTHER_EVENT = 0;
export const STACK_EVENT = -1;
export const LOST_EVENT = -2;
/** A message of the kernel's log: `printk:console`. */
export const CONSOLE_EVENT = -3;

const NAMES = new WordTable([
  ["map", MAP],
  ["unmap", UNMAP],
  ["io_page_fault", IO_PAGE_FAULT],
  ["attach_device_to_domain", ATTACH_DEVICE],
  ["detach_device_from_domain", DETACH_DEVICE],
  ["add_device_to_group", ADD_DEVICE],
  ["remove_device_from_group", REMOVE_DEVICE],
  ["dma_map_page", DMA_MAP],
  ["dma_map_phys", DMA_MAP],
  ["dma_map_resource", DMA_MAP_RESOURCE],
  ["dma_unmap_page", DMA_UNMAP],
  ["dma_unmap_phys", DMA_UNMAP],
  ["dma_unmap_resource", DMA_UNMAP_RESOURCE],
  ["dma_map_sg", DMA_MAP_SG],
  ["dma_map_sg_err", DMA_MAP_SG_ERROR],
  ["dma_unmap_sg", DMA_UNMAP_SG],
  ["dma_alloc", DMA_ALLOC],
  ["dma_alloc_pages", DMA_ALLOC],
  ["dma_alloc_sgt", DMA_ALLOC],
  ["dma_alloc_sgt_err", DMA_ALLOC_ERROR],
  ["dma_free", DMA_FREE],
  ["dma_free_pages", DMA_FREE],
  ["dma_free_sgt", DMA_FREE],
  ["dma_sync_single_for_cpu", DMA_SYNC_FOR_CPU],
  ["dma_sync_sg_for_cpu", DMA_SYNC_FOR_CPU],
  ["dma_sync_single_for_device", DMA_SYNC_FOR_DEVICE],
  ["dma_sync_sg_for_device", DMA_SYNC_FOR_DEVICE],
  ["qi_submit", INVALIDATION],
  ["cache_tag_flush_range", INVALIDATION],
  ["cache_tag_flush_range_np", INVALIDATION],
]);

/** The context that a letter of the flags names; other letters name no context. */
const CONTEXT = new Uint8Array(128);
for (const letter of "hHzZ") CONTEXT[letter.charCodeAt(0)] = HARD_INTERRUPT;
CONTEXT["s".charCodeAt(0)] = SOFT_INTERRUPT;

const POWER_OF_TEN: Float64Array = Float64Array.from({ length: 10 }, (_, power) => 10 ** power);

/** Reads one line's head; the values stand in the fields afterwards. */
export class PrefixReader {
  cpu = 0;
  /** In nanoseconds; in ticks when the clock counts. */
  time = 0;
  /** A timestamp without a decimal point was met. */
  clockCounts = false;
  /** Offset of the fields, after `readName`. */
  fields = 0;
  /** TASK_CONTEXT, SOFT_INTERRUPT or HARD_INTERRUPT, by the flags. */
  context = 0;
  /** Offsets of the task's name, [begin, end); equal if the line has none. */
  taskFirst = 0;
  taskEnd = 0;
  #column = 0;

  /** Reads up to the colon after the timestamp; returns one past it, or −1 when the line [first, newline) is no event. */
  readHead(bytes: Uint8Array, first: number, newline: number): number {
    // The next line's `[cpu]` mostly stands where the last one's stood.
    const guess = first + this.#column;
    if (guess < newline && bytes[guess] === OPEN_BRACKET) {
      const after = this.#cpuAndTime(bytes, guess + 1);
      if (after >= 0) {
        this.#readTask(bytes, first, guess);
        return after;
      }
    }
    for (let at = first; at < newline; at++) {
      if (bytes[at] !== OPEN_BRACKET) continue;
      const after = this.#cpuAndTime(bytes, at + 1);
      if (after < 0) continue;
      this.#column = at - first;
      this.#readTask(bytes, first, at);
      return after;
    }
    return -1;
  }

  /** As `readHead`, for a line whose beginning is cut off: `00] ..... 7.172004: map: …`, `7.172004: map: …`. */
  readCutHead(bytes: Uint8Array, first: number, newline: number): number {
    let at = skipMarks(bytes, first);
    this.taskFirst = this.taskEnd = at;
    const bracket = bytes.indexOf(CLOSE_BRACKET, at);
    const after = bracket >= 0 && bracket < newline ? this.#flagsAndTime(bytes, bracket + 1) : -1;
    if (after >= 0) return after;
    at = skipMarks(bytes, first);
    return isDigit(bytes[at] as number) ? this.#flagsAndTime(bytes, at) : -1;
  }

  /** The task stands before the CPU at `end`, without quote marks before it; a thread group may follow it: `node-174 (174)`. */
  #readTask(bytes: Uint8Array, first: number, end: number): void {
    let last = end;
    while (last > first && bytes[last - 1] === SPACE) last--;
    if (bytes[last - 1] === CLOSE_PARENTHESIS) {
      while (last > first && bytes[last] !== OPEN_PARENTHESIS) last--;
      while (last > first && bytes[last - 1] === SPACE) last--;
    }
    this.taskFirst = Math.min(skipMarks(bytes, first), last);
    this.taskEnd = last;
  }

  #cpuAndTime(bytes: Uint8Array, from: number): number {
    let at = from;
    let cpu = 0;
    let byte = bytes[at] as number;
    while (isDigit(byte) && at - from < 7) {
      cpu = cpu * 10 + byte - 0x30;
      byte = bytes[++at] as number;
    }
    if (at === from || at - from > 6 || byte !== CLOSE_BRACKET || bytes[at + 1] !== SPACE) return -1;
    this.cpu = cpu;
    return this.#flagsAndTime(bytes, at + 1);
  }

  #flagsAndTime(bytes: Uint8Array, from: number): number {
    let at = from;
    while (bytes[at] === SPACE) at++;
    this.context = TASK_CONTEXT;
    if (!isDigit(bytes[at] as number)) {
      // The flags (`d.H1.`): one word that never begins with a digit.
      for (let byte = bytes[at] as number; byte > SPACE; byte = bytes[++at] as number) {
        const context = CONTEXT[byte & 127] as number;
        if (context > this.context) this.context = context;
      }
      while (bytes[at] === SPACE) at++;
    }
    return this.#timestamp(bytes, at);
  }

  #timestamp(bytes: Uint8Array, from: number): number {
    let at = from;
    let whole = 0;
    let byte = bytes[at] as number;
    while (isDigit(byte)) {
      whole = whole * 10 + byte - 0x30;
      byte = bytes[++at] as number;
    }
    if (at === from || whole >= 2 ** 64) return -1;
    if (byte === COLON) {
      this.time = whole;
      this.clockCounts = true;
      return at + 1;
    }
    if (byte !== DOT) return -1;
    const point = ++at;
    let fraction = 0;
    byte = bytes[at] as number;
    while (isDigit(byte) && at - point < 10) {
      fraction = fraction * 10 + byte - 0x30;
      byte = bytes[++at] as number;
    }
    const digits = at - point;
    if (digits === 0 || digits > 9 || byte !== COLON) return -1;
    this.time = whole * 1e9 + fraction * (POWER_OF_TEN[9 - digits] as number);
    return at + 1;
  }

  /** Reads the event's name from `from` on: its kind, or one of the answers above. */
  readName(bytes: Uint8Array, from: number): number {
    let first = skipBlanks(bytes, from);
    let subsystem = -1;
    let hash = 0;
    let at = first;
    for (; ; at++) {
      const byte = bytes[at] as number;
      if (byte <= SPACE) return unnamed(bytes, first);
      if (byte !== COLON) {
        hash = hashStep(hash, byte);
        continue;
      }
      if ((bytes[at + 1] as number) <= SPACE) break;
      subsystem = first;
      first = at + 1;
      hash = 0;
    }
    this.fields = at + 1;
    const kind = NAMES.find(bytes, first, at, hash);
    if (kind === 0) return otherName(bytes, first);
    if (kind === INVALIDATION && isOfOtherCaches(bytes, this.fields)) return OTHER_EVENT;
    return subsystem >= 0 ? ofSubsystem(bytes, subsystem, first, kind) : ours(bytes, this.fields, kind);
  }
}

function otherName(bytes: Uint8Array, first: number): number {
  if (startsWith(bytes, first, "kernel_stack:")) return STACK_EVENT;
  return startsWith(bytes, first, "console:") ? CONSOLE_EVENT : OTHER_EVENT;
}

/** Past blanks and the quote marks of mail programs (`> `, `| `). */
export function skipMarks(bytes: Uint8Array, first: number): number {
  let at = skipBlanks(bytes, first);
  while (bytes[at] === GREATER || bytes[at] === BAR) at = skipBlanks(bytes, at + 1);
  return at;
}

function ofSubsystem(bytes: Uint8Array, first: number, end: number, kind: number): number {
  const expected = kind === INVALIDATION ? "intel_iommu:" : kind <= REMOVE_DEVICE ? "iommu:" : "dma:";
  return end - first === expected.length && startsWith(bytes, first, expected) ? kind : OTHER_EVENT;
}

/** Other subsystems may have events called map and unmap: ours show it in their fields. */
function ours(bytes: Uint8Array, fields: number, kind: number): number {
  if (kind > REMOVE_DEVICE) return kind;
  const at = skipBlanks(bytes, fields);
  if (startsWith(bytes, at, "IOMMU:") || startsWith(bytes, at, "iova=")) return kind;
  // A line that is cut right here is recognised by its name alone.
  const end = skipWord(bytes, at);
  return bytes[end] === NEWLINE && end - at < 6 && startsWith(bytes, at, "IOMMU:".slice(0, end - at))
    ? kind
    : OTHER_EVENT;
}

/** Descriptors of the interrupt remapping cache and of the context cache: no translation is forgotten. */
function isOfOtherCaches(bytes: Uint8Array, fields: number): boolean {
  const at = skipBlanks(bytes, fields);
  return startsWith(bytes, at, "iec") || startsWith(bytes, at, "cc_");
}

function unnamed(bytes: Uint8Array, first: number): number {
  if (startsWith(bytes, first, "<stack") || startsWith(bytes, first, "<user stack")) return STACK_EVENT;
  return startsWith(bytes, first, "PERF_RECORD_LOST") ? LOST_EVENT : OTHER_EVENT;
}
