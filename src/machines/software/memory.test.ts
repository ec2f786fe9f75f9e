import assert from "node:assert/strict";
import { test } from "node:test";
import { PhysicalMemory } from "../../memory/physical-memory.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import { createMemory } from "./memory.ts";

function memoryOf(bytes = 8192): PhysicalMemory {
  return createMemory(bytes);
}

test("words are little-endian and unsigned, and the bytes are the same memory", () => {
  const memory = memoryOf();
  memory.write(16, Uint8Array.of(1, 2, 3, 0xff));
  assert.equal(memory.load32(16), 0xff030201);
  memory.store32(20, 0x89abcdef);
  const bytes = new Uint8Array(4);
  memory.read(20, bytes);
  assert.deepEqual([...bytes], [0xef, 0xcd, 0xab, 0x89]);
});

test("a second view of the same buffer sees the same bytes", () => {
  const { handle } = createMemory(4096);
  PhysicalMemory.attach(handle).store32(4092, 7);
  assert.equal(PhysicalMemory.attach(handle).load32(4092), 7);
});

test("runs of words are stored whole, whichever word of a pair is last, and nothing beside them", () => {
  for (const last of [0, 1] as const) {
    const memory = memoryOf();
    memory.storeWords(8, Uint32Array.of(1, 0xfffffffe, 3, 4, 99), 4, last);
    assert.deepEqual(
      [4, 8, 12, 16, 20, 24].map((at) => memory.load32(at)),
      [0, 1, 0xfffffffe, 3, 4, 0],
    );
  }
});

test("every access outside of memory is refused with the address, and changes nothing", () => {
  const memory = memoryOf(4096);
  const bytes = new Uint8Array(8).fill(1);
  const words = new Uint32Array(4).fill(1);
  const outside: (() => void)[] = [
    () => memory.read(4089, bytes),
    () => memory.read(-1, bytes),
    () => memory.read(0.5, bytes),
    () => memory.write(4089, bytes),
    () => memory.write(2 ** 32, bytes),
    () => memory.load32(4096),
    () => memory.load32(-4),
    () => memory.load32(2 ** 32),
    () => memory.load32(Number.NaN),
    () => memory.store32(4096, 1),
    () => memory.storeWords(4092, words, 2, 0),
    () => memory.storeWords(4088, words, 4, 0),
    () => memory.storeWords(-8, words, 2, 0),
  ];
  for (const access of outside) assert.throws(access, InvalidArgumentError, String(access));
  assert.throws(
    () => memory.load32(4096),
    /physical address of 4 bytes is 0x1000; expected all bytes in \[0x0, 0x1000\)/,
  );
  const all = new Uint8Array(4096);
  memory.read(0, all);
  assert.ok(all.every((byte) => byte === 0));
});

test("misaligned words, odd counts and counts beyond the array are refused", () => {
  const memory = memoryOf();
  const words = new Uint32Array(4);
  assert.throws(() => memory.load32(2), InvalidArgumentError);
  assert.throws(() => memory.load32(4.5), InvalidArgumentError);
  assert.throws(() => memory.store32(1, 0), InvalidArgumentError);
  assert.throws(() => memory.storeWords(4, words, 3, 0), /count of words is 3; expected an even number from 0 to 4/);
  assert.throws(() => memory.storeWords(4, words, 6, 0), InvalidArgumentError);
  assert.throws(() => memory.storeWords(6, words, 2, 0), InvalidArgumentError);
});

test("a memory is a multiple of 4096 bytes, and at least that", () => {
  for (const bytes of [0, 4095, 4097, -4096, 2 ** 33, Number.NaN]) {
    assert.throws(() => createMemory(bytes), InvalidArgumentError, String(bytes));
  }
});

test("the last word of 4 GiB can be addressed, where the engine gives so much", (t) => {
  let memory: PhysicalMemory;
  try {
    memory = memoryOf(2 ** 32);
  } catch (error) {
    assert.ok(error instanceof RangeError);
    t.diagnostic("the engine gives no 4 GiB");
    return;
  }
  memory.storeWords(2 ** 32 - 8, Uint32Array.of(1, 2), 2, 1);
  memory.store32(2 ** 31, 3);
  assert.deepEqual([memory.load32(2 ** 32 - 8), memory.load32(2 ** 32 - 4), memory.load32(2 ** 31)], [1, 2, 3]);
  assert.equal(memory.load32(0), 0);
});
