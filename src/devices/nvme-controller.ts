/**
 * A model of a disk controller with NVMe's queues, which acts only by DMA. One submission and one completion
 * queue in memory, a doorbell for each, and data moved by physical region pages: the part of NVM Express that matters to an
 * IOMMU (NVM Express base specification 2.0: 3.3.1 queues, 4.1.1 PRP entries, 4.2 completions).
 *
 * Submission, 64 bytes: opcode in byte 0 (2 read, 1 write), command id in bytes 2–3, PRP 1 at 24, PRP 2 at 32, first block at 40 (64 bits),
 * blocks less one at 48 (16 bits). Completion, 16 bytes: submission head at 8, command id at 12, phase in bit 16 and status from
 * bit 17 on of the last word.
 *
 * PRP 1 points to the first piece, which ends at a page's end; PRP 2 to the second page, or, if there are more than two, to a
 * list of pages. The page of the controller has 4 KiB, independent of the platform's IO page.
 */
import type { DmaMaster } from "../machine/contract.ts";
import { checkInteger } from "../units/errors.ts";

export const SUBMISSION_BYTES = 64;
export const COMPLETION_BYTES = 16;
export const NVME_PAGE_BYTES = 4096;
/** Block size of NvmeController, in bytes. */
export const BLOCK_BYTES = 512;
/** Largest number of blocks of one command: 128 pages of 4 KiB, whose list fits one page. */
export const MAX_BLOCKS = 1024;
export const OPCODE_WRITE = 1;
export const OPCODE_READ = 2;
/** Status codes (NVM Express base specification, figure "Generic Command Status Values"). */
const STATUS_SUCCESS = 0;
const STATUS_INVALID_OPCODE = 1;
const STATUS_INVALID_FIELD = 2;
const STATUS_DATA_TRANSFER_ERROR = 4;
const STATUS_LBA_OUT_OF_RANGE = 0x80;

/**
 * Model of an NVMe controller: one submission and one completion queue, doorbells, and data by physical region pages (NVM Express base
 * specification 2.0, 3.3.1, 4.1.1, 4.2). Blocks have 512 bytes. The controller's pages have 4 KiB, independent of the IO page size.
 *
 * Doorbells are methods, called by the driver's thread. Refused DMA does not throw: it sets a command's status to 4 (data transfer error),
 * or `stopped`. `NvmeDriver` has an example.
 */
export class NvmeController {
  /** True after a queue could not be read or written, and after `reset`. A stopped controller does no DMA until `setQueues`. */
  stopped = false;
  readonly #dma: DmaMaster;
  readonly #disk: Uint8Array;
  #submissions = 0n;
  #completions = 0n;
  #entries = 0;
  #head = 0;
  #completionTail = 0;
  #phase = 1;
  readonly #command: Uint8Array = new Uint8Array(SUBMISSION_BYTES);
  readonly #fields: DataView = new DataView(this.#command.buffer);

  /**
   * `dma`: the device's access to memory, such as `machine.device("nvme0")`. `disk`: content of the disk, a multiple of 512 bytes, which
   * writes change.
   */
  constructor(dma: DmaMaster, disk: Uint8Array) {
    this.#dma = dma;
    this.#disk = disk;
  }

  /**
   * Sets bus addresses and size of both queues, and starts the controller. `entries`: entries of each queue, 2 .. 4096. Throws
   * InvalidArgumentError for another number.
   */
  setQueues(submissions: bigint, completions: bigint, entries: number): void {
    checkInteger("entries of a queue", entries, 2, 4096);
    this.#submissions = submissions;
    this.#completions = completions;
    this.#entries = entries;
    this.#head = 0;
    this.#completionTail = 0;
    this.#phase = 1;
    this.stopped = false;
  }

  /** Stops the controller and forgets the queues: no DMA until `setQueues`. */
  reset(): void {
    this.stopped = true;
  }

  /** The submission doorbell: carries out the commands before index `tail`, and writes their completions. */
  ringDoorbell(tail: number): void {
    while (!this.stopped && this.#head !== tail) {
      if (!this.#dma.dmaRead(this.#submissions + BigInt(this.#head * SUBMISSION_BYTES), this.#command)) {
        this.stopped = true;
        return;
      }
      this.#head = (this.#head + 1) % this.#entries;
      this.#complete(this.#fields.getUint16(2, true), this.#execute());
    }
  }

  /** One command's status. */
  #execute(): number {
    const opcode = this.#command[0];
    if (opcode !== OPCODE_READ && opcode !== OPCODE_WRITE) return STATUS_INVALID_OPCODE;
    const first = this.#fields.getBigUint64(40, true) * BigInt(BLOCK_BYTES);
    const bytes = (this.#fields.getUint16(48, true) + 1) * BLOCK_BYTES;
    if (bytes > MAX_BLOCKS * BLOCK_BYTES) return STATUS_INVALID_FIELD;
    if (first + BigInt(bytes) > BigInt(this.#disk.length)) return STATUS_LBA_OUT_OF_RANGE;
    const data = this.#disk.subarray(Number(first), Number(first) + bytes);
    return this.#transfer(data, opcode) ? STATUS_SUCCESS : STATUS_DATA_TRANSFER_ERROR;
  }

  #transfer(data: Uint8Array, opcode: number): boolean {
    const first = this.#fields.getBigUint64(24, true);
    const inFirst = Math.min(data.length, NVME_PAGE_BYTES - Number(first % BigInt(NVME_PAGE_BYTES)));
    if (!this.#move(first, data.subarray(0, inFirst), opcode)) return false;
    const pages = this.#otherPages(Math.ceil((data.length - inFirst) / NVME_PAGE_BYTES));
    return pages.every((page, i) => {
      const from = inFirst + i * NVME_PAGE_BYTES;
      return this.#move(page, data.subarray(from, Math.min(from + NVME_PAGE_BYTES, data.length)), opcode);
    });
  }

  /** The pages after the first piece. A list that can't be read is replaced by bus address 2^64 − 4096, which is refused. */
  #otherPages(count: number): bigint[] {
    const second = this.#fields.getBigUint64(32, true);
    if (count < 2) return count === 0 ? [] : [second];
    const list = new Uint8Array(count * 8);
    if (!this.#dma.dmaRead(second, list)) return [2n ** 64n - 4096n];
    const view = new DataView(list.buffer);
    return Array.from({ length: count }, (_, i) => view.getBigUint64(8 * i, true));
  }

  #move(iova: bigint, data: Uint8Array, opcode: number): boolean {
    return opcode === OPCODE_READ ? this.#dma.dmaWrite(iova, data) : this.#dma.dmaRead(iova, data);
  }

  #complete(command: number, status: number): void {
    const completion = new DataView(new ArrayBuffer(COMPLETION_BYTES));
    completion.setUint16(8, this.#head, true);
    completion.setUint32(12, command | (this.#phase << 16) | (status << 17), true);
    const at = this.#completions + BigInt(this.#completionTail * COMPLETION_BYTES);
    if (!this.#dma.dmaWrite(at, new Uint8Array(completion.buffer))) this.stopped = true;
    this.#completionTail = (this.#completionTail + 1) % this.#entries;
    if (this.#completionTail === 0) this.#phase ^= 1;
  }
}
