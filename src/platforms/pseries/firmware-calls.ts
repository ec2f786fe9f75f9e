/**
 * The guest's side of the firmware's services for dynamic windows: query, create, remove, reset, with typed results. Why H_RTAS and not
 * hypercalls of our own: it is how guests reach the firmware, so the same code can run on another machine that has it.
 *
 * Setting up windows is rare and done by one thread at a time; its argument buffer is a page taken for the time of a call.
 */
import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../machine/physical-pages.ts";
import type { Failure } from "../../units/failure.ts";
import { failureOfCode, type Hypercalls } from "./calls.ts";
import {
  type DmaProperties,
  H_SUCCESS,
  longBusyMilliseconds,
  PAGE_SHIFT_BITS,
  RTAS_BUSY,
  RTAS_SUCCESS,
} from "./papr.ts";

const BUFFER_BYTES = 4096;
/** What a busy status, which asks for no time, counts as. */
const BUSY_MILLISECONDS = 1;

/** What the firmware has left to give. */
export interface WindowQuery {
  readonly windowsLeft: number;
  /** The largest window, in TCEs. */
  readonly largestWindow: number;
  /** log2 of the page sizes. */
  readonly pageShifts: readonly number[];
}

/** Where a window has been made. */
export interface CreatedWindow {
  readonly liobn: number;
  readonly base: bigint;
}

export class FirmwareCalls {
  readonly #memory: Memory;
  readonly #pages: PhysicalPages;
  readonly #calls: Hypercalls;
  readonly #properties: DmaProperties;

  constructor(memory: Memory, pages: PhysicalPages, calls: Hypercalls, properties: DmaProperties) {
    this.#memory = memory;
    this.#pages = pages;
    this.#calls = calls;
    this.#properties = properties;
  }

  query(): WindowQuery | Failure {
    const answer = this.#call(this.#properties.tokens?.query, this.#endpoint(), 4);
    if (typeof answer === "string") return answer;
    const [windowsLeft = 0, largestWindow = 0, sizes = 0] = answer;
    return { windowsLeft, largestWindow, pageShifts: PAGE_SHIFT_BITS.filter((_, bit) => ((sizes >>> bit) & 1) === 1) };
  }

  create(pageShift: number, windowShift: number): CreatedWindow | Failure {
    const answer = this.#call(this.#properties.tokens?.create, [...this.#endpoint(), pageShift, windowShift], 3);
    if (typeof answer === "string") return answer;
    const [liobn = 0, high = 0, low = 0] = answer;
    return { liobn, base: (BigInt(high) << 32n) | BigInt(low) };
  }

  remove(liobn: number): Failure | undefined {
    return failureIn(this.#call(this.#properties.tokens?.remove, [liobn], 0));
  }

  reset(): Failure | undefined {
    return failureIn(this.#call(this.#properties.tokens?.reset, this.#endpoint(), 0));
  }

  #endpoint(): readonly number[] {
    const { configAddress, unitId } = this.#properties;
    return [configAddress, Number(unitId >> 32n), Number(unitId & 0xffffffffn)];
  }

  /** The results behind the status, unsigned. */
  #call(token: number | undefined, args: readonly number[], results: number): readonly number[] | Failure {
    if (token === undefined) return "platform-refused";
    const buffer = this.#pages.allocate(BUFFER_BYTES);
    if (buffer < 0) return "platform-busy";
    const answer = this.#callWith(buffer, [token, args.length, results + 1, ...args], results);
    this.#pages.free(buffer, BUFFER_BYTES);
    return answer;
  }

  #callWith(buffer: number, cells: readonly number[], results: number): readonly number[] | Failure {
    const bytes = new Uint8Array(4 * (cells.length + 1 + results));
    const view = new DataView(bytes.buffer);
    for (let waited = 0; ; ) {
      for (const [index, cell] of cells.entries()) view.setUint32(4 * index, cell);
      this.#memory.write(buffer, bytes);
      const code = this.#calls.callFirmware(buffer);
      if (code !== H_SUCCESS) return failureOfCode(code);
      this.#memory.read(buffer, bytes);
      const status = view.getInt32(4 * cells.length);
      if (status === RTAS_SUCCESS) {
        return Array.from({ length: results }, (_, index) => view.getUint32(4 * (cells.length + 1 + index)));
      }
      const milliseconds = status === RTAS_BUSY ? BUSY_MILLISECONDS : longBusyMilliseconds(status);
      if (milliseconds === 0) return "platform-refused";
      waited = this.#calls.wait(milliseconds, waited);
      if (waited < 0) return "platform-busy";
    }
  }
}

function failureIn(answer: readonly number[] | Failure): Failure | undefined {
  return typeof answer === "string" ? answer : undefined;
}
