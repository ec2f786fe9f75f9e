/**
 * `iova/qemu`: machines that a QEMU process emulates, and boards on them. For authors of platforms, who compare them with an independent
 * model of the hardware. Linux with Node only; needs qemu-system-sparc64 and qemu-system-ppc64.
 *
 * `QemuMachine` is the machine. `QEMU_BOARDS` has the boards, which are used as those of `boardNamed`.
 *
 * @example
 * ```ts
 * import { QEMU_BOARDS } from "iova/qemu";
 *
 * for (const { name, summary } of QEMU_BOARDS) console.log(`${name}: ${summary}`);
 * ```
 * ```text output
 * sun4u@qemu: the sun4u platform on QEMU's sabre: no IOTLB, no fault registers
 * powernv@qemu: the powernv platform on QEMU's PHB4: no IOTLB, faults freeze nothing
 * ```
 *
 * @module
 */
/// <reference lib="esnext.disposable" preserve="true" />
export { QEMU_BOARDS } from "./machines/qemu/boards.ts";
export {
  QemuMachine,
  type QemuMachineHandle,
  type QemuMachineOptions,
  type QemuModelName,
} from "./machines/qemu/machine.ts";
