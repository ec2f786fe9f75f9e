/**
 * A model of a network card with two descriptor rings, which acts only by DMA. It has a transmit and a receive ring in memory, whose bus
 * addresses the driver writes to its registers, and a doorbell for each.
 *
 * A descriptor is 16 bytes, little-endian:
 *
 *     0  bus address of the buffer, 64 bits
 *     8  length in bytes, 32 bits: of the piece to send; of the buffer, then of the frame received
 *     12 flags: OWNED by the device; LAST piece of a frame; ERROR
 *
 * The device uses only descriptors that it owns, and returns each by clearing OWNED when it is done with the buffer. All its accesses go
 * through the machine's IOMMU. A refused buffer sets ERROR in the descriptor; a refused ring stops the device.
 */
import type { DmaMaster } from "../machine/contract.ts";
import { checkInteger } from "../units/errors.ts";

export const DESCRIPTOR_BYTES = 16;
export const DESCRIPTOR_OWNED = 1;
export const DESCRIPTOR_LAST = 2;
export const DESCRIPTOR_ERROR = 4;
/** Bytes of the longest frame. */
const MAX_FRAME_BYTES = 9216;

interface Ring {
  base: bigint;
  descriptors: number;
  next: number;
}

/**
 * Model of a network card with a transmit and a receive ring in memory. It acts only by DMA. Registers and doorbells are methods, called by
 * the driver's thread. Frames have at most 9216 bytes.
 *
 * Refused DMA does not throw: a refused piece sets ERROR in its descriptor, a refused ring sets `stopped`. `RingDriver` has an example.
 */
export class RingNic {
  /** Number of received frames that were dropped: no descriptor was free, its buffer was too short, or DMA was refused. */
  dropped = 0;
  /** True after a ring could not be read or written: no DMA until `reset`. */
  stopped = false;
  readonly #dma: DmaMaster;
  readonly #wire: (frame: Uint8Array) => void;
  readonly #transmit: Ring = { base: 0n, descriptors: 0, next: 0 };
  readonly #receive: Ring = { base: 0n, descriptors: 0, next: 0 };
  readonly #descriptor: Uint8Array = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #view: DataView = new DataView(this.#descriptor.buffer);
  readonly #frame: Uint8Array = new Uint8Array(MAX_FRAME_BYTES);

  /**
   * `dma`: the device's access to memory, such as `machine.device("nic0")`. `wire` is called with each sent frame; the array is reused, so
   * `wire` must copy what it keeps.
   */
  constructor(dma: DmaMaster, wire: (frame: Uint8Array) => void) {
    this.#dma = dma;
    this.#wire = wire;
  }

  /**
   * Sets bus addresses and size of both rings. `descriptors`: descriptors of each ring, 1 .. 4096. Throws InvalidArgumentError for another
   * number.
   */
  setRings(transmit: bigint, receive: bigint, descriptors: number): void {
    checkInteger("descriptors of a ring", descriptors, 1, 4096);
    Object.assign(this.#transmit, { base: transmit, descriptors, next: 0 });
    Object.assign(this.#receive, { base: receive, descriptors, next: 0 });
  }

  /** Forgets the rings, and clears `stopped`: no DMA until `setRings`. */
  reset(): void {
    this.#transmit.descriptors = 0;
    this.#receive.descriptors = 0;
    this.stopped = false;
  }

  /** The transmit doorbell: sends the frames of all descriptors that the device owns. */
  ringTransmitDoorbell(): void {
    const ring = this.#transmit;
    let length = 0;
    let failed = false;
    while (this.#fetch(ring)) {
      const bytes = this.#view.getUint32(8, true);
      const last = (this.#view.getUint32(12, true) & DESCRIPTOR_LAST) !== 0;
      const fits = length + bytes <= MAX_FRAME_BYTES;
      const piece = this.#frame.subarray(length, length + bytes);
      const read = fits && this.#dma.dmaRead(this.#view.getBigUint64(0, true), piece);
      failed ||= !read;
      length += read ? bytes : 0;
      if (!this.#giveBack(ring, bytes, read ? 0 : DESCRIPTOR_ERROR)) return;
      if (!last) continue;
      if (!failed) this.#wire(this.#frame.subarray(0, length));
      length = 0;
      failed = false;
    }
  }

  /** Stores a frame from the wire in the buffer of the next receive descriptor. Returns false if the frame was dropped. */
  deliver(frame: Uint8Array): boolean {
    const ring = this.#receive;
    const delivered = this.#fetch(ring) && this.#writeFrame(ring, frame);
    if (!delivered) this.dropped++;
    return delivered;
  }

  #writeFrame(ring: Ring, frame: Uint8Array): boolean {
    const fits = frame.length <= this.#view.getUint32(8, true);
    const written = fits && this.#dma.dmaWrite(this.#view.getBigUint64(0, true), frame);
    const flags = written ? DESCRIPTOR_LAST : DESCRIPTOR_ERROR;
    return this.#giveBack(ring, written ? frame.length : 0, flags) && written;
  }

  /** Reads the ring's next descriptor. False: it belongs to the driver, or the ring can't be read. */
  #fetch(ring: Ring): boolean {
    if (this.stopped || ring.descriptors === 0) return false;
    if (!this.#dma.dmaRead(this.#addressIn(ring), this.#descriptor)) return this.#stop();
    return (this.#view.getUint32(12, true) & DESCRIPTOR_OWNED) !== 0;
  }

  /** Writes length and flags, without OWNED, and advances to the next descriptor. */
  #giveBack(ring: Ring, bytes: number, flags: number): boolean {
    this.#view.setUint32(8, bytes, true);
    this.#view.setUint32(12, flags, true);
    if (!this.#dma.dmaWrite(this.#addressIn(ring) + 8n, this.#descriptor.subarray(8))) return this.#stop();
    ring.next = (ring.next + 1) % ring.descriptors;
    return true;
  }

  #addressIn(ring: Ring): bigint {
    return ring.base + BigInt(ring.next * DESCRIPTOR_BYTES);
  }

  #stop(): false {
    this.stopped = true;
    return false;
  }
}
