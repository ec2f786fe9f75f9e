/**
 * Reads the fields of one event of ours: `iova=0x… - 0x… paddr=0x… size=4096`, `DEV dir=… dma_addr=… size=…`. By key, in any
 * order: kernels and vendors add fields and change their order. What a line must hold depends on its kind.
 */
import { counted } from "../units/counts.ts";
import { HEX_DIGIT, isDigit, printable, skipBlanks, skipWord, startsWith } from "./bytes.ts";
import {
  ADD_DEVICE,
  addressOf,
  BIDIRECTIONAL,
  DMA_ALLOC_ERROR,
  DMA_MAP_SG_ERROR,
  EMPTY_LIST,
  FROM_DEVICE,
  INVALIDATION,
  IO_PAGE_FAULT,
  KINDS,
  MAP,
  NO_DIRECTION,
  REMOVE_DEVICE,
  TO_DEVICE,
  type TraceEvents,
  UNKNOWN_DEVICE,
  UNKNOWN_DIRECTION,
  UNMAP,
} from "./events.ts";
import { hashStep, type NameTable, WordTable } from "./words.ts";

// These stand here as plain constants, not in bytes.ts: an imported binding costs a load at each use.
const SPACE = 0x20;
const NEWLINE = 0x0a;
const COMMA = 0x2c;
const MINUS = 0x2d;
const EQUALS = 0x3d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const IOVA = 1;
const PADDR = 2;
const SIZE = 3;
const UNMAPPED_SIZE = 4;
const DEVICE = 5;
const FLAGS = 6;
const DIR = 7;
const DMA_ADDR = 8;
const PHYS_ADDR = 9;
const DMA_ADDRS = 10;
const SIZES = 11;
const PHYS_ADDRS = 12;
const ATTRS = 13;
const GROUP = 14;

const KEYS = new WordTable([
  ["iova", IOVA],
  ["paddr", PADDR],
  ["size", SIZE],
  ["unmapped_size", UNMAPPED_SIZE],
  ["device", DEVICE],
  ["dev", DEVICE],
  ["flags", FLAGS],
  ["dir", DIR],
  ["dma_addr", DMA_ADDR],
  ["phys_addr", PHYS_ADDR],
  ["dma_addrs", DMA_ADDRS],
  ["sizes", SIZES],
  ["phys_addrs", PHYS_ADDRS],
  ["attrs", ATTRS],
  ["groupID", GROUP],
]);
const KEY_NAMES =
  "? iova paddr size unmapped_size device flags dir dma_addr phys_addr dma_addrs sizes phys_addrs attrs groupID".split(
    " ",
  );

const DIRECTIONS = new WordTable([
  ["BIDIRECTIONAL", BIDIRECTIONAL + 1],
  ["TO_DEVICE", TO_DEVICE + 1],
  ["FROM_DEVICE", FROM_DEVICE + 1],
  ["NONE", NO_DIRECTION + 1],
]);

const bit = (key: number): number => 1 << key;
const SINGLE = bit(DEVICE) | bit(DMA_ADDR) | bit(SIZE);
/** The fields without which an event means nothing; index = kind. Sync events come single or as lists: only the device. */
const REQUIRED = new Int32Array(KINDS);
REQUIRED.set([
  0,
  bit(IOVA) | bit(PADDR) | bit(SIZE),
  bit(IOVA) | bit(SIZE),
  bit(DEVICE) | bit(IOVA),
  ...new Array<number>(4).fill(bit(DEVICE)),
  SINGLE | bit(PHYS_ADDR),
  SINGLE | bit(PHYS_ADDR),
  SINGLE,
  SINGLE,
  bit(DEVICE) | bit(DMA_ADDRS) | bit(SIZES) | bit(PHYS_ADDRS),
  bit(DEVICE),
  bit(DEVICE) | bit(PHYS_ADDRS),
  SINGLE,
  bit(DEVICE),
  SINGLE,
  bit(DEVICE),
  bit(DEVICE),
  0,
]);

/** Reads one line's fields after another; the values wait in here until `store`. */
export class FieldReader {
  /** Why the last `read` failed. */
  reason = "";
  readonly #devices: NameTable;
  #bytes: Uint8Array = new Uint8Array(0);
  #seen = 0;
  #hasRangeEnd = false;
  #low = 0;
  #high = 0;
  #iovaLow = 0;
  #iovaHigh = 0;
  #endLow = 0;
  #endHigh = 0;
  #physicalLow = 0;
  #physicalHigh = 0;
  #size = 0;
  #unmapped = 0;
  #flags = 0;
  #device = UNKNOWN_DEVICE;
  #direction = UNKNOWN_DIRECTION;
  #elementFirst = 0;
  #segmentFirst = 0;
  #sizesRead = 0;

  constructor(devices: NameTable) {
    this.#devices = devices;
  }

  /** Reads the fields of an event, from `first` to its newline. False: they can't be read, `reason` says why. */
  read(bytes: Uint8Array, first: number, kind: number, events: TraceEvents): boolean {
    this.#bytes = bytes;
    this.#seen = 0;
    this.#hasRangeEnd = false;
    this.#device = UNKNOWN_DEVICE;
    this.#direction = UNKNOWN_DIRECTION;
    this.#iovaLow = this.#iovaHigh = this.#physicalLow = this.#physicalHigh = 0;
    this.#size = this.#unmapped = this.#flags = 0;
    this.#sizesRead = 0;
    this.#elementFirst = events.elements.length;
    this.#segmentFirst = events.segments.length;
    if (this.#readTokens(first, kind, events) && this.#complete(kind, events)) return true;
    events.elements.length = this.#elementFirst;
    events.segments.length = this.#segmentFirst;
    return false;
  }

  /** True if the fields of a line without a newline show that it is whole. */
  provenWhole(kind: number): boolean {
    if (kind === MAP) return this.#hasRangeEnd;
    if (kind === UNMAP) return (this.#seen & bit(UNMAPPED_SIZE)) !== 0 && this.#unmapped === this.#size;
    return (this.#seen & bit(ATTRS)) !== 0;
  }

  #readTokens(first: number, kind: number, events: TraceEvents): boolean {
    const bytes = this.#bytes;
    let at = first;
    while (at >= 0) {
      while (bytes[at] === SPACE) at++;
      const token = at;
      let byte = bytes[at] as number;
      let hash = 0;
      while (byte > SPACE && byte !== EQUALS) {
        hash = hashStep(hash, byte);
        byte = bytes[++at] as number;
      }
      if (byte === EQUALS) at = this.#readValue(KEYS.find(bytes, token, at, hash), at + 1, events);
      else if (at > token) at = this.#readBare(token, at, kind);
      else if (byte === NEWLINE) return true;
      else at++;
    }
    return false;
  }

  /** A word without `=`: the device of a dma event or fault, or the ` - 0x…` of a range. */
  #readBare(token: number, end: number, kind: number): number {
    if (kind <= UNMAP) {
      if (end - token !== 1 || this.#bytes[token] !== MINUS || (this.#seen & bit(IOVA)) === 0) return end;
      const after = this.#readHex(skipBlanks(this.#bytes, end), IOVA);
      this.#endLow = this.#low;
      this.#endHigh = this.#high;
      this.#hasRangeEnd = after >= 0;
      return after;
    }
    if (kind === INVALIDATION) return end;
    if ((this.#seen & bit(DEVICE)) !== 0 || startsWith(this.#bytes, token, "IOMMU:")) return end;
    if (kind > REMOVE_DEVICE || kind === IO_PAGE_FAULT) this.#setDevice(token, end);
    return end;
  }

  #setDevice(first: number, end: number): void {
    this.#device = this.#devices.number(this.#bytes, first, end);
    this.#seen |= bit(DEVICE);
  }

  /** Reads the value at `at`; returns one past it, or −1. */
  #readValue(key: number, at: number, events: TraceEvents): number {
    this.#seen |= bit(key);
    switch (key) {
      case IOVA:
      case DMA_ADDR: {
        const after = this.#readHex(at, key);
        this.#iovaLow = this.#low;
        this.#iovaHigh = this.#high;
        return after;
      }
      case PADDR:
      case PHYS_ADDR: {
        const after = this.#readHex(at, key);
        this.#physicalLow = this.#low;
        this.#physicalHigh = this.#high;
        return after;
      }
      case SIZE:
      case UNMAPPED_SIZE:
      case GROUP:
        return this.#readDecimal(at, key);
      case DIR:
      case DEVICE:
      case FLAGS:
        return this.#readWord(at, key);
      case PHYS_ADDRS:
      case DMA_ADDRS:
      case SIZES:
        return this.#readList(at, key, events);
      default:
        return skipWord(this.#bytes, at);
    }
  }

  #readWord(at: number, key: number): number {
    const end = skipWord(this.#bytes, at);
    if (key === DEVICE) {
      if (end === at) return this.#fail("device= is empty");
      this.#setDevice(at, end);
    } else if (key === DIR) {
      let hash = 0;
      for (let i = at; i < end; i++) hash = hashStep(hash, this.#bytes[i] as number);
      this.#direction = DIRECTIONS.find(this.#bytes, at, end, hash) - 1;
      if (this.#direction < 0) return this.#fail(`dir=${printable(this.#bytes, at, end, 24)} is no direction`);
    } else if (this.#hexDigits(at) === end) {
      // An io_page_fault's flags are a number; those of an allocation are names.
      this.#flags = this.#low >>> 0;
    }
    return end;
  }

  #readHex(from: number, key: number): number {
    const after = this.#hexDigits(from);
    if (after < 0) return this.#fail(`${KEY_NAMES[key]}= holds no hexadecimal number of up to 64 bits`);
    if ((this.#bytes[after] as number) > SPACE) {
      return this.#fail(`${KEY_NAMES[key]}= goes on with a character that is no hexadecimal digit`);
    }
    return after;
  }

  /** Digits, with or without 0x, into #low and #high; returns one past them, or −1. */
  #hexDigits(from: number): number {
    const bytes = this.#bytes;
    const first = bytes[from] === 0x30 && bytes[from + 1] === 0x78 ? from + 2 : from;
    let at = first;
    let low = 0;
    let high = 0;
    const digits = HEX_DIGIT;
    let digit = digits[bytes[at] as number] as number;
    while (digit >= 0) {
      high = (high << 4) | (low >>> 28);
      low = (low << 4) | digit;
      digit = digits[bytes[++at] as number] as number;
    }
    this.#low = low;
    this.#high = high;
    return at === first || at - first > 16 ? -1 : at;
  }

  #readDecimal(from: number, key: number): number {
    const bytes = this.#bytes;
    let at = from;
    let value = 0;
    let byte = bytes[at] as number;
    while (isDigit(byte)) {
      value = value * 10 + byte - 0x30;
      byte = bytes[++at] as number;
    }
    if (at === from || byte > SPACE || value >= 2 ** 64)
      return this.#fail(`${KEY_NAMES[key]}= holds no decimal number of up to 64 bits`);
    if (key === SIZE) this.#size = value;
    // A group's line has no sizes: its number takes the place of one.
    else this.#unmapped = value;
    return at;
  }

  /** `{0x1000,0x2000}`, perhaps with blanks after the commas. */
  #readList(from: number, key: number, events: TraceEvents): number {
    const bytes = this.#bytes;
    if (bytes[from] !== OPEN_BRACE) return this.#fail(`${KEY_NAMES[key]}= holds no {list}`);
    let at = from + 1;
    while (bytes[at] !== CLOSE_BRACE) {
      const after = this.#hexDigits(at);
      if (after < 0) return this.#fail(`${KEY_NAMES[key]}= is a list that is cut or holds something else than numbers`);
      this.#addToList(key, events);
      at = after;
      while (bytes[at] === COMMA || bytes[at] === SPACE) at++;
    }
    return at + 1;
  }

  #addToList(key: number, events: TraceEvents): void {
    if (key === PHYS_ADDRS) events.elements.push(this.#low, this.#high);
    else if (key === DMA_ADDRS) events.segments.push(this.#low, this.#high);
    else this.#addSegmentBytes(events);
  }

  #addSegmentBytes(events: TraceEvents): void {
    const row = this.#segmentFirst + this.#sizesRead++;
    const bytes = addressOf(this.#low, this.#high);
    if (row < events.segments.length) events.segments.bytes[row] = bytes;
    this.#size += bytes;
  }

  #complete(kind: number, events: TraceEvents): boolean {
    const missing = (REQUIRED[kind] as number) & ~this.#seen;
    if (missing !== 0) {
      this.reason = `${KEY_NAMES[31 - Math.clz32(missing & -missing)]}= is missing`;
      return false;
    }
    if (kind <= UNMAP) return this.#rangeHolds();
    const segments = events.segments.length - this.#segmentFirst;
    const lists = bit(DMA_ADDRS) | bit(SIZES);
    if ((this.#seen & lists) === lists && this.#sizesRead !== segments) {
      this.reason = `dma_addrs= has ${counted(segments, "number")}, sizes= ${this.#sizesRead}`;
      return false;
    }
    return true;
  }

  #rangeHolds(): boolean {
    if (this.#size === 0 && this.#unmapped === 0) {
      this.reason = "size= is 0";
      return false;
    }
    // The top page of the 64-bit space ends at 0.
    const span = ((this.#endHigh - this.#iovaHigh) | 0) * 4294967296 + ((this.#endLow >>> 0) - (this.#iovaLow >>> 0));
    if (this.#hasRangeEnd && span !== this.#size && this.#size < 2 ** 53) {
      this.reason = `the range is ${span} bytes long, size= says ${this.#size}`;
      return false;
    }
    return true;
  }

  #fail(reason: string): -1 {
    this.reason = reason;
    return -1;
  }

  /** Writes what the last `read` found into a row of the columns. */
  store(kind: number, events: TraceEvents, row: number): void {
    events.kind[row] = kind;
    events.iovaLow[row] = this.#iovaLow;
    events.iovaHigh[row] = this.#iovaHigh;
    events.physicalLow[row] = this.#physicalLow;
    events.physicalHigh[row] = this.#physicalHigh;
    events.bytes[row] = this.#bytesColumn(kind);
    events.device[row] = this.#device;
    events.direction[row] = this.#direction;
    // The label of a failed map_sg lies: its dma_addrs are physical addresses.
    if (kind === DMA_MAP_SG_ERROR) this.#moveSegmentsToElements(events);
    events.list[row] = this.#storeLists(events);
    if (events.segments.length > this.#segmentFirst) {
      events.iovaLow[row] = events.segments.low[this.#segmentFirst] as number;
      events.iovaHigh[row] = events.segments.high[this.#segmentFirst] as number;
    }
  }

  /** Returns the row of `lists` that says where the lists stand that were read. */
  #storeLists({ elements, segments, lists }: TraceEvents): number {
    const elementCount = elements.length - this.#elementFirst;
    const segmentCount = segments.length - this.#segmentFirst;
    if (elementCount === 0 && segmentCount === 0) return EMPTY_LIST;
    const list = lists.reserve();
    lists.elementFirst[list] = this.#elementFirst;
    lists.elementCount[list] = elementCount;
    lists.segmentFirst[list] = this.#segmentFirst;
    lists.segmentCount[list] = segmentCount;
    lists.length = list + 1;
    return list;
  }

  #bytesColumn(kind: number): number {
    if (kind === IO_PAGE_FAULT) return this.#flags;
    // AMD unmaps more than it was asked to when the range lies in a large page: what was really unmapped counts.
    if (kind === UNMAP && (this.#seen & bit(UNMAPPED_SIZE)) !== 0) return this.#unmapped;
    if (kind >= ADD_DEVICE && kind <= REMOVE_DEVICE) return this.#unmapped;
    if (kind === DMA_ALLOC_ERROR) return 0;
    return this.#size;
  }

  #moveSegmentsToElements(events: TraceEvents): void {
    const { segments, elements } = events;
    for (let row = this.#segmentFirst; row < segments.length; row++) {
      elements.push(segments.low[row] as number, segments.high[row] as number);
    }
    segments.length = this.#segmentFirst;
  }
}
