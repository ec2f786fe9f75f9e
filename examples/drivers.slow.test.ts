/** The examples of drivers on machines that are started. The others are in drivers.test.ts. */
import { test } from "node:test";
import { QEMU_BOARDS } from "iova/qemu";
import { hasBoard } from "../src/machines/qemu/install.model.ts";
import type { BoardName } from "../src/machines/qemu/machine.ts";
import { assertBothRun } from "./drivers.model.ts";

for (const { name } of QEMU_BOARDS) {
  test(`the drivers of the examples run on ${name}`, (t) => {
    if (hasBoard(t, name.replace("@qemu", "") as BoardName)) assertBothRun(name, 20, 3);
  });
}
