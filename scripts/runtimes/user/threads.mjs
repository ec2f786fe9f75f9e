// A user's program: three threads allocate and map in one table; one is killed in the middle of its work, and what it had comes back.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Crew, DmaDevice, reclaimOnExit } from "iova";
import { attachBoard, boardNamed } from "iova/platform";

const DEVICE = "nic";
const ROUNDS = 200;

/** Maps, writes by the device's DMA, and unmaps. Throws if the device's bytes are not where they belong. */
function work(board, thread) {
  const driver = new DmaDevice(board.table);
  const device = board.machine.device(DEVICE);
  const address = (thread + 1) * 65536;
  const bytes = Uint8Array.of(thread, 1, 2, 3);
  const mapping = driver.map(BigInt(address), 4096, 3);
  if (typeof mapping === "string") throw new Error(mapping);
  if (!device.dmaWrite(mapping.iova, bytes)) throw new Error("the device is refused");
  const seen = new Uint8Array(4);
  board.machine.memory.read(address, seen);
  if (seen.join() !== bytes.join()) throw new Error(`thread ${thread} reads ${seen}`);
  driver.unmap(mapping);
}

if (isMainThread) {
  const board = boardNamed("linear-tce").create({ memoryBytes: 2 ** 22, entries: 1024, devices: [DEVICE], threads: 4 });
  const { crew } = board;
  const start = (kind) => {
    const seat = crew.addThread();
    const worker = new Worker(new URL(import.meta.url), { workerData: { kind, seat, handle: board.handle } });
    return { worker, ended: reclaimOnExit(worker, crew, seat) };
  };
  const [killed, ...others] = [start("killed"), start("done"), start("done")];
  killed.worker.once("message", () => void killed.worker.terminate());
  work(board, 0);
  for (const { worker } of others) worker.on("error", (error) => console.log(`a worker failed: ${error.message}`));
  const reclaimed = await killed.ended;
  const came = reclaimed?.ranges.get(board.table.allocator.handle.structure) ?? [];
  await Promise.all(others.map(({ ended }) => ended));
  board.table.allocator.drain();
  console.log(`ranges of the killed thread that came back: ${came.length >= 50 ? "at least 50" : came.length}`);
  console.log(`entries taken: ${board.table.statistics().taken}`);
} else {
  const { kind, seat, handle } = workerData;
  const board = attachBoard(handle, Crew.attach(seat));
  const forever = kind === "killed";
  if (forever) {
    for (let kept = 0; kept < 50; kept++) board.table.allocator.allocate(2);
    parentPort.postMessage("holds 50 ranges");
  }
  for (let round = 0; forever || round < ROUNDS; round++) work(board, seat.thread);
  board.close();
}
