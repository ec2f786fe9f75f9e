/**
 * The records of tables and groups in a bridge's shared state (layout.ts), which the holder of its lock changes. The order of the stores
 * lets `repairRecords` repair a change that a thread left half-made when it died with the lock:
 *
 * - A new table: the address of its first level is stored while the record is still free (even generation); the odd generation is stored
 *   last.
 * - A window: the group's word first, then the table's link, then the TVE; the reverse when it is unset. The group's word is authoritative:
 *   repair rebuilds links and TVEs from it.
 * - A legacy group: its kind first, then its window. A legacy kind without a window is an unfinished or removed group.
 * - A table without groups and creator: the generation becomes even (its ops refuse from then on), then its levels are freed, the first
 *   level last. An even generation with a first level is a table that is half-made or half-freed; repair frees it.
 */

import type { Crew } from "../../crew/crew.ts";
import type { Memory } from "../../machine/contract.ts";
import type { PhysicalPages } from "../../memory/physical-pages.ts";
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

/** The parts of a bridge's view that changes of records need. */
export interface RecordKeeper {
  readonly machine: { readonly memory: Memory };
  readonly registers: BridgeRegisters;
  readonly pages: PhysicalPages;
  readonly state: PhbState;
  readonly crew: Crew;
}

/** The index of an unused record, or -1 if all are in use. */
export function freeRecord(state: PhbState): number {
  for (let table = 0; table < state.tables; table++) {
    if (!isTable(state, table) && peek(state.words, tableAt(state, table) + TABLE.rootPage) === 0) return table;
  }
  return -1;
}

/** The content of a window of a group: NO_WINDOW, BYPASS, or a table's index + 1. */
export function windowOf(state: PhbState, partition: number, window: number): number {
  return load(state.words, groupAt(state, partition) + GROUP.windows + window);
}

/** Sets a window of a group: the group's word, the table's link, the TVE. The caller syncs. */
export function fillWindow(keeper: RecordKeeper, partition: number, window: number, content: number): void {
  const { state } = keeper;
  store(state.words, groupAt(state, partition) + GROUP.windows + window, content);
  if (content > 0) setLink(state, content - 1, partition, true);
  keeper.registers.writeTve(partition, window, tveOf(keeper, content));
}

/** Empties a window, in the reverse order of `fillWindow`. The caller has emptied the TVE and synced. */
export function emptyWindow({ state }: RecordKeeper, partition: number, window: number): void {
  const at = groupAt(state, partition) + GROUP.windows + window;
  const content = peek(state.words, at);
  if (content > 0) setLink(state, content - 1, partition, false);
  store(state.words, at, NO_WINDOW);
}

/** Number of groups with the table in a window. */
export function linksOf(state: PhbState, table: number): number {
  let links = 0;
  for (let partition = 1; partition < state.partitions; partition++) {
    const word = load(state.words, linkAt(state, table, partition));
    links += (word >>> (partition % LINKS_PER_WORD)) & 1;
  }
  return links;
}

/** Frees a table without groups and creator. False: a group or the creator still has it. */
export function freeIfUnused(keeper: RecordKeeper, table: number): boolean {
  const { words } = keeper.state;
  const at = tableAt(keeper.state, table);
  if (load(words, at + TABLE.held) !== RELEASED || linksOf(keeper.state, table) > 0) return false;
  // Pairs with the load in the table's ops, which refuse from here on.
  store(words, at + TABLE.generation, peek(words, at + TABLE.generation) + 1);
  freeLevels(keeper, table);
  return true;
}

/** True if the thread with this tag has created a table that it has not released. */
export function holdsTables(state: PhbState, tag: number): boolean {
  for (let table = 0; table < state.tables; table++) {
    if (isTable(state, table) && load(state.words, tableAt(state, table) + TABLE.held) === tag) return true;
  }
  return false;
}

/**
 * Takes over the tables of a dead thread. Tables that no other thread has attached to are removed from their windows and freed, because
 * their handles died with the thread. The others stay, and any thread with a view may release them.
 */
export function takeTablesOf(keeper: RecordKeeper, tag: number): void {
  const { words, tables } = keeper.state;
  for (let table = 0; table < tables; table++) {
    const at = tableAt(keeper.state, table);
    if (!isTable(keeper.state, table) || load(words, at + TABLE.held) !== tag) continue;
    // Pairs with the compareExchange of an attaching thread: one of the two succeeds.
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

/** Removes a legacy group without its window. */
function endHalfLegacy(state: PhbState, partition: number): void {
  const kindAt = groupAt(state, partition) + GROUP.kind;
  if (load(state.words, kindAt) === LEGACY && windowOf(state, partition, 0) === NO_WINDOW) {
    store(state.words, kindAt, NO_GROUP);
  }
}

/** Physical addresses of all levels of all tables: the used pages of PhysicalPages. */
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

/** Repairs half-made changes. The caller has taken the lock over from a dead thread. */
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
    // The thread died while it made the generic table.
    else removeStructure(keeper, table);
  }
}

/**
 * Correct links are not cleared meanwhile: live threads invalidate by them, and without the link they would miss a group whose devices
 * still use the translation.
 */
function repairLinks(state: PhbState, table: number): void {
  for (let partition = 1; partition < state.partitions; partition++) {
    const linked = [0, 1].some((window) => windowOf(state, partition, window) === table + 1);
    setLink(state, table, partition, linked);
  }
}

/** The shape of a table, from its record. */
export function shapeOfTable({ words, ...state }: PhbState, table: number): WindowShape {
  const at = tableAt({ words, ...state }, table);
  const pageShift = peek(words, at + TABLE.pageShift);
  const windowBytes = BigInt(peek(words, at + TABLE.entries)) << BigInt(pageShift);
  return { pageShift, windowBytes, levels: peek(words, at + TABLE.levels) };
}

/** The levels of a table: root address and geometry. Root address 0: no table. */
function shapeOf({ words, ...state }: PhbState, table: number): TreeShape {
  const at = tableAt({ words, ...state }, table);
  return {
    rootAddress: (peek(words, at + TABLE.rootPage) >>> 0) * 4096,
    levels: peek(words, at + TABLE.levels),
    levelBits: peek(words, at + TABLE.levelBits),
  };
}

/**
 * Frees the levels of a table. Each level is first moved to this thread's name, then its inner entry is emptied, then its pages are freed.
 * So the work can be repeated after a death, and a page whose entry was emptied is recovered with the pages of the dead thread. Levels
 * outside of the region, in a table that a crashed kernel left, are not freed.
 */
function freeLevels(keeper: RecordKeeper, table: number): void {
  const { state, machine, pages } = keeper;
  const at = tableAt(state, table);
  removeStructure(keeper, table);
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

/** Removes the generic table from the crew's structures. */
function removeStructure({ state, crew }: RecordKeeper, table: number): void {
  const at = tableAt(state, table) + TABLE.structure;
  const structure = peek(state.words, at) - 1;
  if (structure >= 0) crew.removeStructure(structure);
  poke(state.words, at, 0);
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

/** Under the lock, so no other thread stores. Pairs with the loads of invalidations (table.ts). */
function setLink(state: PhbState, table: number, partition: number, linked: boolean): void {
  const at = linkAt(state, table, partition);
  const bit = 1 << (partition % LINKS_PER_WORD);
  const word = load(state.words, at);
  store(state.words, at, linked ? word | bit : word & ~bit);
}
