/** More generated logs than the fast test reads. SEED repeats a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { objectionsToGenerated } from "./generated.model.ts";

const SEED = Number(process.env["SEED"] ?? 1);
const LOGS = Number(process.env["IOVA_LOGS"] ?? 5000);

test(`${LOGS} generated logs are explained as they were meant, seed ${SEED}`, () => {
  const wrong = objectionsToGenerated(SEED, LOGS);
  assert.equal(
    wrong.length,
    0,
    `${wrong.length} logs; SEED=… IOVA_LOGS=1 repeats one:\n${wrong.slice(0, 3).join("\n")}`,
  );
});
