/**
 * Repair of a pinned memory after the death of the lock's holder. It can be repeated from any point.
 *
 * The lock with the tag of the dead thread is taken over. One region may be between two states:
 * - "making": it is removed, as if the call had not been made;
 * - "releasing", when nothing is unpinned yet: it is live again;
 * - "unpinning": its other pages are unpinned, and the call has succeeded.
 * Then charged pages and the column's bitmap are computed from the slots.
 */
import { clearBits, setBits } from "../shared/bitmap.ts";
import { glance, peek, poke, store } from "../shared/memory.ts";
import {
  CHARGE,
  FREE,
  isCharged,
  JOURNAL,
  KIND_DEVICE,
  LIVE,
  MAKING,
  OWNER,
  OWNER_FREE,
  ownerAt,
  type PinnedState,
  REGION,
  RELEASING,
  regionAt,
  UNPINNING,
  USER,
} from "./layout.ts";
import { unpin } from "./pinning.ts";
import { regionsEnd, stageOf, userAt, usersOf } from "./regions.ts";
import type { UserMemory } from "./user-memory.ts";

/** Completes or undoes the change of a holder of the lock that died or threw. With the lock held. */
export function repair(state: PinnedState): void {
  const end = regionsEnd(state);
  for (let region = 0; region < end; region++) {
    const stage = stageOf(state, region);
    if (stage === MAKING || stage === UNPINNING) remove(state, region, undefined);
    if (stage === RELEASING) keepLive(state, region);
  }
  recount(state);
}

/** Makes a region live: at the end of its registration, or when it is not released after all. */
export function keepLive(state: PinnedState, region: number): void {
  const at = regionAt(state, region);
  store(state.words, at, LIVE);
}

/** Unpins and uncharges a region that is being made or unpinned, removes its users, and frees its slot. With the lock held. */
export function remove(state: PinnedState, region: number, memory: UserMemory | undefined): void {
  const { words } = state;
  unpin(state, region, memory);
  for (const slot of usersOf(state, region)) poke(words, userAt(state, slot) + USER.region, 0);
  const at = regionAt(state, region);
  const kind = peek(words, at + REGION.kind);
  const pages = peek(words, at + REGION.pages);
  const column = peek(words, at + REGION.column);
  const owner = peek(words, at + REGION.owner);
  store(words, at, FREE);
  poke(words, JOURNAL.regionHint, region);
  if (kind === KIND_DEVICE) return;
  // If the thread dies before this, its recovery computes both from the slots (`recount`).
  if (isCharged(kind)) charge(state, owner, -pages);
  clearBits(words, state.bitmapAt, column, column + pages);
}

/** Computes charged pages and the column's bitmap from the slots. */
function recount(state: PinnedState): void {
  const { words } = state;
  clearBits(words, state.bitmapAt, 0, state.columnPages);
  for (let owner = 0; owner < state.owners; owner++) poke(words, ownerAt(state, owner) + OWNER.charged, 0);
  for (let region = 0; region < regionsEnd(state); region++) {
    const at = regionAt(state, region);
    const kind = glance(words, at + REGION.kind);
    if (stageOf(state, region) === FREE || kind === KIND_DEVICE) continue;
    const pages = peek(words, at + REGION.pages);
    const column = peek(words, at + REGION.column);
    setBits(words, state.bitmapAt, column, column + pages);
    if (isCharged(kind)) charge(state, peek(words, at + REGION.owner), pages);
  }
  for (let slot = 0; slot < state.charges; slot++) {
    const at = state.chargesAt + slot * CHARGE.words;
    const owner = peek(words, at + CHARGE.owner) - 1;
    if (owner >= 0) charge(state, owner, peek(words, at + CHARGE.pages));
  }
}

/** Adds to the charged pages of an owner. With the lock held. */
export function charge(state: PinnedState, owner: number, pages: number): void {
  const at = ownerAt(state, owner) + OWNER.charged;
  poke(state.words, at, peek(state.words, at) + pages);
}

/** Removes the charges of an owner without regions, and frees its slot. With the lock held. */
export function freeOwner(state: PinnedState, owner: number): void {
  const { words } = state;
  for (let slot = 0; slot < state.charges; slot++) {
    const at = state.chargesAt + slot * CHARGE.words;
    if (peek(words, at + CHARGE.owner) === owner + 1) poke(words, at + CHARGE.owner, 0);
  }
  poke(words, ownerAt(state, owner) + OWNER.charged, 0);
  store(words, ownerAt(state, owner) + OWNER.state, OWNER_FREE);
}
