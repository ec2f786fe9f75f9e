/** Generated logs: each message is found, and nothing contradicts it. SEED repeats a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { objectionsToGenerated } from "./generated.model.ts";

const SEED = Number(process.env["SEED"] ?? 20_261_130);
const LOGS = Number(process.env["IOVA_LOGS"] ?? 500);

test(`${LOGS} generated logs are explained as they were meant, seed ${SEED}`, () => {
  const wrong = objectionsToGenerated(SEED, LOGS);
  assert.equal(
    wrong.length,
    0,
    `${wrong.length} logs; SEED=… IOVA_LOGS=1 repeats one:\n${wrong.slice(0, 3).join("\n")}`,
  );
});
