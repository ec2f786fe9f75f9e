/**
 * A driver for the network card of ring-nic.ts: two rings in coherent memory, receive buffers that stay mapped, frames to send
 * as scatterlists. It uses only the DMA API, so it runs on every platform.
 *
 * Rules of a driver: fill a descriptor before giving it to the device; sync a receive buffer for the CPU before reading it; unmap only
 * after the device has returned the descriptor; never reuse memory whose unmap failed.
 */
import type { DmaOperations, Mapping } from "../dma/contract.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import type { Memory } from "../machine/contract.ts";
import type { PhysicalPages } from "../memory/physical-pages.ts";
import { checkInteger, InvalidArgumentError, IovaError } from "../units/errors.ts";
import { type Failure, failureOf } from "../units/failure.ts";
import { DEVICE_READS, DEVICE_WRITES } from "../units/numbers.ts";
import { DescriptorRing } from "./descriptor-ring.ts";
import { DriverMemory } from "./driver-memory.ts";
import { DESCRIPTOR_BYTES, DESCRIPTOR_LAST, DESCRIPTOR_OWNED, type RingNic } from "./ring-nic.ts";

const BUFFER_BYTES = 2048;

/** Parts of a `RingDriver`. */
export interface RingDriverParts {
  /** DMA operations of the card: a DmaDevice, or a layer before one. */
  readonly dma: DmaOperations;
  /** Physical memory, through which the driver reads and writes its rings and buffers. `dma` maps the same memory. */
  readonly memory: Memory;
  /** Free pages of `memory`, for receive buffers of 2048 bytes. */
  readonly pages: PhysicalPages;
  /** The card. */
  readonly device: RingNic;
}

/**
 * Driver of a `RingNic`: rings in coherent memory, receive buffers that stay mapped, frames to send mapped as scatterlists. It uses only the
 * DMA API, so it runs on every platform. The driver belongs to the thread that made it.
 *
 * @example
 * ```ts
 * import { DmaDevice } from "iova";
 * import { RingDriver, RingNic } from "iova/devices";
 * import { boardNamed, PhysicalPages } from "iova/platform";
 *
 * const board = boardNamed("sun4u").create({ memoryBytes: 2 ** 26, devices: ["nic0"] });
 * const { memory } = board.machine;
 * const pages = PhysicalPages.create({ address: 2 ** 20, bytes: 2 ** 22, crew: board.crew });
 * const dma = new DmaDevice(board.table, {}, { memory, coherentPages: pages });
 * // The wire leads back to the card.
 * const device: RingNic = new RingNic(board.machine.device("nic0"), (frame) => device.deliver(frame));
 * const driver = new RingDriver({ dma, memory, pages, device }, 16);
 *
 * memory.write(0x1000, new TextEncoder().encode("hello"));
 * const failure = driver.send([{ address: 0x1000, bytes: 5 }]);
 * const received = driver.poll((frame) => console.log(new TextDecoder().decode(frame)));
 * console.log(failure ?? "sent", received, "received");
 * driver.close();
 * board.close();
 * ```
 * ```text output
 * hello
 * sent 1 received
 * ```
 */
export class RingDriver {
  /** Number of descriptors that the device returned with an error: pieces that it could not read, and frames that it could not store. */
  errors = 0;
  readonly #parts: RingDriverParts;
  readonly #descriptors: number;
  readonly #transmit: DescriptorRing;
  readonly #receive: DescriptorRing;
  readonly #memory: DriverMemory;
  #isClosed = false;
  readonly #buffers: { readonly address: number; readonly mapping: Mapping }[] = [];
  /** Frames being sent, by the descriptor of their last piece. */
  readonly #sending: (ScatterList | undefined)[];
  #head = 0;
  #tail = 0;
  #free: number;
  #nextReceived = 0;

  /**
   * Allocates and maps the rings and receive buffers, and starts the device. `descriptors`: descriptors of each ring, 2 .. 4096.
   *
   * Throws InvalidArgumentError for another number, and IovaError "driver" if memory can't be allocated or mapped; then nothing stays
   * mapped.
   */
  constructor(parts: RingDriverParts, descriptors: number) {
    checkInteger("descriptors of a ring", descriptors, 2, 4096);
    this.#parts = parts;
    this.#descriptors = descriptors;
    this.#free = descriptors;
    this.#sending = new Array<ScatterList | undefined>(descriptors).fill(undefined);
    this.#memory = new DriverMemory(parts.dma);
    const ring = (what: string) =>
      new DescriptorRing(parts.memory, this.#memory.take(descriptors * DESCRIPTOR_BYTES, what));
    try {
      this.#transmit = ring("the transmit ring");
      this.#receive = ring("the receive ring");
      for (let i = 0; i < descriptors; i++) this.#addBuffer(i);
      parts.device.setRings(this.#transmit.coherent.iova, this.#receive.coherent.iova, descriptors);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Sends a frame that consists of these pieces of memory (physical address, length in bytes). The pieces stay mapped until `poll` finds the
   * frame sent; their memory must not be changed before.
   *
   * On failure nothing is sent. "in-use": the ring has too few free descriptors. Other failures are those of `mapSg` and `unmapSg`. Throws
   * InvalidArgumentError for a frame without bytes.
   */
  send(pieces: readonly { readonly address: number; readonly bytes: number }[]): Failure | undefined {
    const list = new ScatterList(pieces.length);
    for (const { address, bytes } of pieces) if (bytes > 0) list.addNumber(address, bytes);
    if (list.length === 0) throw new InvalidArgumentError("bytes of a frame", 0, "at least 1");
    const failure = this.#parts.dma.mapSg(list, DEVICE_READS);
    if (failure !== undefined) return failure;
    if (list.segments > this.#free) return this.#parts.dma.unmapSg(list) ?? "in-use";
    const last = list.segments - 1;
    // The first piece is given to the device last, so that it never sees a partial frame.
    for (let i = last; i >= 0; i--) {
      const flags = DESCRIPTOR_OWNED | (i === last ? DESCRIPTOR_LAST : 0);
      this.#transmit.fill((this.#head + i) % this.#descriptors, list.iovas[i]!, list.segmentBytes[i]!, flags);
    }
    this.#sending[(this.#head + last) % this.#descriptors] = list;
    this.#head = (this.#head + list.segments) % this.#descriptors;
    this.#free -= list.segments;
    this.#parts.memory.fence();
    this.#parts.device.ringTransmitDoorbell();
    return undefined;
  }

  /**
   * Unmaps sent frames, and calls `take` with a copy of each received one. Returns the number of receive descriptors that the device has
   * used, including those with an error.
   */
  poll(take: (frame: Uint8Array) => void): number {
    this.#unmapSent();
    let frames = 0;
    for (; !this.#receive.isOwnedByDevice(this.#nextReceived); frames++) {
      const { address, mapping } = this.#buffers[this.#nextReceived]!;
      if (this.#receive.failed(this.#nextReceived)) this.errors++;
      else take(this.#read(address, mapping, this.#receive.bytes(this.#nextReceived)));
      this.#receive.fill(this.#nextReceived, mapping.iova, BUFFER_BYTES, DESCRIPTOR_OWNED);
      this.#nextReceived = (this.#nextReceived + 1) % this.#descriptors;
    }
    return frames;
  }

  /**
   * Stops the device, then unmaps and frees all memory. A receive buffer whose unmap fails is not freed: the device may still reach it. A
   * second call does nothing.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { dma, device, pages } = this.#parts;
    device.reset();
    for (const list of this.#sending) if (list !== undefined) dma.unmapSg(list);
    for (const { address, mapping } of this.#buffers) {
      if (dma.unmap(mapping) === undefined) pages.free(address, BUFFER_BYTES);
    }
    this.#memory.release();
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #addBuffer(descriptor: number): void {
    const { dma, pages } = this.#parts;
    const address = pages.allocate(BUFFER_BYTES);
    if (address < 0) throw new IovaError("driver", `no memory for a receive buffer: ${failureOf(address)}`);
    const mapping = dma.map(BigInt(address), BUFFER_BYTES, DEVICE_WRITES);
    if (typeof mapping === "string") {
      pages.free(address, BUFFER_BYTES);
      throw new IovaError("driver", `a receive buffer can't be mapped: ${mapping}`);
    }
    this.#buffers.push({ address, mapping });
    this.#receive.fill(descriptor, mapping.iova, BUFFER_BYTES, DESCRIPTOR_OWNED);
  }

  #read(address: number, mapping: Mapping, bytes: number): Uint8Array {
    const frame = new Uint8Array(bytes);
    this.#parts.dma.syncForCpu(mapping, { offset: 0, bytes });
    this.#parts.memory.read(address, frame);
    return frame;
  }

  #unmapSent(): void {
    for (; this.#free < this.#descriptors && !this.#transmit.isOwnedByDevice(this.#tail); this.#free++) {
      if (this.#transmit.failed(this.#tail)) this.errors++;
      const list = this.#sending[this.#tail];
      if (list !== undefined) this.#parts.dma.unmapSg(list);
      this.#sending[this.#tail] = undefined;
      this.#tail = (this.#tail + 1) % this.#descriptors;
    }
  }
}
