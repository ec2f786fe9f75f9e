/**
 * The firmware: services that a guest calls by H_RTAS with a buffer of big-endian cells in its memory, as guests of QEMU do. This module
 * has the services for dynamic DMA windows: query, create, remove, reset (LoPAPR, "ibm,query-pe-dma-window" and related calls).
 * eeh-services.ts has those for EEH.
 *
 * Removing a window ends all its mappings. The guest must check that nothing is mapped.
 */

import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import {
  type DynamicWindowTokens,
  type EehTokens,
  H_PARAMETER,
  H_SUCCESS,
  PAGE_SHIFT_BITS,
  RTAS_BUSY,
  RTAS_HARDWARE,
  RTAS_PARAMETER,
  RTAS_SUCCESS,
} from "../../../platforms/pseries/papr.ts";
import type { EehServices } from "./eeh-services.ts";
import type { CreatedSlot, WindowAnswer, Windows } from "./windows.ts";

/** The model's tokens. A guest reads them from its device tree. */
export const TOKENS: Required<DynamicWindowTokens> = { query: 0x2017, create: 0x2018, remove: 0x2019, reset: 0x201a };
export const EEH_TOKENS: EehTokens = { setOption: 0x201b, readState: 0x201c, setReset: 0x201d };
export const UNIT_ID = 0x8000_0000_2000_0000n;

const MOST_CELLS = 32;
/** log2 of the largest window in bytes. */
const LAST_WINDOW_SHIFT = 60;

export interface FirmwareParts {
  readonly memory: PhysicalMemory;
  readonly windows: Windows;
  /** Undefined: no EEH services. */
  readonly eeh: EehServices | undefined;
  readonly partitions: number;
  /** log2 of the page sizes of dynamic windows; empty: no dynamic windows. */
  readonly pageShifts: readonly number[];
  /** The largest window, in TCEs. */
  readonly largestWindow: number;
  readonly canReset: boolean;
}

/** The config address of a partition. */
export function configAddressOf(partition: number): number {
  return (partition + 1) << 16;
}

/** One thread's view. */
export class Firmware {
  readonly #parts: FirmwareParts;
  readonly #bytes: Uint8Array = new Uint8Array(MOST_CELLS * 4);
  readonly #cells: DataView = new DataView(this.#bytes.buffer);

  constructor(parts: FirmwareParts) {
    this.#parts = parts;
  }

  /** The token in the buffer at `address`, for fault injection; 0 if there is no buffer. */
  tokenAt(address: number): number {
    return this.#read(address) ? this.#cells.getUint32(0) : 0;
  }

  /** Makes the call in the buffer. `status`: an injected status that replaces the call. */
  call(address: number, status: number | undefined): number {
    if (!this.#read(address)) return H_PARAMETER;
    const args = this.#cells.getUint32(4);
    const results = this.#cells.getUint32(8);
    if (results < 1 || 3 + args + results > MOST_CELLS) return H_PARAMETER;
    const tell = (answers: readonly number[]): void => this.#answer(address, args, results, answers);
    const answers = status === undefined ? this.#serve(this.#cells.getUint32(0), args, tell) : [status];
    this.#answer(address, args, results, answers);
    return H_SUCCESS;
  }

  #answer(address: number, args: number, results: number, answers: readonly number[]): void {
    for (let i = 0; i < results; i++) this.#cells.setInt32(4 * (3 + args + i), answers[i] ?? 0);
    this.#parts.memory.write(address, this.#bytes.subarray(0, 4 * (3 + args + results)));
  }

  /** `tell` answers the call before it has an effect that the guest must know of. */
  #serve(token: number, args: number, tell: (answers: readonly number[]) => void): readonly number[] {
    if (this.#parts.pageShifts.length === 0) return this.#serveEeh(token, args);
    if (token === TOKENS.query && args === 3) return this.#query();
    if (token === TOKENS.create && args === 5) return this.#create(tell);
    if (token === TOKENS.remove && args === 1) return [statusOf(this.#parts.windows.remove(this.#argument(0)))];
    if (token === TOKENS.reset && args === 3 && this.#parts.canReset) return this.#reset();
    return this.#serveEeh(token, args);
  }

  #serveEeh(token: number, args: number): readonly number[] {
    const { eeh } = this.#parts;
    const partition = eeh === undefined || args < 3 ? -1 : this.#partition();
    if (eeh === undefined || partition < 0) return [RTAS_PARAMETER];
    if (token === EEH_TOKENS.setOption && args === 4) return eeh.setOption(partition, this.#argument(3));
    if (token === EEH_TOKENS.readState && args === 3) return eeh.readState(partition);
    if (token === EEH_TOKENS.setReset && args === 4) return eeh.setReset(partition, this.#argument(3));
    return [RTAS_PARAMETER];
  }

  #query(): readonly number[] {
    const partition = this.#partition();
    if (partition < 0) return [RTAS_PARAMETER];
    const { largestWindow, pageShifts, windows } = this.#parts;
    const sizes = PAGE_SHIFT_BITS.reduce((mask, shift, bit) => mask | (pageShifts.includes(shift) ? 1 << bit : 0), 0);
    return [RTAS_SUCCESS, windows.left(partition), Math.min(largestWindow, 0x7fffffff), sizes, 0];
  }

  #create(tell: (answers: readonly number[]) => void): readonly number[] {
    const partition = this.#partition();
    const pageShift = this.#argument(3);
    const windowShift = this.#argument(4);
    const { largestWindow, pageShifts, windows } = this.#parts;
    const entries = 2 ** (windowShift - pageShift);
    const isWindow = windowShift >= pageShift && windowShift <= LAST_WINDOW_SHIFT && entries <= largestWindow;
    if (partition < 0 || !pageShifts.includes(pageShift) || !isWindow) return [RTAS_PARAMETER];
    const created = windows.create(partition, { pageShift, entries }, (window) => tell(answersOf(window)));
    if (typeof created === "string") return [created === "busy" ? RTAS_BUSY : RTAS_HARDWARE];
    return answersOf(created);
  }

  #reset(): readonly number[] {
    const partition = this.#partition();
    return [partition < 0 ? RTAS_PARAMETER : statusOf(this.#parts.windows.reset(partition))];
  }

  /** The partition of the first three arguments, or -1. */
  #partition(): number {
    const unitId = (BigInt(this.#argument(1)) << 32n) | BigInt(this.#argument(2));
    for (let partition = 0; partition < this.#parts.partitions; partition++) {
      if (unitId === UNIT_ID && this.#argument(0) === configAddressOf(partition)) return partition;
    }
    return -1;
  }

  #argument(index: number): number {
    return this.#cells.getUint32(4 * (3 + index));
  }

  #read(address: number): boolean {
    const { memory } = this.#parts;
    if (address % 4 !== 0 || address + this.#bytes.length > memory.bytes) return false;
    memory.read(address, this.#bytes);
    return true;
  }
}

function answersOf({ base, liobn }: CreatedSlot): readonly number[] {
  return [RTAS_SUCCESS, liobn | 0, Number(BigInt.asIntN(32, base >> 32n)), Number(BigInt.asIntN(32, base))];
}

function statusOf(answer: WindowAnswer): number {
  if (answer === "done") return RTAS_SUCCESS;
  return answer === "busy" ? RTAS_BUSY : RTAS_PARAMETER;
}
