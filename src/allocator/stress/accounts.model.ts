/**
 * Who owns each entry after a thread was killed? The ledger, the shadow map and the mailbox must agree about every range, except for the
 * dead thread's. No thread may run meanwhile.
 *
 * The dead thread's ranges: those that it had recorded in the shadow map, and at most one more, which it was about to record, to remove, or
 * to hand on.
 */
import { LIVE, nameOfState, RESERVED } from "../ledger.ts";
import { ledgerRanges } from "../soundness.model.ts";
import type { OpenState } from "../state.ts";
import { MAIL, type Mailbox, type ShadowMap } from "./shadow-map.model.ts";

/** What is known about a table. */
export interface Witnesses {
  readonly state: OpenState;
  readonly shadow: ShadowMap;
  readonly mailbox: Mailbox;
}

/** A range that is still taken, although no live thread holds it. */
export interface LeftRange {
  readonly first: number;
  readonly count: number;
  readonly reserved: boolean;
  /** True: the dead thread had recorded it. False: the thread was in the middle of taking or freeing it. */
  readonly recorded: boolean;
}

/** The dead thread's ranges, and the inconsistencies. */
export interface Accounts {
  readonly left: LeftRange[];
  readonly wrong: string[];
}

/** `atOnce`: how many ranges one operation of a thread may change. */
export function account(witnesses: Witnesses, living: ReadonlySet<number>, dead: number, atOnce = 1): Accounts {
  const accounts = byLedger(witnesses, living, dead);
  const { left, wrong } = accounts;
  const unrecorded = left.filter((range) => !range.recorded);
  if (unrecorded.length > atOnce) {
    const ranges = unrecorded.map(({ first, count }) => `[${first}, ${first + count})`).join(" ");
    wrong.push(`more than a thread can be in the middle of: ${unrecorded.length} ranges have no holder: ${ranges}`);
  }
  return accounts;
}

function byLedger(witnesses: Witnesses, living: ReadonlySet<number>, dead: number): Accounts {
  const { state, shadow } = witnesses;
  const wrong: string[] = [];
  const left: LeftRange[] = [];
  const covered = new Uint8Array(state.layout.entries);
  const holds = holders(witnesses, living);
  const taken = ledgerRanges(state, wrong);
  for (const { first, count, state: found } of taken) {
    if (found !== LIVE && found !== RESERVED) continue;
    covered.fill(1, first, first + count);
    if (holds(first, count)) checkMarks(witnesses, first, count, wrong);
    else {
      const recorded = shadow.ownerAt(first) === dead && shadow.countAt(first) === count;
      left.push({ first, count, reserved: found === RESERVED, recorded });
    }
  }
  for (let entry = 0; entry < covered.length; entry++) {
    if (covered[entry] === 1 || shadow.ownerAt(entry) === 0) continue;
    const found = taken.find(({ first, count }) => first <= entry && entry < first + count);
    const is = found === undefined ? "free" : nameOfState(found.state);
    wrong.push(`entry ${entry} is held by ${shadow.ownerAt(entry)}, but the ledger has it as ${is}`);
  }
  return { left, wrong };
}

/** Returns a predicate: does a live thread, or the mailbox, hold this range? */
function holders(
  { shadow, mailbox }: Witnesses,
  living: ReadonlySet<number>,
): (first: number, count: number) => boolean {
  const mail = new Set(mailbox.firsts());
  return (first, count) => {
    const owner = shadow.ownerAt(first);
    return shadow.countAt(first) === count && (living.has(owner) || (owner === MAIL && mail.has(first)));
  };
}

function checkMarks({ shadow }: Witnesses, first: number, count: number, wrong: string[]): void {
  const owner = shadow.ownerAt(first);
  for (let entry = first + 1; entry < first + count; entry++) {
    if (shadow.ownerAt(entry) === owner) continue;
    wrong.push(
      `entry ${entry} of [${first}, ${first + count}), held by ${owner}, is marked as ${shadow.ownerAt(entry)}'s`,
    );
  }
}
