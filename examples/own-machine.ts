/**
 * A minimal machine for own-platform.ts: memory, six registers, an IOTLB, and one device whose DMA walks the table.
 * Like the platform, it is written from the manual of the imaginary Acme IOMMU; the two share no code. For one thread.
 */
import { type Access, InvalidArgumentError } from "iova";
import { type Fault, type Memory, type Registers, SoftwareMachine } from "iova/platform";
import type { DmaMachine, DmaMaster } from "iova/testing";

/** 64-bit registers: base of the table, base of the window. 32-bit: entries (0: off), page shift, entry to invalidate, invalidate all. */
export const ACME = { table: 0, window: 8, entries: 16, pageShift: 20, forget: 24, forgetAll: 28 } as const;

export class AcmeMachine implements DmaMachine, DmaMaster {
  readonly handle = {};
  readonly name = "acme0";
  readonly memory: Memory;
  readonly registers: Registers;
  invalidations = 0;
  readonly #values = new Map<number, bigint>();
  /** Cached entries: the entry's bits, by entry. */
  readonly #iotlb = new Map<number, bigint>();
  readonly #faults: Fault[] = [];

  constructor(memoryBytes: number) {
    this.memory = SoftwareMachine.create({ memoryBytes, iommu: "none", threads: 1 }).memory;
    const write = (at: number, value: bigint): void => {
      if (!Object.values<number>(ACME).includes(at)) throw new InvalidArgumentError("register", at, "one of ACME");
      if (at === ACME.forget || at === ACME.forgetAll) this.invalidations++;
      if (at === ACME.forget) this.#iotlb.delete(Number(value));
      else if (at === ACME.forgetAll) this.#iotlb.clear();
      else this.#values.set(at, value);
    };
    this.registers = {
      read32: (at) => Number(this.#value(at)),
      write32: (at, value) => write(at, BigInt(value)),
      read64: (at) => this.#value(at),
      write64: write,
      writeHalves64: (at, high, low) => write(at, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)),
      readHigh64: (at) => Number(this.#value(at) >> 32n),
      readLow64: (at) => Number(BigInt.asUintN(32, this.#value(at))),
    };
  }

  device(which: string | number): DmaMaster {
    if (which === 0 || which === this.name) return this;
    throw new InvalidArgumentError("device", which, this.name);
  }

  dmaRead(iova: bigint, into: Uint8Array): boolean {
    return this.#move(iova, into, 1);
  }
  dmaWrite(iova: bigint, from: Uint8Array): boolean {
    return this.#move(iova, from, 2);
  }

  faults(): readonly Fault[] {
    return this.#faults.splice(0);
  }
  close(): void {
    this.#values.clear();
  }

  /** Translates, checks and copies page by page. */
  #move(iova: bigint, bytes: Uint8Array, access: Access): boolean {
    const pageBytes = 2n ** this.#value(ACME.pageShift);
    for (let moved = 0; moved < bytes.length; ) {
      const at = iova + BigInt(moved);
      const inPage = Number(at % pageBytes);
      const part = bytes.subarray(moved, moved + Number(pageBytes) - inPage);
      const page = this.#translate(at, access);
      if (typeof page === "string" || page + inPage + part.length > this.memory.bytes) {
        const reason = typeof page === "string" ? page : "outside-memory";
        this.#faults.push({ device: this.name, iova: at, access, reason });
        return false;
      }
      if (access === 1) this.memory.read(page + inPage, part);
      else this.memory.write(page + inPage, part);
      moved += part.length;
    }
    return true;
  }

  /** Physical address of the page, or the reason of a fault. */
  #translate(iova: bigint, access: Access): number | string {
    const offset = iova - this.#value(ACME.window);
    const entry = Number(offset >> this.#value(ACME.pageShift));
    if (offset < 0n || entry >= Number(this.#value(ACME.entries))) return "outside-window";
    const bits = this.#iotlb.get(entry) ?? this.#walk(entry);
    if ((bits & 3n) === 0n) return "not-mapped";
    this.#iotlb.set(entry, bits);
    if ((bits & BigInt(access)) === 0n) return access === 1 ? "read-refused" : "write-refused";
    return Number(bits & 0xffff_ffff_f000n);
  }

  #walk(entry: number): bigint {
    const bytes = new Uint8Array(8);
    this.memory.read(Number(this.#value(ACME.table)) + 8 * entry, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }

  #value(at: number): bigint {
    return this.#values.get(at) ?? 0n;
  }
}
