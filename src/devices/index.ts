/**
 * `iova/devices`: two drivers that use only the DMA API, and models of their devices. For authors of drivers, as examples, and for programs
 * that need traffic on an IOMMU. They run on every platform.
 *
 * - `RingDriver` drives a `RingNic`: descriptor rings in coherent memory, frames as scatterlists.
 * - `NvmeDriver` drives an `NvmeController`: submission and completion queues, data by lists of pages.
 *
 * @example
 * ```ts
 * import { DmaDevice } from "iova";
 * import { NvmeController, NvmeDriver } from "iova/devices";
 * import { boardNamed, PhysicalPages } from "iova/platform";
 *
 * const board = boardNamed("pseries").create({ memoryBytes: 2 ** 26, devices: ["nvme0"] });
 * const { memory } = board.machine;
 * const coherentPages = PhysicalPages.create({ address: 2 ** 20, bytes: 2 ** 22, crew: board.crew });
 * const dma = new DmaDevice(board.table, {}, { memory, coherentPages });
 * const disk = new Uint8Array(2 ** 20).fill(7);
 * const device = new NvmeController(board.machine.device("nvme0"), disk);
 * const driver = new NvmeDriver({ dma, memory, device }, 8);
 * console.log("status:", driver.read(0, 16, 0x1000)); // 16 blocks of 512 bytes to physical address 0x1000
 * console.log("first word:", memory.load32(0x1000).toString(16));
 * driver.close();
 * board.close();
 * ```
 * ```text output
 * status: 0
 * first word: 7070707
 * ```
 *
 * @module
 */
/// <reference lib="esnext.disposable" preserve="true" />
export { BLOCK_BYTES, MAX_BLOCKS, NvmeController } from "./nvme-controller.ts";
export { NvmeDriver, type NvmeDriverParts } from "./nvme-driver.ts";
export { RingDriver, type RingDriverParts } from "./ring-driver.ts";
export { RingNic } from "./ring-nic.ts";
