/** Memory that a program brings along: regions of its own shared buffers, with holes between them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { peek, poke } from "../shared/memory.ts";
import { FormatError, InvalidArgumentError } from "../units/errors.ts";
import { PhysicalMemory } from "./physical-memory.ts";
import { checkedRegions, type MemoryRegion, Regions, type RegionView } from "./regions.ts";

const seed = Date.now() & 0x7fffffff;
const GIB4 = 2 ** 32;

declare const WebAssembly: {
  Memory: new (options: {
    initial: number;
    maximum?: number;
    shared?: boolean;
  }) => { readonly buffer: ArrayBufferLike; grow(pages: number): number };
};

/** [0, 0x2000) in two buffers, a hole, [0x8000, 0x9000), a hole, one page above 4 GiB. */
function withHoles(): PhysicalMemory {
  return PhysicalMemory.of([
    { address: GIB4, buffer: new SharedArrayBuffer(4096) },
    { address: 0, buffer: new SharedArrayBuffer(4096) },
    { address: 0x8000, buffer: new SharedArrayBuffer(8192), offset: 4096 },
    { address: 0x1000, buffer: new SharedArrayBuffer(12288), offset: 4, bytes: 4096 },
  ]);
}
const HOLES = "[0x0, 0x2000), [0x8000, 0x9000), [0x100000000, 0x100001000)";

function bytesAt(memory: PhysicalMemory, at: number, length: number): number[] {
  const into = new Uint8Array(length);
  memory.read(at, into);
  return [...into];
}

test("the bytes of a region are those of its buffer, from its offset on", () => {
  const buffer = new SharedArrayBuffer(3 * 4096);
  const memory = PhysicalMemory.of([{ address: GIB4, buffer, offset: 4096 }]);
  memory.write(GIB4 + 1, Uint8Array.of(1, 2, 3));
  memory.store32(GIB4 + 4, 0x89abcdef);
  assert.deepEqual([...new Uint8Array(buffer, 4096, 8)], [0, 1, 2, 3, 0xef, 0xcd, 0xab, 0x89]);
  assert.equal(memory.load32(GIB4 + 4), 0x89abcdef);
  assert.equal(memory.bytes, GIB4 + 8192);
});

test("every kind of access works in each region, in any order of the regions", () => {
  const memory = withHoles();
  for (const at of [0x8ffc, 0, GIB4 + 0xffc, 0x1ffc, 0x1000, GIB4]) {
    memory.store32(at, at + 7);
    assert.equal(memory.load32(at), (at + 7) % GIB4);
    assert.equal(memory.compareExchange32(at, (at + 7) % GIB4, 0xfffffffe), (at + 7) % GIB4);
    assert.equal(memory.compareExchange32(at, 1, 2), 0xfffffffe);
    assert.deepEqual(bytesAt(memory, at, 4), [0xfe, 0xff, 0xff, 0xff]);
  }
  memory.fence();
});

test("bytes, and runs of words, cross from a region to the adjacent one", () => {
  for (const last of [0, 1] as const) {
    const memory = withHoles();
    memory.write(0xffe, Uint8Array.of(1, 2, 3, 4));
    assert.deepEqual(bytesAt(memory, 0xffd, 6), [0, 1, 2, 3, 4, 0]);
    memory.clear(0xfff, 2);
    assert.deepEqual(bytesAt(memory, 0xffd, 6), [0, 1, 0, 0, 4, 0]);
    memory.storeWords(0xff4, Uint32Array.of(1, 2, 3, 4, 5, 6, 99), 6, last);
    assert.deepEqual(
      [0xff0, 0xff4, 0xff8, 0xffc, 0x1000, 0x1004, 0x1008, 0x100c].map((at) => memory.load32(at)),
      [0, 1, 2, 3, 4, 5, 6, 0],
    );
  }
});

test("an access that is not wholly in memory throws with address, length and regions, and changes nothing", () => {
  const memory = withHoles();
  const words = new Uint32Array(4).fill(1);
  const ones = new Uint8Array(8).fill(1);
  const refused = (access: () => void, what: string, expected = ""): void => {
    const message = `physical address of ${what}; expected ${expected}all bytes in ${HOLES}`;
    assert.throws(access, { name: "InvalidArgumentError", message });
  };
  refused(() => memory.read(0x1ffc, ones), "8 bytes is 0x1ffc");
  refused(() => memory.write(0x1ffc, ones), "8 bytes is 0x1ffc");
  refused(() => memory.write(0x7fff, ones), "8 bytes is 0x7fff");
  refused(() => memory.clear(0x8ff9, 8), "8 bytes is 0x8ff9");
  refused(() => memory.read(GIB4 + 4089, ones), "8 bytes is 0x100000ff9");
  refused(() => memory.read(-1, ones), "8 bytes is -1");
  refused(() => memory.read(0.5, ones), "8 bytes is 0.5");
  refused(() => memory.load32(0x2000), "4 bytes is 0x2000");
  refused(() => memory.store32(0x7ffc, 1), "4 bytes is 0x7ffc");
  refused(() => memory.compareExchange32(GIB4 + 4096, 0, 1), "4 bytes is 0x100001000");
  refused(() => memory.storeWords(0x1ff8, words, 4, 0), "16 bytes is 0x1ff8");
  refused(() => memory.storeWords(0x7ffc, words, 2, 1), "8 bytes is 0x7ffc");
  refused(() => memory.load32(2), "4 bytes is 0x2", "a multiple of 4 with ");
  refused(() => memory.load32(Number.NaN), "4 bytes is NaN", "a multiple of 4 with ");
  refused(() => memory.storeWords(0x1006, words, 2, 0), "8 bytes is 0x1006", "a multiple of 4 with ");
  assert.throws(() => memory.storeWords(0, words, 3, 0), /count of words is 3; expected an even number from 0 to 4/);
  for (const at of [0, 0x1000, 0x8000, GIB4]) assert.ok(bytesAt(memory, at, 4096).every((byte) => byte === 0));
});

test("random accesses answer as one array of bytes does, whose holes refuse", (t) => {
  t.diagnostic(`seed ${seed}`);
  const MEMORY = 0x9000;
  const isMemory = (at: number, bytes: number): boolean =>
    at >= 0 && (at + bytes <= 0x2000 || (at >= 0x8000 && at + bytes <= MEMORY));
  const at = fc.oneof(
    fc.constantFrom(0, 0xff8, 0xffc, 0x1000, 0x1ff8, 0x1ffc, 0x2000, 0x7ffc, 0x8000, 0x8ff8, MEMORY),
    fc.integer({ min: 0, max: MEMORY / 4 }).map((word) => word * 4),
  );
  const step = fc.record({ at, words: fc.integer({ min: 0, max: 3 }), what: fc.integer({ min: 0, max: 4 }) });
  const run = (steps: { at: number; words: number; what: number }[]): void => {
    const memory = withHoles();
    const model = new Uint8Array(MEMORY + 64);
    steps.forEach(({ at: address, words, what }, i) => {
      const bytes = what === 0 || what === 3 ? 4 : words * 8;
      const view = new DataView(model.buffer);
      const isRight = bytes === 0 || isMemory(address, bytes);
      const act = (): unknown => {
        if (what === 0) return memory.store32(address, i);
        if (what === 1) return memory.storeWords(address, new Uint32Array(6).fill(i), words * 2, 1);
        if (what === 2) return memory.write(address, new Uint8Array(bytes).fill(i));
        if (what === 3) return assert.equal(memory.load32(address), view.getUint32(address, true));
        return assert.deepEqual(bytesAt(memory, address, bytes), [...model.subarray(address, address + bytes)]);
      };
      if (!isRight) assert.throws(act, InvalidArgumentError);
      // No bytes in a hole may be refused or not.
      if (!isRight || bytes === 0) return;
      act();
      for (let b = 0; what < 2 && b < bytes; b += 4) view.setUint32(address + b, i, true);
      if (what === 2) model.fill(i, address, address + bytes);
    });
  };
  fc.assert(fc.property(fc.array(step, { maxLength: 30 }), run), { seed, numRuns: 300 });
});

test("another thread's view, from the posted handle, is the same memory", () => {
  const memory = withHoles();
  const other = PhysicalMemory.attach(structuredClone(memory.handle));
  other.store32(GIB4 + 8, 77);
  assert.equal(memory.load32(GIB4 + 8), 77);
  assert.equal(other.bytes, memory.bytes);
  for (const foreign of [
    undefined,
    {},
    { regions: [] },
    { regions: [{ address: 1, buffer: new SharedArrayBuffer(4096) }] },
  ]) {
    assert.throws(() => PhysicalMemory.attach(foreign as never), FormatError, JSON.stringify(foreign));
  }
  assert.throws(() => PhysicalMemory.attach(memory as never), /post its `.handle`/);
});

test("a WebAssembly.Memory that is shared is memory; when it grows, regions keep their size and their bytes", () => {
  const wasm = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
  const memory = PhysicalMemory.of([{ address: 0, buffer: wasm }]);
  assert.equal(memory.bytes, 65536);
  wasm.grow(1);
  memory.store32(65532, 5);
  assert.equal(new Int32Array(wasm.buffer)[65532 / 4], 5);
  assert.throws(() => memory.load32(65536), InvalidArgumentError);
  assert.equal(PhysicalMemory.of([{ address: 0, buffer: wasm }]).bytes, 131072, "a view made afterwards has all of it");
});

test("one thread's view does not show memory at and above the end of `below`", () => {
  const memory = withHoles().below(0x8000);
  assert.equal(memory.bytes, 0x2000);
  assert.equal(withHoles().below(0x1000).bytes, 0x1000);
  assert.throws(() => memory.load32(0x8000), /all bytes in \[0x0, 0x2000\)$/);
});

test("`has` tells memory from holes", () => {
  const memory = withHoles();
  const asked: readonly (readonly [number, number])[] = [
    [0, 0x2000],
    [0xfff, 2],
    [0x8000, 0x1000],
    [GIB4, 1],
    [0x1fff, 2],
    [0x2000, 1],
    [0x7fff, 2],
    [GIB4, 4097],
    [-1, 1],
    [0.5, 1],
    [Number.NaN, 1],
  ];
  assert.deepEqual(
    asked.map(([at, bytes]) => memory.has(at, bytes)),
    [true, true, true, true, false, false, false, false, false, false, false],
  );
});

test("a region too long for one view is divided, and named as one", () => {
  const regions = new Regions(checkedRegions([{ address: 4096, buffer: new SharedArrayBuffer(12288) }]), 8192);
  assert.deepEqual(
    regions.all.map(({ address, end }) => [address, end]),
    [
      [4096, 12288],
      [12288, 16384],
    ],
  );
  assert.equal(String(regions), "[0x1000, 0x4000)");
  assert.equal(regions.find(12287)?.end, 12288);
  assert.equal(regions.find(12288)?.end, 16384);
  assert.deepEqual([regions.hasAll(4096, 12288), regions.hasAll(12287, 4098)], [true, false]);
  poke((regions.all[1] as RegionView).words, 1, 7);
  assert.equal(peek((regions.all[1] as RegionView).words, 1), 7);
});

const NOT_SHARED = "expected a SharedArrayBuffer, or a WebAssembly.Memory made with `shared: true`";

test("wrong buffers and wrong lists of regions are refused, with the mistake", () => {
  const of = (buffer: unknown) => () => PhysicalMemory.of([{ address: 0, buffer: buffer as SharedArrayBuffer }]);
  const refused = (act: () => unknown, message: string): void =>
    assert.throws(act, { name: "InvalidArgumentError", message });
  const unshared = new WebAssembly.Memory({ initial: 1 });
  refused(of(new ArrayBuffer(4096)), `buffer of memory region 0 is an ArrayBuffer; ${NOT_SHARED}`);
  refused(of(unshared), `buffer of memory region 0 is a Memory whose buffer is not shared; ${NOT_SHARED}`);
  refused(
    of(new Uint8Array(new SharedArrayBuffer(8192), 4096)),
    `buffer of memory region 0 is a Uint8Array; ${NOT_SHARED}`,
  );
  refused(of({}), `buffer of memory region 0 is an object; ${NOT_SHARED}`);
  refused(of(undefined), `buffer of memory region 0 is undefined; ${NOT_SHARED}`);
  const list = "expected an array of at least one region";
  refused(() => PhysicalMemory.of([]), `list of memory regions is empty; ${list}`);
  refused(() => PhysicalMemory.of(undefined as never), `list of memory regions is undefined; ${list}`);
  refused(() => PhysicalMemory.of({} as never), `list of memory regions is an object; ${list}`);
  refused(() => PhysicalMemory.of([7 as never]), "options of memory region 0 is 7; expected an object");
});

test("regions that overlap, are empty, too large, not aligned or misspelt are refused with what is wrong", () => {
  const buffer = new SharedArrayBuffer(8192);
  const refused = (regions: readonly object[], message: string): void =>
    assert.throws(() => PhysicalMemory.of(regions as MemoryRegion[]), { name: "InvalidArgumentError", message });
  const address = "expected a multiple of 4096 from 0 on";
  const size = (found: number, most: number, from = 0): string =>
    `size of memory region 0 in bytes is ${found}; expected a multiple of 4096 from 4096 to ${most}, what its buffer has from byte ${from} on`;
  refused([{ address: 100, buffer }], `address of memory region 0 is 100; ${address}`);
  refused([{ address: 0n, buffer }], `address of memory region 0 is 0n; ${address}`);
  refused([{ buffer }], `address of memory region 0 is undefined; ${address}`);
  refused(
    [{ address: 0, buffer, offset: 2 }],
    "offset of memory region 0 is 2; expected a multiple of 4 from 0 to 8192",
  );
  refused([{ address: 0, buffer, bytes: 0 }], size(0, 8192));
  refused([{ address: 0, buffer, offset: 4, bytes: 8192 }], size(8192, 8188, 4));
  refused([{ address: 0, buffer: new SharedArrayBuffer(0) }], size(0, 0));
  refused([{ address: 0, buffer: new SharedArrayBuffer(5000) }], size(5000, 5000));
  refused([{ address: 2 ** 53 - 4096, buffer }], size(8192, 4095));
  refused(
    [
      { address: 4096, buffer },
      { address: 0, buffer },
    ],
    "pair of memory regions is [0x0, 0x2000) and [0x1000, 0x3000); expected two that do not overlap",
  );
  const keys = "expected one of address, buffer, offset, bytes; did you mean buffer?";
  refused([{ address: 0, buffer, bufer: 1 }], `option of memory region 0 is "bufer"; ${keys}`);
});
