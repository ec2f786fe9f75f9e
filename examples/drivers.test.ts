/** The drivers and their examples are short enough to read in one sitting. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("each driver and each example has fewer than 150 lines of code", () => {
  for (const path of [
    "src/devices/ring-driver.ts",
    "src/devices/nvme-driver.ts",
    "examples/nic.ts",
    "examples/nvme.ts",
    "examples/viommu.ts",
    "examples/user-driver.ts",
    "examples/vmm.ts",
    "examples/shadow.ts",
  ]) {
    const text = readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
    const lines = text.split("\n").filter((line) => !/^\s*($|\/\/|\/?\*)/.test(line)).length;
    assert.ok(lines < 150, `${path} has ${lines} lines`);
  }
});
