/** The examples for VMMs and drivers in user space: each runs, and prints what it is to show. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { run } from "./drivers.model.ts";

function prints(example: string, lines: readonly string[]): void {
  const { status, output, said } = run(example);
  assert.deepEqual([status, said], [0, ""]);
  assert.deepEqual(output.trimEnd().split("\n"), lines);
}

test("four devices of an emulator move buffers in the guest's RAM, at the addresses that the guest chooses", () => {
  prints("viommu", [
    "4 devices moved 2000 buffers, 0 of them wrong; mappings left: 0",
    "a second map of 0x100006000: in-use; a live range of 8192 bytes has it",
  ]);
});

test("a driver in user space has a ring, descriptors and buffers by virtual addresses, and leaves nothing mapped", () => {
  prints("user-driver", [
    "ring at bus address 0x100000, virtual 0x7f1234080000",
    "descriptors of 64 bytes at 0x102000 and 0x102040",
    "3 buffers in 1 segment of 98404 bytes, by 3 calls",
    "from the device",
    "left in the kernel: 0 pages; pages taken: 0",
  ]);
});

test("a shadow that two threads keep is right when both run, when one was killed, and at the end", () => {
  prints("shadow", [
    "both threads run: 65 pages of 2 threads are mapped, 0 of the shadow are wrong",
    "one was killed: 5 pages of 1 threads are mapped, 0 of the shadow are wrong",
    "the end: 0 pages of 0 threads are mapped, 0 of the shadow are wrong",
  ]);
});
