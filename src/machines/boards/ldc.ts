/** The LDC platform at one end of a channel. Its devices are users at the other end, whose DMA is copies by cookies. */
import { LDC_ENTRY_BYTES, ldcMapEntry } from "../../formats/ldc-map-entry.ts";
import { LdcLink } from "../../platforms/ldc/link.ts";
import { LdcPlatform, type LdcPlatformHandle } from "../../platforms/ldc/platform.ts";
import { LEAST_TABLE_ENTRIES, MAP_TABLE_ALIGNMENT, MOST_TABLE_ENTRIES } from "../../platforms/ldc/services.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { type Board, type BoardKind, type BoardOptions, checkBoardOptions } from "../board.ts";
import { boardOf, onMachine } from "../board-of.ts";
import { LdcHypervisor, type LdcHypervisorHandle } from "../hypervisors/ldc/hypervisor.ts";

/** The size of a map table in Linux. */
const DEFAULT_ENTRIES = 8192;

export const ldcBoard: BoardKind = {
  name: "ldc",
  summary: "one end of a logical domain channel; the devices are the other end, which copies by cookies",
  format: ldcMapEntry.name,
  // Without pages of 2 and 16 GiB, which exceed the memory of a software machine.
  pageShifts: ldcMapEntry.pageShifts.filter((shift) => shift < 31),
  levels: [1],
  grants: ldcMapEntry.grants,
  strayAccess: "refused",
  refusals: "fault",
  hasIotlb: false,
  entriesPerHypercall: 0,
  largestTable: () => MOST_TABLE_ENTRIES,
  platformBytes: (entries) => roundedEntries(entries) * LDC_ENTRY_BYTES + MAP_TABLE_ALIGNMENT,
  create,
  attach: (handle, crew) => {
    const machine = LdcHypervisor.attach(handle.machine as LdcHypervisorHandle, crew);
    return onMachine(machine, () => viewOf(machine, LdcPlatform.attach(machine, handle.platform as LdcPlatformHandle)));
  },
};

/** `entries` is rounded up to a power of two, at least 512. Default 8192. */
function create(options: BoardOptions): Board {
  checkBoardOptions(ldcBoard, options);
  const { memoryBytes, devices, threads = 32, pageShift, table, entries = DEFAULT_ENTRIES } = options;
  const rounded = roundedEntries(entries);
  const bytes = rounded * LDC_ENTRY_BYTES;
  const tableAddress = Math.floor((memoryBytes - bytes) / MAP_TABLE_ALIGNMENT) * MAP_TABLE_ALIGNMENT;
  if (tableAddress <= 0) {
    throw new InvalidArgumentError("memory of the board in bytes", memoryBytes, `room for a table of ${bytes} bytes`);
  }
  const machine = LdcHypervisor.create({ memoryBytes, threads, ...(devices === undefined ? {} : { devices }) });
  const platform = LdcPlatform.create(machine, {
    tableAddress,
    entries: rounded,
    table: table ?? {},
    ...(pageShift === undefined ? {} : { pageShift }),
  });
  platform.link.connect();
  new LdcLink(machine.ends[1]).connect();
  return viewOf(machine, platform);
}

function roundedEntries(entries: number): number {
  return Math.max(LEAST_TABLE_ENTRIES, 2 ** Math.ceil(Math.log2(entries)));
}

function viewOf(machine: LdcHypervisor, platform: LdcPlatform): Board {
  return boardOf({
    kind: ldcBoard,
    machine,
    platform,
    firstAddress: platform.handle.tableAddress,
    // The hypervisor reads the map table for each copy, so there are no invalidations.
    statistics: () => ({ invalidations: 0, hypercalls: machine.injection.calls }),
  });
}
