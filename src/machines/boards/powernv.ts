/** The powernv platform on the software machine: all devices are in one PE, with the table in its first window. */
import { powernvTce } from "../../formats/tce.ts";
import { type PowerGeneration, tableBytesOf, tceGeometry } from "../../platforms/powernv/geometry.ts";
import { PowernvPlatform, type PowernvPlatformHandle } from "../../platforms/powernv/platform.ts";
import { RTT_BYTES } from "../../platforms/powernv/registers.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { MAX_ENTRIES } from "../../units/numbers.ts";
import { type Board, type BoardKind, type BoardOptions, checkBoardOptions } from "../board.ts";
import { boardOf, onMachine } from "../board-of.ts";
import { requesterIdOf } from "../software/iommus/phb4.ts";
import { SoftwareMachine, type SoftwareMachineHandle } from "../software/machine.ts";

const DEFAULT_ENTRIES = 65536;
const LARGEST_TABLE = Math.floor(MAX_ENTRIES / 2);
const POWER8_ONLY: readonly number[] = [24, 28];

export const powernvBoard: BoardKind = {
  name: "powernv",
  summary: "PowerPC without a hypervisor: PHB4, TCE tables of 1 to 4 levels, faults freeze the device (EEH)",
  format: powernvTce.name,
  pageShifts: [12, 16, 21, 24, 28, 30],
  levels: [1, 2],
  // IODA2: the bits of all levels and of the page must stay below 55, so five levels of the least size are too many.
  levelsFor: (pageShift) => (pageShift <= 16 ? [1, 2, 3, 4] : pageShift <= 24 ? [1, 2, 3] : [1, 2]),
  grants: powernvTce.grants,
  strayAccess: "refused",
  refusals: "fault",
  faultsFreeze: true,
  hasIotlb: true,
  entriesPerHypercall: 0,
  largestTable: () => LARGEST_TABLE,
  // For a flat table: the table, as much for its alignment, and twice the RTT for its alignment.
  platformBytes: (entries) => 2 * 8 * 2 ** Math.ceil(Math.log2(entries)) + 2 * RTT_BYTES,
  create,
  attach: (handle, crew) => {
    const machine = SoftwareMachine.attach(handle.machine as SoftwareMachineHandle, crew);
    return onMachine(machine, () =>
      viewOf(machine, PowernvPlatform.attach(machine, handle.platform as PowernvPlatformHandle)),
    );
  },
};

function create(options: BoardOptions): Board {
  checkBoardOptions(powernvBoard, options);
  const { memoryBytes, devices = ["device0"], threads = 32, entries = DEFAULT_ENTRIES, levels = 1 } = options;
  const { pageShift = 12 } = options;
  const generation: PowerGeneration = POWER8_ONLY.includes(pageShift) ? "power8" : "power9";
  const windowBytes = 1n << BigInt(Math.ceil(Math.log2(entries)) + pageShift);
  const shape = { pageShift, windowBytes, levels };
  const region = powernvRegion(options, shape, generation);
  const machine = SoftwareMachine.create({ memoryBytes, threads, devices, iommu: "phb4", partitions: 4, windows: 2 });
  const platform = PowernvPlatform.create(machine, {
    phb: {
      generation,
      region,
      devices: devices.map((name, i) => ({ name, requesterId: requesterIdOf(i) })),
    },
    table: { ...shape, table: options.table ?? {} },
  });
  return viewOf(machine, platform);
}

/**
 * The bridge's region at the end of memory: room for all levels of the table, for copies of one level that threads make concurrently, and
 * for the RTT. Throws InvalidArgumentError if memory is too small.
 */
export function powernvRegion(
  { memoryBytes, threads = 32 }: BoardOptions,
  shape: { pageShift: number; windowBytes: bigint; levels: number },
  generation: PowerGeneration,
): { address: number; bytes: number } {
  const geometry = tceGeometry(shape, generation);
  const copies = geometry.levels === 1 ? 0 : threads * geometry.levelBytes;
  const rttAddress = Math.floor(memoryBytes / RTT_BYTES) * RTT_BYTES - RTT_BYTES;
  // Levels are aligned to their size.
  const unit = geometry.levelBytes;
  const address = Math.floor((rttAddress - tableBytesOf(geometry) - copies) / unit) * unit;
  if (address > 0) return { address, bytes: rttAddress + RTT_BYTES - address };
  const expected = `room for ${tableBytesOf(geometry) + copies + RTT_BYTES} bytes of tables`;
  throw new InvalidArgumentError("memory of the board in bytes", memoryBytes, expected);
}

function viewOf(machine: SoftwareMachine, platform: PowernvPlatform): Board {
  const statistics = () => ({ invalidations: machine.statistics().invalidations, hypercalls: 0 });
  return boardOf({ kind: powernvBoard, machine, platform, firstAddress: platform.phb.region.address, statistics });
}
