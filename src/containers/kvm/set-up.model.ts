/**
 * Set-up of tests of guest tables: a machine with a PHB, a VMM with the guest's memory, hardware tables of "nic" and "disk", and DMA by which tests
 * check mappings.
 */
import { Crew } from "../../crew/crew.ts";
import type { Memory } from "../../machine/contract.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import { PinnedTable, type PinnedTableHandle } from "../../pinned/pinned-table.ts";
import type { UserMemory } from "../../pinned/user-memory.ts";
import { TableGroup } from "../../platforms/powernv/group.ts";
import { Phb, type PhbHandle } from "../../platforms/powernv/phb.ts";
import { DEVICES, machineWith, phbOn } from "../../platforms/powernv/set-up.model.ts";
import { PowernvTable, type PowernvTableHandle } from "../../platforms/powernv/table.ts";
import { H_GET_TCE, H_PUT_TCE, H_PUT_TCE_INDIRECT, H_STUFF_TCE } from "../../platforms/pseries/papr.ts";
import { GuestCalls, type GuestCallsOptions } from "./guest-calls.ts";
import { GuestTables, type GuestTablesHandle } from "./guest-tables.ts";

export const LIOBN = 0x8000_0000;
/** Pages of the guest, from guest page 0 on. Page n of the guest is user page USER_PAGE + n of the VMM. */
export const GUEST_PAGES = 256;
export const USER_PAGE = 0x7f00_0000;
/** Entries of 4 KiB of each hardware table, and of the guest's. */
export const ENTRIES = 256;
/** A page of the guest in which tests write lists. */
export const LIST_PAGE = 255;
const THREADS = 6;

/** The physical page behind a guest page: blocks of 64 KiB, not in order. */
function physicalPage(guestPage: number): number {
  return 16 * (1 + ((Math.floor(guestPage / 16) * 7 + 3) % 16)) + (guestPage % 16);
}

export class VmmMemory implements UserMemory {
  /** Physical pages at the moment when they were unpinned, in which a device may have written. */
  readonly dirty: number[] = [];
  pageOf(userPage: number): number {
    const page = userPage - USER_PAGE;
    return page >= 0 && page < GUEST_PAGES ? physicalPage(page) : -1;
  }
  backingShift(): number {
    return 16;
  }
  onUnpin(_: number, page: number, isDirty: boolean): void {
    if (isDirty) this.dirty.push(page);
  }
}

/** The guest's physical memory, as its threads see it. */
export class GuestRam implements Memory {
  readonly bytes: number = GUEST_PAGES * 4096;
  readonly #machine: Memory;
  constructor(machine: Memory) {
    this.#machine = machine;
  }
  read(at: number, into: Uint8Array): void {
    this.#byPages(at, into, (address, part) => this.#machine.read(address, part));
  }
  write(at: number, from: Uint8Array): void {
    this.#byPages(at, from, (address, part) => this.#machine.write(address, part));
  }
  load32(at: number): number {
    return this.#machine.load32(physical(at));
  }
  store32(at: number, value: number): void {
    this.#machine.store32(physical(at), value);
  }
  storeWords(at: number, from: Uint32Array, count: number, last: 0 | 1): void {
    // Lists lie in one page.
    this.#machine.storeWords(physical(at), from, count, last);
  }
  compareExchange32(at: number, expected: number, wanted: number): number {
    return this.#machine.compareExchange32(physical(at), expected, wanted);
  }
  fence(): void {
    this.#machine.fence();
  }
  #byPages(at: number, bytes: Uint8Array, move: (address: number, part: Uint8Array) => void): void {
    for (let done = 0; done < bytes.length; ) {
      const count = Math.min(bytes.length - done, 4096 - ((at + done) % 4096));
      move(physical(at + done), bytes.subarray(done, done + count));
      done += count;
    }
  }
}

function physical(address: number): number {
  return physicalPage(Math.floor(address / 4096)) * 4096 + (address % 4096);
}

/** Handles for another thread's view. */
export interface SceneHandle {
  readonly machine: SoftwareMachine["handle"];
  readonly pinned: PinnedMemory["handle"];
  readonly owner: number;
  readonly phb: PhbHandle;
  readonly tces: readonly PowernvTableHandle[];
  readonly hardware: readonly PinnedTableHandle[];
  readonly tables: GuestTablesHandle;
}

/** One thread's view. */
export interface Scene {
  readonly machine: SoftwareMachine;
  readonly pinned: PinnedMemory;
  readonly memory: VmmMemory;
  readonly owner: number;
  readonly phb: Phb;
  /** Platform's tables of "nic" and "disk". */
  readonly tces: readonly PowernvTable[];
  readonly hardware: readonly PinnedTable[];
  readonly tables: GuestTables;
  readonly ram: GuestRam;
  readonly handle: SceneHandle;
}

export interface SceneOptions {
  /** log2 of the page bytes of each hardware table. Default: two tables of 4 KiB. */
  readonly shifts?: readonly number[];
  readonly levels?: number;
  readonly limitBytes?: number;
}

/** A guest whose memory is in slot 0, without tables; nothing is registered. */
export function sceneOf({ shifts = [12, 12], levels = 1, limitBytes = 2 ** 30 }: SceneOptions = {}): Scene {
  const machine = machineWith({ threads: THREADS });
  const phb = phbOn(machine, { threads: THREADS });
  const pinned = PinnedMemory.create({ memoryBytes: machine.memory.bytes, crew: machine.crew, regions: 256 });
  const memory = new VmmMemory();
  const owner = pinned.addOwner({ limitBytes }, memory) as number;
  const tces = shifts.map((pageShift, i) => {
    const group = TableGroup.create(phb, i + 1);
    const table = group.createTable({ window: 0, pageShift, windowBytes: BigInt(ENTRIES * 4096), levels });
    const failure = group.setWindow(table);
    if (failure !== undefined) throw new Error(`window: ${failure}`);
    phb.bindDevice((DEVICES[i] as { name: string }).name, i + 1);
    // The VMM has the table alone.
    table.takeOwnership();
    return table;
  });
  const hardware = tces.map((table) => PinnedTable.create(pinned, owner, table.generic.window, table.ops));
  const tables = GuestTables.create({ pinned, owner, entries: 4 * ENTRIES });
  tables.setMemory(0, {
    guestAddress: 0n,
    bytes: BigInt(GUEST_PAGES) << 12n,
    userAddress: BigInt(USER_PAGE) << 12n,
  });
  for (let page = 0; page < GUEST_PAGES; page++) machine.memory.store32(4096 * physicalPage(page), page);
  const handle: SceneHandle = {
    machine: machine.handle,
    pinned: pinned.handle,
    owner,
    phb: phb.handle,
    tces: tces.map((table) => table.handle),
    hardware: hardware.map((table) => table.handle),
    tables: tables.handle,
  };
  return { machine, pinned, memory, owner, phb, tces, hardware, tables, ram: new GuestRam(machine.memory), handle };
}

/** Another thread's view, of the same guest. */
export function viewOf(handle: SceneHandle, crew: Crew = Crew.attach(handle.machine.crew)): Scene {
  const machine = SoftwareMachine.attach(handle.machine, crew);
  const pinned = PinnedMemory.attach(handle.pinned, crew);
  const memory = new VmmMemory();
  pinned.join(handle.owner, memory);
  const phb = Phb.attach(machine, handle.phb);
  const tces = handle.tces.map((one) => PowernvTable.attach(phb, one));
  const hardware = handle.hardware.map((one, i) => PinnedTable.attach(pinned, one, (tces[i] as PowernvTable).ops));
  const tables = GuestTables.attach(pinned, handle.tables);
  const { owner } = handle;
  return { machine, pinned, memory, owner, phb, tces, hardware, tables, ram: new GuestRam(machine.memory), handle };
}

/** A guest page's number as the device reads it through an entry of its table; undefined: refused. */
export function deviceReads(machine: SoftwareMachine, device: string, entry: number): number | undefined {
  const bytes = new Uint8Array(4);
  const isRead = machine.device(device).dmaRead(BigInt(entry) << 12n, bytes);
  return isRead ? new DataView(bytes.buffer).getUint32(0, true) : undefined;
}

/** A vCPU's calls by numbers: entries instead of bus addresses, guest pages instead of addresses. */
export class Vcpu {
  readonly calls: GuestCalls;
  readonly #ram: GuestRam;
  readonly #args = new BigUint64Array(4);
  liobn: number = LIOBN;

  constructor({ tables, machine, ram }: Scene, userSpace?: GuestCallsOptions["userSpace"]) {
    const memory = new VmmMemory();
    const readUser = (userPage: number, into: Uint8Array): boolean => {
      const page = memory.pageOf(userPage);
      if (page >= 0) machine.memory.read(page * 4096, into);
      return page >= 0;
    };
    this.calls = new GuestCalls({ tables, readUser, ...(userSpace === undefined ? {} : { userSpace }) });
    this.#ram = ram;
  }

  /** Through user space. */
  hypercall(number: number, ...args: readonly (number | bigint)[]): number {
    return this.calls.hypercall(number, this.#fill(args));
  }
  /** KVM's own answer. */
  answer(number: number, ...args: readonly (number | bigint)[]): number {
    return this.calls.answer(number, this.#fill(args));
  }
  put(entry: number, tce: number | bigint): number {
    return this.answer(H_PUT_TCE, this.liobn, entry * 4096, tce);
  }
  stuff(entry: number, value: number | bigint, count: number): number {
    return this.answer(H_STUFF_TCE, this.liobn, entry * 4096, value, count);
  }
  /** `list`: TCEs; `address`: where the guest has put them. */
  putList(
    entry: number,
    list: readonly (number | bigint)[],
    count: number = list.length,
    address: number = LIST_PAGE * 4096,
  ): number {
    const bytes = new DataView(new ArrayBuffer(8 * list.length));
    for (const [i, tce] of list.entries()) bytes.setBigUint64(8 * i, BigInt(tce));
    this.#ram.write(LIST_PAGE * 4096, new Uint8Array(bytes.buffer));
    return this.answer(H_PUT_TCE_INDIRECT, this.liobn, entry * 4096, address, count);
  }
  /** The TCE, or a code. */
  get(entry: number): bigint | number {
    const code = this.answer(H_GET_TCE, this.liobn, entry * 4096);
    return code === 0 ? (this.#args[0] as bigint) : code;
  }

  #fill(args: readonly (number | bigint)[]): BigUint64Array {
    this.#args.fill(0n);
    args.forEach((value, i) => {
      this.#args[i] = BigInt.asUintN(64, BigInt(value));
    });
    return this.#args;
  }
}

/** A TCE that leads to a guest page. Default: the device reads and writes. */
export function tceOf(guestPage: number, permissions = 3): number {
  return guestPage * 4096 + permissions;
}

/** The live mappings of each region of the VMM, by its first page of the guest. */
export function countsOf({ pinned, owner }: Scene): Record<number, number> {
  const regions = pinned.regionsOf(owner);
  if (typeof regions === "string") throw new Error(regions);
  return Object.fromEntries(
    regions.map((region) => [pinned.regionOf(region).userPage - USER_PAGE, pinned.mapped(region) - 1]),
  );
}
