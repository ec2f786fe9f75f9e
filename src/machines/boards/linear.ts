/** The linear platform on the software machine: a board for each of its formats. */
import type { EntryFormat } from "../../formats/contract.ts";
import { ENTRY_BYTES } from "../../formats/contract.ts";
import { sun4uIopte } from "../../formats/sun4u-iopte.ts";
import { powernvTce } from "../../formats/tce.ts";
import { LinearPlatform, type LinearPlatformHandle } from "../../platforms/linear/platform.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { type DmaWindow, MAX_ENTRIES } from "../../units/numbers.ts";
import { type Board, type BoardKind, type BoardOptions, checkBoardOptions } from "../board.ts";
import { boardOf, onMachine } from "../board-of.ts";
import { SoftwareMachine, type SoftwareMachineHandle } from "../software/machine.ts";

/** 4 GiB, so that no bus address equals a physical address. */
const WINDOW_BASE = 2n ** 32n;
const DEFAULT_ENTRIES = 65536;

function linearBoard(name: string, format: EntryFormat): BoardKind {
  const kind: BoardKind = {
    name,
    summary: `one window, one flat table of ${format.name}, registers of our own`,
    format: format.name,
    pageShifts: format.pageShifts,
    levels: [1],
    grants: format.grants,
    strayAccess: "refused",
    refusals: "fault",
    hasIotlb: true,
    entriesPerHypercall: 0,
    largestTable: () => MAX_ENTRIES,
    platformBytes: (entries) => Math.ceil((entries * ENTRY_BYTES) / 4096) * 4096,
    create: (options) => create(kind, options),
    attach: (handle, crew) => {
      const machine = SoftwareMachine.attach(handle.machine as SoftwareMachineHandle, crew);
      return onMachine(machine, () =>
        viewOf(kind, machine, LinearPlatform.attach(machine, handle.platform as LinearPlatformHandle)),
      );
    },
  };
  return kind;
}

export const linearTceBoard: BoardKind = linearBoard("linear-tce", powernvTce);
export const linearIopteBoard: BoardKind = linearBoard("linear-iopte", sun4uIopte);

function create(kind: BoardKind, options: BoardOptions): Board {
  checkBoardOptions(kind, options);
  const { memoryBytes, devices, threads = 32, entries = DEFAULT_ENTRIES, table } = options;
  const pageShift = options.pageShift ?? (kind.pageShifts[0] as number);
  const machine = SoftwareMachine.create({ memoryBytes, threads, ...(devices === undefined ? {} : { devices }) });
  const window: DmaWindow = { base: baseFor(pageShift), pageShift, entries };
  const platform = LinearPlatform.create(machine, {
    format: kind.format,
    window,
    table: table ?? {},
    tableAddress: tableAddressFor(memoryBytes, entries),
  });
  return viewOf(kind, machine, platform);
}

/** The base of the window: a multiple of the page size, at least WINDOW_BASE. */
function baseFor(pageShift: number): bigint {
  const pageBytes = 2n ** BigInt(pageShift);
  return pageBytes > WINDOW_BASE ? pageBytes : WINDOW_BASE;
}

function tableAddressFor(memoryBytes: number, entries: number): number {
  const address = Math.floor((memoryBytes - entries * ENTRY_BYTES) / 4096) * 4096;
  if (address > 0) return address;
  throw new InvalidArgumentError("memory of the board in bytes", memoryBytes, `room for a table of ${entries} entries`);
}

function viewOf(kind: BoardKind, machine: SoftwareMachine, platform: LinearPlatform): Board {
  const statistics = () => ({ invalidations: machine.statistics().invalidations, hypercalls: 0 });
  return boardOf({ kind, machine, platform, firstAddress: platform.tableAddress, statistics });
}
