/**
 * A PCI host bridge of a powernv machine (IODA2), as its platform code sees it: partitionable endpoints (PEs) with devices in them, groups of
 * windows for each PE, the TCE tables that stand in the windows, and the memory that tables are made of.
 *
 *     const phb = Phb.create(machine, { region: { address, bytes }, devices: [{ name: "nic", requesterId: 0x10 }] });
 *     const group = phb.createGroup(1);
 *     const table = PowernvTable.create(phb, { window: 0, pageShift: 16, windowBytes: 2n ** 31n, levels: 1 });
 *     group.setWindow(table);
 *     phb.bindDevice("nic", 1);
 *     worker.postMessage(phb.handle);                        // there: Phb.attach(machine, handle)
 *
 * What changes the set of groups, tables and windows takes the bridge's lock, shortly; mapping and invalidating never do.
 */

import type { ReclaimScope } from "../../allocator/recovery.ts";
import type { Machine } from "../../machine/contract.ts";
import { PhysicalPages, type PhysicalPagesHandle, type PhysicalRange } from "../../memory/physical-pages.ts";
import { holderOf, inherit, lock, tagOf, unlock } from "../../shared/lock.ts";
import { compareExchange, load, type SharedBuffer, store } from "../../shared/memory.ts";
import { checkHandle } from "../../table/handle.ts";
import { checkInteger, InvalidArgumentError, IovaError, inWords } from "../../units/errors.ts";
import { type FailureCode, failureOf } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import { BridgeRegisters } from "./bridge-registers.ts";
import { PAGE_SHIFTS_OF, type PowerGeneration } from "./geometry.ts";
import {
  createPhbState,
  DYNAMIC,
  FREE_LABEL,
  GROUP,
  groupAt,
  HELD_BY_NONE,
  LOCK_AT,
  labelAt,
  MAX_PARTITIONS,
  NO_GROUP,
  openPhbState,
  type PhbState,
  TABLE,
  tableAt,
  UNLABELLED,
} from "./layout.ts";
import { holdsTables, levelsInUse, repairRecords, takeTablesOf } from "./records.ts";
import { RTT_BYTES } from "./registers.ts";

/** A device below the bridge. */
export interface PhbDevice {
  /** Its name on the machine: faults have it. */
  readonly name: string;
  /** Bus, device, function: 0 .. 65,535. */
  readonly requesterId: number;
}

export interface PhbOptions {
  /** Which IO page sizes there are. Default "power9". */
  readonly generation?: PowerGeneration;
  /** Devices below the bridge. All begin in PE 0, which has no windows. */
  readonly devices: readonly PhbDevice[];
  /** PEs, PE 0 included: 2 .. 256, and no more than the machine has. Default 4. */
  readonly partitions?: number;
  /** TCE tables that there can be at once: 1 .. 1024. Default twice the PEs. */
  readonly tables?: number;
  /**
   * Physical memory that belongs to the bridge: tables and their levels, and at its end the RTT (128 KiB, at a multiple of that). It ends
   * at or below 4 GiB: a level's address is put in place by one 32-bit compare-and-swap.
   */
  readonly region: PhysicalRange;
  /** Threads that can be attached at once: 1 .. 256. Default 32. */
  readonly threads?: number;
}

/** Structured-cloneable: post it to another thread and `Phb.attach` there. */
export interface PhbHandle {
  readonly generation: PowerGeneration;
  readonly devices: readonly PhbDevice[];
  readonly rttAddress: number;
  readonly pages: PhysicalPagesHandle;
  readonly state: SharedBuffer;
}

const HANDLE = {
  generation: "string",
  devices: "list",
  rttAddress: "count",
  pages: "object",
  state: "shared",
} as const;

const LEVELS_END_BELOW = 2 ** 32;

/** One thread's view. */
export class Phb {
  readonly handle: PhbHandle;
  readonly machine: Machine;
  readonly registers: BridgeRegisters;
  /** Where levels come from. Its `thread` is this thread's number here. */
  readonly pages: PhysicalPages;
  readonly state: PhbState;
  #isClosed = false;

  private constructor(machine: Machine, handle: PhbHandle, pages: PhysicalPages, state: PhbState) {
    this.machine = machine;
    this.handle = handle;
    this.pages = pages;
    this.state = state;
    this.registers = new BridgeRegisters(machine);
  }

  /**
   * Programs the bridge, with all devices in PE 0 and no window, and attaches this thread. `label`: as of `attach`. Throws
   * InvalidArgumentError for options that don't fit together or into the machine.
   */
  static create(machine: Machine, options: PhbOptions, label?: number): Phb {
    checkKeys("a bridge", options, {
      generation: "any",
      devices: "object",
      partitions: "any",
      tables: "any",
      region: "object",
      threads: "any",
    });
    const { generation = "power9", partitions = 4, threads = 32, devices, region } = options;
    checkInteger("PEs of the bridge", partitions, 2, MAX_PARTITIONS);
    const { tables = 2 * partitions } = options;
    checkInteger("TCE tables of the bridge", tables, 1, 1024);
    if (!Object.hasOwn(PAGE_SHIFTS_OF, generation)) {
      throw new InvalidArgumentError("generation", generation, `one of ${Object.keys(PAGE_SHIFTS_OF).join(", ")}`);
    }
    checkDevices(devices);
    const rttAddress = placeRtt(machine, region);
    const pages = PhysicalPages.create({ address: region.address, bytes: rttAddress - region.address, threads });
    const state = createPhbState({ partitions, tables, threads });
    const handle = { generation, devices: [...devices], rttAddress, pages: pages.handle, state: state.buffer };
    const phb = new Phb(machine, handle, pages, state);
    store(state.words, labelAt(pages.thread), labelWord(label));
    machine.memory.write(rttAddress, new Uint8Array(RTT_BYTES));
    machine.memory.fence();
    phb.registers.placeRtt(rttAddress);
    for (let partition = 0; partition < partitions; partition++) {
      for (const window of [0, 1]) phb.registers.writeTve(partition, window, 0n);
    }
    for (const { requesterId } of devices) phb.registers.setPartition(rttAddress, requesterId, 0);
    return phb;
  }

  /**
   * A view for the calling thread, on this thread's machine. `label` (0 .. 2^31 − 2) is what the caller knows the thread by, for
   * `threadLabelled`: with one, nothing is lost however early the thread dies. Without one, it is a number that only the thread itself
   * could tell. Throws FormatError for a foreign handle, IovaError "no-thread-slot" when all are taken.
   */
  static attach(machine: Machine, handle: PhbHandle, label?: number): Phb {
    checkHandle("a bridge", handle, HANDLE);
    const state = openPhbState(handle.state);
    const word = labelWord(label);
    for (let thread = 0; thread < state.threads; thread++) {
      if (compareExchange(state.words, labelAt(thread), FREE_LABEL, word) !== FREE_LABEL) continue;
      const pages = PhysicalPages.attachAt(handle.pages, thread);
      if (pages !== undefined) return new Phb(machine, handle, pages, state);
      // Somebody uses the pages by themselves.
      store(state.words, labelAt(thread), FREE_LABEL);
    }
    const what = `all ${state.threads} thread slots of the bridge are taken`;
    throw new IovaError("no-thread-slot", `${what}; create it with more \`threads\`, or reclaimThread() ended ones`);
  }

  /** The memory that belongs to the bridge: levels, and the RTT behind them. */
  get region(): PhysicalRange {
    const { address } = this.pages.handle;
    return { address, bytes: this.handle.rttAddress + RTT_BYTES - address };
  }

  /** A group of two windows for a PE, none of them set. Throws InvalidArgumentError when the PE has one or can't. */
  createGroup(partition: number): void {
    this.checkPartition(partition);
    this.locked("creating a group", () => this.makeGroup(partition, DYNAMIC));
  }

  /** Throws InvalidArgumentError when there is no group for the PE. */
  checkGroup(partition: number): void {
    this.checkPartition(partition);
    if (load(this.state.words, groupAt(this.state, partition) + GROUP.kind) !== NO_GROUP) return;
    throw new InvalidArgumentError("PE of a group", partition, "one for which createGroup was called");
  }

  /** Throws InvalidArgumentError unless the PE can have a group. */
  checkPartition(partition: number): void {
    checkInteger("PE of a group", partition, 1, this.state.partitions - 1);
  }

  /** Bridge's lock held. Throws InvalidArgumentError when the PE has a group. */
  makeGroup(partition: number, kind: number): void {
    const at = groupAt(this.state, partition) + GROUP.kind;
    if (load(this.state.words, at) !== NO_GROUP) {
      throw new InvalidArgumentError("PE of a new group", partition, "one that has no group yet");
    }
    store(this.state.words, at, kind);
  }

  /** Puts a device into a PE. From then on it translates by that PE's windows. Throws InvalidArgumentError for an unknown device. */
  bindDevice(name: string, partition: number): void {
    checkInteger("PE of a device", partition, 0, this.state.partitions - 1);
    const { requesterId } = this.#device(name);
    this.locked("binding a device", () => this.registers.setPartition(this.handle.rttAddress, requesterId, partition));
  }

  /** Names of the devices in a PE. */
  devicesIn(partition: number): readonly string[] {
    const { devices, rttAddress } = this.handle;
    return devices
      .filter(({ requesterId }) => this.registers.partitionOf(rttAddress, requesterId) === partition)
      .map(({ name }) => name);
  }

  /** Runs `action` with the bridge's lock. Throws IovaError when the lock's holder does not answer, or this view is closed. Not reentrant. */
  locked<Result>(what: string, action: () => Result): Result {
    this.pages.checkOpen();
    const { words } = this.state;
    const failure = lock(words, LOCK_AT, tagOf(this.pages.thread));
    if (failure !== 0) throw this.#isHeld(what, failure);
    // Checks inside may throw; a thread that is killed leaves the lock to `reclaimThread`.
    try {
      return action();
    } finally {
      unlock(words, LOCK_AT);
    }
  }

  /**
   * What a dead thread (its number in `pages`) has left comes back: the lock, with a half-made change of groups and tables made whole, and
   * levels that it had taken but no table leads to, and tables that it had made and no other thread has attached to. Other tables go on,
   * for any thread to release; their levels are this thread's from now on. Only once the thread's end is certain. Throws IovaError
   * "platform-busy" when a DMA does not end that such a table may be used by; may be repeated then, or when cut off.
   */
  reclaimThread(thread: number): void {
    this.pages.checkOpen();
    checkInteger("thread of the bridge", thread, 0, this.state.threads - 1);
    const { words } = this.state;
    const tag = tagOf(this.pages.thread);
    const inherited = inherit(words, LOCK_AT, tagOf(thread), tag);
    const failure = inherited ? 0 : lock(words, LOCK_AT, tag);
    if (failure !== 0) throw this.#isHeld("reclaiming a thread", failure);
    let isWhole = false;
    try {
      this.#takeOver(thread, inherited);
      isWhole = true;
    } finally {
      // What could not be made whole, since a DMA does not end, waits in the dead thread's name for the next try.
      if (isWhole || !inherited) unlock(words, LOCK_AT);
      else inherit(words, LOCK_AT, tag, tagOf(thread));
    }
    this.#reclaimPages(thread, "everything");
    // Last: until then nobody has the number, and this can be done again.
    store(words, labelAt(thread), FREE_LABEL);
  }

  /** The number in `pages` of the thread that attached with this label; -1: none. */
  threadLabelled(label: number): number {
    for (let thread = 0; thread < this.state.threads; thread++) {
      if (load(this.state.words, labelAt(thread)) === label + 1) return thread;
    }
    return -1;
  }

  /** Gives this thread's slot back; groups, tables and levels stay. A second call does nothing: the number may be another thread's by then. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { thread } = this.pages;
    for (let table = 0; table < this.state.tables; table++) {
      compareExchange(this.state.words, tableAt(this.state, table) + TABLE.held, tagOf(thread), HELD_BY_NONE);
    }
    this.pages.close();
    store(this.state.words, labelAt(thread), FREE_LABEL);
  }

  /** `using` ends it as `close` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Bridge's lock held. `inherited`: it was the dead thread's. */
  #takeOver(thread: number, inherited: boolean): void {
    if (inherited || holdsTables(this.state, tagOf(thread))) {
      // First what it was in the middle of: levels are given back here, and must not wait for a lock that is the dead thread's.
      this.#reclaimPages(thread, "in-flight");
      if (inherited) repairRecords(this);
      takeTablesOf(this, tagOf(thread));
    }
    // Under the lock, so that no table is freed meanwhile. The dead thread publishes no more, so what is not found never will be.
    const used = levelsInUse(this);
    for (const range of this.pages.allocatedBy(thread)) {
      if (used.has(range.address)) this.pages.adopt(range, thread);
    }
  }

  #reclaimPages(thread: number, scope: ReclaimScope): void {
    if (this.pages.isInUse(thread)) this.pages.reclaim(thread, scope);
  }

  #isHeld(what: string, failure: FailureCode): IovaError {
    const holder = holderOf(this.state.words, LOCK_AT) - 1;
    return new IovaError(failureOf(failure), `${what}: thread ${holder} has the bridge (if it is dead, reclaim it)`);
  }

  #device(name: string): PhbDevice {
    const device = this.handle.devices.find((candidate) => candidate.name === name);
    if (device !== undefined) return device;
    const names = this.handle.devices.map((candidate) => candidate.name).join(", ");
    throw new InvalidArgumentError("device of the bridge", name, `one of ${names}`);
  }
}

function labelWord(label: number | undefined): number {
  if (label === undefined) return UNLABELLED;
  checkInteger("label of a thread", label, 0, 2 ** 31 - 2);
  return label + 1;
}

/** Where the RTT goes: as high as the region allows. Throws InvalidArgumentError for a region that is none. */
function placeRtt(machine: Machine, { address, bytes }: PhysicalRange): number {
  const end = address + bytes;
  if (!(Number.isSafeInteger(end) && address >= 0 && end <= machine.memory.bytes && end <= LEVELS_END_BELOW)) {
    const limit = Math.min(machine.memory.bytes, LEVELS_END_BELOW);
    const expected = `inside of [0, ${limit}): of memory, and below 4 GiB, since inner entries are swapped in by one word`;
    throw new InvalidArgumentError("region of the bridge", inWords(`[${address}, ${end})`), expected);
  }
  const rttAddress = Math.floor(end / RTT_BYTES) * RTT_BYTES - RTT_BYTES;
  if (rttAddress > address) return rttAddress;
  const expected = `room for a page and, at a multiple of ${RTT_BYTES}, for an RTT of as many bytes`;
  throw new InvalidArgumentError("region of the bridge", inWords(`[${address}, ${end})`), expected);
}

function checkDevices(devices: readonly PhbDevice[]): void {
  devices.forEach(({ name, requesterId }, index) => {
    checkInteger(`requester id of ${name}`, requesterId, 0, 0xffff);
    const twice = devices.findIndex((other) => other.name === name || other.requesterId === requesterId) !== index;
    if (twice)
      throw new InvalidArgumentError("device of the bridge", name, "a name and a requester id that no other has");
  });
}
