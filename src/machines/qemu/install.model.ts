/** For tests: QEMU's boards, installed from Debian's packages where that is possible; else why a test is skipped. */
import type { TestContext } from "node:test";
import { needProgram } from "../../../scripts/debian.ts";
import { QemuMachine, type QemuMachineOptions, type QemuModelName } from "./machine.ts";

const PACKAGES: Readonly<Record<QemuModelName, string>> = { sun4u: "qemu-system-sparc", powernv: "qemu-system-ppc" };
/** By name, as the boards start them. */
const PROGRAMS: Readonly<Record<QemuModelName, string>> = {
  sun4u: "qemu-system-sparc64",
  powernv: "qemu-system-ppc64",
};

/** Runs `body` with a new machine, which is closed afterwards; skips the test, and says why, when there can be none. */
export async function withMachine(
  t: TestContext,
  board: QemuModelName,
  body: (machine: QemuMachine) => void | Promise<void>,
  options: QemuMachineOptions = {},
): Promise<void> {
  if (!hasBoard(t, board)) return;
  const machine = QemuMachine.create(board, options);
  try {
    await body(machine);
  } finally {
    machine.close();
  }
}

/** Is the board's QEMU there, or can be installed? If not, the test is skipped, and says why. */
export function hasBoard(t: TestContext, board: QemuModelName): boolean {
  const missing = needProgram(PROGRAMS[board], PACKAGES[board]);
  if (missing !== undefined) t.skip(missing);
  return missing === undefined;
}
