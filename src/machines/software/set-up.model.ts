/** What the tests of the software machine start from: a machine with one table at a known place, entries written by hand. */
import {
  CONTROL,
  ENABLE,
  ENTRIES,
  FORMAT_SHIFT,
  INVALIDATE_COUNT,
  INVALIDATE_FIRST,
  INVALIDATE_RESULT,
  PAGE_SHIFT,
  TABLE_BASE,
  WINDOW_BASE,
} from "../../platforms/linear/registers.ts";
import { SoftwareMachine, type SoftwareMachineOptions } from "./machine.ts";

/** Format codes, as the manual says. */
export const TCE = 1;
export const IOPTE = 2;

export const TABLE_ADDRESS = 0x10000;

export interface SetUp {
  readonly format?: number;
  readonly entries?: number;
  readonly pageShift?: number;
  readonly windowBase?: bigint;
  readonly tableAddress?: number;
}

export function enable(machine: SoftwareMachine, setUp: SetUp = {}): void {
  const { format = TCE, entries = 256, pageShift = 12, windowBase = 0x80000000n, tableAddress = TABLE_ADDRESS } = setUp;
  const { registers } = machine;
  registers.write32(CONTROL, 0);
  registers.write64(TABLE_BASE, BigInt(tableAddress));
  registers.write64(WINDOW_BASE, windowBase);
  registers.write32(ENTRIES, entries);
  registers.write32(PAGE_SHIFT, pageShift);
  registers.write32(CONTROL, ENABLE | (format << FORMAT_SHIFT));
}

/** 1 MiB of memory, translation on: 256 TCEs for 4 KiB pages at 0x80000000, unless stated otherwise. */
export function start(options: Partial<SoftwareMachineOptions> = {}, setUp: SetUp = {}): SoftwareMachine {
  const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, threads: 4, ...options });
  enable(machine, setUp);
  return machine;
}

/** Writes the eight bytes of an entry, in the order of memory. */
export function writeEntry(machine: SoftwareMachine, entry: number, bytes: readonly number[]): void {
  machine.memory.write(TABLE_ADDRESS + entry * 8, Uint8Array.from(bytes));
}

/** The bytes of a TCE for a page below 4 GiB. */
export function tce(address: number, permissions: number): number[] {
  return [
    0,
    0,
    0,
    0,
    (address >>> 24) & 255,
    (address >>> 16) & 255,
    (address >>> 8) & 255,
    (address & 255) | permissions,
  ];
}

/** Invalidates `count` entries; the register's answer. */
export function invalidate(machine: SoftwareMachine, first: number, count: number): number {
  machine.registers.write32(INVALIDATE_FIRST, first);
  machine.registers.write32(INVALIDATE_COUNT, count);
  return machine.registers.read32(INVALIDATE_RESULT);
}

/** What the device reads at `iova`, or undefined when it was refused. */
export function readByDevice(machine: SoftwareMachine, iova: bigint, length: number): number[] | undefined {
  const bytes = new Uint8Array(length);
  return machine.device(0).dmaRead(iova, bytes) ? [...bytes] : undefined;
}
