/**
 * Pins and unpins the pages of a region, with the lock held. A physical page may be pinned through any number of regions: its *pin count* is the
 * number of pairs in columns of pinned regions that name it.
 *
 * Before the count of a page changes, two words of the journal are stored: first the count that a recovery has to store, then the index of the page
 * in its region. Even and odd indices have a word each, so that the count of the journal's index is always complete. While a region is being
 * pinned, upwards, that count is the old one, and the pages below the index are pinned. While it is being unpinned, downwards, that count is the
 * new one, and the pages above the index are unpinned. So a recovery does the same in both cases: it stores the count, and unpins downwards.
 */
import { glance, hintTo, peek, poke, store } from "../shared/memory.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { JOURNAL, KIND_DEVICE, type PinnedState, REGION, regionAt, UNPINNING } from "./layout.ts";
import { firstOf } from "./regions.ts";
import { USER_PAGE_SHIFT, type UserMemory } from "./user-memory.ts";

/** Count in the journal for an index at which no count changes: all pages below it are pinned. */
const NOTHING = -1;

/** Initializes the journal: no page is pinned yet. Call it before the region's state becomes "making". */
export function beginPinning({ words }: PinnedState): void {
  poke(words, JOURNAL.counts, NOTHING);
  poke(words, JOURNAL.counts + 1, NOTHING);
  poke(words, JOURNAL.index, 0);
}

/**
 * Pins all pages of a region whose column is reserved, and notes its backing shift. Returns false at a page that is not present: then the
 * caller unpins those before it (`unpin`). Throws InvalidArgumentError for a page outside of the physical memory, in the same state.
 */
export function pin(state: PinnedState, region: number, user: UserMemory): boolean {
  const { words } = state;
  const at = regionAt(state, region);
  const first = firstOf(words, at);
  const pages = peek(words, at + REGION.pages);
  const column = state.columnAt + 2 * peek(words, at + REGION.column);
  let shift = alignmentOf(first, pages);
  for (let index = 0; index < pages; index++) {
    const page = user.pageOf(first + index);
    if (page === -1) return false;
    checkPage(state, first + index, page);
    shift = Math.min(shift, Math.max(USER_PAGE_SHIFT, user.backingShift(first + index)));
    const count = peek(words, state.pinsAt + page);
    poke(words, column + 2 * index, page);
    hintTo(words, column + 2 * index + 1, 0);
    noteCount(state, index, count);
    poke(words, state.pinsAt + page, count + 1);
    noteCount(state, index + 1, NOTHING);
    poke(words, JOURNAL.index, index + 1);
  }
  poke(words, at + REGION.shift, shift);
  return true;
}

/** Unpins the pages below the journal's index, downwards. The region's state is "making" or "unpinning". */
export function unpin(state: PinnedState, region: number, user: UserMemory | undefined): void {
  const { words } = state;
  const at = regionAt(state, region);
  if (peek(words, at + REGION.kind) === KIND_DEVICE) return;
  const first = firstOf(words, at);
  const column = state.columnAt + 2 * peek(words, at + REGION.column);
  settlePage(state, column);
  for (let index = peek(words, JOURNAL.index) - 1; index >= 0; index--) {
    const page = peek(words, column + 2 * index);
    const count = peek(words, state.pinsAt + page) - 1;
    noteCount(state, index, count);
    poke(words, JOURNAL.index, index);
    user?.onUnpin?.(first + index, page, glance(words, column + 2 * index + 1) !== 0);
    poke(words, state.pinsAt + page, count);
  }
}

/** Begins to unpin a region, from its last page down. */
export function beginUnpinning(state: PinnedState, region: number): void {
  const { words } = state;
  const at = regionAt(state, region);
  const pages = peek(words, at + REGION.pages);
  noteCount(state, pages, NOTHING);
  poke(words, JOURNAL.index, pages);
  // After this store a recovery unpins the region; before it, the region becomes live again.
  store(words, at, UNPINNING);
}

/** Stores the journal's count to the page of its index. Can be repeated. */
function settlePage(state: PinnedState, column: number): void {
  const { words } = state;
  const index = peek(words, JOURNAL.index);
  const count = peek(words, JOURNAL.counts + (index & 1));
  if (count !== NOTHING) poke(words, state.pinsAt + peek(words, column + 2 * index), count);
}

function noteCount({ words }: PinnedState, index: number, count: number): void {
  poke(words, JOURNAL.counts + (index & 1), count);
}

/** Largest page shift that address and size of a range are aligned to. */
export function alignmentOf(firstPage: number, pages: number): number {
  return USER_PAGE_SHIFT + Math.min(trailingZeros(firstPage), trailingZeros(pages));
}

function trailingZeros(value: number): number {
  if (value === 0) return 52;
  let zeros = 0;
  for (let rest = value; rest % 2 === 0; rest /= 2) zeros++;
  return zeros;
}

function checkPage({ physicalPages }: PinnedState, userPage: number, page: number): void {
  if (Number.isInteger(page) && page >= 0 && page < physicalPages) return;
  throw new InvalidArgumentError(
    `physical page of user page ${userPage}`,
    page,
    `an integer from 0 to ${physicalPages - 1}, or -1`,
  );
}
