/** The soundness check finds what it is there for: each kind of damage, planted into a sound table. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { add, peek, poke, pokeHalf, store } from "../shared/memory.ts";
import { areaOf, FIFO_RANGES, POOL, THREAD } from "./layout.ts";
import { CACHED, LIVE, PENDING, QUARANTINED, slotOf } from "./ledger.ts";
import { PooledAllocator } from "./pooled-allocator.ts";
import { assertSound, ledgerRanges, unsoundness } from "./soundness.model.ts";
import { type OpenState, openState } from "./state.ts";

const noFlush = { invalidateAll: () => undefined };

/** Live, cached, waiting, reserved and quarantined ranges of two threads. */
function playedTable(): { state: OpenState; main: PooledAllocator; other: PooledAllocator } {
  const options = { entries: 4096, pools: 2, cache: "fifo", invalidate: "lazy", threads: 2 } as const;
  const main = PooledAllocator.create(options, noFlush);
  const other = PooledAllocator.attach(main.handle, noFlush);
  for (const allocator of [main, other]) {
    const ranges = [1, 2, 2, 40, 68, 3].map((count) => ({ first: allocator.allocate(count), count }));
    for (const { first, count } of ranges.slice(1, 5)) assert.equal(allocator.free(first, count), 0);
  }
  main.reserve({ first: 3500, end: 3600 });
  const first = other.allocate(5);
  other.startFree(first, 5);
  other.quarantine(first, 5);
  return { state: openState(main.handle), main, other };
}

const poolAt = ({ layout }: OpenState, pool: number): number => layout.poolsAt + pool * POOL.words;

/** What is broken, and what the check must say. */
const DAMAGES: Readonly<Record<string, [damage: (state: OpenState, main: PooledAllocator) => void, finding: RegExp]>> =
  {
    "a pool's lock that is held": [(s) => store(s.words, poolAt(s, 1) + POOL.lock, 2), /lock of pool 1 is held: 0x2/],
    "a bit that the ledger does not know": [
      (s) => add(s.words, s.layout.bitmapAt + 50, 1 << 7),
      /bit of entry 1607 is set/,
    ],
    "a range without its bits": [(s) => recordAt(s, 1700, LIVE, 0, 3), /bit of entry 1700 is clear/],
    "a range inside another": [(s) => recordAt(s, 3504, LIVE, 0, 1), /\[3500, 3600\) holds another at 3504/],
    "a slot that makes no sense": [(s) => recordAt(s, 1700, 7, 0, 1), /slot 1700 holds 0xe001/],
    "a range beyond the end": [(s) => recordAt(s, 4095, LIVE, 0, 2), /slot 4095/],
    "a pending range of a thread that does not exist": [
      (s) => recordAt(s, 1700, PENDING, 77, 3),
      /\[1700, 1703\) is pending by thread 77/,
    ],
    "a cached range in no cache": [
      (s) => recordAt(s, 1700, CACHED, 1, 3),
      /\[1700, 1703\) is cached by thread 1, which/,
    ],
    "a cache that holds a range that the ledger does not have as cached": [
      (s) => move(s, areaOf(s.layout.threadsAt, 0) + THREAD.fifos + 2, 1),
      /thread 0 keeps "\d+ 3" .*, and the ledger/,
    ],
    "a cache with impossible positions": [
      (s) => move(s, areaOf(s.layout.threadsAt, 0) + THREAD.fifos, 999),
      /\d+ ranges in the FIFO of length 1/,
    ],
    "a queue that counts wrong": [
      (s) => move(s, areaOf(s.layout.threadsAt, 1) + THREAD.queuedEntries, 1),
      /queue of thread 1 holds \d+ entries, and says/,
    ],
    "a cache that holds a range twice": [
      (s) => {
        const ofLength2 = areaOf(s.layout.threadsAt, 0) + THREAD.starts + FIFO_RANGES;
        poke(s.words, ofLength2 + 1, peek(s.words, ofLength2));
      },
      /thread 0 keeps a range twice/,
    ],
    "quarantined entries that no thread counts": [
      (s) => recordAt(s, 1700, QUARANTINED, 1, 3),
      /say 5 quarantined; the ledger 8/,
    ],
    "a bound that is too small": [
      (s) => poke(s.words, peek(s.words, poolAt(s, 1) + POOL.boundsAt), 2),
      /pool 1: its bound at entry \d+ is 2/,
    ],
    "a longest run that is too short": [
      (s) => poke(s.words, poolAt(s, 1) + POOL.longest, 7),
      /pool 1 believes in runs of 7/,
    ],
    "a lowered bound that frees don't know of": [
      (s) => poke(s.words, poolAt(s, 1) + POOL.longest, 7),
      /pool 1 says that no bound is lowered/,
    ],
    "a wrong overhang": [
      (s) => poke(s.words, poolAt(s, 1) + POOL.overhang, 3),
      /pool 1 says that 3 entries reach in; the ledger 0/,
    ],
    "a hint outside": [(s) => poke(s.words, poolAt(s, 0) + POOL.hint, 4000), /hint at 4000/],
    "holdings of a thread that is gone": [
      ({ handle }, { crew }) => crew.removeStructure(handle.structure),
      /thread \d keeps \d+ ranges, but is not there/,
    ],
  };

function recordAt({ ledger }: OpenState, first: number, state: number, owner: number, count: number): void {
  pokeHalf(ledger, first, slotOf(state, owner, count));
}

function move({ words }: OpenState, at: number, by: number): void {
  poke(words, at, peek(words, at) + by);
}

describe("soundness", () => {
  test("a table in use is sound", () => {
    const { state, main, other } = playedTable();
    assertSound(state);
    assert.ok(main.statistics().cached > 0);
    assert.ok(main.statistics().waiting > 0);
    assert.equal(new Set(ledgerRanges(state).map((range) => range.state)).size, 5);
    other.flushIotlb();
    other.close();
    assertSound(state);
  });

  for (const [name, [damage, finding]] of Object.entries(DAMAGES)) {
    test(`${name} is found`, () => {
      const { state, main } = playedTable();
      damage(state, main);
      assert.match(unsoundness(state).join("\n"), finding);
      assert.throws(() => assertSound(state, "now"), /unsound now/);
    });
  }
});
