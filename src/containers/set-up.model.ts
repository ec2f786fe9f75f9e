/** Set-up of tests of containers: a machine with a linear IOMMU, a process with memory of its own, and DMA by which tests check mappings. */

import { SoftwareMachine } from "../machines/software/machine.ts";
import { PinnedMemory, type PinnedMemoryOptions } from "../pinned/pinned-memory.ts";
import type { UserMemory } from "../pinned/user-memory.ts";
import { LinearDirtyLog } from "../platforms/linear/dirty-log.ts";
import { LinearPlatform } from "../platforms/linear/platform.ts";
import { isErrno } from "../units/errno.ts";
import type { DmaWindow } from "../units/numbers.ts";
import type { Domain } from "./domain.ts";

export const PAGE = 4096n;
export const MEMORY_BYTES: number = 2 ** 24;
/** User page U is physical page U - USER_BASE + PHYSICAL_BASE. */
export const USER_BASE = 0x7f000;
const PHYSICAL_BASE = 1024;
/** Pages of the process. */
export const USER_PAGE_COUNT = 1024;
/** User pages that are not present: they can't be pinned. */
export const ABSENT: ReadonlySet<number> = new Set([USER_BASE + 100, USER_BASE + 777]);
export const WINDOW: DmaWindow = { base: 0x10_0000n, pageShift: 12, entries: 512 };
const BITMAP_ADDRESS = 0x3000;
const TABLE_ADDRESS = 0x10_0000;

/** Bytes of an address in the process, from its first page on. */
export function userAddress(page: number): bigint {
  return BigInt(USER_BASE + page) * PAGE;
}

/** Physical address of a byte of the process's page. */
export function physicalAddress(page: number): number {
  return (PHYSICAL_BASE + page) * Number(PAGE);
}

export class ProcessMemory implements UserMemory {
  /** Pages that were unpinned: the page of the process, and whether it was dirty. */
  readonly unpinned: [number, boolean][] = [];
  pageOf(userPage: number): number {
    const page = userPage - USER_BASE;
    return page < 0 || page >= USER_PAGE_COUNT || ABSENT.has(userPage) ? -1 : PHYSICAL_BASE + page;
  }
  backingShift(): number {
    return 12;
  }
  onUnpin(userPage: number, _physicalPage: number, isDirty: boolean): void {
    this.unpinned.push([userPage - USER_BASE, isDirty]);
  }
}

export interface Scene {
  readonly machine: SoftwareMachine;
  readonly platform: LinearPlatform;
  readonly pinned: PinnedMemory;
  readonly memory: ProcessMemory;
  readonly owner: number;
  readonly domain: Domain;
}

export interface SceneOptions extends Partial<PinnedMemoryOptions> {
  readonly limitPages?: number;
  readonly reserved?: Domain["reserved"];
  readonly hasDirtyLog?: boolean;
}

/** A machine, its IOMMU, and a process that may lock `limitPages` pages. */
export function sceneOf(options: SceneOptions = {}): Scene {
  const { limitPages = USER_PAGE_COUNT, reserved, hasDirtyLog = true, ...sizes } = options;
  const machine = SoftwareMachine.create({ memoryBytes: MEMORY_BYTES, threads: 4 });
  const platform = LinearPlatform.create(machine, {
    format: "powernv-tce",
    window: WINDOW,
    tableAddress: TABLE_ADDRESS,
  });
  const pinned = PinnedMemory.create({ memoryBytes: MEMORY_BYTES, crew: machine.crew, regions: 256, ...sizes });
  const memory = new ProcessMemory();
  const owner = pinned.addOwner({ limitBytes: limitPages * Number(PAGE) }, memory);
  if (isErrno(owner)) throw new Error(`no owner: ${owner}`);
  const domain = domainOf(machine, platform, hasDirtyLog, reserved);
  return { machine, platform, pinned, memory, owner, domain };
}

/** A thread's view of the domain. */
export function domainOf(
  machine: SoftwareMachine,
  platform: LinearPlatform,
  hasDirtyLog = true,
  reserved: Domain["reserved"] = [],
): Domain {
  const dirtyLog = new LinearDirtyLog(machine, WINDOW.entries, BITMAP_ADDRESS);
  return { window: WINDOW, ops: platform.ops, reserved, ...(hasDirtyLog ? { dirtyLog } : {}) };
}

/** The page of the process that the device reads at a bus address: every page begins with its number. undefined: refused. */
export function deviceReads(machine: SoftwareMachine, iova: bigint): number | undefined {
  const bytes = new Uint8Array(4);
  const isRead = machine.device(0).dmaRead(iova, bytes);
  machine.faults();
  return isRead ? new DataView(bytes.buffer).getUint32(0, true) : undefined;
}

/** Writes its number at the beginning of each page of the process. */
export function numberPages(machine: SoftwareMachine): void {
  for (let page = 0; page < USER_PAGE_COUNT; page++) machine.memory.store32(physicalAddress(page), page);
}
