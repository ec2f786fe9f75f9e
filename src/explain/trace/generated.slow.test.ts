import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { exitObjection, generate, generateExit, testVerdicts } from "./generator.model.ts";

const FIRST_SEED = 20_261_130;
const TRACES = 600;

testVerdicts(FIRST_SEED, TRACES);

describe("traces with a planted fault", () => {
  test("and with a device that is removed: its remaining mappings are leaks, with their number", () => {
    const objections = Array.from({ length: 100 }, (_, at) => FIRST_SEED + at).flatMap((seed) => {
      const wrong = exitObjection(generateExit(seed));
      return wrong === undefined ? [] : [`seed ${seed}: ${wrong}`];
    });
    assert.deepEqual(objections, []);
  });

  test("of each kind, at each level; each kind is recognised in some of them", () => {
    const all = Array.from({ length: TRACES }, (_, at) => generate(FIRST_SEED + at));
    assert.equal(new Set(all.map(({ planted, level }) => `${planted} ${level}`)).size, 8 * 7);
    const told = all.filter(({ planted, findings }) => findings.some(({ verdict }) => verdict === planted));
    assert.equal(new Set(told.map(({ planted }) => planted)).size, 8);
  });
});
