/**
 * The SCSI controller LSI53C895A as a DMA master: its processor runs a program in memory ("SCRIPTS") whose Memory Move
 * instruction copies bytes from one bus address to another. QEMU runs it to its end within the register write that starts it, so
 * it needs neither interrupts nor a running CPU. (LSI53C895A technical manual, chapters 4 "Registers" and 5 "SCSI SCRIPTS instruction set".)
 *
 * The program and the other side of each copy lie in a page of the board. The device must reach that page through the IOMMU too: `borrow`
 * maps it.
 */

import type { DmaMaster } from "../../machine/contract.ts";
import { hexadecimal } from "../../units/counts.ts";
import { InvalidArgumentError, InvariantError } from "../../units/errors.ts";
import type { ByteStore } from "./memory.ts";
import { hex, type Qtest } from "./qtest.ts";
import type { RefusalLog } from "./refusals.ts";

const ISTAT = 0x14;
const RESET = 0x40;
const DSTAT = 0x0c;
/** DMA FIFO empty, and "SCRIPTS interrupt instruction received". */
const DSTAT_FINISHED = "0x84";
/** Address of the next instruction, 4 bytes, little-endian; writing the last byte starts the processor. */
const DSP = 0x2c;
const MEMORY_MOVE = 0xc000_0000;
const INTERRUPT = 0x9808_0000;

/** Bytes of one copy: the program and the other side take 4 KiB each of the board's page. */
const CHUNK_BYTES = 4096;
const BUFFER_AT = 4096;
const ADDRESSES = 2n ** 32n;

export interface LsiParts {
  readonly qtest: Qtest;
  readonly memory: ByteStore;
  readonly refusals: RefusalLog;
  /** Physical address of the chip's registers. */
  readonly registers: number;
  /** Physical address of an 8 KiB page that is used only here. */
  readonly page: number;
  /** Calls `use` with a bus address by which the device reaches that page, while it does DMA to `bytes` bytes at `iova`. */
  borrow(iova: number, bytes: number, use: (page: number) => void): void;
}

/** Bus addresses above 32 bits throw InvalidArgumentError. Pages after a refused page may still be moved. */
export class LsiDma implements DmaMaster {
  readonly name = "lsi53c895a";
  readonly #parts: LsiParts;

  constructor(parts: LsiParts) {
    this.#parts = parts;
  }

  dmaRead(iova: bigint, into: Uint8Array): boolean {
    const { memory, page, refusals } = this.#parts;
    return refusals.granted(() =>
      this.#chunks(iova, into, (bus, chunk) => {
        this.#move(bus, chunk.length, (own) => [bus, own]);
        memory.read(page + BUFFER_AT, chunk);
      }),
    );
  }

  dmaWrite(iova: bigint, from: Uint8Array): boolean {
    const { memory, page, refusals } = this.#parts;
    return refusals.granted(() =>
      this.#chunks(iova, from, (bus, chunk) => {
        memory.write(page + BUFFER_AT, chunk);
        this.#move(bus, chunk.length, (own) => [own, bus]);
      }),
    );
  }

  #chunks(iova: bigint, bytes: Uint8Array, each: (bus: number, chunk: Uint8Array) => void): void {
    if (iova < 0n || iova + BigInt(bytes.length) > ADDRESSES) {
      throw new InvalidArgumentError(`bus address of ${bytes.length} bytes`, iova, "all bytes below 2^32");
    }
    const bus = Number(iova);
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) each(bus + at, bytes.subarray(at, at + CHUNK_BYTES));
  }

  /** `sides`: returns source and destination for a bus address of the board's buffer. */
  #move(iova: number, bytes: number, sides: (own: number) => [number, number]): void {
    const { borrow, memory, page } = this.#parts;
    borrow(iova, bytes, (own) => {
      const program = new DataView(new ArrayBuffer(20));
      const instructions = [MEMORY_MOVE + bytes, ...sides(own + BUFFER_AT), INTERRUPT, 0];
      instructions.forEach((word, i) => {
        program.setUint32(i * 4, word, true);
      });
      memory.write(page, new Uint8Array(program.buffer));
      this.#run(own);
    });
  }

  #run(program: number): void {
    const { qtest, registers } = this.#parts;
    const at = (register: number): string => hex(registers + register);
    const start = [0, 1, 2, 3].map((i) => `writeb ${at(DSP + i)} ${hex((program >>> (8 * i)) & 0xff)}`);
    // The first read clears the status of the last program.
    const replies = qtest.callAll([`readb ${at(DSTAT)}`, ...start, `readb ${at(DSTAT)}`]);
    const status = hexadecimal(BigInt(replies.at(-1) ?? "0"));
    if (status === DSTAT_FINISHED) return;
    qtest.callAll([`writeb ${at(ISTAT)} ${hex(RESET)}`, `writeb ${at(ISTAT)} 0x0`]);
    throw new InvariantError(`lsi53c895a did not finish its program: DSTAT is ${status}, not ${DSTAT_FINISHED}`);
  }
}
