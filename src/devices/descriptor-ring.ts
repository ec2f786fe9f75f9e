/**
 * The driver's side of a ring of descriptors (ring-nic.ts) in coherent memory: fills a descriptor, gives it to the device, and reads its
 * owner.
 */
import type { CoherentMemory } from "../dma/contract.ts";
import type { Memory } from "../machine/contract.ts";
import { DESCRIPTOR_BYTES, DESCRIPTOR_ERROR, DESCRIPTOR_OWNED } from "./ring-nic.ts";

export class DescriptorRing {
  readonly coherent: CoherentMemory;
  readonly #memory: Memory;

  constructor(memory: Memory, coherent: CoherentMemory) {
    this.#memory = memory;
    this.coherent = coherent;
  }

  /** Writes a descriptor of the driver. With OWNED in the flags it belongs to the device afterwards. */
  fill(descriptor: number, iova: bigint, bytes: number, flags: number): void {
    const at = this.coherent.address + descriptor * DESCRIPTOR_BYTES;
    this.#memory.store32(at, Number(iova & 0xffff_ffffn));
    this.#memory.store32(at + 4, Number(iova >> 32n));
    this.#memory.store32(at + 8, bytes);
    // Stored last: the device reads the other fields only after it sees OWNED.
    this.#memory.store32(at + 12, flags);
  }

  isOwnedByDevice(descriptor: number): boolean {
    return (this.#flags(descriptor) & DESCRIPTOR_OWNED) !== 0;
  }
  failed(descriptor: number): boolean {
    return (this.#flags(descriptor) & DESCRIPTOR_ERROR) !== 0;
  }
  bytes(descriptor: number): number {
    return this.#memory.load32(this.coherent.address + descriptor * DESCRIPTOR_BYTES + 8);
  }

  #flags(descriptor: number): number {
    return this.#memory.load32(this.coherent.address + descriptor * DESCRIPTOR_BYTES + 12);
  }
}
