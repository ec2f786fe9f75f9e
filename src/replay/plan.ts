/**
 * The plan of a replay: deals the CPUs of the trace to workers, keeps each worker's requests in the order of the trace, and moves their
 * memory into the software machine's.
 *
 * Decisions, all stated in the output:
 * - The CPU that mapped a request owns it: its worker also unmaps it, at its position in the trace, even if another CPU did.
 *   Handing mappings from thread to thread would need a queue between them, and the replay would measure the queue.
 * - More workers than CPUs: CPUs are dealt again, each worker playing its history as a device of its own.
 * - Requests that the trace never unmaps are unmapped at the end of a pass, so that the history can be repeated.
 * - Sizes, pieces and places inside pages are kept; physical pages are moved together into the worker's part of memory, so
 *   that workers never write the same bytes. A history that touches more than `arenaBytes` is folded: pieces share memory.
 */
import type { RequestHistory } from "../trace/requests.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { Arena } from "./arena.ts";

export interface PlanOptions {
  readonly workers: number;
  /** log2 of the IO page size. */
  readonly pageShift: number;
  /** Most memory of one worker's pieces, in bytes. */
  readonly arenaBytes: number;
}

/** One worker's part, with its own numbering of requests. Structured-cloneable. */
export interface WorkerPlan {
  /** CPUs of the trace whose requests it plays, ascending. */
  readonly cpus: readonly number[];
  readonly requests: number;
  /** r + 1 maps request r, −(r + 1) unmaps it. Each request once of both: a pass ends with nothing mapped. */
  readonly operations: Int32Array;
  readonly access: Uint8Array;
  /** For each request, the first row of its pieces and their number. */
  readonly elementFirst: Int32Array;
  readonly elementCount: Int32Array;
  /** Byte address inside the worker's arena, and length, of each piece. */
  readonly elementAddress: Float64Array;
  readonly elementBytes: Uint32Array;
  /** Index of each request's scatterlist. */
  readonly slot: Int32Array;
  /** Pieces that each scatterlist must hold. */
  readonly slotCapacity: Int32Array;
  readonly arenaBytes: number;
  /** Most live entries, and entries of the longest request. */
  readonly peakEntries: number;
  readonly longestEntries: number;
  /** Line of the trace that mapped the longest request. */
  readonly longestLine: number;
}

export interface ReplayPlan {
  readonly workers: readonly WorkerPlan[];
  /** CPUs that mapped something. */
  readonly cpus: readonly number[];
  /** Requests that were mapped on one CPU and unmapped on another, and those of them that belong to another worker's CPU. */
  readonly crossCpuUnmaps: number;
  readonly crossWorkerUnmaps: number;
  /** Sum over the workers: the least size of the table in entries. */
  readonly peakEntries: number;
}

/** Up to this number, each request has its own scatterlist, which is filled once; more requests share lists. */
const OWN_LISTS = 16_384;

/** Deals a history to workers. Throws InvalidArgumentError when it has no requests. */
export function planReplay(history: RequestHistory, options: PlanOptions): ReplayPlan {
  if (history.length === 0)
    throw new InvalidArgumentError("requests of the trace", 0, "at least one mapping to replay");
  const loads = loadsOf(history);
  const dealt = deal(loads, options.workers);
  const workers = dealt.map((cpus) => planWorker(history, new Set(cpus), options));
  const workerOf = new Map(dealt.flatMap((cpus, worker) => cpus.map((cpu) => [cpu, worker] as const)).reverse());
  const crossWorkerUnmaps = history.cpu.reduce((sum, cpu, r) => {
    const other = history.unmapCpu[r] as number;
    // A CPU without maps belongs to no worker.
    return sum + (other !== cpu && workerOf.has(other) && workerOf.get(other) !== workerOf.get(cpu) ? 1 : 0);
  }, 0);
  return {
    workers,
    cpus: [...loads.keys()].toSorted((a, b) => a - b),
    crossCpuUnmaps: history.counts.crossCpuUnmaps,
    crossWorkerUnmaps,
    peakEntries: workers.reduce((sum, worker) => sum + worker.peakEntries, 0),
  };
}

/** Requests by the CPU that mapped. */
function loadsOf(history: RequestHistory): Map<number, number> {
  const loads = new Map<number, number>();
  for (const cpu of history.cpu) loads.set(cpu, (loads.get(cpu) ?? 0) + 1);
  return loads;
}

/** CPUs to workers: the busiest first, each to the worker with the least so far. */
export function deal(loads: ReadonlyMap<number, number>, workers: number): number[][] {
  const cpus = [...loads].toSorted(([a, ofA], [b, ofB]) => ofB - ofA || a - b);
  if (workers > cpus.length) return Array.from({ length: workers }, (_, i) => [cpus[i % cpus.length]?.[0] as number]);
  const dealt = Array.from({ length: workers }, () => ({ load: 0, cpus: [] as number[] }));
  for (const [cpu, load] of cpus) {
    const least = dealt.reduce((a, b) => (b.load < a.load ? b : a));
    least.cpus.push(cpu);
    least.load += load;
  }
  return dealt.map((worker) => worker.cpus.toSorted((a, b) => a - b));
}

function planWorker(history: RequestHistory, cpus: ReadonlySet<number>, options: PlanOptions): WorkerPlan {
  const chosen = [...history.cpu.keys()].filter((r) => cpus.has(history.cpu[r] as number));
  const own = new Map(chosen.map((request, index) => [request, index]));
  const operations = operationsOf(history.operations, own);
  const pieces = piecesOf(history, chosen, options);
  const entries = chosen.map((_, r) => pieces.entries[r] as number);
  const longest = entries.indexOf(entries.reduce((a, b) => Math.max(a, b), 0));
  return {
    cpus: [...cpus],
    requests: chosen.length,
    operations,
    access: Uint8Array.from(chosen, (request) => history.access[request] as number),
    ...pieces.columns,
    ...listsFor(operations, pieces.columns.elementCount),
    arenaBytes: pieces.arenaBytes,
    peakEntries: peakOf(operations, entries),
    longestEntries: entries[longest] as number,
    longestLine: history.line[chosen[longest] as number] as number,
  };
}

/** The operations on a worker's own requests, and at the end the unmaps that the trace lacks. */
function operationsOf(all: Int32Array, own: ReadonlyMap<number, number>): Int32Array {
  const operations: number[] = [];
  const live = new Set<number>();
  for (const operation of all) {
    const request = own.get(Math.abs(operation) - 1);
    if (request === undefined) continue;
    operations.push(operation > 0 ? request + 1 : -(request + 1));
    if (operation > 0) live.add(request);
    else live.delete(request);
  }
  for (const request of live) operations.push(-(request + 1));
  return Int32Array.from(operations);
}

/** The pieces of the chosen requests, moved into the arena. */
function piecesOf(history: RequestHistory, chosen: readonly number[], options: PlanOptions) {
  const { elementFirst, elementCount, elementAddress, elementBytes } = history;
  const rows = chosen.map((r) => [elementFirst[r] as number, elementCount[r] as number] as const);
  const arena = new Arena(options.pageShift, options.arenaBytes);
  for (const [first, count] of rows) {
    for (let i = first; i < first + count; i++) arena.note(elementAddress[i] as number, elementBytes[i] as number);
  }
  arena.settle();
  const pageBytes = 2 ** options.pageShift;
  const addresses: number[] = [];
  const bytes: number[] = [];
  const firsts: number[] = [];
  const entries = rows.map(([first, count]) => {
    firsts.push(addresses.length);
    const from = addresses.length;
    for (let i = first; i < first + count; i++) {
      arena.place(elementAddress[i] as number, elementBytes[i] as number, addresses, bytes);
    }
    let pages = 0;
    for (let i = from; i < addresses.length; i++) {
      pages += Math.ceil((((addresses[i] as number) % pageBytes) + (bytes[i] as number)) / pageBytes);
    }
    return pages;
  });
  return {
    entries,
    arenaBytes: arena.bytes,
    columns: {
      elementFirst: Int32Array.from(firsts),
      elementCount: Int32Array.from(firsts, (first, r) => (firsts[r + 1] ?? addresses.length) - first),
      elementAddress: Float64Array.from(addresses),
      elementBytes: Uint32Array.from(bytes),
    },
  };
}

/** A scatterlist for each request; too many share them, by sizes of powers of two. */
function listsFor(operations: Int32Array, elementCount: Int32Array): { slot: Int32Array; slotCapacity: Int32Array } {
  if (elementCount.length <= OWN_LISTS) {
    return { slot: Int32Array.from(elementCount.keys()), slotCapacity: elementCount.slice() };
  }
  const slot = new Int32Array(elementCount.length);
  const capacities: number[] = [];
  const free = new Map<number, number[]>();
  for (const operation of operations) {
    const request = Math.abs(operation) - 1;
    const capacity = 2 ** Math.ceil(Math.log2(elementCount[request] as number));
    const unused = free.get(capacity) ?? [];
    free.set(capacity, unused);
    if (operation < 0) unused.push(slot[request] as number);
    else slot[request] = unused.pop() ?? capacities.push(capacity) - 1;
  }
  return { slot, slotCapacity: Int32Array.from(capacities) };
}

function peakOf(operations: Int32Array, entries: readonly number[]): number {
  let live = 0;
  let peak = 0;
  for (const operation of operations) {
    live += operation > 0 ? (entries[operation - 1] as number) : -(entries[-operation - 1] as number);
    peak = Math.max(peak, live);
  }
  return peak;
}
