/** The pseries guest on the model of its hypervisor, with the default window. The board's handle contains the personality. */
import { pseriesTce } from "../../formats/pseries-tce.ts";
import { TCES_PER_CALL } from "../../platforms/pseries/papr.ts";
import { PseriesPlatform, type PseriesPlatformHandle } from "../../platforms/pseries/platform.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { type Board, type BoardKind, type BoardOptions, checkBoardOptions } from "../board.ts";
import { boardOf, onMachine } from "../board-of.ts";
import { PaprHypervisor, type PaprHypervisorHandle } from "../hypervisors/papr/hypervisor.ts";
import type { PersonalityName } from "../hypervisors/papr/personalities.ts";

/** 2 GiB, or one page if that is larger: bus addresses exceed the memory of small boards. */
const WINDOW_BASE = 2n ** 31n;
const DEFAULT_ENTRIES = 65536;
const LARGEST_TABLE = 2 ** 30;

export interface PseriesBoardOptions extends BoardOptions {
  /** The hypervisor to run on. Default "papr". */
  readonly personality?: PersonalityName;
}

export const pseriesBoard: BoardKind & { create(options: PseriesBoardOptions): Board } = {
  name: "pseries",
  summary: "guest of a PAPR hypervisor: TCEs by hypercalls, up to 512 a call, faults freeze the device (EEH)",
  format: pseriesTce.name,
  // Real machines also have pages of 16 GiB, which exceed the memory of a software machine.
  pageShifts: [12, 16, 21, 24, 25, 26, 27, 28],
  levels: [1],
  grants: pseriesTce.grants,
  strayAccess: "refused",
  refusals: "fault",
  faultsFreeze: true,
  // The hypervisor invalidates the entries that a call empties before it returns.
  hasIotlb: false,
  entriesPerHypercall: TCES_PER_CALL,
  largestTable: () => LARGEST_TABLE,
  // The hypervisor's table, list pages for the default number of threads, and alignment.
  platformBytes: (entries) => tableEntries(entries) * 8 + 65 * 4096 + 3 * 4096,
  create,
  attach: (handle, crew) => {
    const hypervisor = PaprHypervisor.attach(handle.machine as PaprHypervisorHandle, crew);
    return onMachine(hypervisor, () =>
      viewOf(hypervisor, PseriesPlatform.attach(hypervisor, handle.platform as PseriesPlatformHandle)),
    );
  },
};

/** `memoryBytes` is the machine's memory. The hypervisor's table lies at its end, and the guest's list pages below the table. */
function create(options: PseriesBoardOptions): Board {
  checkBoardOptions(pseriesBoard, options, { personality: "any" });
  const { devices, threads = 32, memoryBytes, personality = "papr", table } = options;
  const pageShift = options.pageShift ?? (pseriesBoard.pageShifts[0] as number);
  const entries = tableEntries(options.entries ?? DEFAULT_ENTRIES);
  const guestBytes = Math.floor((memoryBytes - entries * 8 - 2 * 4096) / 4096) * 4096;
  const regionBytes = threads * 4096;
  if (guestBytes <= regionBytes) {
    throw new InvalidArgumentError(
      "memory of the board in bytes",
      memoryBytes,
      `room for a table of ${entries} entries`,
    );
  }
  const pageBytes = 2n ** BigInt(pageShift);
  const hypervisor = PaprHypervisor.create({
    memoryBytes: guestBytes,
    personality,
    threads,
    base: pageBytes > WINDOW_BASE ? pageBytes : WINDOW_BASE,
    pageShift,
    entries,
    ...(devices === undefined ? {} : { devices }),
  });
  const platform = PseriesPlatform.create(hypervisor, {
    properties: hypervisor.properties(0),
    region: { address: guestBytes - regionBytes, bytes: regionBytes },
    table: table ?? {},
  });
  return viewOf(hypervisor, platform);
}

function tableEntries(entries: number): number {
  return 2 ** Math.ceil(Math.log2(entries));
}

function viewOf(machine: PaprHypervisor, platform: PseriesPlatform): Board {
  const firstAddress = platform.handle.listPages ?? machine.memory.bytes;
  return boardOf({ kind: pseriesBoard, machine, platform, firstAddress, statistics: () => machine.statistics() });
}
