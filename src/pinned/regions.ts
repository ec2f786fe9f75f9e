/** Registered regions: reading their slots, and searches among them. */
import { glance, load, peek, poke, type SharedWords } from "../shared/memory.ts";
import {
  isFound,
  JOURNAL,
  LIVE,
  OWNER,
  OWNER_FREE,
  ownerAt,
  type PinnedState,
  REGION,
  regionAt,
  USER,
} from "./layout.ts";

/** No region. */
export const NONE = -1;

/** Facts of a registered region. Stable while the caller counts a mapping of the region; otherwise the number may already be another region's. */
export interface Region {
  /** The process that registered it. */
  readonly owner: number;
  /** The first user page of 4 KiB. */
  readonly userPage: number;
  /** Number of user pages. */
  readonly pages: number;
  /** log2 of the bytes of the smallest page that backs the region; bounded by the alignment of its address and size. */
  readonly backingShift: number;
  /** True for memory of a device: it is not pinned or charged. */
  readonly isDevice: boolean;
}

/** The state of a region's slot. */
export function stageOf(state: PinnedState, region: number): number {
  return load(state.words, regionAt(state, region));
}

/** The first user page of the region at this slot. */
export function firstOf(words: SharedWords, at: number): number {
  return glance(words, at + REGION.firstHigh) * 2 ** 32 + (glance(words, at + REGION.firstLow) >>> 0);
}

/** True if the slot, in any state, describes a region that has these pages of this owner, and that lookups find. */
export function contains(words: SharedWords, at: number, owner: number, userPage: number, pages: number): boolean {
  const offset = userPage - firstOf(words, at);
  return (
    pages > 0 &&
    offset >= 0 &&
    offset + pages <= glance(words, at + REGION.pages) &&
    glance(words, at + REGION.owner) === owner &&
    isFound(glance(words, at + REGION.kind))
  );
}

/** Slots from here on are free. */
export function regionsEnd({ words }: PinnedState): number {
  return load(words, JOURNAL.regionsEnd);
}

/** Live regions of an owner that match, in ascending order. With the lock held. */
export function liveRegions(
  state: PinnedState,
  owner: number,
  matches: (at: number) => boolean = () => true,
): number[] {
  const found: number[] = [];
  for (let region = 0; region < regionsEnd(state); region++) {
    const at = regionAt(state, region);
    if (load(state.words, at) !== LIVE) continue;
    if (glance(state.words, at + REGION.owner) === owner && matches(at)) found.push(region);
  }
  return found;
}

/** True if the region at this slot has exactly these pages, and lookups find it. */
export function isExactly(state: PinnedState, at: number, userPage: number, pages: number): boolean {
  const { words } = state;
  return (
    isFound(glance(words, at + REGION.kind)) &&
    glance(words, at + REGION.pages) === pages &&
    firstOf(words, at) === userPage
  );
}

/** True if the region at this slot has a page in the range, and lookups find it. */
export function overlaps(state: PinnedState, at: number, userPage: number, pages: number): boolean {
  const { words } = state;
  const first = firstOf(words, at);
  const kind = glance(words, at + REGION.kind);
  return isFound(kind) && first < userPage + pages && userPage < first + glance(words, at + REGION.pages);
}

/** State of an owner. OWNER_FREE also if its slot now has another owner. */
export function ownerState(state: PinnedState, owner: number): number {
  const at = ownerAt(state, owner);
  const isIts = load(state.words, at + OWNER.generation) === Math.floor(owner / state.owners);
  return isIts ? load(state.words, at + OWNER.state) : OWNER_FREE;
}

/** Slots of the region's users. With the lock held. */
export function usersOf(state: PinnedState, region: number): number[] {
  const { words, regions } = state;
  const slots = [region];
  for (let slot = regions; slot < peek(words, JOURNAL.usersEnd); slot++) slots.push(slot);
  return slots.filter((slot) => peek(words, userAt(state, slot) + USER.region) === region + 1);
}

/** Adds a user to the region. False: no slot is free. With the lock held. */
export function addUser(state: PinnedState, region: number, user: number): boolean {
  const { words, regions } = state;
  const slot = isFreeUser(state, region) ? region : nextUserSlot(state);
  if (slot === NONE) return false;
  if (slot >= regions && slot >= peek(words, JOURNAL.usersEnd)) poke(words, JOURNAL.usersEnd, slot + 1);
  poke(words, userAt(state, slot) + USER.user, user);
  // Last: it makes the slot valid.
  poke(words, userAt(state, slot) + USER.region, region + 1);
  return true;
}

export function userAt(state: PinnedState, slot: number): number {
  return state.usersAt + slot * USER.words;
}

function nextUserSlot(state: PinnedState): number {
  for (let slot = state.regions; slot < state.users; slot++) if (isFreeUser(state, slot)) return slot;
  return NONE;
}

function isFreeUser(state: PinnedState, slot: number): boolean {
  return peek(state.words, userAt(state, slot) + USER.region) === 0;
}
