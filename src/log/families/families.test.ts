import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LINE, worthOf } from "../candidates.ts";
import { factsOf } from "../facts-of.model.ts";
import type { Field, Shape } from "../shape.ts";
import { FAMILIES } from "./index.ts";

const SHAPES = FAMILIES.flatMap((family) => family.shapes.map((shape) => ({ family, shape })));

function groupsOf({ pattern }: Shape): string[] {
  return [...pattern.source.matchAll(/\(\?<([A-Za-z]\w*)>/g)].map(([, name = ""]) => name).sort();
}

/** The IO addresses of the facts that a text states. */
function addressesIn(text: string): (bigint | undefined)[] {
  return factsOf(text.replace(/^/gm, "[    1.000001] ")).map((fact) => ("iova" in fact ? fact.iova : undefined));
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

    for (const [name, { radix, unit }] of Object.entries<Field>(shape.fields)) {
      if (radix === "text" || !unit.includes("address")) continue;
      it(`${shape.name}: reads no address where ${name} is masked`, () => {
        const printed = shape.pattern.exec(shape.example)?.groups?.[name] ?? "";
        const known = addressesIn(shape.example);
        // As people hide addresses before they post a log.
        for (const mask of ["0xxxxxxxxx", "xxxxxxxx", "0xXXXXXXXX"]) {
          const found = addressesIn(shape.example.replace(printed, mask));
          for (const address of found)
            assert.ok(address === undefined || known.includes(address), `${mask}: ${address}`);
        }
      });
    }
  }
});

it("reads no number of more than 64 bits (found in review, 2026-11-30)", () => {
  const digits = "f".repeat(300);
  for (const { shape } of SHAPES) {
    for (const [name, { radix }] of Object.entries<Field>(shape.fields)) {
      const printed = shape.pattern.exec(shape.example)?.groups?.[name];
      if (radix === "text" || printed === undefined) continue;
      const long = /^0x/.test(printed) ? `0x${digits}` : radix === "decimal" ? "9".repeat(300) : digits;
      for (const fact of factsOf(shape.example.replace(printed, long))) {
        for (const value of Object.values(fact)) {
          if (typeof value === "bigint") assert.ok(value < 1n << 64n, `${shape.name}: ${name}`);
          if (typeof value === "number") assert.ok(Number.isFinite(value), `${shape.name}: ${name}`);
        }
      }
    }
  }
});
