/**
 * The fast path: `map` and `unmap` exactly as tracefs of today's kernels prints them, nine lines in ten of a trace. Fixed
 * positions instead of a search for keys, several bytes a load. A line that deviates in one byte is left to the general reader (fields.ts),
 * so this file changes the speed and never the result; a test mutates lines and compares the two readers.
 */
import { type TraceEvents, UNKNOWN_DEVICE, UNKNOWN_DIRECTION } from "./events.ts";

// These stand here again as plain constants: an imported binding costs a load at each use.
const MAP = 1;
const UNMAP = 2;
const NEWLINE = 0x0a;
const SPACE = 0x20;
const EMPTY_LIST = 0;

const MAP_HEAD = fourByFour(" map: IOMMU: iova=0x");
const UNMAP_HEAD = fourByFour(" unmap: IOMMU: iova=0x__");
/** The last of UNMAP_HEAD's words is half. */
const UNMAP_HEAD_WORDS = 5;
const RANGE = fourByFour(" - 0");
const PHYSICAL = fourByFour(" paddr=0");
const SIZE = fourByFour(" siz");
const UNMAPPED = fourByFour(" unmapped_si");
const ZERO_X = 0x7830;
const E_EQUALS = 0x3d65;
const ZE_EQUALS = fourByFour("ize=");
const LETTER_X = 0x78;

/** Bytes of the shortest canonical lines, from the colon after the timestamp on. */
const SHORTEST_MAP = 20 + 16 + 5 + 16 + 9 + 16 + 6 + 1;
const SHORTEST_UNMAP = 22 + 16 + 5 + 16 + 6 + 1 + 15 + 1;

/** Two hexadecimal digits as a 16-bit load finds them → their value; −1: not two digits. */
const HEX_PAIR: Int16Array = hexPairs();

export class CanonicalReader {
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Negative when a byte was not a digit. */
  #bad = 0;
  #decimal = 0;

  /** The bytes that `read` will read from. */
  open(bytes: Uint8Array): void {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /**
   * Reads the rest of a line, from one past the timestamp's colon to its newline, into `row` of the columns (cpu, time and
   * line are the caller's). False: the line is not canonical; the row then means nothing.
   */
  read(at: number, newline: number, events: TraceEvents, row: number): boolean {
    const view = this.#view;
    if (newline - at >= SHORTEST_MAP && matches(view, at, MAP_HEAD, 5)) return this.#map(at + 20, newline, events, row);
    if (newline - at < SHORTEST_UNMAP || !matches(view, at, UNMAP_HEAD, UNMAP_HEAD_WORDS)) return false;
    return view.getUint16(at + 20, true) === ZERO_X && this.#unmap(at + 22, newline, events, row);
  }

  #map(at: number, newline: number, events: TraceEvents, row: number): boolean {
    const view = this.#view;
    if (!matches(view, at + 37, PHYSICAL, 2) || view.getUint8(at + 45) !== LETTER_X) return false;
    if (!matches(view, at + 62, SIZE, 1) || view.getUint16(at + 66, true) !== E_EQUALS) return false;
    this.#bad = 0;
    const end = this.#readDecimal(at + 68, newline);
    events.physicalHigh[row] = this.#hexWord(at + 46);
    events.physicalLow[row] = this.#hexWord(at + 54);
    return this.#range(at, this.#decimal, events, row, MAP) && end === newline;
  }

  #unmap(at: number, newline: number, events: TraceEvents, row: number): boolean {
    const view = this.#view;
    if (!matches(view, at + 37, SIZE, 1) || view.getUint16(at + 41, true) !== E_EQUALS) return false;
    this.#bad = 0;
    const end = this.#readDecimal(at + 43, newline);
    const size = this.#decimal;
    if (end < 0 || newline - end < 16 || !matches(view, end, UNMAPPED, 3) || !matches(view, end + 11, ZE_EQUALS, 1))
      return false;
    if (this.#readDecimal(end + 15, newline) !== newline) return false;
    events.bytes[row] = this.#decimal;
    return this.#range(at, size, events, row, UNMAP);
  }

  /** `X - 0xY` with Y − X = size; common to both. */
  #range(at: number, size: number, events: TraceEvents, row: number, kind: number): boolean {
    const view = this.#view;
    if (!matches(view, at + 16, RANGE, 1) || view.getUint8(at + 20) !== LETTER_X) return false;
    const high = this.#hexWord(at);
    const low = this.#hexWord(at + 8);
    const spanHigh = (this.#hexWord(at + 21) - high) | 0;
    const span = spanHigh * 4294967296 + ((this.#hexWord(at + 29) >>> 0) - (low >>> 0));
    // Sizes of 0 and of 2^53 bytes are for the general reader.
    if (this.#bad < 0 || span !== size || size === 0 || size >= 2 ** 53) return false;
    events.kind[row] = kind;
    events.iovaHigh[row] = high;
    events.iovaLow[row] = low;
    if (kind === MAP) events.bytes[row] = size;
    else events.physicalHigh[row] = events.physicalLow[row] = 0;
    events.device[row] = UNKNOWN_DEVICE;
    events.direction[row] = UNKNOWN_DIRECTION;
    events.list[row] = EMPTY_LIST;
    return true;
  }

  /** Eight digits as a 32-bit word. */
  #hexWord(at: number): number {
    const view = this.#view;
    const a = HEX_PAIR[view.getUint16(at, true)] as number;
    const b = HEX_PAIR[view.getUint16(at + 2, true)] as number;
    const c = HEX_PAIR[view.getUint16(at + 4, true)] as number;
    const d = HEX_PAIR[view.getUint16(at + 6, true)] as number;
    this.#bad |= a | b | c | d;
    return (a << 24) | (b << 16) | (c << 8) | d;
  }

  /** Returns where the digits end: at a space or the newline, or −1. */
  #readDecimal(from: number, newline: number): number {
    const view = this.#view;
    let value = 0;
    let at = from;
    let digit = view.getUint8(at) - 0x30;
    while (digit >= 0 && digit <= 9 && at < newline) {
      value = value * 10 + digit;
      digit = view.getUint8(++at) - 0x30;
    }
    this.#decimal = value;
    // The general reader says what is wrong with a number of more than 64 bits.
    return at > from && value < 2 ** 64 && (digit === NEWLINE - 0x30 || digit === SPACE - 0x30) ? at : -1;
  }
}

function matches(view: DataView, at: number, text: Int32Array, words: number): boolean {
  for (let word = 0; word < words; word++) if (view.getInt32(at + word * 4, true) !== text[word]) return false;
  return true;
}

/** ASCII text as little-endian 32-bit words; a multiple of 4 characters. */
function fourByFour(text: string): Int32Array {
  const view = new DataView(new ArrayBuffer(text.length));
  for (let i = 0; i < text.length; i++) view.setUint8(i, text.charCodeAt(i));
  return Int32Array.from({ length: text.length / 4 }, (_, word) => view.getInt32(word * 4, true));
}

function hexPairs(): Int16Array {
  const pairs = new Int16Array(65536).fill(-1);
  const digits = "0123456789abcdef";
  for (let high = 0; high < 16; high++) {
    for (let low = 0; low < 16; low++) pairs[digits.charCodeAt(high) | (digits.charCodeAt(low) << 8)] = high * 16 + low;
  }
  return pairs;
}
