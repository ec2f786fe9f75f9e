import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidArgumentError } from "../../units/errors.ts";
import { debugged } from "./debugged-device.ts";
import { ModelDevice } from "./device.model.ts";
import { dmaAbleFrom } from "./dma-able.ts";
import type { DebugOptions } from "./options.ts";

test("an option outside its range is refused, with what was found and what is expected", () => {
  const wrong: [unknown, RegExp][] = [
    [{ capacity: 0 }, /debug capacity in records is 0; expected an integer from 1 to 4194304/],
    [{ capacity: 2 ** 22 + 1 }, /debug capacity in records is 4194305/],
    [{ stackFrames: 33 }, /stack frames is 33; expected an integer from 0 to 32/],
    [{ reportsPerKind: 0 }, /reports per kind is 0/],
    [{ cacheLineBytes: 96 }, /cache line in bytes is 96; expected a power of two from 16 to 4096/],
    [{ cacheLineBytes: 8 }, /cache line in bytes is 8/],
    [{ ignore: ["free-everything"] }, /kind to ignore is "free-everything"; expected one of free-error-value, /],
    [{ owner: 7 }, /owner is 7; expected a string or a function/],
    [{ device: 7 }, /device's name is 7; expected a string/],
    [{ onMisuse: "print" }, /onMisuse is "print"; expected a function/],
    [{ limits: { maxSegmentBytes: 0 } }, /maximum segment size in bytes is 0/],
    [{ limits: { boundaryMask: 0x1234n } }, /boundary mask is 0x1234; expected a power of two less one/],
    [{ dmaAble: "all" }, /DMA-able memory is "all"; expected ranges or a function/],
    [{ dmaAble: [{ address: -1n, bytes: 1 }] }, /address of DMA-able memory is -1/],
    [{ dmaAble: [{ address: 0n, bytes: 0 }] }, /size of DMA-able memory in bytes is 0/],
  ];
  for (const [options, message] of wrong) {
    assert.throws(
      () => debugged(new ModelDevice(), options as DebugOptions),
      (error) => error instanceof InvalidArgumentError && message.test(error.message),
      String(message),
    );
  }
});

test("the memory that the columns take is what the documentation says: 105 bytes a record, at powers of two", () => {
  for (const capacity of [1024, 65536]) {
    assert.equal(debugged(new ModelDevice(), { capacity }).memoryBytes, capacity * 105);
  }
});

test("a piece is DMA-able when ranges that touch or overlap cover it", () => {
  const isDmaAble = dmaAbleFrom([
    { address: 0x3000n, bytes: 0x1000 },
    { address: 0x1000n, bytes: 0x1800 },
    { address: 0x1000n, bytes: 0x10 },
    { address: 0x2000n, bytes: 0x1000 },
  ]);
  const pieces: [bigint, number, boolean][] = [
    [0x1000n, 0x3000, true],
    [0xfffn, 2, false],
    [0x3fffn, 1, true],
    [0x3fffn, 2, false],
    [0x9000n, 1, false],
  ];
  for (const [address, bytes, expected] of pieces) assert.equal(isDmaAble(address, bytes), expected, `${address}`);
});
