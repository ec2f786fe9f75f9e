// A worker is killed in the middle of its work. Its ranges are recovered, and its thread number is reused.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Crew, PooledAllocator, reclaimOnExit } from "iova";

if (isMainThread) {
  const crew = Crew.create({ threads: 2 });
  const allocator = PooledAllocator.create({ entries: 4096, crew });
  const seat = crew.addThread(); // its number is known before it runs
  const worker = new Worker(new URL(import.meta.url), { workerData: { seat, handle: allocator.handle } });
  const recovered = reclaimOnExit(worker, crew, seat);
  worker.once("message", () => void worker.terminate());
  const ranges = (await recovered)?.ranges.get(allocator.handle.structure) ?? [];
  console.log(`at least 100 ranges of thread ${seat.thread} came back: ${ranges.length >= 100}`);
  console.log(`entries taken: ${allocator.statistics().taken}; next number: ${crew.addThread().thread}`);
} else {
  const allocator = PooledAllocator.attach(workerData.handle, Crew.attach(workerData.seat));
  for (let kept = 0; kept < 100; kept++) allocator.allocate(3);
  parentPort?.postMessage("holds 100 ranges");
  for (;;) allocator.free(allocator.allocate(1), 1); // until it is killed
}
