/**
 * `iova/devices`: two drivers that know the DMA API alone, and the device sides that they drive: what a driver of one's own, or a model of
 * a device, can start from. They run on every platform.
 */
/// <reference lib="esnext.disposable" preserve="true" />
export { BLOCK_BYTES, MAX_BLOCKS, NvmeController } from "./nvme-controller.ts";
export { NvmeDriver, type NvmeDriverParts } from "./nvme-driver.ts";
export { RingDriver, type RingDriverParts } from "./ring-driver.ts";
export { RingNic } from "./ring-nic.ts";
