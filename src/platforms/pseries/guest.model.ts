/** A guest and its hypervisor for tests, with the hypervisor's view of the table and the number of calls. */
import {
  PaprHypervisor,
  type PaprHypervisorHandle,
  type PaprHypervisorOptions,
} from "../../machines/hypervisors/papr/hypervisor.ts";
import type { InjectedAnswer } from "../../machines/hypervisors/papr/injection.ts";
import { H_GET_TCE, H_PUT_TCE, H_PUT_TCE_INDIRECT, H_RTAS, H_STUFF_TCE } from "./papr.ts";
import { PseriesPlatform, type PseriesPlatformHandle, type PseriesPlatformOptions } from "./platform.ts";

export const MEMORY_BYTES: number = 2 ** 22;
const REGION_BYTES = 16 * 4096;

export interface Guest {
  readonly hypervisor: PaprHypervisor;
  readonly platform: PseriesPlatform;
  /** Requested waits, in milliseconds. No thread really sleeps. */
  readonly pauses: number[];
}

export function guestOf(
  hypervisorOptions: Partial<PaprHypervisorOptions> = {},
  platformOptions: Partial<PseriesPlatformOptions> = {},
): Guest {
  const hypervisor = PaprHypervisor.create({
    memoryBytes: MEMORY_BYTES,
    entries: 2048,
    threads: 4,
    // Off, because a DMA to an unmapped address would freeze the PE for the next one. eeh.test.ts switches it on.
    eeh: false,
    ...hypervisorOptions,
  });
  const pauses: number[] = [];
  const platform = PseriesPlatform.create(hypervisor, {
    properties: hypervisor.properties(0),
    region: { address: MEMORY_BYTES - REGION_BYTES, bytes: REGION_BYTES },
    patience: { patienceMs: 1000, pause: (milliseconds) => pauses.push(milliseconds) },
    ...platformOptions,
    table: { threads: 4, cache: "none", ...platformOptions.table },
  });
  return { hypervisor, platform, pauses };
}

/** A view of the platform by the same thread, on which `act` runs before each of its firmware calls, counted from 0, and `then` behind. */
export function viewBetweenCalls(
  hypervisor: PaprHypervisor,
  platform: PseriesPlatformHandle,
  act: (call: number) => void,
  then: (call: number) => void = () => undefined,
): PseriesPlatform {
  const { crew } = PaprHypervisor.attach(hypervisor.handle);
  let calls = 0;
  const hypercall = (number: number, args: BigUint64Array): number => {
    if (number === H_RTAS) act(calls);
    const code = hypervisor.hypercall(number, args);
    if (number === H_RTAS) then(calls++);
    return code;
  };
  const machine = new Proxy(hypervisor, {
    get: (target, key) => (key === "hypercall" ? hypercall : key === "crew" ? crew : Reflect.get(target, key, target)),
  });
  return PseriesPlatform.attach(machine, platform);
}

/** The bytes of the default window's table, which only the hypervisor sees. */
export function tableOf({ hypervisor }: Guest): Uint8Array {
  const { defaultTables, entries } = hypervisor.handle.setup;
  const bytes = new Uint8Array(entries * 8);
  hypervisor.machine.memory.read(defaultTables[0] as number, bytes);
  return bytes;
}

/** How many TCE calls `run` makes, by kind. */
export function callsIn(
  { hypervisor }: Guest,
  run: () => void,
): { put: number; stuff: number; indirect: number; get: number } {
  const now = () => [H_PUT_TCE, H_STUFF_TCE, H_PUT_TCE_INDIRECT, H_GET_TCE].map((number) => hypervisor.callsOf(number));
  const before = now();
  run();
  const [put = 0, stuff = 0, indirect = 0, get = 0] = now().map((count, index) => count - (before[index] as number));
  return { put, stuff, indirect, get };
}

/** Makes the n-th call from now on (counted from 0, of any kind) return this answer. */
export function failCall(
  { hypervisor }: Guest,
  call: number,
  answer: number,
  more: Partial<InjectedAnswer> = {},
): void {
  hypervisor.inject([{ answer, after: call, times: 1, ...more }]);
}

/** Words of a driver thread's report. */
export const REPORT = {
  stop: 0,
  thread: 1,
  maps: 3,
  failures: 4,
  wrong: 5,
  running: 6,
  /** Reads that were refused while the device may be cut off. */
  dropped: 7,
  words: 16,
} as const;
/** Pages of each driver thread (guest.test.worker.ts). */
export const PAGES = 96;

export interface GuestWorkerData {
  readonly hypervisor: PaprHypervisorHandle;
  readonly platform: PseriesPlatformHandle;
  /** Int32: REPORT.words. */
  readonly report: SharedArrayBuffer;
  readonly firstPage: number;
  readonly tag: number;
  readonly seed: number;
  /** True: another thread freezes and resets the device's PE meanwhile. */
  readonly freezes: boolean;
}
