/** The default window of the device tree: the check that the hypervisor has it, and its clearing before use. */
import { hexadecimal } from "../../units/counts.ts";
import { InvalidArgumentError, IovaError, inWords } from "../../units/errors.ts";
import type { DmaWindow, EntryRange } from "../../units/numbers.ts";
import { failureOfCode, type Hypercalls } from "./calls.ts";
import type { PseriesOps } from "./ops.ts";
import { type DmaProperties, H_PARAMETER, H_SUCCESS, TCES_PER_CALL } from "./papr.ts";

/** Throws InvalidArgumentError for an impossible size. */
export function windowOf({ base, bytes, pageShift }: DmaProperties): DmaWindow {
  const entries = Number(bytes >> BigInt(pageShift));
  if (bytes !== BigInt(entries) << BigInt(pageShift) || !Number.isInteger(Math.log2(entries))) {
    throw new InvalidArgumentError("bytes of the default window", bytes, "a power of two, at least one page");
  }
  return { base, pageShift, entries };
}

/** Throws InvalidArgumentError unless the hypervisor knows the window's first and last entry. */
export function checkWindow(calls: Hypercalls, { liobn }: DmaProperties, window: DmaWindow): void {
  const first = Number(window.base >> 12n);
  const last = first + (window.entries - 1) * 2 ** (window.pageShift - 12);
  for (const [what, page] of [
    ["first", first],
    ["last", last],
  ] as const) {
    const code = calls.getTce(liobn, page);
    if (code === H_SUCCESS) continue;
    if (code !== H_PARAMETER)
      throw new IovaError(failureOfCode(code), `H_GET_TCE of liobn ${hexadecimal(liobn)} answers ${code}`);
    const expected = `one whose ${what} entry the hypervisor knows: H_GET_TCE answers H_PARAMETER`;
    throw new InvalidArgumentError("liobn", inWords(`${hexadecimal(liobn)} with ${window.entries} entries`), expected);
  }
}

/** Throws IovaError at the first refusal of the hypervisor, since each may take as long as the guest's patience. */
export function emptyTable(ops: PseriesOps, { entries }: DmaWindow): void {
  for (let first = 0; first < entries; first += TCES_PER_CALL) {
    ops.clear(first, Math.min(TCES_PER_CALL, entries - first));
    const failure = ops.publish();
    if (failure !== undefined) throw new IovaError(failure, `the default window can't be emptied: ${failure}`);
  }
}

/** Reserves bus address 0, which many drivers take for an error. */
export function reservedOf(window: DmaWindow, reserved: readonly EntryRange[] = []): readonly EntryRange[] {
  const hasZero = window.base === 0n && !reserved.some(({ first }) => first === 0);
  return hasZero ? [{ first: 0, end: 1 }, ...reserved] : reserved;
}
