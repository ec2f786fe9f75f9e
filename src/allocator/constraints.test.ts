import assert from "node:assert/strict";
import { test } from "node:test";
import type { DmaWindow } from "../units/numbers.ts";
import { areaConstraints, UNCONSTRAINED } from "./constraints.ts";

const windowAt = (base: bigint, entries: number): DmaWindow => ({
  base,
  pageShift: 12,
  entries,
});

test("limits that can't bite are dropped: such a device takes the fast path", () => {
  const window = windowAt(0n, 1 << 20);
  assert.equal(areaConstraints(window, {}), UNCONSTRAINED);
  assert.equal(areaConstraints(window, { limit: 2 ** 31 - 1, boundaryPages: 1 << 20 }), UNCONSTRAINED);
  assert.notEqual(
    areaConstraints(windowAt(0x1000n, 1 << 20), { boundaryPages: 1 << 20 }),
    UNCONSTRAINED,
    "the window meets 4 GiB",
  );
  assert.notEqual(areaConstraints(window, { alignmentPages: 2 }), UNCONSTRAINED);
});

test("a boundary or alignment that is no power of two is refused, however near it is to one", () => {
  const window = windowAt(0n, 100);
  for (const wrong of [0.5, 3, 2 ** 49 + 1, 2 ** 53, -4, Number.NaN]) {
    assert.throws(() => areaConstraints(window, { alignmentPages: wrong }), { code: "invalid-argument" });
    assert.throws(() => areaConstraints(window, { boundaryPages: wrong }), { code: "invalid-argument" });
  }
});
