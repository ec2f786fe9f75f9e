import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { run } from "./drivers.model.ts";

test("a platform that there is not, and a count that is none, are told from what there is, with exit code 2", () => {
  for (const [example, args, message] of [
    ["nic", ["--platform", "vax"], /^--platform vax: expected one of linear-tce, .*powernv@qemu\nusage:/],
    ["nic", ["--frames", "1e3"], /^--frames 1e3: expected an integer from 1 to 9999999\nusage: .*--frames N/],
    ["nvme", ["--commands", "0"], /^--commands 0: expected an integer from 1/],
    ["nvme", ["--frames", "3"], /^Unknown option '--frames'.*\nusage: .*--commands N/],
    ["nvme", ["pseries"], /^Unexpected argument 'pseries'/],
  ] as const) {
    const { status, output, said } = run(example, ...args);
    assert.deepEqual([status, output], [2, ""], said);
    assert.match(said, message);
  }
});

test("each driver and each example has fewer than 150 lines", () => {
  for (const path of [
    "src/devices/ring-driver.ts",
    "src/devices/nvme-driver.ts",
    "examples/nic.ts",
    "examples/nvme.ts",
  ]) {
    const lines = readFileSync(new URL(`../../${path}`, import.meta.url), "utf8").split("\n").length;
    assert.ok(lines < 150, `${path} has ${lines} lines`);
  }
});

test("the example of the debug mode reports both misuses, each with where the mapping was made and where it was misused", () => {
  const { output, said } = run("debug");
  assert.match(output, /^nvme0: unmap: frees 100 bytes of a mapping of 5000 \[free-wrong-size\]$/m, said);
  assert.match(output, /^nvme0: deviceRemoved: the device is removed with 1 live mappings /m);
  const places = [...output.matchAll(/^ {2}(mapped|misused) by queue 3 at\n {4}.*debug\.[jt]s:(\d+)/gm)];
  assert.deepEqual(
    places.map(([, what]) => what),
    ["mapped", "misused", "mapped", "misused"],
  );
  assert.equal(new Set(places.map(([, , line]) => line)).size, 4);
});
