import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { exitObjection, generate, generateExit, objection } from "./generator.model.ts";

const RUNS = [
  { firstSeed: 20_261_130, traces: 600 },
  { firstSeed: 30_000_000, traces: 6000 },
] as const;
const [{ firstSeed: FIRST_SEED, traces: TRACES }] = RUNS;

describe("traces with a planted fault", () => {
  for (const { firstSeed, traces } of RUNS) {
    test(`${traces} of them get no wrong verdict, and most get the true one`, (t) => {
      t.diagnostic(`seeds ${firstSeed} to ${firstSeed + traces - 1}`);
      const objections: string[] = [];
      let decided = 0;
      for (let seed = firstSeed; seed < firstSeed + traces; seed++) {
        const generated = generate(seed);
        const wrong = objection(generated);
        if (wrong !== undefined) objections.push(`seed ${seed}: ${wrong}`);
        if (generated.findings.some(({ certainty }) => certainty !== "undecided")) decided++;
      }
      assert.deepEqual(objections, []);
      assert.ok(decided > traces / 2, `${decided} decided`);
    });
  }

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
