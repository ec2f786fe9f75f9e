/** `mapSg` of every small scatter list on every small table, with every failure of the table. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../device.ts";
import { ScatterList } from "../scatter-list.ts";
import { joinRuns, ModelTable, walk } from "../table.model.ts";

const PAGE = 4096;

test("all small lists, on all small tables, with a failure at every step: nothing is left behind", () => {
  const shapes = [0, 1, PAGE, PAGE + 1, 2 * PAGE];
  let failures = 0;
  for (let taken = 0; taken < 64; taken++) {
    const occupied = new Set([0, 1, 2, 3, 4, 5].filter((entry) => (taken >> entry) & 1));
    for (let shape = 0; shape < shapes.length ** 3; shape++) {
      const elements = [0, 1, 2].map((i) => ({
        address: BigInt((i + 1) * 0x10000),
        bytes: shapes[Math.floor(shape / shapes.length ** i) % shapes.length]!,
      }));
      for (const faults of [
        {},
        ...[1, 2, 3].flatMap((at) => [{ setAt: at }, { allocateAt: at }, { allocateAt: at + 1 }]),
        { publishAt: 1 },
      ]) {
        const table = new ModelTable({ base: 0x40000n, pageShift: 12, entries: 6 });
        table.occupy(occupied);
        table.faults = faults;
        const list = new ScatterList(elements.length, 4096);
        for (const { address, bytes } of elements) list.add(address, bytes);
        const device = new DmaDevice(table);
        if (device.mapSg(list, 3) === undefined) {
          const runs = Array.from({ length: list.segments }, (_, i) =>
            walk(table, list.iovas[i]!, list.segmentBytes[i]!, 3),
          ).flat();
          assert.deepEqual(
            joinRuns(runs),
            joinRuns(elements.map(({ address, bytes }) => ({ address, bytes: BigInt(bytes) }))),
          );
          device.unmapSg(list);
        } else failures++;
        assert.equal(list.segments, 0);
        table.assertEmptyBeside(occupied);
      }
    }
  }
  assert.ok(failures > 10_000, `${failures} failures`);
});
