/**
 * The simplest platform: one window, one flat table in memory, one linear IOMMU. It shows what every platform does: write the table,
 * program the registers, enclose the generic table, and add its own fields.
 *
 *     const platform = LinearPlatform.create(machine, { format: "powernv-tce", window });
 *     worker.postMessage([machine.handle, platform.handle]);  // there: LinearPlatform.attach(machine, handle)
 *     platform.generic.allocate(1);
 */
import { ENTRY_BYTES, type EntryFormat } from "../../formats/contract.ts";
import { sun4uIopte } from "../../formats/sun4u-iopte.ts";
import { powernvTce } from "../../formats/tce.ts";
import type { Machine } from "../../machine/contract.ts";
import { checkHandle } from "../../table/handle.ts";
import { IommuTable, inCrew, type TableHandle, type TableOptions } from "../../table/iommu-table.ts";
import { InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { checkWindow } from "../../units/window.ts";
import { TablePlatform } from "../platform.ts";
import { LinearOps } from "./ops.ts";
import {
  CONTROL,
  ENABLE,
  ENTRIES,
  FORMAT_SHIFT,
  formatCodeOf,
  INVALIDATE_RESULT,
  PAGE_SHIFT,
  RESULT_DONE,
  TABLE_ALIGNMENT,
  TABLE_BASE,
  WINDOW_BASE,
} from "./registers.ts";

/** Formats of a linear table, by name. */
const FORMATS: ReadonlyMap<string, EntryFormat> = new Map(
  [powernvTce, sun4uIopte].map((format) => [format.name, format]),
);

/** Options of `LinearPlatform.create`. */
export interface LinearPlatformOptions {
  /** Name of the entry format: "powernv-tce" or "sun4u-iopte". */
  readonly format: string;
  /** The window: base and page shift in the format's range, 1 .. 2^31 − 1 entries. */
  readonly window: DmaWindow;
  /** Physical address of the table: a multiple of 4096. Default: the highest one, so that the table lies at the end of memory. */
  readonly tableAddress?: number;
  /** Options of the generic table. */
  readonly table?: TableOptions;
}

/** Handle of a linear platform, structured-cloneable: post it to another thread and call `LinearPlatform.attach` there. */
export interface LinearPlatformHandle {
  /** @internal */
  readonly format: string;
  /** @internal */
  readonly tableAddress: number;
  /** @internal */
  readonly table: TableHandle;
}

/**
 * The simplest platform: one window, one flat table in memory, one linear IOMMU. One object is one thread's view: post the machine's handle
 * and this one's, and `attach` in each other thread. `generic` is the table to map in.
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, orThrow } from "iova";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0n, pageShift: 13, entries: 512 };
 * const platform = LinearPlatform.create(machine, { format: "sun4u-iopte", window });
 * console.log(`${platform.tableBytes} bytes of table at 0x${platform.tableAddress.toString(16)}`);
 *
 * const driver = new DmaDevice(platform.generic);
 * const { iova } = orThrow(driver.map(0x6010n, 16, DEVICE_READS));
 * console.log(driver.translate(iova));
 * machine.close();
 * ```
 * ```text output
 * 4096 bytes of table at 0xff000
 * { address: 24592n, bytes: 8176, access: 1 }
 * ```
 */
export class LinearPlatform extends TablePlatform {
  /** This thread's ops of the table. */
  readonly ops: LinearOps;
  /** Format of the entries. */
  readonly format: EntryFormat;
  /** Physical address of the table, in bytes. */
  readonly tableAddress: number;
  /** Size of the table in bytes: 8 for each entry. */
  readonly tableBytes: number;

  private constructor(
    machine: Machine,
    generic: IommuTable,
    ops: LinearOps,
    format: EntryFormat,
    tableAddress: number,
  ) {
    super(machine, generic);
    this.ops = ops;
    this.format = format;
    this.tableAddress = tableAddress;
    this.tableBytes = generic.window.entries * ENTRY_BYTES;
  }

  /**
   * Writes an empty table, programs the IOMMU (which ends all earlier translations), and attaches this thread.
   *
   * Throws InvalidArgumentError for inconsistent options, before the machine is changed, and IovaError "platform-busy" if a DMA by an
   * earlier translation does not end.
   */
  static create(machine: Machine, options: LinearPlatformOptions): LinearPlatform {
    checkKeys("a linear platform", options, { format: "any", window: "object", tableAddress: "any", table: "object" });
    const { window } = options;
    checkWindow(window);
    const format = formatNamed(options.format);
    const tableAddress = options.tableAddress ?? defaultTableAddress(machine.memory.bytes, window.entries);
    const ops = opsOf(machine, format, window, tableAddress);
    const generic = IommuTable.create(window, ops, inCrew(options.table, machine.crew));
    writeControl(machine, 0);
    ops.clear(0, window.entries);
    ops.publish();
    const { registers } = machine;
    registers.write64(TABLE_BASE, BigInt(tableAddress));
    registers.write64(WINDOW_BASE, window.base);
    registers.write32(ENTRIES, window.entries);
    registers.write32(PAGE_SHIFT, window.pageShift);
    writeControl(machine, ENABLE | (formatCodeOf(format.name) << FORMAT_SHIFT));
    return new LinearPlatform(machine, generic, ops, format, tableAddress);
  }

  /** Attaches the calling thread, with this thread's view of the machine. Throws FormatError for a foreign handle. */
  static attach(machine: Machine, handle: LinearPlatformHandle): LinearPlatform {
    checkHandle("a linear platform", handle, { format: "string", tableAddress: "count", table: "table" });
    const format = formatNamed(handle.format);
    const ops = opsOf(machine, format, handle.table.window, handle.tableAddress);
    return new LinearPlatform(
      machine,
      IommuTable.attach(handle.table, ops, machine.crew),
      ops,
      format,
      handle.tableAddress,
    );
  }

  get handle(): LinearPlatformHandle {
    return { format: this.format.name, tableAddress: this.tableAddress, table: this.generic.handle };
  }
}

function formatNamed(name: string): EntryFormat {
  const format = FORMATS.get(name);
  if (format === undefined) {
    throw new InvalidArgumentError("entry format", name, `one of ${[...FORMATS.keys()].join(", ")}`);
  }
  return format;
}

function opsOf(machine: Machine, format: EntryFormat, window: DmaWindow, tableAddress: number): LinearOps {
  const { memory, registers } = machine;
  const { pageShift, entries } = window;
  return new LinearOps({ memory, registers, format, pageShift, entries, tableAddress });
}

/** The highest possible address, which leaves low addresses to buffers. */
function defaultTableAddress(memoryBytes: number, entries: number): number {
  const bytes = entries * ENTRY_BYTES;
  return Math.max(0, Math.floor((memoryBytes - bytes) / TABLE_ALIGNMENT) * TABLE_ALIGNMENT);
}

function writeControl(machine: Machine, value: number): void {
  machine.registers.write32(CONTROL, value);
  if (machine.registers.read32(INVALIDATE_RESULT) !== RESULT_DONE) {
    throw new IovaError(
      "platform-busy",
      "a DMA has not ended since CONTROL was written; forget its thread if it is dead",
    );
  }
}
