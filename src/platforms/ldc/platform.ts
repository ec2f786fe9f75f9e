/**
 * LDC: memory that one end of a logical domain channel exports to the other, by cookies. It is the generic table with a window of cookies
 * (cookies.ts) over a map table in memory; the other end takes the role of the device. Cookies have no segment boundary.
 *
 *     const exporter = LdcPlatform.create(machine, { tableAddress });
 *     const cookies = exporter.map(address, bytes, LDC_MAP.shadow | LDC_MAP.read, 8);
 *     // to the other end by message; there: new LdcLink(machine).copy("in", address, bytes, cookies)
 *     exporter.unmap(cookies);
 *
 * Besides the generic table it has the interface of channels: exports with permissions of every kind, identified by cookies. An object is
 * one thread's view.
 */

import { UNCONSTRAINED } from "../../allocator/constraints.ts";
import { LDC_ENTRY_BYTES, LDC_MAP, ldcEntryPermissions } from "../../formats/ldc-map-entry.ts";
import type { Machine } from "../../machine/contract.ts";
import { IommuTable, inCrew, iovaOf, type TableOptions } from "../../table/iommu-table.ts";
import { hexadecimal } from "../../units/counts.ts";
import { checkInteger, FreeError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { type Failure, failureOf } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import { TablePlatform } from "../platform.ts";
import { checkNothingLive, type PlatformHandle, SharedState } from "../shared-state.ts";
import { EOK } from "../sun4v/services.ts";
import { cookieIndex, cookiePages, cookieWindow, type LdcCookie } from "./cookies.ts";
import { LdcError } from "./errors.ts";
import { checkAligned, LdcLink, ldcHypercallOf } from "./link.ts";
import { LdcOps } from "./ops.ts";
import {
  CHANNEL,
  LDC_SET_MAP_TABLE,
  LEAST_TABLE_ENTRIES,
  MAP_TABLE_ALIGNMENT,
  MOST_TABLE_ENTRIES,
} from "./services.ts";

const DEFAULT_ENTRIES = 8192;
const DEFAULT_PAGE_SHIFT = 13;

/** Options of `LdcPlatform.create`. */
export interface LdcPlatformOptions {
  /** log2 of the size of exported pages in bytes: 13, 16, 19, 22, 25, 28, 31 or 34. Default 13. */
  readonly pageShift?: number;
  /** Entries of the map table: a power of two, 512 .. 2^20. Default 8192. */
  readonly entries?: number;
  /** Physical address of the map table: a multiple of 8192. The table has 16 bytes for each entry, which nothing else may use. */
  readonly tableAddress: number;
  /** Options of the generic table. Default: one pool. */
  readonly table?: TableOptions;
}

/** Handle of an LDC platform, structured-cloneable: post it to another thread and call `LdcPlatform.attach` there. */
export interface LdcPlatformHandle extends PlatformHandle {
  /** @internal */
  readonly tableAddress: number;
}

/** A piece of memory to export. */
export interface LdcPiece {
  /** Physical address of the first byte: a multiple of 8. */
  readonly address: number;
  /** Length in bytes: a multiple of 8. */
  readonly bytes: number;
}

/**
 * The exporting end of a logical domain channel. `map` returns cookies for the other end, `unmap` ends them; `generic` maps as on any
 * platform. Addresses are real addresses, lengths are in bytes.
 *
 * One object is one thread's view: post the machine's handle and this one's, and `attach` in each other thread. Errors of the channel are
 * thrown as LdcErrors.
 *
 * @example
 * ```ts
 * import { LDC_MAP, LdcHypervisor, LdcLink, LdcPlatform } from "iova/platform";
 *
 * const channel = LdcHypervisor.create({ memoryBytes: 2 ** 20 });
 * const exporter = LdcPlatform.create(channel, { tableAddress: 0x8_0000, entries: 512 });
 * const importer = new LdcLink(channel.ends[1]);
 * exporter.link.connect();
 * importer.connect();
 *
 * channel.memory.write(0x1000, new TextEncoder().encode("exported"));
 * const cookies = exporter.map(0x1000, 8, LDC_MAP.shadow | LDC_MAP.read, 1);
 * console.log(importer.copy("in", 0x2000, 8, cookies), "bytes copied");
 * const text = new Uint8Array(8);
 * channel.ends[1].memory.read(0x2000, text);
 * console.log(new TextDecoder().decode(text));
 * console.log(exporter.unmap(cookies) ?? "unmapped");
 * channel.close();
 * ```
 * ```text output
 * 8 bytes copied
 * exported
 * unmapped
 * ```
 */
export class LdcPlatform extends TablePlatform {
  readonly handle: LdcPlatformHandle;
  /** @internal */
  readonly ops: LdcOps;
  /** This end of the link. */
  readonly link: LdcLink;
  readonly #machine: Machine;
  readonly #state: SharedState;

  private constructor(machine: Machine, state: SharedState, tableAddress: number, generic: IommuTable, ops: LdcOps) {
    super(machine, generic);
    this.handle = { tableAddress, state: state.buffer, table: generic.handle };
    this.ops = ops;
    this.link = new LdcLink(machine);
    this.#machine = machine;
    this.#state = state;
  }

  /**
   * Writes an empty map table, registers it with the hypervisor, and attaches this thread. `link.connect` is a separate step. Throws
   * InvalidArgumentError for inconsistent options and for a machine without a hypervisor, and IovaError "platform-refused" if the hypervisor
   * refuses the table.
   */
  static create(machine: Machine, options: LdcPlatformOptions): LdcPlatform {
    checkKeys("an LDC platform", options, { pageShift: "any", entries: "any", tableAddress: "any", table: "object" });
    const { pageShift = DEFAULT_PAGE_SHIFT, entries = DEFAULT_ENTRIES, tableAddress } = options;
    const window = cookieWindow(pageShift, entries);
    checkInteger("entries of the map table", entries, LEAST_TABLE_ENTRIES, MOST_TABLE_ENTRIES);
    if (!Number.isInteger(Math.log2(entries))) {
      throw new InvalidArgumentError("entries of the map table", entries, "a power of two");
    }
    const last = machine.memory.bytes - entries * LDC_ENTRY_BYTES;
    if (!(Number.isInteger(tableAddress / MAP_TABLE_ALIGNMENT) && tableAddress >= 0 && tableAddress <= last)) {
      const expected = `a multiple of ${MAP_TABLE_ALIGNMENT} from 0 to ${last}`;
      throw new InvalidArgumentError("address of the map table", tableAddress, expected);
    }
    const state = SharedState.create();
    const ops = new LdcOps({ machine, window, tableAddress, state });
    const generic = IommuTable.create(window, ops, inCrew({ pools: 1, ...options.table }, machine.crew));
    machine.memory.write(tableAddress, new Uint8Array(entries * LDC_ENTRY_BYTES));
    setMapTable(machine, tableAddress, entries);
    return new LdcPlatform(machine, state, tableAddress, generic, ops);
  }

  /** Attaches the calling thread, with this thread's view of the machine. Throws FormatError for a foreign handle. */
  static attach(machine: Machine, handle: LdcPlatformHandle): LdcPlatform {
    const state = SharedState.attach("an LDC platform", handle, { tableAddress: "count" });
    const { tableAddress, table } = handle;
    const ops = new LdcOps({ machine, window: table.window, tableAddress, state });
    return new LdcPlatform(machine, state, tableAddress, IommuTable.attach(table, ops, machine.crew), ops);
  }

  /**
   * Exports one piece of memory. `permissions`: a sum of bits of `LDC_MAP`. `mostCookies`: limit of the number of pages. The pages share one
   * cookie.
   * @throws LdcError EINVAL for other permissions or no bytes, EFAULT if address or length is not a multiple of 8, EMSGSIZE if `mostCookies`
   * is below the number of pages, ENOMEM if the table lacks enough consecutive free entries. Nothing is exported then.
   */
  map(address: number, bytes: number, permissions: number, mostCookies: number): readonly LdcCookie[] {
    return this.mapSg([{ address, bytes }], permissions, mostCookies);
  }

  /** As `map`, for several pieces. A piece extends the previous cookie if they meet at a page border. Empty pieces are skipped. */
  mapSg(pieces: readonly LdcPiece[], permissions: number, mostCookies: number): readonly LdcCookie[] {
    if (!Number.isInteger(permissions) || permissions < 0 || permissions > LDC_MAP.all) {
      throw new LdcError("EINVAL", `permissions of an export are ${permissions}; expected a sum of 1, 2, 4, 8, 16, 32`);
    }
    for (const { address, bytes } of pieces) checkAligned("an export", address, bytes);
    const filled = pieces.filter(({ bytes }) => bytes > 0);
    if (filled.length === 0) throw new LdcError("EINVAL", "an export has no bytes");
    const pages = filled.reduce((sum, piece) => sum + this.#pagesOf(piece), 0);
    if (!(pages <= mostCookies)) {
      throw new LdcError("EMSGSIZE", `an export of ${pages} pages has room for ${mostCookies} cookies`);
    }
    const { generic } = this;
    const first = generic.allocate(pages, UNCONSTRAINED, -1);
    if (first < 0) throw noEntries(pages, failureOf(first));
    const failure = this.#write(first, filled, ldcEntryPermissions(permissions)) ?? generic.publish();
    if (failure !== undefined) {
      generic.abandon(first, pages);
      throw new LdcError(failure === "platform-busy" ? "EBUSY" : "EFAULT", `an export of ${pages} pages: ${failure}`);
    }
    generic.commit(first, pages);
    return this.#cookiesOf(first, filled);
  }

  /**
   * Ends an export. `cookies`: all cookies that `map` or `mapSg` returned, in their order. The other end's mappings of the pages are
   * revoked, and no copy by them is in progress afterwards. A returned failure means that the hypervisor could not revoke them: the entries
   * stay quarantined.
   * @throws FreeError, and changes nothing, if these are not the cookies of one export
   */
  unmap(cookies: readonly LdcCookie[]): Failure | undefined {
    const { base, entries, pageShift } = this.generic.window;
    const address = cookies[0]?.address ?? 0n;
    const inWindow = address >= base && address < base + (BigInt(entries) << BigInt(pageShift));
    if (cookies.length === 0 || !inWindow) {
      throw new FreeError("out-of-range", `unmap of ${cookies.length} cookies at ${hexadecimal(address)}`);
    }
    const pages = cookies.reduce((sum, cookie) => sum + cookiePages(cookie), 0);
    return this.generic.unmap(cookieIndex(address), pages);
  }

  /**
   * Removes the map table, and revokes pages that the other end still has mapped in. Afterwards every use of the table throws, on all
   * threads. Call it when no other thread uses the table. Throws IovaError "in-use" while ranges are live, and "platform-refused" if the
   * hypervisor refuses; the call can then be repeated.
   */
  remove(): void {
    checkNothingLive(this.generic);
    // Lazily unmapped pages are not revoked yet.
    const refused = this.#state.isEnding ? undefined : this.ops.invalidateAll();
    if (refused !== undefined) throw new IovaError("platform-refused", `pages can't be revoked: ${refused}`);
    // From here on the hypervisor may have removed the table, and nothing is left by which pages could be revoked.
    this.#state.markEnding();
    setMapTable(this.#machine, 0, 0);
    this.#state.markGone();
  }

  #pagesOf({ address, bytes }: LdcPiece): number {
    const pageBytes = 2 ** this.generic.window.pageShift;
    return Math.ceil(((address % pageBytes) + bytes) / pageBytes);
  }

  #write(first: number, pieces: readonly LdcPiece[], permissions: number): Failure | undefined {
    const pageBytes = 2 ** this.generic.window.pageShift;
    let entry = first;
    for (const piece of pieces) {
      const pages = this.#pagesOf(piece);
      const failure = this.ops.setWith(entry, pages, Math.floor(piece.address / pageBytes), permissions);
      if (failure !== undefined) return failure;
      entry += pages;
    }
    return undefined;
  }

  #cookiesOf(first: number, pieces: readonly LdcPiece[]): readonly LdcCookie[] {
    const pageBytes = 2 ** this.generic.window.pageShift;
    const cookies: LdcCookie[] = [];
    let entry = first;
    for (const piece of pieces) {
      const address = iovaOf(this.generic.window, entry) + BigInt(piece.address % pageBytes);
      const last = cookies.at(-1);
      if (last !== undefined && last.address + BigInt(last.bytes) === address) {
        cookies[cookies.length - 1] = { address: last.address, bytes: last.bytes + piece.bytes };
      } else cookies.push({ address, bytes: piece.bytes });
      entry += this.#pagesOf(piece);
    }
    return cookies;
  }
}

function noEntries(pages: number, failure: Failure): LdcError {
  const lacksSpace = failure === "table-full" || failure === "longer-than-table";
  return new LdcError(lacksSpace ? "ENOMEM" : "EBUSY", `an export of ${pages} pages: ${failure}`);
}

function setMapTable(machine: Machine, address: number, entries: number): void {
  const args = BigUint64Array.of(BigInt(CHANNEL), BigInt(address), BigInt(entries));
  const status = ldcHypercallOf(machine)(LDC_SET_MAP_TABLE, args);
  if (status !== EOK) throw new IovaError("platform-refused", `ldc_set_map_table: the hypervisor answers ${status}`);
}
