/** Tests of the examples for VMMs and drivers in user space: each runs and prints the expected lines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "./drivers.model.ts";

function prints(example: string, lines: readonly string[]): void {
  const { status, output, said } = run(example);
  assert.deepEqual([status, said], [0, ""]);
  assert.deepEqual(output.trimEnd().split("\n"), lines);
}

test("viommu: four emulated devices move buffers in the guest's RAM, at bus addresses that the guest chooses", () => {
  prints("viommu", [
    "4 devices moved 2000 buffers, 0 of them wrong; mappings left: 0",
    "a second map of 0x100006000: in-use; a live range of 8192 bytes has it",
  ]);
});

test("user-driver: a driver in user space uses virtual addresses for its ring, descriptors and buffers, and leaves no mapping", () => {
  prints("user-driver", [
    "ring at bus address 0x100000, virtual 0x7f1234080000",
    "descriptors of 64 bytes at 0x102000 and 0x102040",
    "3 buffers in 1 segment of 98404 bytes, by 3 calls",
    "from the device",
    "left in the kernel: 0 pages; pages taken: 0",
  ]);
});

test("shadow: a shadow kept by two threads is right while both run, after one is killed, and at the end", () => {
  prints("shadow", [
    "both threads run: 65 pages of 2 threads are mapped, 0 of the shadow are wrong",
    "one was killed: 5 pages of 1 threads are mapped, 0 of the shadow are wrong",
    "the end: 0 pages of 0 threads are mapped, 0 of the shadow are wrong",
  ]);
});
