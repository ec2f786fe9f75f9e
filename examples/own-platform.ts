// A platform of one's own: the imaginary Acme IOMMU. docs/writing-a-platform.md leads through it, part by part.
import {
  type Access,
  type DmaWindow,
  type EntryAccess,
  type Failure,
  FormatError,
  InvalidArgumentError,
  IommuTable,
  type TableOptions,
} from "iova";
import { type EntryFormat, type EntryValue, type Machine, type TableOps, TablePlatform } from "iova/platform";
import { type Board, type BoardKind, type BoardOptions, boardOf, checkBoardOptions } from "iova/testing";
import { ACME, AcmeMachine } from "./own-machine.ts";

// 1. The format: 8 bytes, little-endian; READ in bit 0, WRITE in bit 1, the physical address in bits 12 to 47.
export const acmeEntry: EntryFormat = {
  name: "acme",
  pageShifts: [12, 16],
  grants: { 1: 1, 2: 2, 3: 3 },
  validWord: 0,
  empty: [0, 0],
  largestPage: (pageShift) => 2 ** (48 - pageShift) - 1,
  encode(page, count, access, pageShift, into) {
    const fits = Number.isInteger(page) && page >= 0 && page + count - 1 <= 2 ** (48 - pageShift) - 1;
    for (let i = 0; fits && i < count; i++) {
      const address = (page + i) * 2 ** pageShift;
      into[2 * i] = (address % 2 ** 32) + (access & 3);
      into[2 * i + 1] = Math.floor(address / 2 ** 32);
    }
    return fits;
  },
  decode(from, at, pageShift, into) {
    const [low = 0, high = 0] = [from[at], from[at + 1]];
    into.access = (low & 3) as 0 | Access;
    into.page = into.access === 0 ? 0 : Math.floor((high * 2 ** 32 + low) / 2 ** pageShift);
  },
};

// 2. The ops: how a range of entries is written, emptied, read back, and forgotten by the IOTLB.
export class AcmeOps implements TableOps {
  readonly #machine: Machine;
  readonly #window: DmaWindow;
  readonly #tableAddress: number;

  constructor(machine: Machine, window: DmaWindow, tableAddress: number) {
    this.#machine = machine;
    this.#window = window;
    this.#tableAddress = tableAddress;
  }

  set(first: number, count: number, page: number, access: EntryAccess): Failure | undefined {
    const words = new Uint32Array(2 * count);
    if (!acmeEntry.encode(page, count, access, this.#window.pageShift, words)) return "platform-refused";
    // The word with the permissions last: a walk in between finds an entry that permits nothing.
    this.#machine.memory.storeWords(this.#at(first, count), words, 2 * count, acmeEntry.validWord);
    return undefined;
  }
  clear(first: number, count: number): void {
    this.#machine.memory.storeWords(this.#at(first, count), new Uint32Array(2 * count), 2 * count, 0);
  }
  get(entry: number, into: EntryValue): void {
    const at = this.#at(entry, 1);
    const { memory } = this.#machine;
    acmeEntry.decode(Uint32Array.of(memory.load32(at), memory.load32(at + 4)), 0, this.#window.pageShift, into);
  }
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.get(entry, old);
    return this.set(entry, 1, page, access);
  }
  publish(): Failure | undefined {
    this.#machine.memory.fence();
    return undefined;
  }
  invalidate(first: number, end: number): Failure | undefined {
    for (let entry = first; entry < end; entry++) this.#machine.registers.write32(ACME.forget, entry);
    return undefined;
  }
  invalidateAll(): Failure | undefined {
    this.#machine.registers.write32(ACME.forgetAll, 1);
    return undefined;
  }

  #at(first: number, count: number): number {
    const { entries } = this.#window;
    if (first >= 0 && count >= 1 && first + count <= entries) return this.#tableAddress + 8 * first;
    throw new InvalidArgumentError("entries", `[${first}, ${first + count})`, `some in [0, ${entries})`);
  }
}

// 3. The platform: places the table, programs the registers, and encloses the generic table beside fields of its own.
export class AcmePlatform extends TablePlatform {
  readonly tableAddress: number;

  private constructor(machine: Machine, generic: IommuTable, tableAddress: number) {
    super(machine, generic);
    this.tableAddress = tableAddress;
  }

  get handle(): object {
    return { tableAddress: this.tableAddress, table: this.generic.handle };
  }

  static create(machine: Machine, window: DmaWindow, tableAddress: number, table?: TableOptions): AcmePlatform {
    if (!acmeEntry.pageShifts.includes(window.pageShift))
      throw new InvalidArgumentError("page shift", window.pageShift, `one of ${acmeEntry.pageShifts}`);
    const ops = new AcmeOps(machine, window, tableAddress);
    const generic = IommuTable.create(window, ops, table);
    ops.clear(0, window.entries);
    machine.registers.write64(ACME.table, BigInt(tableAddress));
    machine.registers.write64(ACME.window, window.base);
    machine.registers.write32(ACME.pageShift, window.pageShift);
    machine.registers.write32(ACME.entries, window.entries);
    return new AcmePlatform(machine, generic, tableAddress);
  }
}

// 4. The board: the platform on its machine, as the test suite creates it.
export const acmeBoard: BoardKind = {
  name: "acme",
  summary: "an imaginary IOMMU, to show what a platform needs",
  format: acmeEntry.name,
  pageShifts: acmeEntry.pageShifts,
  levels: [1],
  grants: acmeEntry.grants,
  strayAccess: "refused",
  refusals: "fault",
  hasIotlb: true,
  entriesPerHypercall: 0,
  largestTable: () => 2 ** 20,
  platformBytes: (entries) => 8 * entries,
  maxThreads: 1,
  deviceNames: ["acme0"],
  create: createBoard,
  attach: () => {
    throw new FormatError("an Acme board has one thread: its machine is no shared memory");
  },
};

function createBoard(options: BoardOptions): Board {
  checkBoardOptions(acmeBoard, options);
  const { memoryBytes, pageShift = 12, entries = 1024, table: tableOptions } = options;
  const machine = new AcmeMachine(memoryBytes);
  const usableBytes = Math.floor((memoryBytes - 8 * entries) / 2 ** pageShift) * 2 ** pageShift;
  const window = { base: 0x4000_0000n, pageShift, entries };
  const platform = AcmePlatform.create(machine, window, usableBytes, { ...tableOptions, threads: 1 });
  const statistics = () => ({ invalidations: machine.invalidations, hypercalls: 0 });
  return boardOf({ kind: acmeBoard, machine, platform, firstAddress: usableBytes, statistics });
}
