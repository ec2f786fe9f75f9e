/**
 * The rig of a case of the conformance suite: a board with one or two views, a driver's device on each, and a DMA master that checks mappings by
 * moving bytes.
 *
 * The rig keeps the DMA API's rules of ownership, so that it works on boards with streaming caches too: memory is written before it is mapped, and
 * read after it is unmapped.
 */

import type { CoherentMemory, DmaOperations, Mapping } from "../../dma/contract.ts";
import { DmaDevice } from "../../dma/device.ts";
import type { DeviceLimits } from "../../dma/limits.ts";
import type { DmaMaster, Fault } from "../../machine/contract.ts";
import type { Board, BoardKind } from "../../machines/board.ts";
import { PhysicalPages } from "../../memory/physical-pages.ts";
import type { EntryValue, MappingTable } from "../../table/contract.ts";
import { iovaOf, type TableOptions } from "../../table/iommu-table.ts";
import { hexadecimal } from "../../units/counts.ts";
import type { Failure } from "../../units/failure.ts";
import type { Access } from "../../units/numbers.ts";
import { expect } from "../expect.ts";
import { type BoardSetting, boardOptions, deviceLimits, hasSeveralPages, threadsOf } from "./setting.ts";

/** Bytes that are compared in one place: at the start, at the end, and at each side of a page border. */
const SAMPLE_BYTES = 32;
/** First address that cases use. On some machines the memory below belongs to the firmware. */
const FIRST_ADDRESS = 2 ** 16;
/** XORed to the content of memory to get a device's writes: they differ in every byte. */
const MARK = 0xa5;

/** Makes the DMA operations of a device on this board, for the coherent cases. `table`: the board's table, or one around it. */
export type OperationsOf = (board: Board, table: MappingTable) => DmaOperations;

/** Coherent memory comes from here on: a few IO pages, each of which is zeroed whole whenever it is taken, or some of 4 KiB. */
const COHERENT_ADDRESS = 2 ** 21;
const COHERENT_PAGES = 6;
const LEAST_COHERENT_BYTES = 2 ** 20;
/** Bytes of each page that are checked. */
const SOILED_BYTES = 2 ** 14;

/** A device as drivers have it, with pages of its own for coherent memory, which held something before. */
const coherentDevice: OperationsOf = (board, table) => {
  const { memory } = board.machine;
  const pageBytes = 2 ** table.window.pageShift;
  const address = Math.ceil(COHERENT_ADDRESS / pageBytes) * pageBytes;
  const bytes = Math.min(board.usableBytes - address, Math.max(COHERENT_PAGES * pageBytes, LEAST_COHERENT_BYTES));
  const soil = new Uint8Array(SOILED_BYTES).fill(0xd7);
  for (let at = address; at < address + bytes; at += Math.max(pageBytes, SOILED_BYTES)) memory.write(at, soil);
  return new DmaDevice(table, {}, { memory, coherentPages: PhysicalPages.create({ address, bytes }) });
};

/** A piece of a mapping that is compared: offset from its start, and length. */
interface Sample {
  readonly offset: number;
  readonly bytes: number;
}

/** Why a DMA is refused. */
export type Refusal = "not-mapped" | "not-permitted";

export class Rig {
  readonly kind: BoardKind;
  readonly setting: BoardSetting;
  /** The creator's view first. */
  readonly views: readonly Board[];
  readonly pageBytes: number;
  /** True if addresses of different indices lie in different pages. */
  readonly severalPages: boolean;
  readonly master: DmaMaster;
  readonly operations: OperationsOf;
  readonly #takenAtFirst: number;
  #closed = false;

  /** `table`: options of the generic table that a case needs, above the setting's. */
  constructor(
    kind: BoardKind,
    setting: BoardSetting,
    operations: OperationsOf = coherentDevice,
    table: TableOptions = {},
  ) {
    this.kind = kind;
    this.setting = setting;
    this.operations = operations;
    const options = boardOptions(kind, setting);
    const board = kind.create({ ...options, table: { ...options.table, ...table } });
    const more = threadsOf(kind, setting) - 1;
    this.views = [board, ...Array.from({ length: more }, () => kind.attach(board.handle))];
    this.pageBytes = 2 ** setting.pageShift;
    this.severalPages = hasSeveralPages(setting.pageShift);
    this.master = board.machine.device(0);
    this.#takenAtFirst = board.table.statistics().taken;
  }

  /** The view that maps, and the one that unmaps: the same where there is one thread. */
  get board(): Board {
    return this.views[0] as Board;
  }
  get other(): Board {
    return this.views.at(-1) as Board;
  }

  /** A driver's device with the setting's limits and merging, on the first view or on another table. */
  device(table: MappingTable = this.board.table): DmaDevice {
    return new DmaDevice(table, deviceLimits(this.setting, table.window), { merge: this.setting.merge });
  }

  /** Without limits, or with others than the setting's. */
  plainDevice(table: MappingTable = this.board.table, limits: DeviceLimits = {}): DmaDevice {
    return new DmaDevice(table, limits);
  }

  // Memory.

  /** A physical address: byte `offset` of the suite's page number `index`; where a page is all of memory, all lie in page 0. */
  address(index: number, offset = 0): number {
    if (!this.severalPages) return FIRST_ADDRESS * (1 + index) + offset;
    return (Math.ceil(FIRST_ADDRESS / this.pageBytes) + index) * this.pageBytes + offset;
  }

  /** How many indices `address` takes: at least 6. */
  get addressCount(): number {
    const bytes = this.severalPages ? this.board.usableBytes : this.board.machine.memory.bytes / 2;
    const each = this.severalPages ? this.pageBytes : FIRST_ADDRESS;
    return Math.floor((bytes - this.address(0)) / each);
  }

  /** The page number of an address. */
  pageOf(address: number): number {
    return Math.floor(address / this.pageBytes);
  }

  /** Fills what will be looked at of `bytes` bytes at `address` with bytes that tell their place. */
  fill(address: number, bytes: number): void {
    for (const sample of this.samples(address, bytes)) {
      this.board.machine.memory.write(address + sample.offset, content(address + sample.offset, sample.bytes));
    }
  }

  /** Throws unless memory holds what `fill` wrote. */
  expectUntouched(address: number, bytes: number, why: string): void {
    for (const sample of this.samples(address, bytes)) {
      const at = address + sample.offset;
      const found = this.#memory(at, sample.bytes);
      expect(
        isSame(found, content(at, sample.bytes)),
        () => `${why}: memory at ${hexadecimal(at)} has changed: ${list(found)}`,
      );
    }
  }

  /** The start, the end and the borders of pages inside of `bytes` bytes at `address`. */
  samples(address: number, bytes: number): Sample[] {
    if (bytes <= 2 * SAMPLE_BYTES) return [{ offset: 0, bytes }];
    const samples: Sample[] = [{ offset: 0, bytes: SAMPLE_BYTES }];
    const firstBorder = this.pageBytes - (address % this.pageBytes);
    for (let border = firstBorder; border < bytes; border += this.pageBytes) {
      const from = Math.max(0, border - SAMPLE_BYTES);
      samples.push({ offset: from, bytes: Math.min(2 * SAMPLE_BYTES, bytes - from) });
    }
    samples.push({ offset: bytes - SAMPLE_BYTES, bytes: SAMPLE_BYTES });
    return samples;
  }

  // Mapping, and DMA through it.

  /** Fills memory, and maps it. Throws when that fails. */
  map(address: number, bytes: number, access: Access = 3, device: DmaDevice = this.plainDevice()): Mapping {
    this.fill(address, bytes);
    const mapping = device.map(BigInt(address), bytes, access);
    expect(typeof mapping !== "string", () => `map of ${bytes} bytes at ${hexadecimal(address)} failed: ${mapping}`);
    return mapping;
  }

  /** Unmaps by the other view where there is one. What the device wrote is in memory afterwards. */
  unmap(mapping: Mapping, device: DmaDevice = this.plainDevice(this.other.table)): void {
    const failure = device.unmap(mapping);
    expect(failure === undefined, () => `unmap of ${hexadecimal(mapping.iova)} failed: ${failure}`);
  }

  /** The device reads, at `iova`, what `fill` wrote at `address`. */
  expectReads(iova: bigint, address: number, bytes: number): void {
    for (const sample of this.samples(address, bytes)) {
      this.expectRead(iova + BigInt(sample.offset), content(address + sample.offset, sample.bytes));
    }
  }

  expectRead(iova: bigint, wanted: Uint8Array): void {
    const into = new Uint8Array(wanted.length);
    const granted = this.master.dmaRead(iova, into);
    const faults = this.board.takeFaults();
    expect(
      granted && faults.length === 0,
      () => `a read of the device at ${hexadecimal(iova)} is refused: ${faultText(faults)}`,
    );
    expect(
      isSame(into, wanted),
      () => `the device reads ${list(into)} at ${hexadecimal(iova)}; memory has ${list(wanted)}`,
    );
  }

  /** The device writes marks at `iova`; `expectMarks` looks for them once it is unmapped. */
  writeMarks(iova: bigint, address: number, bytes: number): void {
    for (const sample of this.samples(address, bytes)) {
      this.write(iova + BigInt(sample.offset), marks(address + sample.offset, sample.bytes));
    }
  }

  write(iova: bigint, bytes: Uint8Array): void {
    const granted = this.master.dmaWrite(iova, bytes);
    const faults = this.board.takeFaults();
    expect(
      granted && faults.length === 0,
      () => `a write of the device at ${hexadecimal(iova)} is refused: ${faultText(faults)}`,
    );
  }

  expectMarks(address: number, bytes: number): void {
    for (const sample of this.samples(address, bytes)) {
      const at = address + sample.offset;
      const found = this.#memory(at, sample.bytes);
      const wanted = marks(at, sample.bytes);
      expect(
        isSame(found, wanted),
        () => `the device wrote ${list(wanted)} for ${hexadecimal(at)}; memory has ${list(found)}`,
      );
    }
  }

  /** The device can't read what `fill` wrote at `address`, and the refusal shows as the kind says. */
  expectNoRead(iova: bigint, address: number, why: Refusal, when: string, bytes: number = SAMPLE_BYTES): void {
    const into = new Uint8Array(bytes);
    const granted = this.master.dmaRead(iova, into);
    // Refused: what came into `into` before is unspecified.
    const hidden = (!granted && this.kind.refusals === "fault") || !isSame(into, content(address, bytes));
    const faults = this.board.takeFaults();
    expect(
      hidden,
      () => `${when}, the device still reads memory at ${hexadecimal(address)} through ${hexadecimal(iova)}`,
    );
    this.#expectRefusal({ iova, bytes, access: 1, granted, faults, why, when });
  }

  /** A write of the device at `iova` does not reach what `fill` wrote at `address`, and shows as the kind says. */
  expectNoWrite(iova: bigint, address: number, why: Refusal, when: string, bytes: number = SAMPLE_BYTES): void {
    const granted = this.master.dmaWrite(iova, marks(address, bytes));
    const faults = this.board.takeFaults();
    this.expectUntouched(address, bytes, `${when}, after a write of the device through ${hexadecimal(iova)}`);
    this.#expectRefusal({ iova, bytes, access: 2, granted, faults, why, when });
  }

  #expectRefusal(found: RefusedDma): void {
    const { iova, bytes, access, granted, faults, why, when } = found;
    if (this.kind.refusals === "data") return;
    const what = `${when}, a ${access === 1 ? "read" : "write"} of the device at ${hexadecimal(iova)}`;
    if (why === "not-mapped" && this.kind.strayAccess === "dummy-page") {
      expect(
        granted && faults.length === 0,
        () => `${what} is refused (${faultText(faults)}), not led to the dummy page`,
      );
      return;
    }
    expect(!granted, () => `${what} is granted`);
    expect(faults.length === 1, () => `${what} is recorded as ${faults.length} faults: ${faultText(faults)}`);
    const [fault] = faults as [Fault];
    const lies = fault.iova >= iova - (iova % BigInt(this.pageBytes)) && fault.iova < iova + BigInt(bytes);
    const isIt = lies && fault.device === this.master.name && fault.access === access;
    expect(isIt, () => `${what} (${this.master.name}, access ${access}) is recorded as ${faultText(faults)}`);
  }

  #memory(address: number, bytes: number): Uint8Array {
    const found = new Uint8Array(bytes);
    this.board.machine.memory.read(address, found);
    return found;
  }

  // The table.

  /** Bus address of an entry. */
  iova(entry: number): bigint {
    return iovaOf(this.board.table.window, entry);
  }

  /** The entry at a bus address. */
  entryAt(iova: bigint): number {
    const { base, pageShift } = this.board.table.window;
    return Number((iova - base) >> BigInt(pageShift));
  }

  get(entry: number): EntryValue {
    const value: EntryValue = { page: -1, access: 0 };
    this.board.table.ops.get(entry, value);
    return value;
  }

  /** Every entry that is not empty, as `get` reads it back. */
  entries(): Map<number, EntryValue> {
    const found = new Map<number, EntryValue>();
    const value: EntryValue = { page: -1, access: 0 };
    const { ops, window } = this.board.table;
    for (let entry = 0; entry < window.entries; entry++) {
      ops.get(entry, value);
      if (value.access !== 0) found.set(entry, { ...value });
    }
    return found;
  }

  /** Throws unless the table's entries are those of `before`. */
  expectEntries(before: ReadonlyMap<number, EntryValue>, when: string): void {
    const after = this.entries();
    for (const [entry, { page, access }] of after) {
      const was = before.get(entry);
      expect(
        was !== undefined,
        () => `${when}, entry ${entry} leads to page ${page} with access ${access}; it was empty`,
      );
      const same = was.page === page && was.access === access;
      expect(same, () => `${when}, entry ${entry} has page ${page}, access ${access}; had ${was.page}, ${was.access}`);
    }
    for (const [entry, { page }] of before) {
      expect(after.has(entry), () => `${when}, entry ${entry} is empty; it led to page ${page}`);
    }
  }

  /** Lazy mode: everything that was unmapped is forgotten from here on. Strict mode: it is already. */
  settle(): void {
    if (this.setting.invalidate !== "lazy") return;
    for (const { table } of this.views) expectDone(table.allocator.flushIotlb(), "a flush of the IOTLB");
  }

  /** Everything that threads hold for themselves goes back to the pools. */
  drain(): void {
    this.settle();
    for (const { table } of this.views) expectDone(table.allocator.drain(), "a drain");
  }

  /** Entries that are taken, beside those that were when the board was made; exact after `drain`. */
  get taken(): number {
    return this.board.table.statistics().taken - this.#takenAtFirst;
  }

  /** Entries that can be had. */
  get free(): number {
    return this.board.table.window.entries - this.#takenAtFirst - this.taken;
  }

  // The end.

  /** Throws when the case has left something: a mapping, an entry, a taken range, a fault. */
  expectAtRest(): void {
    this.drain();
    const when = "at the end";
    for (const [thread, ranges] of this.board.table.leaks()) {
      const where = ranges.map(({ first, end }) => `[${first}, ${end})`).join(" ");
      expect(false, () => `${when}, thread ${thread} still has ${ranges.length} live ranges: ${where}`);
    }
    this.expectEntries(new Map(), when);
    expect(this.taken === 0, () => `${when}, ${this.taken} entries are still taken`);
    for (const [name, taken] of Object.entries(this.board.platform.resources))
      expect(taken === 0, () => `${when}, ${taken} of the platform's ${name} are still in use`);
    const faults = this.board.takeFaults();
    expect(faults.length === 0, () => `${when}, faults have not been taken: ${faultText(faults)}`);
  }

  /** Gives all views back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const view of [...this.views].reverse()) view.close();
  }
}

/** A DMA that should have been refused, and what came of it. */
interface RefusedDma {
  readonly iova: bigint;
  readonly bytes: number;
  readonly access: Access;
  readonly granted: boolean;
  readonly faults: readonly Fault[];
  readonly why: Refusal;
  readonly when: string;
}

/** Throws if there is a failure. */
export function expectDone(failure: Failure | undefined, what: string): void {
  expect(failure === undefined, () => `${what} failed: ${failure}`);
}

/** Coherent memory, or a failure that is thrown. */
export function expectCoherent(result: CoherentMemory | Failure, bytes: number): CoherentMemory {
  expect(typeof result !== "string", () => `allocateCoherent of ${bytes} bytes failed: ${result}`);
  return result;
}

/** Content of memory, computed from its address. */
export function content(address: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => Math.imul(address + i + 1, 0x9e3779b1) >>> 24);
}

/** Bytes that a device writes there: each differs from that of `content`. */
export function marks(address: number, bytes: number): Uint8Array {
  return content(address, bytes).map((byte) => byte ^ MARK);
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, i) => byte === b[i]);
}

function list(bytes: Uint8Array): string {
  const shown = [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > 8 ? `${shown} …` : shown;
}

function faultText(faults: readonly Fault[]): string {
  if (faults.length === 0) return "no fault";
  return faults
    .map(({ device, iova, access, reason }) => `${device} ${hexadecimal(iova)} access ${access} ${reason}`)
    .join("; ");
}
