/** Which window a device works through, and what it is told about it before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "../units/errors.ts";
import type { DeviceWindow, DirectWindow } from "./device-window.ts";
import { isDmaPossible, largestMapping, mergeBoundary, requiredMask } from "./queries.ts";
import { ScatterList } from "./scatter-list.ts";
import { got, MEMORY_BYTES, setUp } from "./set-up.model.ts";
import { ModelTable } from "./table.model.ts";
import { createDevice } from "./windows.ts";

const ALL = 2n ** 64n - 1n;
const BYPASS = 2n ** 59n;

function translated(base: bigint, pageShift: number, entries: number): DeviceWindow {
  return { kind: "translated", table: new ModelTable({ base, pageShift, entries }) };
}

/** As pseries: a 32-bit default window, a 64-bit dynamic window, and a direct window. */
const LOW = translated(0x8000_0000n, 12, 16);
const HIGH = translated(2n ** 60n, 16, 64);
const DIRECT: DirectWindow = { kind: "direct", base: BYPASS, address: 0, bytes: MEMORY_BYTES };

/** The address of the first mapping, or its failure. */
function base(windows: readonly DeviceWindow[], mask: bigint, bounced = false): bigint | string {
  const machine = setUp();
  const bounce = bounced ? { memory: machine.memory, bounce: { pages: machine.pages } } : {};
  const device = createDevice(windows, { mask }, bounce);
  const mapping = device.map(0n, 1, 3);
  if (typeof mapping !== "string") device.unmap(mapping);
  machine.machine.close();
  return typeof mapping === "string" ? mapping : mapping.iova;
}

test("the best window that the mask reaches is taken: direct, then the largest translated", () => {
  const windows = [LOW, HIGH, DIRECT];
  assert.equal(base(windows, ALL), BYPASS);
  assert.equal(base(windows, BYPASS + BigInt(MEMORY_BYTES) - 1n), BYPASS, "its last byte is reached");
  assert.equal(base(windows, BYPASS + BigInt(MEMORY_BYTES) - 2n), 0x8000_0000n, "not all memory is reached");
  assert.equal(base([LOW, HIGH], ALL), 2n ** 60n, "the larger");
  assert.equal(base([HIGH, LOW], ALL), 2n ** 60n, "in any order");
  assert.equal(base([LOW, HIGH], 2n ** 60n - 1n), 0x8000_0000n);
  const twin = translated(0x9000_0000n, 12, 16);
  assert.equal(base([LOW, twin], ALL), 0x8000_0000n, "of equals the first");
  assert.equal(base([twin, LOW], ALL), 0x9000_0000n, "of equals the first");
  assert.equal(base([HIGH, LOW], 2n ** 60n), 0x8000_0000n, "one byte of the larger is less than the smaller");
});

test("a direct window that is reached in part serves only with bounce buffers, and only where nothing else does", () => {
  const part = BYPASS + 3n * 2n ** 20n - 1n;
  assert.equal(base([DIRECT, LOW], part, true), 0x8000_0000n);
  assert.equal(base([DIRECT], part, true), BYPASS);
  assert.equal(base([DIRECT], part, false), BYPASS, "what is in reach can be mapped all the same");
  assert.equal(base([HIGH, LOW], 0xffffn), "mask-too-low");
});

test("a device that is not trusted gets no direct window", () => {
  const machine = setUp();
  const device = createDevice([DIRECT, LOW], {}, machine.untrusted);
  const mapping = got(device.map(0n, 4096, 3));
  assert.equal(mapping.iova, 0x8000_0000n);
  device.unmap(mapping);
  assert.throws(() => createDevice([DIRECT], {}, machine.untrusted), /windows of the device is all direct/);
  assert.throws(() => createDevice([]), InvalidArgumentError);
  machine.machine.close();
});

test("coherent memory chooses by its own mask, and every other call goes to the window of the rest", () => {
  const machine = setUp();
  const translatedWindow = { kind: "translated", table: machine.table } as const;
  const limits = { coherentMask: 2n ** 32n - 1n };
  const options = { ...machine.withCoherent, bounce: { pages: machine.pages } };
  const device = createDevice([translatedWindow, DIRECT], limits, options);
  const block = got(device.allocateCoherent(4096));
  assert.ok(block.iova < 2n ** 32n);
  assert.deepEqual(machine.seen(block.iova, 4096), Buffer.alloc(4096));
  const mapping = got(device.map(0x1000n, 100, 1));
  assert.equal(mapping.iova, BYPASS + 0x1000n);
  const list = new ScatterList(1);
  list.addNumber(0x2000, 100);
  assert.equal(device.mapSg(list, 1), undefined);
  assert.equal(list.iovas[0], BYPASS + 0x2000n);
  device.syncSgForCpu(list);
  device.syncSgForDevice(list);
  for (const synced of [block, mapping]) {
    device.syncForCpu(synced);
    device.syncForDevice(synced);
  }
  const resource = got(device.mapResource(0x3000n, 8, 3));
  assert.equal(device.unmapResource(resource), undefined);
  assert.equal(device.failureOf("table-full"), "table-full");
  assert.equal(device.failureOf(mapping), undefined);
  assert.equal(device.unmapSg(list), undefined);
  assert.equal(device.unmap(mapping), undefined);
  assert.equal(device.freeCoherent(block), undefined);
  assert.throws(() => device.syncForCpu(block), { name: "SyncError" });
  machine.assertNothingLeft();
  machine.machine.close();
});

test("whether DMA is possible is what a device then finds", () => {
  for (const [windows, mask, possible] of [
    [[LOW], 0x7fff_ffffn, false],
    [[LOW], 0x8000_0000n, true],
    [[LOW, DIRECT], 0x7fff_ffffn, false],
    [[DIRECT], BYPASS, false],
    [[DIRECT], ALL, true],
    [[], ALL, false],
  ] as const) {
    assert.equal(isDmaPossible(windows, { mask }), possible, `mask ${mask}`);
  }
  const machine = setUp();
  const bounce = { memory: machine.memory, bounce: { pages: machine.pages } };
  assert.equal(isDmaPossible([DIRECT], { mask: BYPASS }, bounce), true);
  assert.equal(isDmaPossible([DIRECT], {}, machine.untrusted), false);
  machine.machine.close();
});

test("the required mask reaches the last byte of the best window", () => {
  assert.equal(requiredMask([LOW]), 2n ** 32n - 1n);
  assert.equal(requiredMask([LOW, HIGH]), 2n ** 61n - 1n);
  assert.equal(requiredMask([LOW, HIGH, DIRECT]), 2n ** 60n - 1n);
  assert.equal(requiredMask([translated(0n, 12, 16)]), 0xffffn);
  for (const windows of [[LOW], [LOW, HIGH, DIRECT]]) {
    assert.equal(base(windows, requiredMask(windows)), base(windows, ALL));
  }
});

test("the largest mapping can be had, and one byte more can't", () => {
  const bases = [0x8000_0000n, 0x8000_3000n, 0x7fff_f000n, 0x7fff_9000n];
  for (const start of bases) {
    for (const mask of [ALL, start + 0x5fffn, start + 0x57ffn, start - 1n]) {
      for (const boundaryMask of [0x7ffn, 0x3fffn, 0xffffn, 2n ** 31n - 1n, ALL]) {
        const windows = [translated(start, 12, 16)];
        const limits = { mask, boundaryMask };
        const largest = largestMapping(windows, limits);
        const what = `base ${start}, mask ${mask}, boundary ${boundaryMask}: ${largest} bytes`;
        const device = createDevice(windows, limits);
        if (largest > 0) got(device.map(0n, largest, 3));
        const longer = createDevice([translated(start, 12, 16)], limits).map(0n, largest + 1, 3);
        assert.equal(typeof longer, "string", `${what}, and one more`);
      }
    }
  }
  assert.equal(largestMapping([DIRECT]), MEMORY_BYTES);
  const machine = setUp();
  assert.equal(largestMapping([LOW, DIRECT], {}, machine.untrusted), 16 * 4096);
  const part = { mask: BYPASS + 3n * 2n ** 20n - 1n };
  const bounce = { memory: machine.memory, bounce: { pages: machine.pages } };
  assert.equal(largestMapping([DIRECT], part, bounce), 2 ** 20);
  machine.machine.close();
});

test("merging is to be expected at IO pages of a translated window, where the limits let it", () => {
  assert.equal(mergeBoundary([LOW]), 4096);
  assert.equal(mergeBoundary([HIGH]), 0, "a segment is no longer than a page there");
  assert.equal(mergeBoundary([HIGH], { maxSegmentBytes: 131072 }), 65536);
  assert.equal(mergeBoundary([LOW, DIRECT]), 0);
  assert.equal(mergeBoundary([LOW], {}, { merge: false }), 0);
  assert.equal(mergeBoundary([LOW], { boundaryMask: 0xfffn }), 0);
});
