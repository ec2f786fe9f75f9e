/** The coherent memory of one driver: allocated while it starts, and freed together when it ends or its start fails. */
import type { CoherentMemory, DmaOperations } from "../dma/contract.ts";
import { IovaError } from "../units/errors.ts";

export class DriverMemory {
  readonly #dma: DmaOperations;
  readonly #taken: CoherentMemory[] = [];

  constructor(dma: DmaOperations) {
    this.#dma = dma;
  }

  /** Allocates memory. `what`: its purpose, for the error. Throws IovaError on failure, which ends the driver's start. */
  take(bytes: number, what: string): CoherentMemory {
    const memory = this.#dma.allocateCoherent(bytes);
    if (typeof memory === "string") throw new IovaError("driver", `${what} can't be mapped: ${memory}`);
    this.#taken.push(memory);
    return memory;
  }

  /** Frees all of it. The device must not use it any more. */
  release(): void {
    for (const memory of this.#taken.splice(0)) this.#dma.freeCoherent(memory);
  }
}
