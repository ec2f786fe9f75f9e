import assert from "node:assert/strict";
import { test } from "node:test";
import { holderOf, inherit, LOCK_WORDS, lock, lockStatistics, tagOf, unlock } from "./lock.ts";
import { createShared, type SharedWords, wordsOf } from "./memory.ts";

const fresh = (): SharedWords => wordsOf(createShared(4 * LOCK_WORDS));

test("a lock names its holder, and is free again after unlock", () => {
  const words = fresh();
  assert.equal(lock(words, 0, tagOf(6)), 0);
  assert.equal(holderOf(words, 0), tagOf(6));
  unlock(words, 0);
  assert.equal(holderOf(words, 0), 0);
  assert.deepEqual(lockStatistics(words, 0), { acquisitions: 1, contended: 0, waitMicroseconds: 0 });
});

test("a lock that its holder never gives back is not stolen: the waiter gets owner-unresponsive in the stated time", () => {
  const words = fresh();
  lock(words, 0, tagOf(1));
  assert.equal(lock(words, 0, tagOf(2), 20), -8);
  assert.equal(holderOf(words, 0), tagOf(1));
});

test("only the lock of the named dead thread is inherited, and waiters stay marked", () => {
  const words = fresh();
  lock(words, 0, tagOf(1));
  assert.equal(lock(words, 0, tagOf(3), 20), -8, "leaves the waiters' flag");
  assert.equal(inherit(words, 0, tagOf(2), tagOf(4)), false);
  assert.equal(inherit(words, 0, tagOf(1), tagOf(4)), true);
  assert.equal(holderOf(words, 0), tagOf(4));
  unlock(words, 0);
  assert.equal(lock(words, 0, tagOf(5)), 0);
});
