/** Tests of the examples: drivers on every board, their refusals, and the debug mode. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BOARD_KINDS } from "iova/platform";
import { QEMU_BOARDS } from "iova/qemu";
import { hasBoard } from "../src/machines/qemu/install.model.ts";
import type { QemuModelName } from "../src/machines/qemu/machine.ts";
import { assertBothRun, run } from "./drivers.model.ts";

for (const { name } of BOARD_KINDS) {
  test(`the example drivers run on ${name}`, () => assertBothRun(name, 1000, 100));
}

for (const { name } of QEMU_BOARDS) {
  test(`the example drivers run on ${name}`, (t) => {
    if (hasBoard(t, name.replace("@qemu", "") as QemuModelName)) assertBothRun(name, 20, 3);
  });
}

test("an unknown platform and a bad count end with exit code 2 and a message with the expected values", () => {
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

test("the example of the debug mode reports both misuses, each with the stacks of the map call and of the misuse", () => {
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
