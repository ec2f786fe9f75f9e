/**
 * The guest's calls of firmware services, with typed results: query, create, remove and reset of dynamic windows; option, state and reset of
 * EEH. They use H_RTAS, as guests do, so that the code also runs on another machine that has it.
 */
import type { Memory } from "../../machine/contract.ts";
import type { Failure } from "../../units/failure.ts";
import { failureOfCode, type Hypercalls } from "./calls.ts";
import {
  type DmaProperties,
  EEH_ENABLE,
  H_SUCCESS,
  longBusyMilliseconds,
  PAGE_SHIFT_BITS,
  RESET_ACTIVATE,
  RESET_DEACTIVATE,
  RTAS_BUSY,
  RTAS_SUCCESS,
} from "./papr.ts";

/** Time that is counted for a busy status, which requests none. */
const BUSY_MILLISECONDS = 1;

/** The create call has 3 results after the status; the status's cell follows token, two counts and 5 arguments. */
const CREATE_RESULTS = 3;
const STATUS_OF_CREATE = 8;
const CREATE_BYTES: number = 4 * (STATUS_OF_CREATE + 1 + CREATE_RESULTS);

/** Answer of the query service: dynamic windows that the firmware can still create. */
export interface WindowQuery {
  readonly windowsLeft: number;
  /** The largest window, in TCEs. */
  readonly largestWindow: number;
  /** log2 of the page sizes. */
  readonly pageShifts: readonly number[];
}

/** A created window. */
export interface CreatedWindow {
  readonly liobn: number;
  readonly base: bigint;
}

export class FirmwareCalls {
  readonly #memory: Memory;
  readonly #buffer: number;
  readonly #calls: Hypercalls;
  readonly #properties: DmaProperties;

  /** `buffer`: physical address of memory for arguments. No other thread uses it. */
  constructor(memory: Memory, buffer: number, calls: Hypercalls, properties: DmaProperties) {
    this.#memory = memory;
    this.#buffer = buffer;
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
    const args = [...this.#endpoint(), pageShift, windowShift];
    const answer = this.#call(this.#properties.tokens?.create, args, CREATE_RESULTS);
    return typeof answer === "string" ? answer : createdIn(answer);
  }

  /** Clears the buffer, so that `createdBy` finds no old answer in it. */
  clearBuffer(): void {
    this.#memory.write(this.#buffer, new Uint8Array(CREATE_BYTES));
  }

  /** The window that a dead thread's `create` has created with its buffer at this address; undefined: its last call created no window. */
  createdBy(
    buffer: number,
  ): (CreatedWindow & { readonly pageShift: number; readonly windowShift: number }) | undefined {
    const bytes = new Uint8Array(CREATE_BYTES);
    this.#memory.read(buffer, bytes);
    const view = new DataView(bytes.buffer);
    const status = view.getInt32(4 * STATUS_OF_CREATE);
    if (view.getUint32(0) !== this.#properties.tokens?.create || status !== RTAS_SUCCESS) return undefined;
    const [pageShift, windowShift] = [view.getUint32(4 * 6), view.getUint32(4 * 7)];
    return { ...createdIn(resultsIn(view, STATUS_OF_CREATE, CREATE_RESULTS)), pageShift, windowShift };
  }

  remove(liobn: number): Failure | undefined {
    return failureIn(this.#call(this.#properties.tokens?.remove, [liobn], 0));
  }

  reset(): Failure | undefined {
    return failureIn(this.#call(this.#properties.tokens?.reset, this.#endpoint(), 0));
  }

  /** From now on a fault freezes the PE. */
  enableEeh(): Failure | undefined {
    return failureIn(this.#call(this.#properties.eeh?.setOption, [...this.#endpoint(), EEH_ENABLE], 0));
  }

  /** State of the PE, a RESET_STATE_… value, or a failure. */
  resetState(): number | Failure {
    const answer = this.#call(this.#properties.eeh?.readState, this.#endpoint(), 3);
    return typeof answer === "string" ? answer : (answer[0] as number);
  }

  /**
   * Activates and deactivates the PE's reset, which ends a freeze. Does not wait in between: the devices of the models need no reset time.
   */
  resetEndpoint(): Failure | undefined {
    const set = (step: number): Failure | undefined =>
      failureIn(this.#call(this.#properties.eeh?.setReset, [...this.#endpoint(), step], 0));
    return set(RESET_ACTIVATE) ?? set(RESET_DEACTIVATE);
  }

  #endpoint(): readonly number[] {
    const { configAddress, unitId } = this.#properties;
    return [configAddress, Number(unitId >> 32n), Number(unitId & 0xffffffffn)];
  }

  /** The results behind the status, unsigned. */
  #call(token: number | undefined, args: readonly number[], results: number): readonly number[] | Failure {
    if (token === undefined) return "platform-refused";
    return this.#callWith([token, args.length, results + 1, ...args], results);
  }

  #callWith(cells: readonly number[], results: number): readonly number[] | Failure {
    const buffer = this.#buffer;
    const bytes = new Uint8Array(4 * (cells.length + 1 + results));
    const view = new DataView(bytes.buffer);
    for (let waited = 0; ; ) {
      for (const [index, cell] of cells.entries()) view.setUint32(4 * index, cell);
      // Until the firmware answers, the buffer holds no success: a recovery may read it after this thread has died.
      view.setInt32(4 * cells.length, RTAS_BUSY);
      this.#memory.write(buffer, bytes);
      const code = this.#calls.callFirmware(buffer);
      if (code !== H_SUCCESS) return failureOfCode(code);
      this.#memory.read(buffer, bytes);
      const status = view.getInt32(4 * cells.length);
      if (status === RTAS_SUCCESS) return resultsIn(view, cells.length, results);
      const milliseconds = status === RTAS_BUSY ? BUSY_MILLISECONDS : longBusyMilliseconds(status);
      if (milliseconds === 0) return "platform-refused";
      waited = this.#calls.wait(milliseconds, waited);
      if (waited < 0) return "platform-busy";
    }
  }
}

/** The results behind the status in cell `status`, unsigned. */
function resultsIn(view: DataView, status: number, results: number): readonly number[] {
  return Array.from({ length: results }, (_, index) => view.getUint32(4 * (status + 1 + index)));
}

function createdIn([liobn = 0, high = 0, low = 0]: readonly number[]): CreatedWindow {
  return { liobn, base: (BigInt(high) << 32n) | BigInt(low) };
}

function failureIn(answer: readonly number[] | Failure): Failure | undefined {
  return typeof answer === "string" ? answer : undefined;
}
