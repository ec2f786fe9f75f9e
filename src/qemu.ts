/**
 * `iova/qemu`: machines that a QEMU emulates, and platforms on them. Linux with Node only; needs QEMU for sparc64 and ppc64.
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
