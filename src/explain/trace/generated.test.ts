import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { generate, objection } from "./generator.model.ts";

const FIRST_SEED = 20_261_130;
const TRACES = 600;

describe("traces with a planted fault", () => {
  test(`${TRACES} of them get no wrong verdict, and most get the true one`, (t) => {
    t.diagnostic(`seeds ${FIRST_SEED} to ${FIRST_SEED + TRACES - 1}`);
    const objections: string[] = [];
    let decided = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + TRACES; seed++) {
      const generated = generate(seed);
      const wrong = objection(generated);
      if (wrong !== undefined) objections.push(`seed ${seed}: ${wrong}`);
      if (generated.findings.some(({ certainty }) => certainty !== "undecided")) decided++;
    }
    assert.deepEqual(objections, []);
    assert.ok(decided > TRACES / 2, `${decided} decided`);
  });
});
