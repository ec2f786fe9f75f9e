/** What a killed thread has left in the table, as found before recovery: that the kills hit what recovery is for. */
import { holderOf, tagOf } from "../../shared/lock.ts";
import { forEachRange } from "../inspect/ranges.ts";
import { POOL } from "../layout.ts";
import { CACHED, ENDING, LIVE, lengthOf, ownerIn, PENDING, QUARANTINED, RESERVED, stateIn } from "../ledger.ts";
import { keptBy } from "../soundness.model.ts";
import type { OpenState } from "../state.ts";

/** Numbers of ranges, but for the first two. */
export interface Remains {
  /** Pool locks. */
  locks: number;
  pending: number;
  ending: number;
  cached: number;
  live: number;
  reserved: number;
  quarantined: number;
  /** In FIFOs and queue, as positions say. */
  kept: number;
}

/** Others may be running: what is the dead thread's own stands still. */
export function remainsOf(state: OpenState, thread: number): Remains {
  const { words, layout, ledger } = state;
  const byState = new Int32Array(8);
  forEachRange(ledger, words, layout, (first, slot) => {
    if (ownerIn(slot) !== thread || lengthOf(ledger, first, slot) === 0) return;
    byState[stateIn(slot)] = (byState[stateIn(slot)] as number) + 1;
  });
  const of = (found: number): number => byState[found] as number;
  return {
    locks: lockedPools(state, thread).length,
    pending: of(PENDING),
    ending: of(ENDING),
    cached: of(CACHED),
    live: of(LIVE),
    reserved: of(RESERVED),
    quarantined: of(QUARANTINED),
    kept: keptBy(state, thread).length,
  };
}

/** The first entry of a pool whose lock the thread holds, or -1. */
export function lockedEntry(state: OpenState, thread: number): number {
  const [pool] = lockedPools(state, thread);
  return pool === undefined ? -1 : (state.layout.poolEnds[pool - 1] ?? 0);
}

function lockedPools({ words, layout }: OpenState, thread: number): number[] {
  const lockOf = (pool: number): number => layout.poolsAt + pool * POOL.words + POOL.lock;
  return [...layout.poolEnds.keys()].filter((pool) => holderOf(words, lockOf(pool)) === tagOf(thread));
}
