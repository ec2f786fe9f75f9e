/** Makes a board from a machine and the platform on it: the part that boards of all kinds have in common. */
import type { DmaMachine } from "../machine/contract.ts";
import type { Platform } from "../platforms/platform.ts";
import type { Board, BoardKind, BoardStatistics } from "./board.ts";

/** The parts of a board. */
export interface BoardParts {
  /** The kind of the board. */
  readonly kind: BoardKind;
  /** This thread's view of the machine. */
  readonly machine: DmaMachine;
  /** This thread's view of the platform on it. */
  readonly platform: Platform;
  /** Memory from this physical address on belongs to the platform. */
  readonly firstAddress: number;
  /** Returns the counters of the machine, of all threads. */
  readonly statistics: () => BoardStatistics;
  /** Closes this thread's view of the platform. Default: the platform's `close`. */
  readonly closePlatform?: () => void;
}

/**
 * Makes one thread's view of a board. `usableBytes` is `firstAddress`, rounded down to a multiple of the IO page. `close` closes the view of the
 * platform, then that of the machine; a second call does nothing.
 */
export function boardOf(parts: BoardParts): Board {
  const { kind, machine, platform, firstAddress, statistics, closePlatform = () => platform.close() } = parts;
  const { generic: table } = platform;
  const pageBytes = 2 ** table.window.pageShift;
  return {
    kind,
    handle: { kind: kind.name, machine: machine.handle, platform: platform.handle },
    machine,
    platform,
    table,
    usableBytes: Math.floor(firstAddress / pageBytes) * pageBytes,
    crew: table.allocator.crew,
    statistics,
    takeFaults: () => {
      const faults = platform.takeFaults();
      // A fault has cut the devices off. On other boards a reset would hide stale translations of the IOTLB.
      if (kind.faultsFreeze === true && faults.length > 0) platform.reset();
      return faults;
    },
    close: closeOnce(closePlatform, () => machine.close()),
  };
}

/** Returns the result of `make`. If it throws, the machine's view is closed, so that its thread's number is not lost. */
export function onMachine(machine: { close(): void }, make: () => Board): Board {
  try {
    return make();
  } catch (error) {
    machine.close();
    throw error;
  }
}

/** Makes a board's `close`: it closes the platform's view, then the machine's, even if the first one throws. A second call does nothing. */
function closeOnce(closePlatform: () => void, closeMachine: () => void): () => void {
  let isClosed = false;
  return () => {
    if (isClosed) return;
    isClosed = true;
    try {
      closePlatform();
    } finally {
      closeMachine();
    }
  };
}
