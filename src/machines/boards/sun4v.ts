/** The sun4v platform on a machine with the hypervisor's model: a board for each window of its PCI root. */
import { sun4vTte } from "../../formats/sun4v-tte.ts";
import type { Sun4vWindow } from "../../platforms/sun4v/calls.ts";
import { Sun4vPlatform, type Sun4vPlatformHandle } from "../../platforms/sun4v/platform.ts";
import {
  ATU_ENTRIES,
  IO_PAGE_SHIFT,
  LEGACY_ENTRIES,
  LIST_BYTES,
  LIST_ENTRIES,
} from "../../platforms/sun4v/services.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { type Board, type BoardKind, type BoardOptions, checkBoardOptions } from "../board.ts";
import { boardOf, onMachine } from "../board-of.ts";
import { Sun4vHypervisor, type Sun4vHypervisorHandle } from "../hypervisors/sun4v/hypervisor.ts";

const PAGE_BYTES = 2 ** IO_PAGE_SHIFT;
const ENTRY_BYTES = 8;
/** Entries in a page of the table. */
const PAGE_ENTRIES: number = PAGE_BYTES / ENTRY_BYTES;

function boardKind(name: string, summary: string, window: Sun4vWindow): BoardKind {
  const kind: BoardKind = {
    name,
    summary,
    format: sun4vTte.name,
    pageShifts: sun4vTte.pageShifts,
    levels: [1],
    grants: sun4vTte.grants,
    strayAccess: "refused",
    refusals: "fault",
    // The hypervisor invalidates the entries that a call demaps before it returns.
    hasIotlb: false,
    entriesPerHypercall: LIST_ENTRIES,
    largestTable: () => largestTable(window),
    // The table in whole pages, list pages for the default number of threads, and alignment.
    platformBytes: (entries) => roundedEntries(entries) * ENTRY_BYTES + 65 * LIST_BYTES + PAGE_BYTES,
    create: (options) => create(kind, window, options),
    attach: (handle, crew) => {
      const machine = Sun4vHypervisor.attach(handle.machine as Sun4vHypervisorHandle, crew);
      return onMachine(machine, () =>
        viewOf(kind, machine, Sun4vPlatform.attach(machine, handle.platform as Sun4vPlatformHandle)),
      );
    },
  };
  return kind;
}

export const sun4vBoard: BoardKind = boardKind("sun4v", "legacy window, 2 GiB; entries by hypercall", "legacy");
export const sun4vAtuBoard: BoardKind = boardKind("sun4v-atu", "ATU window, 32 GiB; entries by hypercall", "atu");

/**
 * `entries` is rounded up to whole pages of the table. Default: the whole window, or less if its table would exceed a quarter of memory.
 */
function create(kind: BoardKind, window: Sun4vWindow, options: BoardOptions): Board {
  checkBoardOptions(kind, options);
  const { memoryBytes, devices = ["device0"], threads = 32, table } = options;
  const most = largestTable(window);
  const asked = options.entries ?? Math.min(most, 2 ** Math.floor(Math.log2(memoryBytes / 4 / ENTRY_BYTES)));
  const entries = roundedEntries(asked);
  const tableBytes = entries * ENTRY_BYTES;
  // From the end of memory down: the table, the list pages, the caller's memory.
  const end = Math.floor(memoryBytes / PAGE_BYTES) * PAGE_BYTES;
  const listAddress = end - tableBytes - threads * LIST_BYTES;
  if (listAddress <= 0) {
    const expected = `room for a table of ${entries} entries and lists of ${threads} threads`;
    throw new InvalidArgumentError("memory of the board in bytes", memoryBytes, expected);
  }
  const legacyEntries = window === "legacy" ? entries : 0;
  const machine = Sun4vHypervisor.create({ memoryBytes: end, threads, devices, legacyEntries });
  const platform = Sun4vPlatform.create(machine, {
    window,
    entries,
    listAddress,
    table: table ?? {},
    ...(window === "atu" ? { iotsbAddress: end - tableBytes, devices: devices.map((_, device) => device) } : {}),
  });
  return viewOf(kind, machine, platform);
}

function largestTable(window: Sun4vWindow): number {
  return window === "legacy" ? LEGACY_ENTRIES : ATU_ENTRIES;
}

function roundedEntries(entries: number): number {
  return Math.ceil(entries / PAGE_ENTRIES) * PAGE_ENTRIES;
}

function viewOf(kind: BoardKind, machine: Sun4vHypervisor, platform: Sun4vPlatform): Board {
  const firstAddress = platform.handle.listAddress;
  return boardOf({ kind, machine, platform, firstAddress, statistics: () => machine.statistics() });
}
