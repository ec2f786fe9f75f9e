/**
 * The boards whose machines are started, like a QEMU: the conformance suite over them, and drivers on real threads. The other boards
 * are in matrix.exhaustive.test.ts and threads.exhaustive.test.ts. Here a driver is killed at rest only: one that is killed while it uses the machine
 * ends the machine for all (process.slow.test.ts).
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { BoardKind } from "../../machines/board.ts";
import { BOARD_KINDS } from "../../machines/boards.ts";
import { QEMU_BOARDS } from "../../machines/qemu/boards.ts";
import { hasBoard } from "../../machines/qemu/install.model.ts";
import type { QemuModelName } from "../../machines/qemu/machine.ts";
import { Crew, DRIVERS } from "./crew.model.ts";
import { REPORT } from "./driver.model.ts";
import { isStarted, testMatrix } from "./matrix.model.ts";
import { cellsOf, fewCellsOf } from "./matrix.ts";

/** An access to a started machine takes 20 to 200 µs, all settings minutes: IOVA_ALL_STARTED=1 runs them. */
const cells = process.env["IOVA_ALL_STARTED"] === "1" ? cellsOf : fewCellsOf;

const isThere = (t: TestContext, kind: BoardKind): boolean =>
  hasBoard(t, kind.name.replace("@qemu", "") as QemuModelName);

testMatrix(QEMU_BOARDS, { cells, isThere });

/** More than the board has thread slots: none may be lost with a dead thread. */
const KILLS = 7;

for (const kind of QEMU_BOARDS) {
  test(`${kind.name}: drivers on threads map, unmap and do DMA at once; what one leaves that is killed at rest comes back`, async (t) => {
    if (!isThere(t, kind)) return;
    const crew = new Crew(kind, { levels: kind.levels.at(-1) as number });
    try {
      let left = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        for (let place = 0; place < DRIVERS; place++) await crew.untilRounds(place, 12);
        await crew.rest();
        left += await crew.kill(kill % DRIVERS);
        crew.start(kill % DRIVERS);
        crew.goOn();
      }
      for (let place = 0; place < DRIVERS; place++) await crew.untilRounds(place, 50);
      await crew.stop();
      assert.equal(crew.wrong, 0, "drivers saw foreign data (see their output)");
      assert.ok(left > 0, "no killed driver had anything mapped");
      const busy = [0, 1].map((place) => crew.get(place, REPORT.busy));
      t.diagnostic(
        `${kind.name}: ${KILLS} kills, which left ${left} entries; of the last rounds without effect: ${busy}`,
      );
      crew.rig.expectAtRest();
    } finally {
      await crew.stop();
      crew.rig.close();
    }
  });
}

test("every platform on a machine that is started is also a board of the software machine", () => {
  const names = BOARD_KINDS.map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => name.includes("@")),
    [],
  );
  for (const kind of QEMU_BOARDS) {
    assert.ok(isStarted(kind), kind.name);
    assert.ok(names.includes(kind.name.replace("@qemu", "")), kind.name);
  }
});
