/** Generated logs: each message that the damage left readable is read whole, and nothing else. SEED and IOVA_LOGS repeat a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { generatedLog, objectionsToLogs } from "./generated.model.ts";

const { SEED, IOVA_LOGS } = process.env;
const RUNS =
  SEED === undefined
    ? [
        { seed: 20_261_130, logs: 1500 },
        { seed: 1, logs: 5000 },
      ]
    : [{ seed: Number(SEED), logs: Number(IOVA_LOGS ?? 5000) }];

for (const { seed, logs } of RUNS) {
  test(`${logs} generated logs are read as they were meant, seed ${seed}`, () => {
    const wrong = objectionsToLogs(seed, logs);
    assert.equal(
      wrong.length,
      0,
      `${wrong.length} logs; SEED=… IOVA_LOGS=1 repeats one:\n${wrong.slice(0, 3).join("\n")}`,
    );
  });
}

test("few messages are made unreadable", () => {
  const messages = Array.from({ length: 2000 }, (_, seed) => generatedLog(seed).messages).flat();
  const unreadable = messages.filter(({ isReadable }) => !isReadable);
  assert.ok(unreadable.length < messages.length / 20, `${unreadable.length} of ${messages.length}`);
});
