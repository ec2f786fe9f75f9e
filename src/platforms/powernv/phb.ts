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

import type { Machine } from "../../machine/contract.ts";
import {
  checkPagesHandle,
  PhysicalPages,
  type PhysicalPagesHandle,
  type PhysicalRange,
} from "../../memory/physical-pages.ts";
import {
  type Attachment,
  Crew,
  type CrewHandle,
  checkCrew,
  type ReclaimScope,
  type Recovered,
  threadsFor,
} from "../../shared/crew.ts";
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
  GROUP,
  groupAt,
  HELD_BY_NONE,
  LOCK_AT,
  MAX_PARTITIONS,
  NO_GROUP,
  openPhbState,
  type PhbState,
  TABLE,
  tableAt,
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
  /** Threads that can be attached at once: 1 .. 256. Default 32, or those of the machine's crew. */
  readonly threads?: number;
}

/** Structured-cloneable: post it to another thread and `Phb.attach` there. */
export interface PhbHandle {
  readonly generation: PowerGeneration;
  readonly devices: readonly PhbDevice[];
  readonly rttAddress: number;
  readonly pages: PhysicalPagesHandle;
  readonly state: SharedBuffer;
  /** The threads that may attach. */
  readonly crew: CrewHandle;
}

const HANDLE = {
  generation: "string",
  devices: "list",
  rttAddress: "count",
  pages: "object",
  state: "shared",
  crew: "object",
} as const;

const LEVELS_END_BELOW = 2 ** 32;

/** One thread's view. */
export class Phb {
  readonly handle: PhbHandle;
  readonly machine: Machine;
  readonly registers: BridgeRegisters;
  /** Where levels come from. Recovered with the bridge. */
  readonly pages: PhysicalPages;
  readonly state: PhbState;
  /** The threads of the bridge and its tables. */
  readonly crew: Crew;
  readonly #attachment: Attachment;
  #isClosed = false;

  private constructor(machine: Machine, handle: PhbHandle, crew: Crew, state: PhbState) {
    const attachment = crew.enter(handle.pages.allocator.structure, "bridge", (thread) => this.#recover(thread));
    const pages = PhysicalPages.attach(handle.pages, crew, true);
    this.machine = machine;
    this.crew = crew;
    this.#attachment = attachment;
    this.handle = handle;
    this.pages = pages;
    this.state = state;
    this.registers = new BridgeRegisters(machine);
  }

  /**
   * Programs the bridge, with all devices in PE 0 and no window, and attaches this thread. Throws InvalidArgumentError for options that
   * don't fit together or into the machine.
   */
  static create(machine: Machine, options: PhbOptions): Phb {
    checkKeys("a bridge", options, {
      generation: "any",
      devices: "object",
      partitions: "any",
      tables: "any",
      region: "object",
      threads: "any",
    });
    const { generation = "power9", partitions = 4, devices, region } = options;
    checkInteger("PEs of the bridge", partitions, 2, MAX_PARTITIONS);
    const { tables = 2 * partitions } = options;
    checkInteger("TCE tables of the bridge", tables, 1, 1024);
    if (!Object.hasOwn(PAGE_SHIFTS_OF, generation)) {
      throw new InvalidArgumentError("generation", generation, `one of ${Object.keys(PAGE_SHIFTS_OF).join(", ")}`);
    }
    checkDevices(devices);
    const rttAddress = placeRtt(machine, region);
    const crew = crewFor(machine, options.threads);
    const range = { address: region.address, bytes: rttAddress - region.address };
    const pages = PhysicalPages.create({ ...range, crew }, true);
    pages.close();
    const state = createPhbState({ partitions, tables });
    const parts = { generation, devices: [...devices], rttAddress, pages: pages.handle, state: state.buffer };
    const phb = new Phb(machine, { ...parts, crew: crew.handle }, crew, state);
    machine.memory.write(rttAddress, new Uint8Array(RTT_BYTES));
    machine.memory.fence();
    phb.registers.placeRtt(rttAddress);
    for (let partition = 0; partition < partitions; partition++) {
      for (const window of [0, 1]) phb.registers.writeTve(partition, window, 0n);
    }
    for (const { requesterId } of devices) phb.registers.setPartition(rttAddress, requesterId, 0);
    return phb;
  }

  /** A view for the calling thread, on this thread's machine. Throws FormatError for a foreign handle, and as Crew.attach and Crew.enter. */
  static attach(machine: Machine, handle: PhbHandle): Phb {
    checkHandle("a bridge", handle, HANDLE);
    const state = openPhbState(handle.state);
    checkPagesHandle(handle.pages);
    checkCrew("the bridge", machine.crew, handle.crew);
    return new Phb(machine, handle, machine.crew ?? Crew.attach(handle.crew), state);
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
    const failure = lock(words, LOCK_AT, tagOf(this.crew.thread));
    if (failure !== 0) throw this.#isHeld(what, failure);
    // Checks inside may throw; a thread that is killed leaves the lock to its recovery.
    try {
      return action();
    } finally {
      unlock(words, LOCK_AT);
    }
  }

  /**
   * What a dead thread has left comes back, in the crew's reclaim: the lock, with a half-made change of groups and tables made whole, and
   * levels that it had taken but no table leads to, and tables that it had made and no other thread has attached to. Other tables go on,
   * for any thread to release; their levels are this thread's from now on. Throws IovaError "platform-busy" when a DMA
   * does not end that such a table may be used by; may be repeated then, or when cut off.
   */
  #recover(thread: number): Recovered | undefined {
    const { words } = this.state;
    const tag = tagOf(this.crew.thread);
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
    return undefined;
  }

  /** Gives this thread's view back; groups, tables and levels stay. A second call does nothing: the number may be another thread's by then. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { thread } = this.crew;
    for (let table = 0; table < this.state.tables; table++) {
      compareExchange(this.state.words, tableAt(this.state, table) + TABLE.held, tagOf(thread), HELD_BY_NONE);
    }
    this.pages.close();
    this.crew.leave(this.#attachment);
    if (this.crew !== this.machine.crew) this.crew.close();
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
    this.pages.recover(thread, scope);
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

/** The machine's, or one of the bridge's own. */
function crewFor({ crew }: Machine, threads: number | undefined): Crew {
  const room = threadsFor("threads of the bridge", crew, threads);
  return crew ?? Crew.create({ threads: room });
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
