/**
 * The page's part of the browser test: makes a table, starts workers on it, and allocates and frees beside them, although a
 * page's own thread may not wait.
 */
import { PooledAllocator } from "../../dist/iova.js";
import { Player } from "./play.js";

/** Steps of the page between two looks at its messages. */
const STEPS_AT_ONCE = 500;

/** Runs `steps` steps on each of `workers` workers, and on the page until they are done. */
async function play({ entries, pools, cache, workers, steps, seed }) {
  const allocator = PooledAllocator.create({ entries, pools, cache, threads: workers + 1 });
  const shadow = new Int32Array(new SharedArrayBuffer(entries * 4));
  const started = Array.from({ length: workers }, (_, i) =>
    start({ handle: allocator.handle, shadow, seed: seed + i }),
  );
  const attached = await Promise.all(started);
  const reports = [];
  const all = Promise.all(attached.map((worker) => ask(worker, { steps }))).then((done) => reports.push(...done));
  const player = new Player(allocator, shadow, seed + workers);
  while (reports.length === 0) {
    player.play(STEPS_AT_ONCE, 64);
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve))]);
  }
  await all;
  for (const worker of attached) worker.terminate();
  const own = player.report();
  const leaked = [...allocator.leaks()].map(([thread, ranges]) => [
    thread,
    ranges.map(({ first, end }) => [first, end - first]),
  ]);
  for (const { live } of [...reports, own]) for (const [first, count] of live) allocator.free(first, count);
  allocator.drain();
  const { taken } = allocator.statistics();
  return { reports, own, leaked, takenAtEnd: taken, leakedAtEnd: allocator.leaks().size, mayWait: pageMayWait() };
}

/** A worker that has attached to the table. */
async function start(message) {
  const worker = new Worker(new URL("./player.worker.js", import.meta.url), { type: "module" });
  await ask(worker, message);
  return worker;
}

/** The worker's answer to `message`. */
function ask(worker, message) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(`worker: ${event.message ?? "could not load"}`));
    worker.postMessage(message);
  });
}

function pageMayWait() {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return true;
  } catch {
    return false;
  }
}

/** Tries to make a table. Returns the result in words. */
function makeTable() {
  try {
    PooledAllocator.create({ entries: 64 });
    return "a table was made";
  } catch (error) {
    return String(error);
  }
}

/** Loads entries of the package, by their paths in the clone. Returns the names of their exports. */
async function load(paths) {
  const modules = await Promise.all(paths.map((path) => import(new URL(`../../${path}`, import.meta.url))));
  return modules.map((module) => Object.keys(module));
}

/** Tries to make each kind of board. Returns "made" or the error's code for each. */
async function makeBoards(path) {
  const { BOARD_KINDS } = await import(new URL(`../../${path}`, import.meta.url));
  return BOARD_KINDS.map((kind) => {
    try {
      kind.create({ memoryBytes: 2 ** 24, entries: 1024 });
      return `${kind.name}: made`;
    } catch (error) {
      return `${kind.name}: ${error.code}`;
    }
  });
}

globalThis.iovaTest = { play, makeTable, load, makeBoards };
