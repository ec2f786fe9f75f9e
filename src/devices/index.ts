/**
 * `iova/devices`: two drivers that use only the DMA API, and models of their devices, as examples for other drivers and models. They run on
 * every platform.
 *
 * @module
 */
/// <reference lib="esnext.disposable" preserve="true" />
export { BLOCK_BYTES, MAX_BLOCKS, NvmeController } from "./nvme-controller.ts";
export { NvmeDriver, type NvmeDriverParts } from "./nvme-driver.ts";
export { RingDriver, type RingDriverParts } from "./ring-driver.ts";
export { RingNic } from "./ring-nic.ts";
