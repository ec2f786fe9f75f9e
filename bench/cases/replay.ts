/** The requests of a recorded trace, played as by `iova replay`, but without a machine: no entries are written. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { UNCONSTRAINED } from "../../src/allocator/constraints.ts";
import { DmaDevice } from "../../src/dma/device.ts";
import { planReplay, type ReplayPlan, type WorkerPlan } from "../../src/replay/plan.ts";
import { type MappingChecker, Player as RequestPlayer } from "../../src/replay/player.ts";
import { type SingleLockHandle, SingleLockTable } from "../../src/rivals/single-lock.ts";
import type { MappingTable } from "../../src/table/contract.ts";
import { IommuTable, type TableHandle } from "../../src/table/iommu-table.ts";
import { parseTrace } from "../../src/trace/parser.ts";
import { requestsOf } from "../../src/trace/requests.ts";
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { measureSlices, warmUp } from "../measure.ts";
import type { Player } from "../player.ts";
import { type Scale, scaled } from "../scale.ts";
import { NoOps, pooledOptions, type SubjectName, windowOf } from "../subjects.ts";
import { NoTable } from "./map-sg.ts";
import { POOLS } from "./single.ts";

/** Columns. */
export const THROUGH_MAP_SG = { alone: "mapSg, 1 thread", together: "mapSg, 2 threads" } as const;
const ENTRIES_ALONE = { alone: "alloc and free, 1 thread", together: "alloc and free, 2 threads" } as const;

const SUBJECTS: readonly SubjectName[] = ["pooled", "cached", "single lock", "nothing"];
const FILE = fileURLToPath(new URL("../../../traces/nvme-io-612.txt.gz", import.meta.url));
const PAGE_SHIFT = 12;

export const replay: BenchCase = {
  name: "replay",
  about:
    "The requests of traces/nvme-io-612.txt.gz, each thread those of its processors, over and over, as `iova replay` plays them, but " +
    "without a machine: no entries are written and nothing is invalidated. Through mapSg and unmapSg; and, alloc and free, the same " +
    "ranges of the table alone. A time is that of one thread's request, mapping and end. The table has 1 Mi entries.",
  metrics: [NANOSECONDS, { key: "rate", title: "all threads together [M requests/s]", digits: 2 }],
  operation: "request",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [THROUGH_MAP_SG, ENTRIES_ALONE].flatMap((columns) =>
      [1, 2].flatMap((threads) =>
        SUBJECTS.map((subject) => ({
          case: "replay",
          row: subject,
          at: threads === 1 ? columns.alone : columns.together,
          threads,
          work: {
            subject,
            entries: scale.entries,
            pools: POOLS,
            arena: scale.entries,
            fillPercent: 0,
            slices: scale.slices,
            operations: scaled(500, scale),
            seed,
            amount: threads,
            variant: columns === THROUGH_MAP_SG ? "mapSg" : "table",
          },
        })),
      ),
    );
  },
  input: { key: ({ amount }) => `plan for ${amount}`, make: ({ amount = 1 }) => planFor(amount) },
  async play(work: Work, player: Player) {
    const table = await tableFor(work, player);
    const plan = (player.input as ReplayPlan).workers[player.number] as WorkerPlan;
    const requests = work.variant === "mapSg" ? new ListRequests(plan, table) : new RangeRequests(plan, table);
    // A map and an unmap.
    const play = () => requests.play(2 * work.operations);
    warmUp(work.slices, play);
    player.meet();
    const slices = measureSlices(work.slices, play);
    player.meet();
    requests.end();
    return { slices, operations: work.operations, hash: undefined };
  },
};

function planFor(workers: number): ReplayPlan {
  const history = requestsOf(parseTrace(gunzipSync(readFileSync(FILE))));
  return planReplay(history, { workers, pageShift: PAGE_SHIFT, arenaBytes: 2 ** 28 });
}

/** The table of a cell, which its players share. */
async function tableFor(work: Work, player: Player): Promise<MappingTable> {
  const window = windowOf(work.entries);
  const ops = new NoOps();
  if (work.subject === "nothing") return new NoTable(window);
  if (work.subject === "single lock") {
    const handle = await player.share<SingleLockHandle>(() => SingleLockTable.create(window, ops).handle);
    return SingleLockTable.attach(handle, ops);
  }
  const { entries: _, ...options } = pooledOptions(work);
  const handle = await player.share<TableHandle>(() => IommuTable.create(window, ops, options).handle);
  return IommuTable.attach(handle, ops);
}

/** The requests through mapSg and unmapSg. */
class ListRequests {
  readonly #player: RequestPlayer;
  constructor(plan: WorkerPlan, table: MappingTable) {
    const device = new DmaDevice(table, { maxSegmentBytes: 2 ** 32 - 1 });
    this.#player = new RequestPlayer(plan, 0, device, NO_CHECK);
  }
  play(operations: number): void {
    this.#player.play(operations);
  }
  end(): void {
    this.#player.unmapAll();
    if (this.#player.failures.some((count) => count > 0)) throw new Error("a request failed");
  }
}

const NO_CHECK: MappingChecker = { checkEnds() {}, checkBetween() {} };

/** The same requests as ranges of entries: each is one range as long as the pages of its pieces. */
class RangeRequests {
  readonly #table: MappingTable;
  readonly #operations: Int32Array;
  readonly #counts: Int32Array;
  readonly #firsts: Int32Array;
  #next = 0;

  constructor(plan: WorkerPlan, table: MappingTable) {
    this.#table = table;
    this.#operations = plan.operations;
    this.#counts = Int32Array.from({ length: plan.requests }, (_, request) => entriesOf(plan, request));
    this.#firsts = new Int32Array(plan.requests).fill(-1);
  }
  play(operations: number): void {
    const all = this.#operations;
    for (let i = 0; i < operations; i++) {
      const operation = all[this.#next] as number;
      this.#next = this.#next + 1 === all.length ? 0 : this.#next + 1;
      if (operation > 0) this.#begin(operation - 1);
      else this.#finish(-operation - 1);
    }
  }
  end(): void {
    for (let request = 0; request < this.#firsts.length; request++) this.#finish(request);
  }
  #begin(request: number): void {
    const count = this.#counts[request] as number;
    const first = this.#table.allocate(count, UNCONSTRAINED, -1);
    if (first < 0) throw new Error("no space, though the table is nearly empty");
    this.#table.commit(first, count);
    this.#firsts[request] = first;
  }
  #finish(request: number): void {
    const first = this.#firsts[request] as number;
    if (first < 0) return;
    this.#firsts[request] = -1;
    this.#table.unmap(first, this.#counts[request] as number);
  }
}

function entriesOf({ elementFirst, elementCount, elementAddress, elementBytes }: WorkerPlan, request: number): number {
  const from = elementFirst[request] as number;
  const pageBytes = 2 ** PAGE_SHIFT;
  let pages = 0;
  for (let i = from; i < from + (elementCount[request] as number); i++) {
    pages += Math.ceil((((elementAddress[i] as number) % pageBytes) + (elementBytes[i] as number)) / pageBytes);
  }
  return pages;
}
