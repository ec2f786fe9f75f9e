/**
 * Hypercalls with plain-number arguments. After a long-busy code, the call is repeated when the requested time has passed. If the sum of the
 * requested times exceeds the guest's patience, the code is returned. No lock is held while a thread waits here.
 *
 * One object per thread.
 */

import type { Hypercall, Machine } from "../../machine/contract.ts";
import { createShared, mayWait, waitWhile, wordsOf } from "../../shared/memory.ts";
import { checkInteger } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import { checkKeys } from "../../units/keys.ts";
import { CallArguments, hypercallOf } from "../call-arguments.ts";
import {
  H_BUSY,
  H_GET_TCE,
  H_NOT_ENOUGH_RESOURCES,
  H_PUT_TCE,
  H_PUT_TCE_INDIRECT,
  H_RESOURCE,
  H_RTAS,
  H_STUFF_TCE,
  H_SUCCESS,
  longBusyMilliseconds,
} from "./papr.ts";

/** Time that is counted for H_BUSY, which requests none. */
const BUSY_MILLISECONDS = 1;
export const DEFAULT_PATIENCE_MS = 1000;

/** Time limit of a thread for hypercalls that are answered with "busy", and its way to wait. */
export interface Patience {
  /** Limit of the sum of waits that one call may request, in milliseconds: 0 .. 200,000. Default 1000. */
  readonly patienceMs?: number;
  /** Waits for the given time, in milliseconds. Default: the thread sleeps. */
  readonly pause?: (milliseconds: number) => void;
}

export class Hypercalls {
  /** The TCE that the last `getTce` returned. */
  tceHigh = 0;
  tceLow = 0;
  readonly #hypercall: Hypercall;
  readonly #patienceMs: number;
  readonly #pause: (milliseconds: number) => void;
  readonly #args: CallArguments = new CallArguments();

  /** Throws InvalidArgumentError for a machine without a hypervisor. */
  constructor(machine: Machine, patience: Patience = {}) {
    checkKeys("a hypercall's patience", patience, { patienceMs: "any", pause: "function" });
    const { patienceMs = DEFAULT_PATIENCE_MS, pause = sleep } = patience;
    checkInteger("patience with the hypervisor in milliseconds", patienceMs, 0, 200_000);
    this.#hypercall = hypercallOf(machine, "PAPR's hypercalls");
    this.#patienceMs = patienceMs;
    this.#pause = pause;
  }

  /** `page`: the bus address in pages of 4 KiB, here and below. Stores the TCE in `tceHigh` and `tceLow`. */
  getTce(liobn: number, page: number): number {
    this.#address(liobn, page);
    const code = this.#call(H_GET_TCE);
    this.tceHigh = this.#args.high(0);
    this.tceLow = this.#args.low(0);
    return code;
  }

  putTce(liobn: number, page: number, high: number, low: number): number {
    this.#address(liobn, page);
    this.#args.setHalves(2, high, low);
    return this.#call(H_PUT_TCE);
  }

  /** Empties `count` TCEs. */
  clearTces(liobn: number, page: number, count: number): number {
    this.#address(liobn, page);
    this.#args.set(2, 0);
    this.#args.set(3, count);
    return this.#call(H_STUFF_TCE);
  }

  /** `list`: the physical address of the TCEs. */
  putTces(liobn: number, page: number, list: number, count: number): number {
    this.#address(liobn, page);
    this.#args.set(2, list);
    this.#args.set(3, count);
    return this.#call(H_PUT_TCE_INDIRECT);
  }

  /** Calls the firmware with the argument buffer at this physical address. */
  callFirmware(buffer: number): number {
    this.#args.set(0, buffer);
    return this.#call(H_RTAS);
  }

  /** Waits for the requested time. Returns the sum with the time waited before, `waitedMs`; -1 if the sum exceeds the patience. */
  wait(milliseconds: number, waitedMs: number): number {
    const sum = waitedMs + milliseconds;
    if (sum > this.#patienceMs) return -1;
    this.#pause(milliseconds);
    return sum;
  }

  /** Repeats the call, with the same arguments, while it is busy. */
  #call(number: number): number {
    for (let waited = 0; ; ) {
      const code = this.#hypercall(number, this.#args.block);
      if (code === H_SUCCESS) return code;
      const milliseconds = code === H_BUSY ? BUSY_MILLISECONDS : longBusyMilliseconds(code);
      if (milliseconds === 0) return code;
      waited = this.wait(milliseconds, waited);
      if (waited < 0) return code;
    }
  }

  #address(liobn: number, page: number): void {
    this.#args.set(0, liobn);
    this.#args.setHalves(1, page / 2 ** 20, page * 4096);
  }
}

/** The failure of a code other than H_SUCCESS: "platform-busy" if a later call may succeed, else "platform-refused". */
export function failureOfCode(code: number): Failure {
  const later =
    code === H_BUSY || code === H_RESOURCE || code === H_NOT_ENOUGH_RESOURCES || longBusyMilliseconds(code) > 0;
  return later ? "platform-busy" : "platform-refused";
}

function sleep(milliseconds: number): void {
  // A browser's main thread may not sleep: it repeats the call at once. No thread notifies this word. It is created here and not when the
  // module is loaded, so that a page without SharedArrayBuffer can load the library.
  if (mayWait()) waitWhile(wordsOf(createShared(4)), 0, 0, milliseconds);
}
