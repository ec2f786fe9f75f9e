/**
 * QEMU's educational device ("edu") as a DMA master: it moves bytes between 64-bit bus addresses and its own buffer. (QEMU documentation,
 * "EDU device".)
 *
 * Its buffer can be accessed only by DMA. So each transfer has a second half between the buffer and a page of the board. `privately` runs
 * that half without changing the platform's set-up.
 */
import type { DmaMaster } from "../../machine/contract.ts";
import { InvalidArgumentError, IovaError } from "../../units/errors.ts";
import type { ByteStore } from "./memory.ts";
import { hex, type Qtest, writeq } from "./qtest.ts";
import type { RefusalLog } from "./refusals.ts";

const SOURCE = 0x80;
const DESTINATION = 0x88;
const COUNT = 0x90;
const COMMAND = 0x98;
const START = 1n;
const INTO_BUFFER = START;
const OUT_OF_BUFFER = START | 2n;

/** Start of the device's buffer, in its own addresses. */
const BUFFER = 0x4_0000n;
/** Bytes of one DMA. The buffer has 4096 bytes, but QEMU 7.2 moves at most 4095 at a time and exits when asked for more. */
const CHUNK_BYTES = 2048;
/** Limit of the polls for one DMA, which usually takes 0 to 2. */
const MOST_POLLS = 100_000;
const ADDRESSES = 2n ** 64n;

export interface EduParts {
  readonly qtest: Qtest;
  readonly memory: ByteStore;
  readonly refusals: RefusalLog;
  /** Physical address of the device's registers. */
  readonly registers: number;
  /** The board's buffer of CHUNK_BYTES: its physical address, and its bus address in `privately`. */
  readonly own: { readonly address: number; readonly iova: bigint };
  privately(transfer: () => void): void;
}

/** Pages after a refused page may still be moved. */
export class EduDma implements DmaMaster {
  readonly name = "edu";
  readonly #parts: EduParts;

  constructor(parts: EduParts) {
    this.#parts = parts;
  }

  dmaRead(iova: bigint, into: Uint8Array): boolean {
    const { memory, own, privately, refusals } = this.#parts;
    return refusals.granted(() =>
      this.#chunks(iova, into, (bus, chunk) => {
        this.#transfer(bus, BUFFER, chunk.length, INTO_BUFFER);
        privately(() => this.#transfer(BUFFER, own.iova, chunk.length, OUT_OF_BUFFER));
        memory.read(own.address, chunk);
      }),
    );
  }

  dmaWrite(iova: bigint, from: Uint8Array): boolean {
    const { memory, own, privately, refusals } = this.#parts;
    return refusals.granted(() =>
      this.#chunks(iova, from, (bus, chunk) => {
        memory.write(own.address, chunk);
        privately(() => this.#transfer(own.iova, BUFFER, chunk.length, INTO_BUFFER));
        this.#transfer(BUFFER, bus, chunk.length, OUT_OF_BUFFER);
      }),
    );
  }

  #chunks(iova: bigint, bytes: Uint8Array, each: (bus: bigint, chunk: Uint8Array) => void): void {
    if (iova < 0n || iova + BigInt(bytes.length) > ADDRESSES) {
      throw new InvalidArgumentError(`bus address of ${bytes.length} bytes`, iova, "all bytes below 2^64");
    }
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      each(iova + BigInt(at), bytes.subarray(at, at + CHUNK_BYTES));
    }
  }

  #transfer(source: bigint, destination: bigint, bytes: number, command: bigint): void {
    const { qtest, registers } = this.#parts;
    const poll = `readq ${hex(registers + COMMAND)}`;
    let status = qtest.callAll([
      writeq(registers + SOURCE, source),
      writeq(registers + DESTINATION, destination),
      writeq(registers + COUNT, BigInt(bytes)),
      writeq(registers + COMMAND, command),
      poll,
    ])[4] as string;
    for (let polls = 0; (BigInt(status) & START) !== 0n; polls++) {
      if (polls > MOST_POLLS) throw new IovaError("qemu-stuck", `edu has not finished a DMA after ${polls} looks`);
      status = qtest.call(poll);
    }
  }
}
