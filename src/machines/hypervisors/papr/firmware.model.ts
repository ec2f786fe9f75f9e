/** A small hypervisor, and calls of its firmware, for tests. */
import { H_RTAS } from "../../../platforms/pseries/papr.ts";
import { PaprHypervisor, type PaprHypervisorOptions } from "./hypervisor.ts";

const BUFFER = 0x3000;
export const RTAS_BUSY = -2;

export function hypervisorOf(options: Partial<PaprHypervisorOptions> = {}): PaprHypervisor {
  return PaprHypervisor.create({ memoryBytes: 2 ** 20, entries: 64, threads: 2, ...options });
}

/** The call's code, and its results; the first is the status. */
export function call(hypervisor: PaprHypervisor, cells: readonly number[], results: number): readonly number[] {
  const bytes = new Uint8Array(4 * (cells.length + 2 + results));
  const view = new DataView(bytes.buffer);
  const [token = 0, ...args] = cells;
  [token, args.length, results, ...args].forEach((cell, i) => {
    view.setUint32(4 * i, cell);
  });
  hypervisor.memory.write(BUFFER, bytes);
  const code = hypervisor.hypercall(H_RTAS, BigUint64Array.of(BigInt(BUFFER)));
  hypervisor.memory.read(BUFFER, bytes);
  return [code, ...Array.from({ length: results }, (_, i) => view.getInt32(4 * (3 + args.length + i)))];
}
