/** A thread that registers, maps, unmaps and unregisters at random until it is killed. It pauses between calls while its word of the control says so. */
import { parentPort, workerData } from "node:worker_threads";
import { Crew, type CrewSeat } from "../crew/crew.ts";
import * as memory from "../shared/memory.ts";
import type { Access } from "../units/numbers.ts";
import { StaleOps } from "./ops.model.ts";
import { PinnedMemory, type PinnedMemoryHandle } from "./pinned-memory.ts";
import { PinnedTable, type PinnedTableHandle } from "./pinned-table.ts";
import type { UserMemory } from "./user-memory.ts";

export interface KilledWork {
  readonly seat: CrewSeat;
  readonly pinned: PinnedMemoryHandle;
  readonly owner: number;
  readonly table: PinnedTableHandle;
  /** Entries and IOTLB of the table. */
  readonly ops: memory.SharedBuffer;
  /** Two words a thread: 1 while it has to pause; 1 while it does. */
  readonly control: memory.SharedBuffer;
  readonly place: number;
  readonly seed: number;
}

/** User page n lies in physical page n + 2; two pages are not present. */
export const PAGES = 40;
export const memoryWith = (onUnpin?: UserMemory["onUnpin"]): UserMemory => ({
  pageOf: (page) => (page >= PAGES || page === 13 || page === 30 ? -1 : page + 2),
  backingShift: () => 12,
  ...(onUnpin === undefined ? {} : { onUnpin }),
});

if (workerData !== null) run(workerData as KilledWork);

function run(work: KilledWork): void {
  const crew = Crew.attach(work.seat);
  const pinned = PinnedMemory.attach(work.pinned, crew);
  const { entries } = work.table.window;
  const ops = new StaleOps(memory, memory.wordsOf(work.ops), entries);
  const table = PinnedTable.attach(pinned, work.table, ops);
  const user = memoryWith((page, physical) => {
    // Called before the page's last pin goes; a registration that fails gives back pins of pages that have others.
    const isLast = pinned.pinsOf(physical) === 1;
    if (isLast && ops.reachable().includes(physical)) parentPort?.postMessage(`page ${page} is reached without a pin`);
  });
  pinned.join(work.owner, user);
  const control = memory.wordsOf(work.control);
  const random = randomFrom(work.seed);
  for (let i = 0; ; i++) {
    step(pinned, table, work.owner, random);
    if (i === 20) parentPort?.postMessage("begun");
    while (memory.load(control, 2 * work.place) === 1) {
      memory.store(control, 2 * work.place + 1, 1);
      memory.waitWhile(control, 2 * work.place, 1, 5);
    }
    memory.store(control, 2 * work.place + 1, 0);
  }
}

/** Pages of a region: aligned to 4, so that ranges meet again. */
function step(pinned: PinnedMemory, table: PinnedTable, owner: number, random: (below: number) => number): void {
  const first = 4 * random(PAGES / 4);
  const entry = random(table.window.entries - 4);
  const count = 1 + random(4);
  const kind = random(10);
  if (kind < 2) pinned.register(owner, first, 4);
  else if (kind === 2) pinned.get(owner, first, 4);
  else if (kind < 5) pinned.unregister(owner, first, 4);
  else if (kind < 8) table.map(entry, count, first + random(3), (1 + random(3)) as Access);
  else if (kind < 9) table.unmap(entry, count);
  else if (pinned.take(owner, first, 2, count) >= 0) pinned.drop();
}

function randomFrom(seed: number): (below: number) => number {
  let x = seed | 1;
  return (below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
}
