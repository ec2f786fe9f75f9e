/**
 * A driver for the controller of nvme-controller.ts: a pair of queues in coherent memory, a page for each command's list of pages,
 * data mapped as scatterlists. It uses only the DMA API, so it runs on every platform.
 */
import type { CoherentMemory, DmaOperations } from "../dma/contract.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import type { Memory } from "../machine/contract.ts";
import { checkInteger, InvalidArgumentError, IovaError } from "../units/errors.ts";
import type { Failure } from "../units/failure.ts";
import { DEVICE_READS, DEVICE_WRITES } from "../units/numbers.ts";
import { DriverMemory } from "./driver-memory.ts";
import * as nvme from "./nvme-controller.ts";

const { BLOCK_BYTES, COMPLETION_BYTES, NVME_PAGE_BYTES, OPCODE_READ, OPCODE_WRITE, SUBMISSION_BYTES } = nvme;

/** Parts of an `NvmeDriver`. */
export interface NvmeDriverParts {
  /** DMA operations of the controller: a DmaDevice, or a layer before one. */
  readonly dma: DmaOperations;
  /** Physical memory, through which the driver reads and writes its queues. `dma` maps the same memory. */
  readonly memory: Memory;
  /** The controller. */
  readonly device: nvme.NvmeController;
}

/** A command in progress; `pages` holds its list of pages. */
interface Command {
  readonly data: ScatterList;
  readonly pages: CoherentMemory;
  status: number | undefined;
}

/**
 * Driver of an `NvmeController`: queues in coherent memory, data mapped as scatterlists. It uses only the DMA API, so it runs on every
 * platform. Reads and writes wait until the command is complete. The driver belongs to the thread that made it.
 *
 * @example
 * ```ts
 * import { DmaDevice } from "iova";
 * import { NvmeController, NvmeDriver } from "iova/devices";
 * import { boardNamed, PhysicalPages } from "iova/platform";
 *
 * const board = boardNamed("powernv").create({ memoryBytes: 2 ** 26, devices: ["nvme0"] });
 * const { memory } = board.machine;
 * const coherentPages = PhysicalPages.create({ address: 2 ** 20, bytes: 2 ** 22, crew: board.crew });
 * const dma = new DmaDevice(board.table, {}, { memory, coherentPages });
 * const device = new NvmeController(board.machine.device("nvme0"), new Uint8Array(2 ** 20));
 * const driver = new NvmeDriver({ dma, memory, device }, 8);
 *
 * memory.write(0x1000, new TextEncoder().encode("hello"));
 * console.log("status of the write:", driver.write(7, 1, 0x1000)); // block 7, from physical address 0x1000
 * console.log("status of the read:", driver.read(7, 1, 0x2000));
 * const text = new Uint8Array(5);
 * memory.read(0x2000, text);
 * console.log(new TextDecoder().decode(text));
 * driver.close();
 * board.close();
 * ```
 * ```text output
 * status of the write: 0
 * status of the read: 0
 * hello
 * ```
 */
export class NvmeDriver {
  readonly #parts: NvmeDriverParts;
  readonly #entries: number;
  readonly #submissions: CoherentMemory;
  readonly #completions: CoherentMemory;
  readonly #memory: DriverMemory;
  #isClosed = false;
  readonly #commands: Command[] = [];
  readonly #unused: number[] = [];
  #tail = 0;
  #head = 0;
  #phase = 1;

  /**
   * Allocates and maps the queues, and starts the controller. `entries`: entries of each queue, 2 .. 4096.
   *
   * Throws InvalidArgumentError for another number, and IovaError "driver" if memory can't be allocated or mapped; then nothing stays
   * mapped.
   */
  constructor(parts: NvmeDriverParts, entries: number) {
    checkInteger("entries of a queue", entries, 2, 4096);
    this.#parts = parts;
    this.#entries = entries;
    this.#memory = new DriverMemory(parts.dma);
    try {
      this.#submissions = this.#memory.take(entries * SUBMISSION_BYTES, "the submission queue");
      this.#completions = this.#memory.take(entries * COMPLETION_BYTES, "the completion queue");
      // One entry always stays empty, to distinguish a full queue from an empty one.
      for (let id = 0; id < entries - 1; id++) {
        const data = new ScatterList(1, 1 + (nvme.MAX_BLOCKS * BLOCK_BYTES) / NVME_PAGE_BYTES);
        this.#commands.push({ data, pages: this.#memory.take(NVME_PAGE_BYTES, "a list of pages"), status: undefined });
        this.#unused.push(id);
      }
      parts.device.setQueues(this.#submissions.iova, this.#completions.iova, entries);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Reads `blocks` blocks (1 .. MAX_BLOCKS) into memory at physical address `address`, a multiple of 4. Returns the command's status (0:
   * success; NVM Express base specification, "Generic Command Status Values"), or a failure.
   *
   * "in-use": all commands are in progress. Other failures are those of `mapSg` and `unmapSg`. After a failure of `unmapSg` the data may be
   * incomplete, and the memory must not be reused. Throws InvalidArgumentError for arguments out of range, and IovaError "driver" if the
   * controller has stopped.
   */
  read(firstBlock: number, blocks: number, address: number): number | Failure {
    return this.#transfer(OPCODE_READ, firstBlock, blocks, address);
  }

  /** Writes `blocks` blocks from memory at physical address `address`. Ranges, results and errors are those of `read`. */
  write(firstBlock: number, blocks: number, address: number): number | Failure {
    return this.#transfer(OPCODE_WRITE, firstBlock, blocks, address);
  }

  /** Stops the controller, then unmaps and frees all memory, including the data of an unfinished command. A second call does nothing. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#parts.device.reset();
    for (const { data } of this.#commands) if (data.segments > 0) this.#parts.dma.unmapSg(data);
    this.#memory.release();
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  #transfer(opcode: number, firstBlock: number, blocks: number, address: number): number | Failure {
    checkInteger("blocks of a command", blocks, 1, nvme.MAX_BLOCKS);
    if (address % 4 !== 0) throw new InvalidArgumentError("address of the data", address, "a multiple of 4");
    const id = this.#unused.pop();
    if (id === undefined) return "in-use";
    const command = this.#commands[id]!;
    command.data.addNumber(address, blocks * BLOCK_BYTES);
    let failure = this.#parts.dma.mapSg(command.data, opcode === OPCODE_READ ? DEVICE_WRITES : DEVICE_READS);
    if (failure === undefined) {
      this.#submit(id, opcode, firstBlock, blocks);
      while (command.status === undefined) this.#reap();
      // A failure here is returned too: the device's writes may not be in memory.
      failure = this.#parts.dma.unmapSg(command.data);
    }
    const status = command.status ?? 0;
    command.status = undefined;
    command.data.clear();
    this.#unused.push(id);
    return failure ?? status;
  }

  #submit(id: number, opcode: number, firstBlock: number, blocks: number): void {
    const { data, pages } = this.#commands[id]!;
    const [first = 0n, ...others] = pagesOf(data);
    const entry = new DataView(new ArrayBuffer(SUBMISSION_BYTES));
    entry.setUint8(0, opcode);
    entry.setUint16(2, id, true);
    entry.setBigUint64(24, first, true);
    entry.setBigUint64(32, others.length > 1 ? pages.iova : (others[0] ?? 0n), true);
    entry.setBigUint64(40, BigInt(firstBlock), true);
    entry.setUint16(48, blocks - 1, true);
    this.#parts.memory.write(pages.address, new Uint8Array(BigUint64Array.from(others).buffer));
    this.#parts.memory.write(this.#submissions.address + this.#tail * SUBMISSION_BYTES, new Uint8Array(entry.buffer));
    this.#parts.memory.fence();
    this.#tail = (this.#tail + 1) % this.#entries;
    this.#parts.device.ringDoorbell(this.#tail);
  }

  /** Takes the next completion, if its phase shows that it is new. */
  #reap(): void {
    const word = this.#parts.memory.load32(this.#completions.address + this.#head * COMPLETION_BYTES + 12);
    if (((word >>> 16) & 1) !== this.#phase) {
      if (this.#parts.device.stopped) throw new IovaError("driver", "the controller stopped: no way to its queues");
      return;
    }
    this.#commands[word & 0xffff]!.status = word >>> 17;
    this.#head = (this.#head + 1) % this.#entries;
    if (this.#head === 0) this.#phase ^= 1;
  }
}

/** Bus addresses of the pieces, each of which ends at the controller's page or at the end of the data. */
function pagesOf({ iovas, segmentBytes, segments }: ScatterList): bigint[] {
  const page = BigInt(NVME_PAGE_BYTES);
  const pages: bigint[] = [];
  let end = -1n;
  for (let segment = 0; segment < segments; segment++) {
    const iova = iovas[segment]!;
    // A segment that continues the previous one in the middle of a page shares that page.
    const first = iova === end ? ((iova + page - 1n) / page) * page : iova;
    end = iova + BigInt(segmentBytes[segment]!);
    for (let at = first; at < end; at = (at / page + 1n) * page) pages.push(at);
  }
  return pages;
}
