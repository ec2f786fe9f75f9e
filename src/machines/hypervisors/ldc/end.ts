/**
 * One end of a channel, as its domain sees it: memory, and the hypervisor's calls. It exports memory by a map table in its own memory, and
 * copies from and to memory that the other end exports. Copies are DMA through the other end's map table, which is read for each entry.
 */
import type { Fault, Hypercall, Machine, Registers } from "../../../machine/contract.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import { cookieIndex, pageShiftOf, SIZE_CODES, sizeCodeOf } from "../../../platforms/ldc/cookies.ts";
import {
  CHANNEL,
  COPY_ALIGNMENT,
  COPY_IN,
  COPY_OUT,
  LDC_COPY,
  LDC_MAPIN,
  LDC_REVOKE,
  LDC_RX_QCONF,
  LDC_SET_MAP_TABLE,
  LDC_TX_GET_STATE,
  LDC_UNMAP,
  LEAST_TABLE_ENTRIES,
  LINK_DOWN,
  LINK_RESET,
  LINK_UP,
  MAP_TABLE_ALIGNMENT,
  MOST_TABLE_ENTRIES,
} from "../../../platforms/ldc/services.ts";
import {
  EBADALIGN,
  EBADPGSZ,
  EBADTRAP,
  EBUSY,
  ECHANNEL,
  EINVAL,
  ENOACCESS,
  ENOMAP,
  ENORADDR,
  EOK,
  EWOULDBLOCK,
} from "../../../platforms/sun4v/services.ts";
import { load, type SharedWords, store } from "../../../shared/memory.ts";
import type { SoftwareMachine } from "../../software/machine.ts";
import { closed, PASSED, STILL_IN_FLIGHT } from "../../software/threads.ts";
import type { CallInjection } from "../injection.ts";
import { END, type Layout } from "./layout.ts";
import type { MapIn } from "./map-in.ts";

/** Format code of the entries in walk.ts. */
const FORMAT = 4;
const ENTRY_BYTES = 16;
/** Bytes copied at a time: no piece crosses a page border. */
const PIECE_BYTES = 8192;
const ALIGNMENT = BigInt(COPY_ALIGNMENT);

// States of an end's side of the link.
const NOT_CONFIGURED = 0;
const CONFIGURED = 1;
const WAS_RESET = 2;

/** The parts of an end's view. */
export interface LdcEndParts {
  readonly end: 0 | 1;
  /** This end's memory, and the translation unit that walks its map table for the other end's copies. */
  readonly machine: SoftwareMachine;
  /** The same of the other end. */
  readonly other: SoftwareMachine;
  readonly state: SharedWords;
  readonly layout: Layout;
  readonly injection: CallInjection;
  /** The pages that this end has mapped in, and those that the other end has mapped in. */
  readonly mapIn: MapIn;
  readonly otherMapIn: MapIn;
  /** False once the thread's view is closed. */
  readonly isOpen: () => boolean;
}

/** One thread's view. */
export class LdcEnd implements Machine {
  readonly memory: PhysicalMemory;
  readonly registers: Registers;
  readonly #parts: LdcEndParts;
  readonly #at: number;
  readonly #otherAt: number;
  readonly #piece: Uint8Array = new Uint8Array(PIECE_BYTES);

  constructor(parts: LdcEndParts) {
    this.memory = parts.machine.memory;
    this.registers = parts.machine.registers;
    this.#parts = parts;
    this.#at = parts.layout.ends[parts.end];
    this.#otherAt = parts.layout.ends[parts.end === 0 ? 1 : 0];
  }

  /** Copies of the other end that this end's entries refused. */
  faults(): readonly Fault[] {
    return this.#parts.machine.faults();
  }

  /** Reads, as a CPU of this domain, a page that it has mapped in, at a real address from ldc_mapin. False: the access traps. */
  readMappedIn(address: number, into: Uint8Array): boolean {
    return this.#parts.mapIn.read(address, into);
  }
  writeMappedIn(address: number, from: Uint8Array): boolean {
    return this.#parts.mapIn.write(address, from);
  }

  /** The link state of this end: LINK_UP, LINK_DOWN, LINK_RESET. */
  get link(): number {
    const own = load(this.#parts.state, this.#at + END.link);
    if (own === WAS_RESET) return LINK_RESET;
    return own === CONFIGURED && load(this.#parts.state, this.#otherAt + END.link) === CONFIGURED ? LINK_UP : LINK_DOWN;
  }

  /** The domain's calls; see services.ts. Returns EBADTRAP for an unknown call. */
  readonly hypercall: Hypercall = (number, args) => {
    if (!this.#parts.isOpen()) throw closed();
    const injected = this.#parts.injection.begin();
    if (injected !== 0) return injected;
    // The only call without a channel argument.
    if (number === LDC_UNMAP) return this.#parts.mapIn.unmap(args[0] as bigint);
    if (args[0] !== BigInt(CHANNEL)) return ECHANNEL;
    const first = args[1] as bigint;
    switch (number) {
      case LDC_TX_GET_STATE:
        // Head and tail of the transmit queue: messages are not modelled.
        args[0] = 0n;
        args[1] = 0n;
        args[2] = BigInt(this.link);
        return EOK;
      case LDC_RX_QCONF:
        return this.#configureLink(Number(args[2]));
      case LDC_SET_MAP_TABLE:
        return this.#setMapTable(Number(first), Number(args[2]));
      case LDC_COPY:
        return this.#copy(first, args[2] as bigint, args[3] as bigint, args[4] as bigint, args);
      case LDC_MAPIN:
        return this.link === LINK_UP ? this.#parts.mapIn.map(first, args) : ECHANNEL;
      case LDC_REVOKE:
        return this.#revoke(first, Number(args[2]));
      default:
        return EBADTRAP;
    }
  };

  #configureLink(entries: number): number {
    const { state } = this.#parts;
    if (entries !== 0) {
      store(state, this.#at + END.link, CONFIGURED);
      return EOK;
    }
    // The other end must see the reset: the link stays down until it has configured again.
    store(state, this.#at + END.link, WAS_RESET);
    if (load(state, this.#otherAt + END.link) !== NOT_CONFIGURED) store(state, this.#otherAt + END.link, WAS_RESET);
    return EOK;
  }

  /** With 0 entries, removes the map table. */
  #setMapTable(address: number, entries: number): number {
    const { machine, state } = this.#parts;
    const { translation } = machine;
    if (entries === 0) return this.#endMapTable();
    if (address % MAP_TABLE_ALIGNMENT !== 0) return EBADALIGN;
    const inRange = entries >= LEAST_TABLE_ENTRIES && entries <= MOST_TABLE_ENTRIES;
    if (!inRange || !Number.isInteger(Math.log2(entries))) return EINVAL;
    if (address + entries * ENTRY_BYTES > machine.memory.bytes) return ENORADDR;
    const ended = this.#endMapTable();
    if (ended !== EOK) return ended;
    for (let code = 0; code < SIZE_CODES; code++) {
      const base = BigInt(code) << 60n;
      const setup = { base, pageShift: pageShiftOf(code), entries, format: FORMAT, tableAddress: address };
      if (translation.openWindow(0, code, setup) !== PASSED) return EBUSY;
    }
    store(state, this.#at + END.tablePage, address / MAP_TABLE_ALIGNMENT);
    store(state, this.#at + END.tableEntries, entries);
    return EOK;
  }

  /** Ends the other end's copies and mapped-in pages of the old table. EBUSY: some could not be ended; the call can be repeated. */
  #endMapTable(): number {
    const { machine, state, otherMapIn } = this.#parts;
    // First, so that later calls of ldc_mapin find no entry, and calls in progress are revoked.
    store(state, this.#at + END.tableEntries, 0);
    let answer = otherMapIn.endAll();
    for (let code = 0; code < SIZE_CODES; code++) {
      if (machine.translation.closeWindow(0, code) !== PASSED) answer = EBUSY;
    }
    return answer;
  }

  #copy(direction: bigint, cookie: bigint, address: bigint, bytes: bigint, args: BigUint64Array): number {
    if (direction !== BigInt(COPY_IN) && direction !== BigInt(COPY_OUT)) return EINVAL;
    if (cookie % ALIGNMENT !== 0n || address % ALIGNMENT !== 0n || bytes % ALIGNMENT !== 0n) return EBADALIGN;
    if (this.link !== LINK_UP) return ECHANNEL;
    if (address + bytes > BigInt(this.memory.bytes)) return ENORADDR;
    if (sizeCodeOf(cookie) >= SIZE_CODES) return EBADPGSZ;
    const asked = this.#parts.injection.take(Number(bytes));
    // At least one unit: a copy of 0 bytes would succeed without reading the entry.
    const wanted = bytes === 0n ? 0 : Math.max(COPY_ALIGNMENT, asked - (asked % COPY_ALIGNMENT));
    const copied = this.#copyPieces(direction === BigInt(COPY_IN), cookie, Number(address), wanted);
    if (copied === 0 && wanted > 0) return this.#refusalOf(cookie);
    args[0] = BigInt(copied);
    return EOK;
  }

  /** Copies up to the first page that is refused. Returns the number of bytes. */
  #copyPieces(into: boolean, cookie: bigint, address: number, bytes: number): number {
    const device = this.#parts.other.device(0);
    let copied = 0;
    while (copied < bytes) {
      const at = cookie + BigInt(copied);
      const length = Math.min(bytes - copied, PIECE_BYTES - Number(at % BigInt(PIECE_BYTES)));
      const piece = this.#piece.subarray(0, length);
      if (!into) this.memory.read(address + copied, piece);
      const moved = into ? device.dmaRead(at, piece) : device.dmaWrite(at, piece);
      if (!moved) break;
      if (into) this.memory.write(address + copied, piece);
      copied += length;
    }
    return copied;
  }

  /** The status of a refused copy by this cookie. */
  #refusalOf(cookie: bigint): number {
    const { state, other } = this.#parts;
    const index = cookieIndex(cookie);
    if (index >= load(state, this.#otherAt + END.tableEntries)) return EINVAL;
    const at = load(state, this.#otherAt + END.tablePage) * MAP_TABLE_ALIGNMENT + index * ENTRY_BYTES;
    return other.memory.load32(at + 4) === 0 ? ENOMAP : ENOACCESS;
  }

  /** Ends the other end's use of the cookie's entry: its mapped-in page, and copies in progress. */
  #revoke(cookie: bigint, revokeCookie: number): number {
    const index = cookieIndex(cookie);
    if (sizeCodeOf(cookie) >= SIZE_CODES) return EBADPGSZ;
    if (index >= load(this.#parts.state, this.#at + END.tableEntries)) return EINVAL;
    const revoked = revokeCookie === 0 ? EOK : this.#parts.otherMapIn.revoke(index, revokeCookie);
    if (revoked !== EOK) return revoked;
    const answer = this.#parts.machine.translation.invalidate(0, sizeCodeOf(cookie), index, index + 1);
    if (answer === PASSED) return EOK;
    return answer === STILL_IN_FLIGHT ? EBUSY : EWOULDBLOCK;
  }
}
