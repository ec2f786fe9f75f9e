/** Generated logs: each message is found, and nothing contradicts it. SEED and IOVA_LOGS repeat a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { objectionsToGenerated } from "./generated.model.ts";

const { SEED, IOVA_LOGS } = process.env;
const RUNS =
  SEED === undefined
    ? [
        { seed: 20_261_130, logs: 500 },
        { seed: 1, logs: 5000 },
      ]
    : [{ seed: Number(SEED), logs: Number(IOVA_LOGS ?? 5000) }];

for (const { seed, logs } of RUNS) {
  test(`${logs} generated logs are explained as they were meant, seed ${seed}`, () => {
    const wrong = objectionsToGenerated(seed, logs);
    assert.equal(
      wrong.length,
      0,
      `${wrong.length} logs; SEED=… IOVA_LOGS=1 repeats one:\n${wrong.slice(0, 3).join("\n")}`,
    );
  });
}
