/**
 * One thread's part in a stress run: allocates, frees, hands ranges to other threads and takes theirs, reserves, drains and
 * flushes, at random. It records all its ranges in the shadow map and checks every answer: no other player holds the entries, they satisfy
 * the constraints, and no device can still use the former mappings.
 */

import { type FailureCode, failureOf, OWNER_UNRESPONSIVE } from "../../units/failure.ts";
import type { DmaWindow, EntryRange } from "../../units/numbers.ts";
import { type AreaConstraints, areaConstraints, UNCONSTRAINED } from "../constraints.ts";
import type { PooledAllocator } from "../pooled-allocator.ts";
import type { IotlbModel } from "./iotlb.model.ts";
import type { Random } from "./seed.model.ts";
import { MAIL, type Mailbox, type ShadowMap } from "./shadow-map.model.ts";

/** What players of one run do. */
export interface Profile {
  /** Entries that a player holds at most. */
  readonly quota: number;
  /** A request of this length, longer than any pool, comes now and then; 0: never. */
  readonly span: number;
  /** Ranges are handed to other players. */
  readonly hands: boolean;
  readonly reserves: boolean;
  /** In half of the cases by the two halves that a table uses: begin and commit or abandon, start and finish. */
  readonly asTable: boolean;
}

/** What a player works with. */
export interface Stage {
  readonly allocator: PooledAllocator;
  readonly shadow: ShadowMap;
  readonly mailbox: Mailbox;
  /** Undefined: the table is strict. */
  readonly iotlb: IotlbModel | undefined;
}

/** How often what has happened. */
export interface Tally {
  allocations: number;
  /** Requests that found no space. */
  refused: number;
  constrained: number;
  spans: number;
  abandoned: number;
  frees: number;
  /** Of those: of ranges that another player had allocated. */
  freesForOthers: number;
  /** Allocations of exactly the range that was asked for. */
  exact: number;
  reservations: number;
  drains: number;
  /** Waits for a lock that ended after 2 s. */
  unresponsive: number;
}

export const noTally = (): Tally => ({
  allocations: 0,
  refused: 0,
  constrained: 0,
  spans: 0,
  abandoned: 0,
  frees: 0,
  freesForOthers: 0,
  exact: 0,
  reservations: 0,
  drains: 0,
  unresponsive: 0,
});

const LARGEST = 64;
/** Operations in one mood: filling up, steady, emptying. */
const MOOD_OPERATIONS = 400;
/** Of 10 operations, how many allocate. */
const MOODS = [8, 5, 5, 2, 1] as const;
/** Bus page of entry 0. */
const BASE_PAGE = 0x80000;

interface Held {
  readonly first: number;
  readonly count: number;
  readonly own: boolean;
}

export class Player {
  readonly tally: Tally = noTally();
  readonly #stage: Stage;
  readonly #random: Random;
  readonly #holder: number;
  readonly #profile: Profile;
  readonly #constraints: readonly AreaConstraints[];
  readonly #held: Held[] = [];
  #heldEntries = 0;
  #reserved: EntryRange | undefined;
  #mood = 8;
  #moodLeft = 0;

  constructor(stage: Stage, random: Random, holder: number, profile: Profile) {
    this.#stage = stage;
    this.#random = random;
    this.#holder = holder;
    this.#profile = profile;
    const { entries } = stage.allocator;
    const window: DmaWindow = {
      base: BigInt(BASE_PAGE) << 12n,
      pageShift: 12,
      entries,
    };
    this.#constraints = [
      areaConstraints(window, { alignmentPages: 8 }),
      areaConstraints(window, { boundaryPages: 128 }),
      areaConstraints(window, { limit: Math.ceil(entries * 0.6), alignmentPages: 2, boundaryPages: 256 }),
    ];
  }

  /** One operation. */
  step(): void {
    const random = this.#random;
    if (this.#moodLeft-- === 0) {
      this.#mood = MOODS[random(MOODS.length)] as number;
      this.#moodLeft = MOOD_OPERATIONS;
    }
    const dice = random(1000);
    if (dice < 60 && this.#profile.hands) this.#handOver();
    else if (dice < 120 && this.#profile.hands) this.#takeMail();
    else if (dice < 124 && this.#profile.reserves) this.#reserve();
    else if (dice >= 126 && dice < 130 && this.#profile.reserves) this.#allocateAt();
    else if (dice === 124) this.#drain();
    else if (dice === 125) this.#stage.allocator.flushIotlb();
    else if (random(10) < this.#mood && this.#heldEntries < this.#profile.quota) this.#allocate();
    else this.#freeOne();
  }

  /** Gives back all that it holds and keeps. */
  finish(): void {
    const { allocator } = this.#stage;
    while (this.#held.length > 0) this.#freeOne();
    if (this.#reserved !== undefined) this.#unreserve(this.#reserved);
    for (let tries = 0; allocator.drain() !== undefined; tries++) assertPatience(tries, "drain");
    for (let tries = 0; allocator.flushIotlb() !== undefined; tries++) assertPatience(tries, "flush");
    // What the flush has released may have gone into the queue.
    for (let tries = 0; allocator.drain() !== undefined; tries++) assertPatience(tries, "drain");
  }

  #allocate(): void {
    const { allocator } = this.#stage;
    const random = this.#random;
    const { span, asTable } = this.#profile;
    const isSpan = span > 0 && random(200) === 0;
    const count = isSpan ? span : this.#randomCount();
    const constraints = random(8) === 0 && !isSpan ? this.#someConstraints() : UNCONSTRAINED;
    const after = random(16) === 0 ? random(allocator.entries) : -1;
    const isPending = asTable && random(2) === 0;
    const first = isPending
      ? allocator.begin(count, constraints, after)
      : allocator.allocate(count, constraints, after);
    if (first < 0) {
      this.#checkRefusal(first as FailureCode, count);
      return;
    }
    this.#check(first, count, constraints);
    this.#stage.shadow.mark(first, count, this.#holder);
    this.tally.allocations++;
    if (constraints !== UNCONSTRAINED) this.tally.constrained++;
    if (isSpan) this.tally.spans++;
    if (isPending && random(8) === 0) this.#abandon(first, count);
    else {
      if (isPending) allocator.commit(first, count);
      this.#hold({ first, count, own: true });
    }
  }

  /** Takes exactly a range, at random; in half of the cases as a table does. */
  #allocateAt(): void {
    const { allocator, shadow } = this.#stage;
    const random = this.#random;
    const count = this.#randomCount();
    const at = random(allocator.entries - count);
    const isPending = this.#profile.asTable && random(2) === 0;
    const first = isPending ? allocator.beginAt(at, count) : allocator.allocateAt(at, count);
    if (first < 0) {
      if (failureOf(first) !== "in-use") this.#checkRefusal(first as FailureCode, count);
      return;
    }
    if (first !== at) throw new Error(`allocateAt(${at}, ${count}) answered ${first}`);
    this.#check(first, count, UNCONSTRAINED);
    shadow.mark(first, count, this.#holder);
    this.tally.exact++;
    if (isPending && random(4) === 0) this.#abandon(first, count);
    else {
      if (isPending) allocator.commit(first, count);
      this.#hold({ first, count, own: true });
    }
  }

  #abandon(first: number, count: number): void {
    this.#stage.shadow.unmark(first, count, this.#holder);
    this.#stage.allocator.abandon(first, count);
    this.tally.abandoned++;
  }

  /** Half of all requests are for one entry, and a few for more than the cache takes. */
  #randomCount(): number {
    const random = this.#random;
    if (random(2) === 0) return 1;
    return 1 + random(random(8) === 0 ? LARGEST : 16);
  }

  #someConstraints(): AreaConstraints {
    return this.#constraints[this.#random(this.#constraints.length)] as AreaConstraints;
  }

  #checkRefusal(code: FailureCode, count: number): void {
    if (code === OWNER_UNRESPONSIVE) this.tally.unresponsive++;
    else if (failureOf(code) === "table-full") this.tally.refused++;
    else throw new Error(`a request of ${count} entries was refused: ${failureOf(code)}`);
  }

  #check(first: number, count: number, constraints: AreaConstraints): void {
    const { allocator, iotlb } = this.#stage;
    const { limit, alignmentPages, boundaryPages } = constraints;
    const page = BASE_PAGE + first;
    const crosses =
      boundaryPages !== 0 && Math.floor(page / boundaryPages) !== Math.floor((page + count - 1) / boundaryPages);
    if (first + count > Math.min(limit, allocator.entries) || page % alignmentPages !== 0 || crosses) {
      throw new Error(`[${first}, ${first + count}) was handed out against ${JSON.stringify(constraints)}`);
    }
    iotlb?.assertForgotten(first, count);
  }

  #freeOne(): void {
    const range = this.#pick();
    if (range === undefined) return;
    const { first, count } = range;
    const { allocator, shadow, iotlb } = this.#stage;
    const inHalves = this.#profile.asTable && this.#random(2) === 0;
    if (inHalves) allocator.startFree(first, count);
    shadow.unmark(first, count, this.#holder);
    iotlb?.cleared(first, count);
    let failure: number = 0;
    if (!inHalves) {
      const answer = allocator.free(first, count);
      // A lazy free that answers a failure has quarantined the range: it is free all the same. A strict one leaves it live.
      if (iotlb === undefined) failure = answer;
    } else if (iotlb === undefined) allocator.finishFree(first, count);
    // A failure here is of a flush that was due: the range is quarantined.
    else allocator.finishFreeLazily(first, count);
    if (failure !== 0) {
      this.#checkRefusal(failure as FailureCode, count);
      shadow.mark(first, count, this.#holder);
      this.#hold(range);
      return;
    }
    this.tally.frees++;
    if (!range.own) this.tally.freesForOthers++;
  }

  #handOver(): void {
    const range = this.#pick();
    if (range === undefined) return;
    const { first, count } = range;
    const { shadow, mailbox } = this.#stage;
    shadow.hand(first, count, this.#holder, MAIL);
    if (mailbox.post(first, this.#random(64))) return;
    shadow.hand(first, count, MAIL, this.#holder);
    this.#hold(range);
  }

  #takeMail(): void {
    const { shadow, mailbox } = this.#stage;
    const first = mailbox.take(this.#random(64));
    if (first < 0) return;
    const count = shadow.countAt(first);
    shadow.hand(first, count, MAIL, this.#holder);
    this.#hold({ first, count, own: false });
  }

  /** Reserves a range, or gives the one back that it has reserved. */
  #reserve(): void {
    if (this.#reserved !== undefined) {
      this.#unreserve(this.#reserved);
      return;
    }
    const { allocator, shadow, iotlb } = this.#stage;
    const count = 1 + this.#random(LARGEST);
    const first = this.#random(allocator.entries - count);
    const range = { first, end: first + count };
    const failure = allocator.reserve(range);
    if (failure === "owner-unresponsive") this.tally.unresponsive++;
    else if (failure !== undefined && failure !== "in-use") throw new Error(`reserve: ${failure}`);
    if (failure !== undefined) return;
    iotlb?.assertForgotten(first, count);
    shadow.mark(first, count, this.#holder);
    this.#reserved = range;
    this.tally.reservations++;
  }

  /** No device has used a reserved range: it need not wait for a flush. */
  #unreserve(range: EntryRange): void {
    const count = range.end - range.first;
    this.#stage.shadow.unmark(range.first, count, this.#holder);
    const failure = this.#stage.allocator.unreserve(range);
    if (failure === undefined) {
      this.#reserved = undefined;
      return;
    }
    this.tally.unresponsive++;
    this.#stage.shadow.mark(range.first, count, this.#holder);
  }

  #drain(): void {
    this.#stage.allocator.drain();
    this.tally.drains++;
  }

  #hold(range: Held): void {
    this.#held.push(range);
    this.#heldEntries += range.count;
  }

  /** Lets go of a random range. */
  #pick(): Held | undefined {
    const held = this.#held;
    if (held.length === 0) return undefined;
    const at = this.#random(held.length);
    const range = held[at] as Held;
    held[at] = held[held.length - 1] as Held;
    held.pop();
    this.#heldEntries -= range.count;
    return range;
  }
}

function assertPatience(tries: number, what: string): void {
  if (tries > 200) throw new Error(`${what} has failed ${tries} times in a row`);
}
