/** The examples of drivers on every board. */
import { test } from "node:test";
import { BOARD_KINDS } from "iova/platform";
import { QEMU_BOARDS } from "iova/qemu";
import { hasBoard } from "../src/machines/qemu/install.model.ts";
import type { QemuModelName } from "../src/machines/qemu/machine.ts";
import { assertBothRun } from "./drivers.model.ts";

for (const { name } of BOARD_KINDS) {
  test(`the drivers of the examples run on ${name}`, () => assertBothRun(name, 1000, 100));
}

for (const { name } of QEMU_BOARDS) {
  test(`the drivers of the examples run on ${name}`, (t) => {
    if (hasBoard(t, name.replace("@qemu", "") as QemuModelName)) assertBothRun(name, 20, 3);
  });
}
