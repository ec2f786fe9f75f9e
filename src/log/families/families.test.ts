import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LINE, worthOf } from "../candidates.ts";
import type { Field, Shape } from "../shape.ts";
import { FAMILIES } from "./index.ts";

const SHAPES = FAMILIES.flatMap((family) => family.shapes.map((shape) => ({ family, shape })));

function groupsOf({ pattern }: Shape): string[] {
  return [...pattern.source.matchAll(/\(\?<([A-Za-z]\w*)>/g)].map(([, name = ""]) => name).sort();
}

describe("every message shape", () => {
  it("has a name of its own", () => {
    const names = SHAPES.map(({ shape }) => shape.name);
    assert.deepEqual(
      names.filter((name, index) => names.indexOf(name) !== index),
      [],
    );
  });

  for (const { family, shape } of SHAPES) {
    it(`${shape.name}: reads its own example`, () => {
      assert.match(shape.example, shape.pattern);
      assert.match(shape.example, family.hint, "the family's hint passes it");
      assert.equal(
        worthOf(shape.example.split("\n")[0] ?? "") & LINE.message,
        1,
        "the prefilter passes its first line",
      );
    });

    it(`${shape.name}: has a field for every group, and a group for every field`, () => {
      assert.deepEqual(groupsOf(shape), Object.keys(shape.fields).sort());
      for (const field of Object.values<Field>(shape.fields)) assert.notEqual(field.unit, "");
    });
  }
});
