/** Generated logs: each message that the damage left readable is read whole, and nothing else. SEED repeats a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { objectionsToLogs } from "./generated.model.ts";

const SEED = Number(process.env["SEED"] ?? 20_261_130);
const LOGS = Number(process.env["IOVA_LOGS"] ?? 1500);

test(`${LOGS} generated logs are read as they were meant, seed ${SEED}`, () => {
  const wrong = objectionsToLogs(SEED, LOGS);
  assert.equal(
    wrong.length,
    0,
    `${wrong.length} logs; SEED=… IOVA_LOGS=1 repeats one:\n${wrong.slice(0, 3).join("\n")}`,
  );
});
