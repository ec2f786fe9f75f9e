/** The sun4u platform on the software machine, with a Psycho bridge and its streaming cache. */
import { ENTRY_BYTES } from "../../formats/contract.ts";
import { sun4uIopte } from "../../formats/sun4u-iopte.ts";
import {
  FLAGS_BYTES,
  largestTsb,
  SUN4U_PAGE_SHIFTS,
  Sun4uPlatform,
  type Sun4uPlatformHandle,
  tsbEntriesFor,
} from "../../platforms/sun4u/platform.ts";
import { TSB_ALIGNMENT } from "../../platforms/sun4u/registers.ts";
import { type Board, type BoardKind, type BoardOptions, checkBoardOptions } from "../board.ts";
import { boardOf, onMachine } from "../board-of.ts";
import { SoftwareMachine, type SoftwareMachineHandle } from "../software/machine.ts";

const DEFAULT_ENTRIES = 32_768;

export const sun4uBoard: BoardKind = {
  name: "sun4u",
  summary: "UltraSPARC with a PCI bridge: one TSB of IOPTEs, a streaming cache; unmapped entries lead to a dummy page",
  format: sun4uIopte.name,
  pageShifts: SUN4U_PAGE_SHIFTS,
  levels: [1],
  grants: sun4uIopte.grants,
  strayAccess: "dummy-page",
  refusals: "fault",
  hasIotlb: true,
  entriesPerHypercall: 0,
  largestTable: largestTsb,
  platformBytes,
  create,
  attach(handle, crew) {
    const machine = SoftwareMachine.attach(handle.machine as SoftwareMachineHandle, crew);
    return onMachine(machine, () =>
      viewOf(machine, Sun4uPlatform.attach(machine, handle.platform as Sun4uPlatformHandle)),
    );
  },
};

/** The TSB, the dummy page, the sync flags, and their alignment. */
function platformBytes(entries: number, pageShift: number): number {
  return tsbEntriesFor(entries, pageShift) * ENTRY_BYTES + TSB_ALIGNMENT + FLAGS_BYTES + 3 * 2 ** pageShift;
}

function create(options: BoardOptions): Board {
  checkBoardOptions(sun4uBoard, options);
  const { memoryBytes, devices, threads = 32, entries = DEFAULT_ENTRIES, pageShift = 13, table } = options;
  const tsbEntries = tsbEntriesFor(entries, pageShift);
  const named = devices === undefined ? {} : { devices };
  const machine = SoftwareMachine.create({ memoryBytes, threads, iommu: "psycho", ...named });
  return viewOf(
    machine,
    Sun4uPlatform.create(machine, { pageShift, entries: tsbEntries, streaming: true, table: table ?? {} }),
  );
}

function viewOf(machine: SoftwareMachine, platform: Sun4uPlatform): Board {
  const statistics = () => ({ invalidations: machine.statistics().invalidations, hypercalls: 0 });
  return boardOf({ kind: sun4uBoard, machine, platform, firstAddress: platform.firstAddress, statistics });
}
