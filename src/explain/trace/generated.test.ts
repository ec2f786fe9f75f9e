import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { exitObjection, generate, generateExit, objection } from "./generator.model.ts";

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

  test("and with a device that is removed: what is left is a leak, with its number", () => {
    const objections = Array.from({ length: 100 }, (_, at) => FIRST_SEED + at).flatMap((seed) => {
      const wrong = exitObjection(generateExit(seed));
      return wrong === undefined ? [] : [`seed ${seed}: ${wrong}`];
    });
    assert.deepEqual(objections, []);
  });

  test("of each kind, at each level; each kind is told by some of them", () => {
    const all = Array.from({ length: TRACES }, (_, at) => generate(FIRST_SEED + at));
    assert.equal(new Set(all.map(({ planted, level }) => `${planted} ${level}`)).size, 8 * 7);
    const told = all.filter(({ planted, findings }) => findings.some(({ verdict }) => verdict === planted));
    assert.equal(new Set(told.map(({ planted }) => planted)).size, 8);
  });
});
