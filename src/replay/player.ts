/**
 * Plays one worker's history repeatedly through mapSg and unmapSg. Every sixteenth mapping is checked by DMA: at its ends after mapSg, and
 * in between before unmapSg. Belongs to one thread.
 */
import type { DmaDevice } from "../dma/device.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import { type Failure, failureCode } from "../units/failure.ts";
import type { Access } from "../units/numbers.ts";
import type { TranslationChecker } from "./check.ts";
import type { WorkerPlan } from "./plan.ts";

/** One mapping of this number is checked. */
export const SAMPLE_EVERY = 16;

/** Looks at a mapped list, when it has been mapped and before it is unmapped. */
export type MappingChecker = Pick<TranslationChecker, "checkEnds" | "checkBetween">;

const UNMAPPED = 0;
const MAPPED = 1;
const SAMPLED = 2;

export class Player {
  /** Requests mapped and unmapped again. */
  completed = 0;
  /** mapSg and unmapSg calls that failed, by reason: index = −code. */
  readonly failures: Float64Array = new Float64Array(16);
  readonly #plan: WorkerPlan;
  readonly #arenaAddress: number;
  readonly #device: DmaDevice;
  readonly #checker: MappingChecker;
  readonly #lists: readonly ScatterList[];
  /** The request whose pieces are in each list, or −1. */
  readonly #filledWith: Int32Array;
  readonly #state: Uint8Array;
  #next = 0;
  #untilSample = 1;

  constructor(plan: WorkerPlan, arenaAddress: number, device: DmaDevice, checker: MappingChecker) {
    this.#plan = plan;
    this.#arenaAddress = arenaAddress;
    this.#device = device;
    this.#checker = checker;
    this.#lists = Array.from(plan.slotCapacity, (capacity) => new ScatterList(capacity));
    this.#filledWith = new Int32Array(plan.slotCapacity.length).fill(-1);
    this.#state = new Uint8Array(plan.requests);
  }

  /** Plays the next `operations` operations; after the last of the history comes the first. */
  play(operations: number): void {
    const all = this.#plan.operations;
    for (let i = 0; i < operations; i++) {
      const operation = all[this.#next] as number;
      this.#next = this.#next + 1 === all.length ? 0 : this.#next + 1;
      if (operation > 0) this.#map(operation - 1);
      else this.#unmap(-operation - 1);
    }
  }

  /** Unmaps what is mapped. */
  unmapAll(): void {
    for (let request = 0; request < this.#plan.requests; request++) this.#unmap(request);
  }

  #map(request: number): void {
    const slot = this.#plan.slot[request] as number;
    const list = this.#lists[slot] as ScatterList;
    if (this.#filledWith[slot] !== request) this.#fill(list, slot, request);
    const access = this.#plan.access[request] as Access;
    const failure = this.#device.mapSg(list, access);
    if (failure !== undefined) {
      this.#fail(failure);
      return;
    }
    const sampled = --this.#untilSample === 0;
    this.#state[request] = sampled ? SAMPLED : MAPPED;
    if (!sampled) return;
    this.#untilSample = SAMPLE_EVERY;
    this.#checker.checkEnds(list, access);
  }

  #unmap(request: number): void {
    const state = this.#state[request];
    // A request whose map failed need not be unmapped.
    if (state === UNMAPPED) return;
    const list = this.#lists[this.#plan.slot[request] as number] as ScatterList;
    if (state === SAMPLED) this.#checker.checkBetween(list, this.#plan.access[request] as number);
    const failure = this.#device.unmapSg(list);
    this.#state[request] = UNMAPPED;
    if (failure !== undefined) this.#fail(failure);
    this.completed++;
  }

  #fill(list: ScatterList, slot: number, request: number): void {
    const { elementFirst, elementCount, elementAddress, elementBytes } = this.#plan;
    const first = elementFirst[request] as number;
    const end = first + (elementCount[request] as number);
    list.clear();
    for (let i = first; i < end; i++) {
      list.addNumber(this.#arenaAddress + (elementAddress[i] as number), elementBytes[i] as number);
    }
    this.#filledWith[slot] = request;
  }

  #fail(failure: Failure): void {
    const at = -failureCode(failure);
    this.failures[at] = (this.failures[at] as number) + 1;
  }
}
