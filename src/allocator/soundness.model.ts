/**
 * Checks that an allocator's shared state is consistent: the ledger against the bits, the bits against the statistics, the threads' caches
 * and queues against the ledger, the pools' bounds against their bits, and that no operation is half done. For tests of any kind: it reads
 * only the buffer, through memory.ts, so it also works in the explorer's copy of the allocator.
 *
 * No thread may run meanwhile: each has ended, or is dead and reclaimed, or is between two operations.
 */
import assert from "node:assert/strict";
import { isAttached, openCrewState, SLOT_LIVE, slotState } from "../crew/crew.ts";
import { load, peek, peekHalf, type SharedWords } from "../shared/memory.ts";
import { statisticsOf } from "./inspect/statistics.ts";
import {
  areaOf,
  BLOCK_ENTRIES,
  BLOCK_SHIFT,
  boundWords,
  CACHED_LENGTHS,
  FIFO_RANGES,
  POOL,
  QUEUE_RANGES,
  THREAD,
} from "./layout.ts";
import {
  beginsRange,
  CACHED,
  ENDING,
  lengthOf,
  nameOfState,
  ownerIn,
  PENDING,
  QUARANTINED,
  type RangeState,
  stateIn,
} from "./ledger.ts";
import { PoolSet } from "./pool-set.ts";
import type { OpenState } from "./state.ts";

/** A range in the ledger. */
export interface RecordedRange {
  readonly first: number;
  readonly count: number;
  readonly state: RangeState;
  readonly owner: number;
}

/** A range that a thread keeps for itself. */
export interface KeptRange {
  readonly first: number;
  readonly count: number;
}

/** Throws an AssertionError that lists what is wrong (the first 20 things). */
export function assertSound(state: OpenState, when = ""): void {
  const wrong = unsoundness(state);
  assert.deepEqual(wrong, [], `the table is unsound${when === "" ? "" : ` ${when}`}: ${wrong.join("; ")}`);
}

/** What is wrong, at most 20 things. Empty: the state is sound. */
export function unsoundness(state: OpenState): string[] {
  const wrong: string[] = [];
  checkAtRest(state, wrong);
  const kept = Array.from({ length: state.layout.threads }, (_, thread) => keptBy(state, thread, wrong));
  checkThere(state, kept, wrong);
  const recorded = ledgerRanges(state, wrong);
  checkBits(state, recorded, wrong);
  checkOwners(state, recorded, wrong);
  kept.forEach((ranges, thread) => {
    checkKept(recorded, ranges, thread, wrong);
  });
  checkPools(state, recorded, wrong);
  checkStatistics(state, kept.flat(), recorded, wrong);
  return wrong.slice(0, 20);
}

/** The ranges in the ledger, in ascending order; inconsistencies go to `wrong`. */
export function ledgerRanges({ ledger, layout }: OpenState, wrong: string[] = []): RecordedRange[] {
  const ranges: RecordedRange[] = [];
  const { entries } = layout;
  for (let entry = 0; entry < entries; ) {
    const slot = peekHalf(ledger, entry);
    if (slot === 0) {
      entry++;
      continue;
    }
    const count = beginsRange(slot) ? lengthOf(ledger, entry, slot) : 0;
    if (count < 1 || entry + count > entries) {
      wrong.push(`ledger slot ${entry} holds 0x${slot.toString(16)} (${nameOfState(stateIn(slot))}, length ${count})`);
      entry++;
      continue;
    }
    for (let inner = entry + 1; inner < entry + count; inner++) {
      if (beginsRange(peekHalf(ledger, inner))) wrong.push(`[${entry}, ${entry + count}) holds another at ${inner}`);
    }
    ranges.push({ first: entry, count, state: stateIn(slot) as RangeState, owner: ownerIn(slot) });
    entry += count;
  }
  return ranges;
}

/** What a thread keeps in its FIFOs and its queue, as their positions say. */
export function keptBy(state: OpenState, thread: number, wrong: string[] = []): KeptRange[] {
  return [...cachedBy(state, thread, wrong), ...queuedBy(state, thread, wrong)];
}

function cachedBy({ words, layout }: OpenState, thread: number, wrong: string[]): KeptRange[] {
  const area = areaOf(layout.threadsAt, thread);
  const cached: KeptRange[] = [];
  for (let count = 1; count <= CACHED_LENGTHS; count++) {
    const positions = peek(words, area + THREAD.fifos + (count - 1));
    const starts = area + THREAD.starts + (count - 1) * FIFO_RANGES;
    const head = positions >>> 16;
    const ranges = (positions - head) & 0xffff;
    if (ranges > FIFO_RANGES) wrong.push(`thread ${thread}: ${ranges} ranges in the FIFO of length ${count}`);
    else {
      for (let i = 0; i < ranges; i++) {
        cached.push({ first: peek(words, starts + ((head + i) & (FIFO_RANGES - 1))), count });
      }
    }
  }
  return cached;
}

function queuedBy({ words, layout }: OpenState, thread: number, wrong: string[]): KeptRange[] {
  const area = areaOf(layout.threadsAt, thread);
  const head = peek(words, area + THREAD.queueHead);
  const ranges = (peek(words, area + THREAD.queueTail) - head) | 0;
  if (ranges < 0 || ranges > QUEUE_RANGES) {
    wrong.push(`thread ${thread}: ${ranges} ranges in its queue`);
    return [];
  }
  const queued = Array.from({ length: ranges }, (_, i) => {
    const place = area + THREAD.queue + 3 * ((head + i) & (QUEUE_RANGES - 1));
    return { first: peek(words, place), count: peek(words, place + 1) };
  });
  const said = peek(words, area + THREAD.queuedEntries);
  if (entriesOf(queued) !== said) {
    wrong.push(`the queue of thread ${thread} holds ${entriesOf(queued)} entries, and says ${said}`);
  }
  return queued;
}

/** Is the entry's bit set? */
function isBitSet({ words, layout }: OpenState, entry: number): boolean {
  return ((peek(words, layout.bitmapAt + (entry >>> 5)) >>> (entry & 31)) & 1) === 1;
}

/** No lock is held. */
function checkAtRest({ words, layout }: OpenState, wrong: string[]): void {
  for (const pool of layout.poolEnds.keys()) {
    const held = load(words, layout.poolsAt + pool * POOL.words + POOL.lock);
    if (held !== 0) wrong.push(`the lock of pool ${pool} is held: 0x${held.toString(16)}`);
  }
}

/** A thread that is not attached keeps no ranges; for a thread that keeps ranges, the crew has the bit of this table set. */
function checkThere({ handle }: OpenState, kept: readonly KeptRange[][], wrong: string[]): void {
  const crew = openCrewState(handle.crew);
  for (const [thread, ranges] of kept.entries()) {
    if (ranges.length === 0) continue;
    if (slotState(crew, thread) !== SLOT_LIVE || !isAttached(crew, thread, handle.structure)) {
      wrong.push(`thread ${thread} keeps ${ranges.length} ranges, but is not there`);
    }
  }
}

/** An entry's bit is set exactly when the ledger has a range there. */
function checkBits(state: OpenState, recorded: readonly RecordedRange[], wrong: string[]): void {
  const { words, layout } = state;
  const expected = new Int32Array(Math.ceil(layout.entries / 32));
  for (const { first, count } of recorded) {
    for (let entry = first; entry < first + count; entry++) {
      expected[entry >>> 5] = (expected[entry >>> 5] as number) | (1 << (entry & 31));
    }
  }
  for (const [i, bits] of expected.entries()) {
    const found = peek(words, layout.bitmapAt + i);
    const differing = found ^ bits;
    if (differing === 0) continue;
    const entry = i * 32 + 31 - Math.clz32(differing & -differing);
    const isTaken = ((found >>> (entry & 31)) & 1) === 1;
    wrong.push(`the bit of entry ${entry} is ${isTaken ? "set" : "clear"}, the ledger says otherwise`);
  }
}

/** A range that only its own thread can end belongs to an attached thread. */
function checkOwners({ handle, layout }: OpenState, recorded: readonly RecordedRange[], wrong: string[]): void {
  const crew = openCrewState(handle.crew);
  for (const { first, count, state, owner } of recorded) {
    if (state !== PENDING && state !== ENDING && state !== CACHED && state !== QUARANTINED) continue;
    if (owner < layout.threads && slotState(crew, owner) === SLOT_LIVE) continue;
    wrong.push(`[${first}, ${first + count}) is ${nameOfState(state)} by thread ${owner}, which is not there`);
  }
}

/** The cached ranges are those in the FIFOs, and the ending ranges are those in the queue. */
function checkKept(
  recorded: readonly RecordedRange[],
  kept: readonly KeptRange[],
  thread: number,
  wrong: string[],
): void {
  const keys = new Set(kept.map(({ first, count }) => `${first} ${count}`));
  if (keys.size !== kept.length) wrong.push(`thread ${thread} keeps a range twice`);
  for (const { first, count, state, owner } of recorded) {
    if (owner !== thread || (state !== CACHED && state !== ENDING)) continue;
    if (!keys.delete(`${first} ${count}`)) {
      wrong.push(`[${first}, ${first + count}) is ${nameOfState(state)} by thread ${thread}, which does not keep it`);
    }
  }
  for (const key of keys) wrong.push(`thread ${thread} keeps "${key}" (first, count), and the ledger does not say so`);
}

/**
 * Bounds are never below the real free runs (a search would miss those), the hint lies inside the pool, and the overhang is that of the
 * range that reaches into the pool.
 */
function checkPools(state: OpenState, recorded: readonly RecordedRange[], wrong: string[]): void {
  const { words, layout } = state;
  for (const [pool, end] of layout.poolEnds.entries()) {
    const at = layout.poolsAt + pool * POOL.words;
    const first = peek(words, at + POOL.first);
    const boundsAt = peek(words, at + POOL.boundsAt);
    let run = 0;
    let longest = 0;
    for (let entry = end - 1; entry >= first; entry--) {
      run = isBitSet(state, entry) ? 0 : run + 1;
      if (run > longest) longest = run;
      const bound = peek(words, boundsAt + ((entry - first) >>> BLOCK_SHIFT));
      if (bound >= run || bound >= BLOCK_ENTRIES) continue;
      wrong.push(`pool ${pool}: its bound at entry ${entry} is ${bound}, but ${run} entries are free`);
    }
    const believed = peek(words, at + POOL.longest);
    if (believed < longest)
      wrong.push(`pool ${pool} believes in runs of ${believed} at most, and has one of ${longest}`);
    const hint = peek(words, at + POOL.hint);
    if (hint < first || hint >= end) wrong.push(`pool ${pool} = [${first}, ${end}) has its hint at ${hint}`);
    if (peek(words, at + POOL.lowered) === 0 && (believed < end - first || isBounded(words, boundsAt, end - first)))
      wrong.push(`pool ${pool} says that no bound is lowered, and one is`);
    const across = recorded.find((range) => range.first < first && range.first + range.count > first);
    const overhang = across === undefined ? 0 : Math.min(across.first + across.count, end) - first;
    const said = peek(words, at + POOL.overhang);
    if (said !== overhang) wrong.push(`pool ${pool} says that ${said} entries reach in; the ledger ${overhang}`);
  }
}

/** Is any bound of the pool below its maximum? */
function isBounded(words: SharedWords, boundsAt: number, entries: number): boolean {
  const bounds = Array.from({ length: boundWords(entries) }, (_, i) => peek(words, boundsAt + i));
  return bounds.some((bound) => bound < BLOCK_ENTRIES);
}

function checkStatistics(
  state: OpenState,
  kept: readonly KeptRange[],
  recorded: readonly RecordedRange[],
  wrong: string[],
): void {
  const { words, ledger, layout } = state;
  const view = { words, ledger, bitmapAt: layout.bitmapAt, thread: 0, tag: 1, threadAt: layout.threadsAt };
  const statistics = statisticsOf(words, layout, new PoolSet(view, layout));
  let taken = 0;
  for (let entry = 0; entry < layout.entries; entry++) if (isBitSet(state, entry)) taken++;
  const said = statistics.cached + statistics.waiting;
  if (statistics.taken !== taken) wrong.push(`statistics say ${statistics.taken} taken; ${taken} bits are set`);
  if (said !== entriesOf(kept))
    wrong.push(`statistics say ${said} cached and waiting; threads keep ${entriesOf(kept)}`);
  const quarantined = entriesOf(recorded.filter((range) => range.state === QUARANTINED));
  if (statistics.quarantined !== quarantined) {
    wrong.push(`statistics say ${statistics.quarantined} quarantined; the ledger ${quarantined}`);
  }
}

function entriesOf(ranges: readonly KeptRange[]): number {
  return ranges.reduce((sum, { count }) => sum + count, 0);
}
