// A shadow of a table, as a VMM keeps it to give a real IOMMU the same mappings: two threads map, one of them is killed, and the shadow stays right.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Crew, DEVICE_READS_AND_WRITES, DmaDevice, type IommuTable, listen, reclaimOnExit } from "iova";
import { LinearPlatform, SoftwareMachine } from "iova/platform";

const WINDOW = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };

/** A word for each entry: the page + 1 that it leads to, or 0. In shared memory, since messages of two threads may overtake each other. */
function keepShadow(table: IommuTable, buffer: SharedArrayBuffer): void {
  const shadow = new Uint32Array(buffer);
  const entryOf = (iova: bigint): number => Number((iova - WINDOW.base) >> 12n);
  listen(table, {
    // A VMM would call VFIO_IOMMU_MAP_DMA here, and below UNMAP_DMA.
    mapped: (iova, bytes, address) => {
      for (let i = 0; i < bytes / 4096; i++) Atomics.store(shadow, entryOf(iova) + i, Number(address >> 12n) + i + 1);
    },
    unmapped: (iova, bytes) => {
      for (let i = 0; i < bytes / 4096; i++) Atomics.store(shadow, entryOf(iova) + i, 0);
    },
  });
}

if (isMainThread) {
  const machine = SoftwareMachine.create({ memoryBytes: 2 ** 22, threads: 2 });
  const platform = LinearPlatform.create(machine, { format: "powernv-tce", window: WINDOW });
  const table = platform.generic;
  const shadow = new SharedArrayBuffer(4 * WINDOW.entries);
  keepShadow(table, shadow);
  const report = (when: string): void => {
    const device = new DmaDevice(table);
    const pages = Array.from({ length: WINDOW.entries }, (_, i) => device.translate(WINDOW.base + BigInt(i * 4096)));
    const wrong = [...new Uint32Array(shadow)].filter(
      (word, i) => word !== (pages[i] === undefined ? 0 : Number(pages[i].address >> 12n) + 1),
    );
    const owners = new Set([...table.mappings()].map(({ owner }) => owner));
    const mapped = pages.filter((page) => page !== undefined).length;
    console.log(
      `${when}: ${mapped} pages of ${owners.size} threads are mapped, ${wrong.length} of the shadow are wrong`,
    );
  };

  const own = new DmaDevice(table).map(0x10_0000n, 5 * 4096, DEVICE_READS_AND_WRITES);
  const seat = machine.crew.addThread();
  const data = { machine: machine.handle, platform: platform.handle, seat, shadow };
  const worker = new Worker(new URL(import.meta.url), { workerData: data });
  const recovered = reclaimOnExit(worker, machine.crew, seat); // calls this thread's listener for each range that it unmaps
  await new Promise((resolve) => worker.once("message", resolve));
  report("both threads run");
  await worker.terminate();
  await recovered;
  report("one was killed");
  if (typeof own !== "string") new DmaDevice(table).unmap(own);
  report("the end");
} else {
  const machine = SoftwareMachine.attach(workerData.machine, Crew.attach(workerData.seat));
  const { generic: table } = LinearPlatform.attach(machine, workerData.platform);
  keepShadow(table, workerData.shadow);
  const device = new DmaDevice(table);
  for (let i = 0; i < 20; i++) device.map(BigInt(i * 8192), 3 * 4096, DEVICE_READS_AND_WRITES);
  parentPort?.postMessage("has mapped 60 pages");
  setInterval(() => undefined, 1000); // until it is killed
}
