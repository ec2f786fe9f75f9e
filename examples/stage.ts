// Set-up of the driver examples: their options, and a device on a board of the chosen platform.
import { parseArgs } from "node:util";
import { DmaDevice, IovaError } from "iova";
import { BOARD_KINDS, type Board, type BoardKind, type DmaMaster, type Memory, PhysicalPages } from "iova/platform";
import { QEMU_BOARDS } from "iova/qemu";

const KINDS: readonly BoardKind[] = [...BOARD_KINDS, ...QEMU_BOARDS];
/** The first half is for what the driver sends and receives; rings, queues and the driver's own buffers come from the second. */
const MEMORY_BYTES = 2 ** 24;
const PAGES_AT = MEMORY_BYTES / 2;

export interface Stage {
  readonly board: Board;
  readonly memory: Memory;
  readonly device: DmaMaster;
  readonly pages: PhysicalPages;
  readonly dma: DmaDevice;
  /** Number of repetitions of the example's work. */
  readonly count: number;
  /** Prints the result. Exit code 1 after a mistake, a fault or a leak. */
  end(summary: string, mistakes: number): void;
}

/** Parses `--platform NAME` and `--${what} N`. A wrong option or an unavailable platform ends the program with a line and exit code 2. */
export function setUp(what: string, usually: number): Stage {
  try {
    const options = { platform: { type: "string", default: "linear-tce" }, [what]: { type: "string" } } as const;
    const { values } = parseArgs({ options });
    return stageOn(kindNamed(`${values.platform}`), countOf(what, values[what] ?? `${usually}`));
  } catch (error) {
    const isUse = error instanceof TypeError && "code" in error;
    if (!(isUse || error instanceof IovaError || error instanceof RangeError)) throw error;
    console.error(`${error.message}\nusage: [--platform NAME] [--${what} N]`);
    process.exit(2);
  }
}

function kindNamed(name: string): BoardKind {
  const kind = KINDS.find((candidate) => candidate.name === name);
  if (kind !== undefined) return kind;
  throw new RangeError(`--platform ${name}: expected one of ${KINDS.map((one) => one.name).join(", ")}`);
}

function countOf(what: string, text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new RangeError(`--${what} ${text}: expected an integer from 1 to 9999999`);
}

function stageOn(kind: BoardKind, count: number): Stage {
  const board = kind.create({ memoryBytes: MEMORY_BYTES, entries: 1024 });
  const { memory } = board.machine;
  const reserved = board.table.statistics().taken;
  const pages = PhysicalPages.create({ address: PAGES_AT, bytes: board.usableBytes - PAGES_AT });
  const dma = new DmaDevice(board.table, { mask: 2n ** 64n - 1n }, { memory, coherentPages: pages });
  const end = (summary: string, mistakes: number): void => {
    const taken = board.table.statistics().taken - reserved;
    const faults = board.takeFaults().length;
    const { invalidations } = board.statistics();
    console.log(`${kind.name}: ${summary}`);
    console.log(`${faults} faults; ${invalidations} invalidations, ${taken} entries still taken`);
    board.close();
    process.exitCode = mistakes + faults + taken === 0 ? 0 : 1;
  };
  return { board, memory, device: board.machine.device(0), pages, dma, count, end };
}
