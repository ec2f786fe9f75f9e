/**
 * The records of tables and groups in a bridge's shared state (layout.ts), changed by the holder of its lock. In what order, so that
 * `repairRecords` can make whole what a thread has left half done that died with the lock:
 *
 * - A new table: its first level's place is stored while the record is still free (even generation); the odd generation comes last.
 * - A window: the group's word first, then the table's link, then the TVE; the other way round when it is unset. The group's word
 *   is the truth: links and TVEs are made from it anew.
 * - A legacy group: its kind first, then its window. With the kind and no window it is none yet, or none any more.
 * - A table that nobody holds any more: the generation becomes even (its ops refuse from now on), the levels go, the first one last. Even,
 *   with a first level: half made, or half freed. Both are freed.
 */
import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../memory/physical-pages.ts";
import type { Crew } from "../../shared/crew.ts";
import { compareExchange, load, peek, poke, store } from "../../shared/memory.ts";
import type { BridgeRegisters } from "./bridge-registers.ts";
import type { WindowShape } from "./geometry.ts";
import {
  BYPASS,
  GROUP,
  groupAt,
  HELD_BY_NONE,
  isTable,
  LEGACY,
  LINKS_PER_WORD,
  NEVER_SEEN,
  NO_GROUP,
  NO_WINDOW,
  type PhbState,
  RELEASED,
  SEEN,
  TABLE,
  tableAt,
  WITHDRAWN,
} from "./layout.ts";
import { tveOfBypass, tveOfTable } from "./registers.ts";
import { forEachLevel, type TreeShape } from "./tree.ts";

/** What a bridge's view has that records are changed with. */
export interface RecordKeeper {
  readonly machine: { readonly memory: Memory };
  readonly registers: BridgeRegisters;
  readonly pages: PhysicalPages;
  readonly state: PhbState;
  readonly crew: Crew;
}

/** An index for a new table; -1: all are in use. */
export function freeRecord(state: PhbState): number {
  for (let table = 0; table < state.tables; table++) {
    if (!isTable(state, table) && peek(state.words, tableAt(state, table) + TABLE.rootPage) === 0) return table;
  }
  return -1;
}

/** What stands in a window of a group: NO_WINDOW, BYPASS, or a table's index + 1. */
export function windowOf(state: PhbState, partition: number, window: number): number {
  return load(state.words, groupAt(state, partition) + GROUP.windows + window);
}

/** Fills a window of a group: the group's word, the link of a table, the TVE. The caller syncs. */
export function fillWindow(keeper: RecordKeeper, partition: number, window: number, content: number): void {
  const { state } = keeper;
  store(state.words, groupAt(state, partition) + GROUP.windows + window, content);
  if (content > 0) setLink(state, content - 1, partition, true);
  keeper.registers.writeTve(partition, window, tveOf(keeper, content));
}

/** Empties it: as `fillWindow`, the other way round; the caller has emptied the TVE and synced. */
export function emptyWindow({ state }: RecordKeeper, partition: number, window: number): void {
  const at = groupAt(state, partition) + GROUP.windows + window;
  const content = peek(state.words, at);
  if (content > 0) setLink(state, content - 1, partition, false);
  store(state.words, at, NO_WINDOW);
}

/** How many groups have the table as a window. */
export function linksOf(state: PhbState, table: number): number {
  let links = 0;
  for (let partition = 1; partition < state.partitions; partition++) {
    const word = load(state.words, linkAt(state, table, partition));
    links += (word >>> (partition % LINKS_PER_WORD)) & 1;
  }
  return links;
}

/** Frees a table that no group and no creator has. False: somebody has it. */
export function freeIfUnused(keeper: RecordKeeper, table: number): boolean {
  const { words } = keeper.state;
  const at = tableAt(keeper.state, table);
  if (load(words, at + TABLE.held) !== RELEASED || linksOf(keeper.state, table) > 0) return false;
  // Pairs with the look of its ops: from here on they refuse.
  store(words, at + TABLE.generation, peek(words, at + TABLE.generation) + 1);
  freeLevels(keeper, table);
  return true;
}

/** Does the thread with this tag hold a table? */
export function holdsTables(state: PhbState, tag: number): boolean {
  for (let table = 0; table < state.tables; table++) {
    if (isTable(state, table) && load(state.words, tableAt(state, table) + TABLE.held) === tag) return true;
  }
  return false;
}

/**
 * The tables that a dead thread held. Those that nobody else has ever seen are taken out of their windows and freed: their handle died
 * with it, so nobody could use them, or release them. The others go on: any thread that has a view may release them.
 */
export function takeTablesOf(keeper: RecordKeeper, tag: number): void {
  const { words, tables } = keeper.state;
  for (let table = 0; table < tables; table++) {
    const at = tableAt(keeper.state, table);
    if (!isTable(keeper.state, table) || load(words, at + TABLE.held) !== tag) continue;
    // Pairs with the compareExchange of who attaches: one of the two has the table.
    if (compareExchange(words, at + TABLE.seen, NEVER_SEEN, WITHDRAWN) === SEEN) {
      compareExchange(words, at + TABLE.held, tag, HELD_BY_NONE);
      continue;
    }
    unsetEverywhere(keeper, table);
    store(words, at + TABLE.held, RELEASED);
    freeIfUnused(keeper, table);
  }
}

function unsetEverywhere(keeper: RecordKeeper, table: number): void {
  const { state, registers } = keeper;
  for (let partition = 1; partition < state.partitions; partition++) {
    for (const window of [0, 1]) {
      if (windowOf(state, partition, window) !== table + 1) continue;
      registers.writeTve(partition, window, 0n);
      registers.killPartition(partition);
      registers.awaitDma("taking a dead thread's table from its group");
      emptyWindow(keeper, partition, window);
    }
    endHalfLegacy(state, partition);
  }
}

/** A legacy group without its window is none. */
function endHalfLegacy(state: PhbState, partition: number): void {
  const kindAt = groupAt(state, partition) + GROUP.kind;
  if (load(state.words, kindAt) === LEGACY && windowOf(state, partition, 0) === NO_WINDOW) {
    store(state.words, kindAt, NO_GROUP);
  }
}

/** Physical addresses of all levels of all tables: what of PhysicalPages is in use. */
export function levelsInUse({ state, machine }: RecordKeeper): ReadonlySet<number> {
  const used = new Set<number>();
  for (let table = 0; table < state.tables; table++) {
    const shape = shapeOf(state, table);
    if (shape.rootAddress === 0) continue;
    used.add(shape.rootAddress);
    forEachLevel(machine.memory, shape, (level) => used.add(level));
  }
  return used;
}

/** Makes half-made changes whole. The lock was a dead thread's, and is ours. */
export function repairRecords(keeper: RecordKeeper): void {
  const { state, registers } = keeper;
  for (let table = 0; table < state.tables; table++) repairLinks(state, table);
  for (let partition = 1; partition < state.partitions; partition++) {
    for (const window of [0, 1]) fillWindow(keeper, partition, window, windowOf(state, partition, window));
    endHalfLegacy(state, partition);
    registers.killPartition(partition);
  }
  registers.awaitDma("repairing the bridge");
  for (let table = 0; table < state.tables; table++) {
    if (isTable(state, table)) freeIfUnused(keeper, table);
    else if (shapeOf(state, table).rootAddress !== 0) freeLevels(keeper, table);
  }
}

/**
 * A link that is right stays meanwhile: living threads invalidate by it, and for what they miss there they would take a translation for
 * forgotten that a device still uses.
 */
function repairLinks(state: PhbState, table: number): void {
  for (let partition = 1; partition < state.partitions; partition++) {
    const linked = [0, 1].some((window) => windowOf(state, partition, window) === table + 1);
    setLink(state, table, partition, linked);
  }
}

/** What a table was asked to be, as any thread can read it. */
export function shapeOfTable({ words, ...state }: PhbState, table: number): WindowShape {
  const at = tableAt({ words, ...state }, table);
  const pageShift = peek(words, at + TABLE.pageShift);
  const windowBytes = BigInt(peek(words, at + TABLE.entries)) << BigInt(pageShift);
  return { pageShift, windowBytes, levels: peek(words, at + TABLE.levels) };
}

/** Where the levels of a table begin and how they hang together. No address: no table. */
function shapeOf({ words, ...state }: PhbState, table: number): TreeShape {
  const at = tableAt({ words, ...state }, table);
  return {
    rootAddress: (peek(words, at + TABLE.rootPage) >>> 0) * 4096,
    levels: peek(words, at + TABLE.levels),
    levelBits: peek(words, at + TABLE.levelBits),
  };
}

/**
 * An inner entry is emptied before its level is given back, so that this can be done again after a death. Before both the level becomes
 * this thread's, whoever had made it: who dies between the two leaves a page that comes back with all that was its own. Levels that
 * lie elsewhere, in a table that was taken over, belong to somebody else.
 */
function freeLevels({ state, machine, pages, crew }: RecordKeeper, table: number): void {
  const at = tableAt(state, table);
  const structure = peek(state.words, at + TABLE.structure) - 1;
  if (structure >= 0) crew.removeStructure(structure);
  poke(state.words, at + TABLE.structure, 0);
  const shape = shapeOf(state, table);
  const bytes = 2 ** shape.levelBits * 8;
  const { address, bytes: regionBytes } = pages.handle;
  const isOurs = (level: number): boolean => level >= address && level < address + regionBytes;
  forEachLevel(machine.memory, shape, (level, inner) => {
    if (!isOurs(level)) return;
    pages.adopt({ address: level, bytes });
    machine.memory.store32(inner + 4, 0);
    pages.free(level, bytes);
  });
  if (isOurs(shape.rootAddress)) pages.adopt({ address: shape.rootAddress, bytes });
  poke(state.words, at + TABLE.rootPage, 0);
  if (isOurs(shape.rootAddress)) pages.free(shape.rootAddress, bytes);
}

function tveOf({ state, machine }: RecordKeeper, content: number): bigint {
  if (content === NO_WINDOW) return 0n;
  if (content === BYPASS) return tveOfBypass(machine.memory.bytes);
  const { rootAddress, levels, levelBits } = shapeOf(state, content - 1);
  const pageShift = peek(state.words, tableAt(state, content - 1) + TABLE.pageShift);
  return tveOfTable({ tableAddress: rootAddress, levels, levelBits, pageShift });
}

function linkAt(state: PhbState, table: number, partition: number): number {
  return tableAt(state, table) + TABLE.links + Math.floor(partition / LINKS_PER_WORD);
}

/** Under the lock: nobody else stores. Pairs with the loads of who invalidates (table.ts). */
function setLink(state: PhbState, table: number, partition: number, linked: boolean): void {
  const at = linkAt(state, table, partition);
  const bit = 1 << (partition % LINKS_PER_WORD);
  const word = load(state.words, at);
  store(state.words, at, linked ? word | bit : word & ~bit);
}
