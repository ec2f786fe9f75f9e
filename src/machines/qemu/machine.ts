/**
 * A machine that we did not write: QEMU's model of a board, its IOMMU, and a device behind it. What platform code does to it, and what
 * the device's DMA then moves, shows whether the platform is right about hardware as somebody else understood it.
 *
 *     const machine = QemuMachine.create("sun4u");
 *     machine.registers.write64(0x208, 0x100000n);
 *     …
 *     machine.close();
 *
 * The board is one of `BOARDS`. What its model can't show is in docs/verification.md.
 */
import type { DmaMaster, Fault, Machine } from "../../machine/contract.ts";
import { isShared } from "../../shared/memory.ts";
import { FormatError, InvalidArgumentError } from "../../units/errors.ts";
import type { Board, BoardParts } from "./board.ts";
import { fileStore, QemuMemory, qtestStore } from "./memory.ts";
import { powernv } from "./powernv.ts";
import {
  FIRMWARE_PATH,
  MEMORY_PATH,
  type QemuHandle,
  type QemuPatience,
  type QemuProcess,
  startQemu,
} from "./process.ts";
import { Qtest } from "./qtest.ts";
import { RefusalLog } from "./refusals.ts";
import { QemuRegisters } from "./registers.ts";
import { sun4u } from "./sun4u.ts";

export type BoardName = "sun4u" | "powernv";

const BOARDS: Readonly<Record<BoardName, Board>> = { sun4u, powernv };

export interface QemuMachineOptions extends QemuPatience {
  /** Name or path of the QEMU to run instead of the board's own. */
  readonly program?: string;
  /** More arguments for it. */
  readonly args?: readonly string[];
}

/** What a thread attaches to. Structured-cloneable, within the process. */
export interface QemuMachineHandle {
  readonly board: BoardName;
  readonly qemu: QemuHandle;
}

/**
 * One thread's view of a machine. QEMU ends with the thread that created it, or with `close` there; the other threads are then told so
 * by IovaError `qemu-closed`. Every call may throw IovaError: `qemu-died` (it has ended), `qemu-timeout` (it did not answer in time, or a
 * thread was killed while it used the machine, and QEMU was killed for it), `qemu-closed`.
 */
export class QemuMachine implements Machine {
  readonly handle: QemuMachineHandle;
  readonly memory: QemuMemory;
  readonly registers: QemuRegisters;
  /** Physical memory below this address is not for the platform: firmware lies there. */
  readonly firstFreeByte: number;
  /** How it is known that a DMA was refused: from QEMU's log. Devices don't notice, and no register records it. */
  readonly detectsRefusals = "by-log";
  readonly #qtest: Qtest;
  readonly #process: QemuProcess | undefined;
  readonly #refusals: RefusalLog;
  readonly #device: DmaMaster;

  private constructor(handle: QemuMachineHandle, qtest: Qtest, process: QemuProcess | undefined) {
    const board = BOARDS[handle.board];
    const memory = board.memoryIsFile ? fileStore(qtest.files.memory) : qtestStore(qtest);
    this.handle = handle;
    this.#qtest = qtest;
    this.#process = process;
    this.#refusals = new RefusalLog(qtest, board.device);
    this.memory = new QemuMemory(qtest, memory, board.memoryBytes);
    this.registers = new QemuRegisters(qtest, board.registers);
    this.firstFreeByte = board.firstFreeByte;
    const parts: BoardParts = { qtest, memory, refusals: this.#refusals };
    if (process !== undefined) qtest.locked(() => board.setUp(qtest, parts));
    this.#device = board.dmaMaster(parts);
  }

  /**
   * Starts QEMU: 50 to 200 ms. Throws IovaError: `qemu-not-installed`, `qemu-unsupported` (not Linux, or no setpriv), `qemu-died` when it
   * refuses its arguments, `qemu-timeout`.
   */
  static create(name: BoardName, options: QemuMachineOptions = {}): QemuMachine {
    const board = boardOf(name);
    const { program = board.program, args = [], ...patience } = options;
    const process = startQemu({
      ...patience,
      program,
      args: [...argumentsOf(board), ...args],
      memoryFileBytes: board.memoryIsFile ? board.ramBytes : 0,
      firmware: board.firmware,
    });
    try {
      const { handle } = process;
      return new QemuMachine({ board: name, qemu: handle }, new Qtest(handle, handle), process);
    } catch (error) {
      process.end();
      throw error;
    }
  }

  /** A view for another thread of this process. Throws FormatError for a foreign handle, IovaError when QEMU has been closed. */
  static attach(handle: QemuMachineHandle): QemuMachine {
    if (!isShared(handle?.qemu?.state)) throw new FormatError("the handle is not that of a QEMU machine");
    boardOf(handle.board);
    return new QemuMachine(handle, Qtest.attach(handle.qemu), undefined);
  }

  /** The device with this name or number; each board has one. Throws InvalidArgumentError when there is none. */
  device(which: string | number = 0): DmaMaster {
    if (which === 0 || which === this.#device.name) return this.#device;
    throw new InvalidArgumentError("device", which, this.#device.name);
  }

  /** From QEMU's log, since the models record none. The reason is "read-refused" or "write-refused": more it does not say. */
  faults(): readonly Fault[] {
    return this.#refusals.take();
  }

  /** Ends QEMU when this thread has created it, else only this view. A second call does nothing. */
  close(): void {
    if (this.#process === undefined) this.#qtest.closeFiles();
    else if (this.#qtest.markClosed()) this.#process.end();
  }
}

function boardOf(name: BoardName): Board {
  if (Object.hasOwn(BOARDS, name)) return BOARDS[name];
  throw new InvalidArgumentError("board", name, `one of ${Object.keys(BOARDS).join(", ")}`);
}

function argumentsOf(board: Board): string[] {
  const memory = `memory-backend-file,id=memory,share=on,mem-path=${MEMORY_PATH},size=${board.ramBytes}`;
  return [
    ...["-nodefaults", "-display", "none", "-qtest", "stdio", "-qtest-log", "/dev/null", "-d", "guest_errors"],
    ...(board.memoryIsFile ? ["-object", memory] : []),
    ...(board.firmware.length > 0 ? ["-bios", FIRMWARE_PATH] : []),
    ...board.args,
  ];
}
