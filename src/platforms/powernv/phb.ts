/**
 * A PCI host bridge of a powernv machine (IODA2): its partitionable endpoints (PEs) and their devices, a group of windows for each PE, the
 * TCE tables in the windows, and the memory of tables.
 *
 *     const phb = Phb.create(machine, { region: { address, bytes }, devices: [{ name: "nic", requesterId: 0x10 }] });
 *     const group = phb.createGroup(1);
 *     const table = PowernvTable.create(phb, { window: 0, pageShift: 16, windowBytes: 2n ** 31n, levels: 1 });
 *     group.setWindow(table);
 *     phb.bindDevice("nic", 1);
 *     worker.postMessage(phb.handle);                        // there: Phb.attach(machine, handle)
 *
 * Changes to groups, tables and windows hold the bridge's lock for a short time. Mapping and invalidating never take it.
 */

import {
  type Attachment,
  Crew,
  type CrewHandle,
  checkCrew,
  type ReclaimScope,
  type Recovered,
  threadsFor,
} from "../../crew/crew.ts";
import type { Machine } from "../../machine/contract.ts";
import {
  checkPagesHandle,
  PhysicalPages,
  type PhysicalPagesHandle,
  type PhysicalRange,
} from "../../memory/physical-pages.ts";
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

/** A device below a powernv bridge. */
export interface PhbDevice {
  /** Name of the device on the machine, which faults contain. */
  readonly name: string;
  /** Requester id: bus, device and function in 16 bits, 0 .. 65,535. On a software machine, device number n has requester id 8n. */
  readonly requesterId: number;
}

/** Options of `Phb.create`. */
export interface PhbOptions {
  /** Processor generation, which decides the IO page sizes. Default "power9". */
  readonly generation?: PowerGeneration;
  /** Devices below the bridge. At first all are in PE 0, which has no windows. */
  readonly devices: readonly PhbDevice[];
  /** Number of PEs, including PE 0: 2 .. 256, at most the machine's partitions. Default 4. */
  readonly partitions?: number;
  /** Largest number of TCE tables that exist at a time: 1 .. 1024. Default: twice the number of PEs. */
  readonly tables?: number;
  /**
   * Physical memory of the bridge, for levels of tables and, at its end, the RTT (128 KiB, aligned to its size). It ends at or below 4 GiB,
   * because a level's address is linked by one 32-bit compare-and-swap.
   */
  readonly region: PhysicalRange;
  /** Limit of attached threads: 1 .. 256. Default 32, or the limit of the machine's crew. */
  readonly threads?: number;
}

/** Handle of a bridge, structured-cloneable: post it to another thread and call `Phb.attach` there. */
export interface PhbHandle {
  /** Processor generation, which decides the IO page sizes. */
  readonly generation: PowerGeneration;
  /** Devices below the bridge. */
  readonly devices: readonly PhbDevice[];
  /** @internal */
  readonly rttAddress: number;
  /** @internal */
  readonly pages: PhysicalPagesHandle;
  /** @internal */
  readonly state: SharedBuffer;
  /** Handle of the crew: the threads that may attach. */
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

/**
 * A PCI host bridge of a powernv machine (IODA2): its PEs and their devices, a group of two windows for each PE, TCE tables, and the memory
 * of tables. `PowernvPlatform` makes one with one PE and one table.
 *
 * One object is one thread's view: post the machine's handle and this one's, and `attach` in each other thread. Changes of groups, tables
 * and windows hold the bridge's lock for a short time; mapping and invalidating never take it.
 */
export class Phb {
  /** Handle for other threads. */
  readonly handle: PhbHandle;
  /** The machine of the bridge. */
  readonly machine: Machine;
  /** @internal */
  readonly registers: BridgeRegisters;
  /** Pages of the bridge's region, for levels of tables. A dead thread's pages are recovered with the bridge. */
  readonly pages: PhysicalPages;
  /** @internal */
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
   * Programs the bridge, with all devices in PE 0 and no windows, and attaches this thread. Throws InvalidArgumentError for inconsistent
   * options, and for options that do not fit the machine.
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

  /**
   * Attaches the calling thread, with this thread's view of the machine. Throws FormatError for a foreign handle, and IovaError
   * "no-thread-slot" if all numbers of the crew are taken.
   */
  static attach(machine: Machine, handle: PhbHandle): Phb {
    checkHandle("a bridge", handle, HANDLE);
    const state = openPhbState(handle.state);
    checkPagesHandle(handle.pages);
    checkCrew("the bridge", machine.crew, handle.crew);
    return new Phb(machine, handle, machine.crew ?? Crew.attach(handle.crew), state);
  }

  /** Memory of the bridge: pages for levels, then the RTT. */
  get region(): PhysicalRange {
    const { address } = this.pages.handle;
    return { address, bytes: this.handle.rttAddress + RTT_BYTES - address };
  }

  /**
   * Creates a group of two empty windows for a PE. Throws InvalidArgumentError if the PE has a group or can't have one. `TableGroup.create`
   * does the same and returns a view.
   */
  createGroup(partition: number): void {
    this.checkPartition(partition);
    this.locked("creating a group", () => this.makeGroup(partition, DYNAMIC));
  }

  /**
   * Throws InvalidArgumentError if the PE has no group.
   *
   * @internal
   */
  checkGroup(partition: number): void {
    this.checkPartition(partition);
    if (load(this.state.words, groupAt(this.state, partition) + GROUP.kind) !== NO_GROUP) return;
    throw new InvalidArgumentError("PE of a group", partition, "one for which createGroup was called");
  }

  /**
   * Throws InvalidArgumentError unless the PE can have a group.
   *
   * @internal
   */
  checkPartition(partition: number): void {
    checkInteger("PE of a group", partition, 1, this.state.partitions - 1);
  }

  /**
   * Bridge's lock held. Throws InvalidArgumentError if the PE has a group.
   *
   * @internal
   */
  makeGroup(partition: number, kind: number): void {
    const at = groupAt(this.state, partition) + GROUP.kind;
    if (load(this.state.words, at) !== NO_GROUP) {
      throw new InvalidArgumentError("PE of a new group", partition, "one that has no group yet");
    }
    store(this.state.words, at, kind);
  }

  /** Moves a device to a PE, whose windows then translate its DMA. Throws InvalidArgumentError for an unknown device or PE. */
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

  /**
   * Runs `action` with the bridge's lock. Throws IovaError if the lock's holder does not release it in time, or this view is closed. Not
   * reentrant.
   *
   * @internal
   */
  locked<Result>(what: string, action: () => Result): Result {
    this.pages.checkOpen();
    const { words } = this.state;
    const failure = lock(words, LOCK_AT, tagOf(this.crew.thread));
    if (failure !== 0) throw this.#isHeld(what, failure);
    // `action` may throw. If the thread is killed, recovery releases the lock.
    try {
      return action();
    } finally {
      unlock(words, LOCK_AT);
    }
  }

  /**
   * Recovers a dead thread, as a part of the crew's reclaim. It completes or undoes a half-made change of groups and tables and releases
   * the lock. It frees levels that no table leads to, and tables that only the dead thread had seen. Other tables stay, and any thread may
   * release them; their levels are in this thread's name afterwards. Throws IovaError "platform-busy" if a DMA through such a table does
   * not end. It may be repeated after that, or after an interruption.
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
      // A change that could not be repaired, because a DMA does not end, keeps the lock in the dead thread's name until the next try.
      if (isWhole || !inherited) unlock(words, LOCK_AT);
      else inherit(words, LOCK_AT, tag, tagOf(thread));
    }
    this.#reclaimPages(thread, "everything");
    return undefined;
  }

  /**
   * Detaches this thread. Groups, tables and levels stay. A second call does nothing, because the number may belong to another thread by
   * then.
   */
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

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Bridge's lock held. `inherited`: the dead thread had held it. */
  #takeOver(thread: number, inherited: boolean): void {
    if (inherited || holdsTables(this.state, tagOf(thread))) {
      // First the pages' lock, if the dead thread holds it: levels are freed below, which must not wait for it.
      this.#reclaimPages(thread, "in-flight");
      if (inherited) repairRecords(this);
      takeTablesOf(this, tagOf(thread));
    }
    // Under the lock, so that no table is freed meanwhile. The dead thread links no more levels, so a level that no table leads to is
    // unused.
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

/** The machine's crew, or a new one for the bridge. */
function crewFor({ crew }: Machine, threads: number | undefined): Crew {
  const room = threadsFor("threads of the bridge", crew, threads);
  return crew ?? Crew.create({ threads: room });
}

/** The address of the RTT: the highest possible one in the region. Throws InvalidArgumentError for an invalid region. */
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
