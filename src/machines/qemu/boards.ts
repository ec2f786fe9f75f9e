/**
 * The boards whose machine is a QEMU. They run the platforms of the software machine, unchanged, on independently written models of their
 * hardware. For the conformance suite and the benchmarks. They are not in boards.ts, because they need Node and a QEMU.
 *
 * The machine has more memory than a board needs, and one device with a fixed name. Neither model has an IOTLB, so a missing invalidation
 * is not visible. refusals.ts detects refused DMAs.
 */
import { ENTRY_BYTES } from "../../formats/contract.ts";
import type { DmaMachine, DmaMaster } from "../../machine/contract.ts";
import type { Platform } from "../../platforms/platform.ts";
import { PowernvPlatform, type PowernvPlatformHandle } from "../../platforms/powernv/platform.ts";
import { Sun4uPlatform, type Sun4uPlatformHandle, tsbEntriesFor } from "../../platforms/sun4u/platform.ts";
import { TSB_ALIGNMENT } from "../../platforms/sun4u/registers.ts";
import { checkInteger, InvalidArgumentError, IovaError, inWords } from "../../units/errors.ts";
import { type Board, type BoardKind, type BoardOptions, type BoardStatistics, checkBoardOptions } from "../board.ts";
import { boardOf } from "../board-of.ts";
import { powernvBoard, powernvRegion } from "../boards/powernv.ts";
import { sun4uBoard } from "../boards/sun4u.ts";
import { QemuMachine, type QemuMachineHandle } from "./machine.ts";

/** Small, because the conformance suite reads entries one by one over qtest, which is slow. */
const DEFAULT_ENTRIES = 1024;
/** Requester id of the edu device behind the PHB4: 00:02.0. */
const EDU_REQUESTER_ID = 0x0010;
/** The LSI53C895A has 32-bit bus addresses. */
const LSI_ADDRESSES = 2n ** 32n;

const sun4uOnQemu: BoardKind = {
  ...sun4uBoard,
  name: "sun4u@qemu",
  summary: "the sun4u platform on QEMU's sabre: no IOTLB, no fault registers",
  hasIotlb: false,
  create: createSun4u,
  attach: (handle, crew) => {
    const machine = QemuMachine.attach(handle.machine as QemuMachineHandle, crew);
    return sun4uOf(machine, Sun4uPlatform.attach(machine, handle.platform as Sun4uPlatformHandle));
  },
};

const powernvOnQemu: BoardKind = {
  ...powernvBoard,
  name: "powernv@qemu",
  summary: "the powernv platform on QEMU's PHB4: no IOTLB, faults freeze nothing",
  // Page sizes for which the bridge's memory has room.
  pageShifts: [12, 16],
  hasIotlb: false,
  faultsFreeze: false,
  create: createPowernv,
  attach: (handle, crew) => {
    const machine = QemuMachine.attach(handle.machine as QemuMachineHandle, crew);
    return powernvOf(machine, PowernvPlatform.attach(machine, handle.platform as PowernvPlatformHandle));
  },
};

/**
 * All kinds of boards on QEMU: "sun4u@qemu" and "powernv@qemu". `create` throws IovaError "qemu-not-installed" if the board's QEMU is not
 * installed.
 */
export const QEMU_BOARDS: readonly BoardKind[] = [sun4uOnQemu, powernvOnQemu];

function createSun4u(options: BoardOptions): Board {
  checkBoardOptions(sun4uOnQemu, options);
  const { memoryBytes, entries = DEFAULT_ENTRIES, pageShift = 13, table = {} } = options;
  const tsbEntries = tsbEntriesFor(entries, pageShift);
  const tableAddress = Math.floor((memoryBytes - tsbEntries * ENTRY_BYTES) / TSB_ALIGNMENT) * TSB_ALIGNMENT;
  if (tableAddress < 2 ** pageShift) {
    const expected = `room for a dummy page and a TSB of ${tsbEntries} entries`;
    throw new InvalidArgumentError("memory of the board in bytes", memoryBytes, expected);
  }
  return started("sun4u", options, (machine) => {
    return sun4uOf(machine, Sun4uPlatform.create(machine, { pageShift, entries: tsbEntries, tableAddress, table }));
  });
}

function createPowernv(options: BoardOptions): Board {
  checkBoardOptions(powernvOnQemu, options);
  const { entries = DEFAULT_ENTRIES, levels = 1, pageShift = 12, table = {} } = options;
  const windowBytes = 1n << BigInt(Math.ceil(Math.log2(entries)) + pageShift);
  const shape = { pageShift, windowBytes, levels };
  const region = powernvRegion(options, shape, "power9");
  return started("powernv", options, (machine) => {
    const devices = [{ name: machine.device().name, requesterId: EDU_REQUESTER_ID }];
    const phb = { region, devices };
    return powernvOf(machine, PowernvPlatform.create(machine, { phb, table: { ...shape, table } }));
  });
}

/** Starts QEMU. Stops it again if creating the platform fails or the options are unsupported. */
function started(
  name: "sun4u" | "powernv",
  { memoryBytes, devices, threads }: BoardOptions,
  make: (machine: QemuMachine) => Board,
): Board {
  const machine = QemuMachine.create(name, threads === undefined ? {} : { threads });
  let isMade = false;
  try {
    const device = machine.device().name;
    if (devices !== undefined && !(devices.length === 1 && devices[0] === device)) {
      throw new InvalidArgumentError(`devices of ${name}@qemu`, inWords(devices.join(", ")), device);
    }
    checkInteger(`memory of ${name}@qemu in bytes`, memoryBytes, machine.firstFreeByte, machine.memory.bytes);
    const board = make(machine);
    isMade = true;
    return board;
  } finally {
    if (!isMade) machine.close();
  }
}

function sun4uOf(machine: QemuMachine, platform: Sun4uPlatform): Board {
  return boardOf({
    kind: sun4uOnQemu,
    machine: withNarrowDevice(machine),
    platform,
    firstAddress: platform.dummyAddress,
    statistics: () => NOT_COUNTED,
    closePlatform: () => closeUnlessEnded(platform),
  });
}

function powernvOf(machine: QemuMachine, platform: PowernvPlatform): Board {
  return boardOf({
    kind: powernvOnQemu,
    machine,
    platform,
    firstAddress: platform.phb.region.address,
    statistics: () => NOT_COUNTED,
    closePlatform: () => closeUnlessEnded(platform),
  });
}

/** Codes of the errors that QEMU's calls throw after it has ended. */
const ENDED: ReadonlySet<string> = new Set(["qemu-died", "qemu-timeout", "qemu-closed"]);

/** Closes the platform's view. Ignores that QEMU has ended: its entries and its IOTLB are gone. */
function closeUnlessEnded(platform: Platform): void {
  try {
    platform.close();
  } catch (error) {
    if (!(error instanceof IovaError && ENDED.has(error.code))) throw error;
  }
}

/** The models count no invalidations, and there is no hypervisor. */
const NOT_COUNTED: BoardStatistics = { invalidations: "unknown", hypercalls: 0 };

/** The machine with a device that refuses bus addresses above 32 bits, instead of throwing. */
function withNarrowDevice(machine: QemuMachine): DmaMachine {
  const device = machine.device();
  const reaches = (iova: bigint, bytes: Uint8Array): boolean => iova + BigInt(bytes.length) <= LSI_ADDRESSES;
  const narrow: DmaMaster = {
    name: device.name,
    dmaRead: (iova, into) => reaches(iova, into) && device.dmaRead(iova, into),
    dmaWrite: (iova, from) => reaches(iova, from) && device.dmaWrite(iova, from),
  };
  return {
    handle: machine.handle,
    memory: machine.memory,
    registers: machine.registers,
    device: (which) => (machine.device(which) === device ? narrow : device),
    faults: () => machine.faults(),
    close: () => machine.close(),
  };
}
