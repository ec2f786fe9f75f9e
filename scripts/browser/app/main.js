/** A user's page, built by a bundler: two workers allocate from a table of the page. */
import { PooledAllocator } from "iova";
import { LinearPlatform, SoftwareMachine } from "iova/platform";

const ENTRIES = 4096;

/** Starts two workers and frees their ranges. Returns the number of ranges, of entries with two owners, and of allocated entries at the end. */
async function share() {
  const allocator = PooledAllocator.create({ entries: ENTRIES, threads: 3 });
  const workers = [1, 2].map(() => new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
  const answers = await Promise.all(workers.map((worker) => answerOf(worker, allocator.handle)));
  const owned = new Uint8Array(ENTRIES);
  let twice = 0;
  for (const [first, count] of answers.flat()) {
    for (let entry = first; entry < first + count; entry++) twice += owned[entry]++ > 0 ? 1 : 0;
    allocator.free(first, count);
  }
  allocator.drain();
  for (const worker of workers) worker.terminate();
  return { ranges: answers.flat().length, twice, taken: allocator.statistics().taken };
}

function answerOf(worker, handle) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(`worker: ${event.message ?? "could not load"}`));
    worker.postMessage(handle);
  });
}

/** Tries to make an allocator, and a machine with a platform. Returns "made" or the error for each. */
function make() {
  const window = { base: 0n, pageShift: 12, entries: 64 };
  const makers = [
    () => PooledAllocator.create({ entries: 64 }),
    () =>
      LinearPlatform.create(SoftwareMachine.create({ memoryBytes: 2 ** 20, devices: ["nic"] }), {
        format: "powernv-tce",
        window,
      }),
  ];
  return makers.map((maker) => {
    try {
      maker();
      return "made";
    } catch (error) {
      return `${error.constructor.name} ${error.code}: ${error.message}`;
    }
  });
}

globalThis.app = { share, make, isolated: globalThis.crossOriginIsolated };
