/**
 * A machine that QEMU models: a board with its IOMMU and a device behind it. The DMA of that device checks the platform code against an
 * independent model of the hardware.
 *
 *     const machine = QemuMachine.create("sun4u");
 *     machine.registers.write64(0x208, 0x100000n);
 *     …
 *     machine.close();
 *
 * The model is one of `MODELS`. docs/verification.md lists what it can't show.
 */

import { Crew, type CrewHandle, checkCrew } from "../../crew/crew.ts";
import type { DmaMaster, Fault, Machine, Memory, Registers } from "../../machine/contract.ts";
import { checkHandle } from "../../table/handle.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { checkKeys } from "../../units/keys.ts";
import { fileStore, QemuMemory, qtestStore } from "./memory.ts";
import type { ModelParts, QemuModel } from "./model.ts";
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

/** Machines that QEMU emulates here: "sun4u" with a Sabre bridge, "powernv" (powernv9) with a PHB4. */
export type QemuModelName = "sun4u" | "powernv";

const MODELS: Readonly<Record<QemuModelName, QemuModel>> = { sun4u, powernv };

/** Options of `QemuMachine.create`. */
export interface QemuMachineOptions extends QemuPatience {
  /** Name or path of the QEMU program. Default: the model's, "qemu-system-sparc64" or "qemu-system-ppc64". */
  readonly program?: string;
  /** Additional command-line arguments of QEMU. Default: none. */
  readonly args?: readonly string[];
  /** Limit of attached threads: 1 .. 256. Default 32. */
  readonly threads?: number;
}

/** Handle of a QEMU machine, structured-cloneable: post it to another thread of this process and call `QemuMachine.attach` there. */
export interface QemuMachineHandle {
  /** Name of the emulated machine. */
  readonly model: QemuModelName;
  /** @internal */
  readonly qemu: QemuHandle;
  /** Handle of the crew: the threads that may attach. */
  readonly crew: CrewHandle;
}

/**
 * A machine that a QEMU process emulates: a board with its IOMMU and one device. The device's DMA checks platforms against an independent
 * model of the hardware. Linux with Node only.
 *
 * One object is one thread's view: post `handle`, and `attach` in other threads of this process. QEMU ends with the thread that created it,
 * or with `close` there. Every call may throw IovaError: "qemu-died" (QEMU has ended), "qemu-timeout" (it did not answer in time, or a
 * thread was killed while it used the machine; QEMU is killed then), "qemu-closed" (its creator has closed it).
 *
 * @example
 * ```ts
 * import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
 * import { Sun4uPlatform } from "iova/platform";
 * import { QemuMachine } from "iova/qemu";
 *
 * export function writesByDma(): boolean {
 *   const machine = QemuMachine.create("sun4u");
 *   const platform = Sun4uPlatform.create(machine, { entries: 1024 });
 *   const device = new DmaDevice(platform.generic);
 *   const { iova } = orThrow(device.map(BigInt(machine.firstFreeByte), 8192, DEVICE_WRITES));
 *   const isDone = machine.device().dmaWrite(iova, Uint8Array.of(1, 2, 3, 4));
 *   machine.close();
 *   return isDone;
 * }
 * ```
 */
export class QemuMachine implements Machine {
  /** Handle for other threads of this process. */
  readonly handle: QemuMachineHandle;
  /** The threads of the machine. QEMU has no state of single threads; tables and pages have. */
  readonly crew: Crew;
  /** The emulated physical memory. */
  readonly memory: Memory;
  /** Registers of the emulated IOMMU. */
  readonly registers: Registers;
  /** Physical memory below this address belongs to firmware. */
  readonly firstFreeByte: number;
  /** Refused DMAs are found in QEMU's log. The emulated devices do not notice them, and no register records them. */
  readonly detectsRefusals = "by-log";
  readonly #qtest: Qtest;
  readonly #process: QemuProcess | undefined;
  readonly #refusals: RefusalLog;
  readonly #device: DmaMaster;

  private constructor(handle: QemuMachineHandle, crew: Crew, qtest: Qtest, process: QemuProcess | undefined) {
    const model = MODELS[handle.model];
    const memory = model.memoryIsFile ? fileStore(qtest.files.memory) : qtestStore(qtest);
    this.handle = handle;
    this.crew = crew;
    this.#qtest = qtest;
    this.#process = process;
    this.#refusals = new RefusalLog(qtest, model.device);
    this.memory = new QemuMemory(qtest, memory, model.memoryBytes);
    this.registers = new QemuRegisters(qtest, model.registers);
    this.firstFreeByte = model.firstFreeByte;
    const parts: ModelParts = { qtest, memory, refusals: this.#refusals };
    if (process !== undefined) qtest.locked(() => model.setUp(qtest, parts));
    this.#device = model.dmaMaster(parts);
  }

  /**
   * Starts QEMU, which takes 50 to 200 ms, and attaches this thread. Throws InvalidArgumentError for an unknown model or options out of
   * range, and IovaError "qemu-not-installed", "qemu-unsupported" (not Linux, or no `setpriv`), "qemu-died" (QEMU refuses its arguments) or
   * "qemu-timeout".
   */
  static create(name: QemuModelName, options: QemuMachineOptions = {}): QemuMachine {
    const model = modelOf(name);
    checkKeys("a QEMU machine", options, {
      program: "string",
      args: "object",
      threads: "any",
      startMilliseconds: "any",
      callMilliseconds: "any",
    });
    const { program = model.program, args = [], threads, ...patience } = options;
    const crew = Crew.create(threads === undefined ? {} : { threads });
    const process = startQemu({
      ...patience,
      program,
      args: [...argumentsOf(model), ...args],
      memoryFileBytes: model.memoryIsFile ? model.ramBytes : 0,
      firmware: model.firmware,
    });
    try {
      const { handle } = process;
      const whole = { model: name, qemu: handle, crew: crew.handle };
      return new QemuMachine(whole, crew, new Qtest(handle, handle), process);
    } catch (error) {
      process.end();
      throw error;
    }
  }

  /**
   * Attaches another thread of this process. `crew`: this thread's view of the machine's crew; default: the thread joins the crew. Throws
   * FormatError for a foreign handle, and IovaError "qemu-closed" if QEMU was closed.
   */
  static attach(handle: QemuMachineHandle, crew?: Crew): QemuMachine {
    checkHandle("a QEMU machine", handle, { model: "string", qemu: "object", crew: "object" });
    checkHandle("a QEMU machine (process)", handle.qemu, { state: "shared" });
    modelOf(handle.model);
    checkCrew("the machine", crew, handle.crew);
    return new QemuMachine(handle, crew ?? Crew.attach(handle.crew), Qtest.attach(handle.qemu), undefined);
  }

  /** The device with this name or number. Each model has one device, number 0. Throws InvalidArgumentError for another one. */
  device(which: string | number = 0): DmaMaster {
    if (which === 0 || which === this.#device.name) return this.#device;
    throw new InvalidArgumentError("device", which, this.#device.name);
  }

  /** Takes the faults in QEMU's log, oldest first. The reason is "read-refused" or "write-refused". */
  faults(): readonly Fault[] {
    return this.#refusals.take();
  }

  /** Ends QEMU if this thread has created it, otherwise closes this view. A second call does nothing. */
  close(): void {
    this.crew.close();
    if (this.#process === undefined) this.#qtest.closeFiles();
    else if (this.#qtest.markClosed()) this.#process.end();
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function modelOf(name: QemuModelName): QemuModel {
  if (Object.hasOwn(MODELS, name)) return MODELS[name];
  throw new InvalidArgumentError("QEMU model", name, `one of ${Object.keys(MODELS).join(", ")}`);
}

function argumentsOf(model: QemuModel): string[] {
  const memory = `memory-backend-file,id=memory,share=on,mem-path=${MEMORY_PATH},size=${model.ramBytes}`;
  return [
    ...["-nodefaults", "-display", "none", "-qtest", "stdio", "-qtest-log", "/dev/null", "-d", "guest_errors"],
    ...(model.memoryIsFile ? ["-object", memory] : []),
    ...(model.firmware.length > 0 ? ["-bios", FIRMWARE_PATH] : []),
    ...model.args,
  ];
}
