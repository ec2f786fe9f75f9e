/**
 * The machine under one row of a replay: a software machine with a table of PowerPC's TCEs in its memory, and behind the table
 * an arena for each worker's buffers. Every row has one of its own, alike.
 */
import { ENTRY_BYTES, type EntryFormat } from "../formats/contract.ts";
import { powernvTce } from "../formats/tce.ts";
import { SoftwareMachine, type SoftwareMachineHandle } from "../machines/software/machine.ts";
import { LinearOps } from "../platforms/linear/ops.ts";
import {
  CONTROL,
  ENABLE,
  ENTRIES,
  FORMAT_SHIFT,
  formatCodeOf,
  PAGE_SHIFT,
  TABLE_ALIGNMENT,
  TABLE_BASE,
  WINDOW_BASE,
} from "../platforms/linear/registers.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import type { DmaWindow } from "../units/numbers.ts";

/** What the entries look like in memory. */
export const REPLAY_FORMAT: EntryFormat = powernvTce;
/** The software machine's memory ends here. */
const MOST_MEMORY_BYTES = 2 ** 32;

/** Where things lie in a row's memory; the same for all rows. */
export interface MemoryLayout {
  readonly memoryBytes: number;
  readonly tableAddress: number;
  /** Where each worker's arena begins. */
  readonly arenaAddresses: readonly number[];
}

/** How much each of `workers` arenas may hold at most, beside the table. */
export function arenaLimit(window: DmaWindow, workers: number, wanted: number): number {
  const pageBytes = Math.max(4096, 2 ** window.pageShift);
  const room = Math.floor((MOST_MEMORY_BYTES - arenasBegin(window)) / workers / pageBytes) * pageBytes;
  if (room > 0) return Math.min(wanted, room);
  throw new InvalidArgumentError(
    "memory of the replay",
    `a table of ${window.entries} entries and ${workers} arenas of at least one page of ${pageBytes} bytes`,
    `at most the software machine's ${MOST_MEMORY_BYTES} bytes: fewer entries, fewer workers or smaller pages`,
  );
}

/** Places the table and arenas of these sizes. */
export function layoutMemory(window: DmaWindow, arenas: readonly number[]): MemoryLayout {
  let end = arenasBegin(window);
  const arenaAddresses = arenas.map((bytes) => {
    end += bytes;
    return end - bytes;
  });
  return { memoryBytes: Math.ceil(end / 4096) * 4096, tableAddress: 0, arenaAddresses };
}

/** The table lies at 0; arenas begin at an IO page. */
function arenasBegin(window: DmaWindow): number {
  const alignment = Math.max(TABLE_ALIGNMENT, 2 ** window.pageShift);
  return Math.ceil((window.entries * ENTRY_BYTES) / alignment) * alignment;
}

/** A machine whose IOMMU translates the window; one device for each worker. */
export function createMachine(window: DmaWindow, layout: MemoryLayout): SoftwareMachine {
  const devices = layout.arenaAddresses.map((_, worker) => `device${worker}`);
  const threads = devices.length + 1;
  const machine = SoftwareMachine.create({ memoryBytes: layout.memoryBytes, devices, threads });
  const { registers } = machine;
  registers.write64(TABLE_BASE, BigInt(layout.tableAddress));
  registers.write32(ENTRIES, window.entries);
  registers.write32(PAGE_SHIFT, window.pageShift);
  registers.write64(WINDOW_BASE, window.base);
  registers.write32(CONTROL, ENABLE | (formatCodeOf(REPLAY_FORMAT.name) << FORMAT_SHIFT));
  return machine;
}

/** A worker's view. */
export function attachMachine(handle: SoftwareMachineHandle): SoftwareMachine {
  return SoftwareMachine.attach(handle);
}

/** The ops of one thread on its view of the machine. */
export function opsOn(machine: SoftwareMachine, window: DmaWindow, layout: MemoryLayout): LinearOps {
  return new LinearOps({
    memory: machine.memory,
    registers: machine.registers,
    format: REPLAY_FORMAT,
    pageShift: window.pageShift,
    entries: window.entries,
    tableAddress: layout.tableAddress,
  });
}
