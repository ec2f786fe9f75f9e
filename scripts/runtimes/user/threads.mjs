// A user's program: three threads allocate and map in one table; one is killed in the middle of its work, and its ranges are recovered.
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

/** Deno tells of a terminated worker's exit before its thread has ended: there, the lock that the worker holds comes free at its end. */
const inDeno = globalThis.Deno !== undefined;
const lockOf = (seat) => `thread ${seat.thread}`;

/** Resolves when the worker's thread has ended, and its number is recovered. */
async function ended(worker, crew, seat) {
  if (!inDeno) return reclaimOnExit(worker, crew, seat);
  await new Promise((resolve) => worker.once("message", resolve)); // it has its lock
  return navigator.locks.request(lockOf(seat), () =>
    crew.holds(seat) ? crew.reclaim(seat.thread, "everything") : undefined,
  );
}

/** Takes the worker's lock. Returns what gives it back; the end of the thread does so too. */
function holdLock(seat) {
  return new Promise((held) => {
    void navigator.locks.request(lockOf(seat), () => new Promise((release) => held(release)));
  });
}

if (isMainThread) {
  const board = boardNamed("linear-tce").create({ memoryBytes: 2 ** 22, entries: 1024, devices: [DEVICE], threads: 4 });
  const { crew } = board;
  const start = (kind) => {
    const seat = crew.addThread();
    const worker = new Worker(new URL(import.meta.url), { workerData: { kind, seat, handle: board.handle } });
    return { worker, end: ended(worker, crew, seat) };
  };
  const [killed, ...others] = [start("killed"), start("done"), start("done")];
  killed.worker.once("message", () => void killed.worker.terminate());
  for (const { worker } of others) worker.on("error", (error) => console.log(`a worker failed: ${error.message}`));
  work(board, 0);
  const reclaimed = await killed.end;
  const came = reclaimed?.ranges.get(board.table.allocator.handle.structure) ?? [];
  await Promise.all(others.map(({ end }) => end));
  board.table.allocator.drain();
  console.log(`ranges of the killed thread that came back: ${came.length >= 50 ? "at least 50" : came.length}`);
  console.log(`entries taken: ${board.table.statistics().taken}`);
} else {
  const { kind, seat, handle } = workerData;
  const release = inDeno ? await holdLock(seat) : () => {};
  const board = attachBoard(handle, Crew.attach(seat));
  const forever = kind === "killed";
  if (forever) for (let kept = 0; kept < 50; kept++) board.table.allocator.allocate(2);
  parentPort.postMessage("begins");
  for (let round = 0; forever || round < ROUNDS; round++) work(board, seat.thread);
  board.close();
  release();
}
