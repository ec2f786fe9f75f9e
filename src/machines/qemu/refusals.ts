/**
 * Refused DMAs, from QEMU's log. The models of sun4u and PHB4 have no fault registers, and their devices don't notice refusals: a refused
 * read returns zeros, a refused write is dropped. With `-d guest_errors` QEMU logs each refusal, once for each 4 bytes:
 *
 *     Invalid write at addr 0xFD002000, size 4, region '(null)', reason: rejected
 *
 * The address is the bus address. The log does not say whether the entry is empty or lacks the permission.
 */
import { fstatSync, ftruncateSync, readSync } from "node:fs";
import type { Fault } from "../../machine/contract.ts";
import { DEVICE_READS, DEVICE_WRITES } from "../../units/numbers.ts";
import type { Qtest } from "./qtest.ts";

const REFUSED = /^Invalid (read|write) at addr 0x([0-9A-F]+), size (\d+), region '\(null\)'/gm;
/** The log is emptied at this size if no faults are taken: about 40,000 refused words. */
const LONGEST_LOG = 2 ** 22;

/** One thread's view of the machine's log, which all threads share. */
export class RefusalLog {
  readonly #qtest: Qtest;
  readonly #device: string;

  /** `device`: the device's name in faults. */
  constructor(qtest: Qtest, device: string) {
    this.#qtest = qtest;
    this.#device = device;
  }

  /** Runs a DMA under the machine's lock. False if a part of it was refused. */
  granted(dma: () => void): boolean {
    return this.#qtest.locked(() => {
      if (this.#size() > LONGEST_LOG) this.#empty();
      const before = this.#size();
      dma();
      return this.#refusals(before).length === 0;
    });
  }

  /** The faults since the last call, oldest first. Consecutive refused words are one fault. */
  take(): Fault[] {
    return this.#qtest.locked(() => {
      const faults = this.#refusals(0);
      this.#empty();
      return faults;
    });
  }

  #refusals(from: number): Fault[] {
    const faults: Fault[] = [];
    let access = "";
    let end = -1n;
    for (const [, found = "", address = "", size = ""] of this.#text(from).matchAll(REFUSED)) {
      const iova = BigInt(`0x${address}`);
      if (found !== access || iova !== end) faults.push(this.#fault(found, iova));
      access = found;
      end = iova + BigInt(size);
    }
    return faults;
  }

  #fault(access: string, iova: bigint): Fault {
    const isRead = access === "read";
    return {
      device: this.#device,
      iova,
      access: isRead ? DEVICE_READS : DEVICE_WRITES,
      reason: `${access}-refused`,
    };
  }

  #text(from: number): string {
    const bytes = Buffer.alloc(this.#size() - from);
    if (bytes.length === 0) return "";
    return bytes.toString("latin1", 0, readSync(this.#qtest.files.log, bytes, 0, bytes.length, from));
  }

  #size(): number {
    return fstatSync(this.#qtest.files.log).size;
  }

  #empty(): void {
    ftruncateSync(this.#qtest.files.log, 0);
  }
}
