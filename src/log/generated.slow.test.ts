/** Generated logs: each message that the damage left readable is read whole, and nothing else. SEED and IOVA_LOGS repeat a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { generatedLog, testLogs } from "./generated.model.ts";

testLogs({ seed: 20_261_130, logs: 1500 });

test("few messages are made unreadable", () => {
  const messages = Array.from({ length: 2000 }, (_, seed) => generatedLog(seed).messages).flat();
  const unreadable = messages.filter(({ isReadable }) => !isReadable);
  assert.ok(unreadable.length < messages.length / 20, `${unreadable.length} of ${messages.length}`);
});
