// An IOMMU for an emulator: four threads emulate a device each, on the emulator's RAM. The guest chooses the bus addresses.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { type Access, Crew, DEVICE_WRITES, DmaDevice, type EntryAccess, type Failure, IommuTable } from "iova";
import { type EntryValue, PhysicalMemory, type TableOps } from "iova/platform";

const PAGE = 4096;
const WINDOW = { base: 0x1_0000_0000n, pageShift: 12, entries: 1024 };
const DEVICES = 4;
const ROUNDS = 500;

/** The emulator's own page table: two words an entry, the page and the access, in memory that all threads share. */
class PageTable implements TableOps {
  readonly #words: Uint32Array;
  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Uint32Array(buffer);
  }
  set(first: number, count: number, page: number, access: EntryAccess): undefined {
    for (let i = 0; i < count; i++) {
      Atomics.store(this.#words, 2 * (first + i), page + i);
      Atomics.store(this.#words, 2 * (first + i) + 1, access & 3); // becomes valid last
    }
  }
  clear(first: number, count: number): void {
    for (let entry = first; entry < first + count; entry++) Atomics.store(this.#words, 2 * entry + 1, 0);
  }
  get(entry: number, into: EntryValue): void {
    into.access = Atomics.load(this.#words, 2 * entry + 1) as 0 | Access;
    into.page = Atomics.load(this.#words, 2 * entry);
  }
  exchange(entry: number, page: number, access: EntryAccess, old: EntryValue): Failure | undefined {
    this.get(entry, old);
    return this.set(entry, 1, page, access);
  }
  // There is no IOTLB: `translate` reads the table each time.
  publish(): undefined {}
  invalidate(): undefined {}
  invalidateAll(): undefined {}
}

/** The device's side: writes bytes at a bus address, page by page. */
function dmaWrite(device: DmaDevice, memory: PhysicalMemory, iova: bigint, bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length; ) {
    const found = device.translate(iova + BigInt(done));
    if (found === undefined || (found.access & DEVICE_WRITES) === 0) return false;
    const part = bytes.subarray(done, done + found.bytes);
    memory.write(Number(found.address), part);
    done += part.length;
  }
  return true;
}

if (isMainThread) {
  const ram = new SharedArrayBuffer(2 ** 24); // the guest's: 8 MiB from 0 on, 8 MiB above 4 GiB
  const memory = PhysicalMemory.of([
    { address: 0, buffer: ram, bytes: 2 ** 23 },
    { address: 2 ** 32, buffer: ram, offset: 2 ** 23 },
  ]);
  const entries = new SharedArrayBuffer(8 * WINDOW.entries);
  const crew = Crew.create({ threads: DEVICES + 1 });
  const table = IommuTable.create(WINDOW, new PageTable(entries), { crew, cache: "none" });
  const workers = Array.from({ length: DEVICES }, (_, place) => {
    const seat = crew.addThread();
    const data = { place, seat, memory: memory.handle, table: table.handle, entries };
    return new Worker(new URL(import.meta.url), { workerData: data });
  });
  const answers = workers.map((worker) => new Promise<[number, number]>((resolve) => worker.once("message", resolve)));
  const [moved, wrong] = (await Promise.all(answers)).reduce((sum, one) => [sum[0] + one[0], sum[1] + one[1]], [0, 0]);
  console.log(
    `${DEVICES} devices moved ${moved} buffers, ${wrong} of them wrong; mappings left: ${[...table.mappings()].length}`,
  );

  const device = new DmaDevice(table);
  device.mapAt(WINDOW.base + 0x5000n, 2n ** 32n, 2 * PAGE, DEVICE_WRITES);
  const again = device.mapAt(WINDOW.base + 0x6000n, 0n, PAGE, DEVICE_WRITES);
  const holder = device.holderOf(WINDOW.base + 0x6000n, PAGE);
  console.log(`a second map of 0x100006000: ${again}; a ${holder?.state} range of ${holder?.bytes} bytes has it`);
} else {
  const { place, seat, memory: ram, table: handle, entries } = workerData;
  const memory = PhysicalMemory.attach(ram);
  const table = IommuTable.attach(handle, new PageTable(entries), Crew.attach(seat));
  const device = new DmaDevice(table);
  let wrong = 0;
  for (let round = 0; round < ROUNDS; round++) {
    // The guest's request: 3 pages of its memory, alternately below and above 4 GiB, at a bus address of its choice.
    const address = (round % 2 === 0 ? 0 : 2 ** 32) + (place * 16 + (round % 13)) * PAGE;
    const iova = WINDOW.base + BigInt((place * 200 + (round % 190)) * PAGE);
    const mapping = device.mapAt(iova, BigInt(address), 3 * PAGE, DEVICE_WRITES);
    if (typeof mapping === "string") throw new Error(mapping);
    const sent = new Uint8Array(3 * PAGE).fill(1 + (round % 255));
    const seen = new Uint8Array(3 * PAGE);
    if (!dmaWrite(device, memory, iova, sent)) wrong++;
    memory.read(address, seen);
    if (device.unmap(mapping) !== undefined || dmaWrite(device, memory, iova, sent)) wrong++;
    else if (seen.some((byte, i) => byte !== sent[i])) wrong++;
  }
  table.close();
  parentPort?.postMessage([ROUNDS, wrong]);
}
