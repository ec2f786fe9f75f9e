/** The coherent memory of one driver: taken while it starts, given back together when it ends, also when its start failed half-way. */
import type { CoherentMemory, DmaOperations } from "../dma/contract.ts";
import { IovaError } from "../units/errors.ts";

export class DriverMemory {
  readonly #dma: DmaOperations;
  readonly #taken: CoherentMemory[] = [];

  constructor(dma: DmaOperations) {
    this.#dma = dma;
  }

  /** `what` is for the error. Throws IovaError when it can't be had: that ends the driver's start. */
  take(bytes: number, what: string): CoherentMemory {
    const memory = this.#dma.allocateCoherent(bytes);
    if (typeof memory === "string") throw new IovaError("driver", `${what} can't be mapped: ${memory}`);
    this.#taken.push(memory);
    return memory;
  }

  /** The device uses none of it any more. */
  release(): void {
    for (const memory of this.#taken.splice(0)) this.#dma.freeCoherent(memory);
  }
}
