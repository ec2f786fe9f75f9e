import assert from "node:assert/strict";
import { test } from "node:test";
import { ENTRY_BYTES, type EntryFormat } from "../../formats/contract.ts";
import { createSun4uIopte, sun4uIopte } from "../../formats/sun4u-iopte.ts";
import { powernvTce } from "../../formats/tce.ts";
import type { Registers } from "../../machine/contract.ts";
import { createMemory } from "../../machines/software/memory.ts";
import type { PhysicalMemory } from "../../memory/physical-memory.ts";
import type { EntryValue } from "../../table/contract.ts";
import { InvalidArgumentError } from "../../units/errors.ts";
import type { Access } from "../../units/numbers.ts";
import { INVALIDATE_ALL_ABOVE, LinearOps } from "./ops.ts";
import {
  INVALIDATE_ALL,
  INVALIDATE_COUNT,
  INVALIDATE_FIRST,
  INVALIDATE_RESULT,
  RESULT_BUSY,
  RESULT_DONE,
  RESULT_WOULD_BLOCK,
} from "./registers.ts";

const TABLE_ADDRESS = 8192;

/** Registers that write down what they are told. */
class RecordingRegisters implements Registers {
  readonly writes: [number, number][] = [];
  result = RESULT_DONE;
  read32(at: number): number {
    assert.equal(at, INVALIDATE_RESULT);
    return this.result;
  }
  write32(at: number, value: number): void {
    this.writes.push([at, value]);
  }
  read64(): bigint {
    throw new Error("no 64-bit register belongs on this path");
  }
  write64(): void {
    throw new Error("no 64-bit register belongs on this path");
  }
  writeHalves64(): void {
    throw new Error("no 64-bit register belongs on this path");
  }
  readHigh64(): number {
    throw new Error("no 64-bit register belongs on this path");
  }
  readLow64(): number {
    throw new Error("no 64-bit register belongs on this path");
  }
}

interface Fixture {
  readonly memory: PhysicalMemory;
  readonly registers: RecordingRegisters;
  readonly ops: LinearOps;
}

function fixture(format: EntryFormat = powernvTce, pageShift = 12, entries = 2048): Fixture {
  const memory = createMemory(65536);
  const registers = new RecordingRegisters();
  const ops = new LinearOps({ memory, registers, format, pageShift, entries, tableAddress: TABLE_ADDRESS });
  return { memory, registers, ops };
}

function get(ops: LinearOps, entry: number): EntryValue {
  const value: EntryValue = { page: -1, access: 0 };
  ops.get(entry, value);
  return value;
}

function bytesOf(memory: PhysicalMemory, entry: number): number[] {
  const bytes = new Uint8Array(ENTRY_BYTES);
  memory.read(TABLE_ADDRESS + entry * ENTRY_BYTES, bytes);
  return [...bytes];
}

const EMPTY: EntryValue = { page: 0, access: 0 };

test("entries stand in memory as the platform has them, big-endian", () => {
  const tce = fixture();
  assert.equal(tce.ops.set(3, 2, 0x12345, 1), undefined);
  assert.deepEqual(bytesOf(tce.memory, 3), [0, 0, 0, 0, 0x12, 0x34, 0x50, 0x01]);
  assert.deepEqual(bytesOf(tce.memory, 4), [0, 0, 0, 0, 0x12, 0x34, 0x60, 0x01]);
  const iopte = fixture(sun4uIopte, 16);
  assert.equal(iopte.ops.set(0, 1, 0x1234, 2), undefined);
  assert.deepEqual(bytesOf(iopte.memory, 0), [0xa0, 0, 0, 0, 0x12, 0x34, 0, 0x12]);
});

test("set, get and clear agree for runs of every length around a batch, and touch nothing beside them", () => {
  for (const format of [powernvTce, sun4uIopte]) {
    const pageShift = format.pageShifts.at(-1) as number;
    for (const count of [1, 2, 255, 256, 257, 511, 513, 1500]) {
      const { ops } = fixture(format, pageShift);
      assert.equal(ops.set(100, count, 5000, 2), undefined);
      for (const [i, value] of [
        [99, EMPTY],
        [100, { page: 5000, access: 3 }],
        [100 + count - 1, { page: 5000 + count - 1, access: 3 }],
        [100 + count, EMPTY],
      ] as const) {
        assert.deepEqual(get(ops, i), value, `${format.name}, ${count} entries, entry ${i}`);
      }
      ops.set(99, 1, 1, 1);
      ops.set(100 + count, 1, 2, 1);
      ops.clear(100, count);
      for (let i = 100; i < 100 + count; i++) assert.deepEqual(get(ops, i), EMPTY);
      assert.equal(get(ops, 99).page, 1);
      assert.equal(get(ops, 100 + count).page, 2);
      ops.clear(100, count);
    }
  }
});

test("setPages writes an entry for each page of the column, and nothing beside them", () => {
  for (const format of [powernvTce, sun4uIopte]) {
    const { ops } = fixture(format, format.pageShifts.at(-1) as number);
    const pages = Float64Array.from({ length: 300 }, (_, i) => (i * 7919) % 1000);
    assert.equal(ops.setPages(100, pages, 299, 2), undefined);
    for (let i = 0; i < 299; i++) assert.deepEqual(get(ops, 100 + i), { page: pages[i]!, access: 3 });
    assert.deepEqual([get(ops, 99), get(ops, 399)], [EMPTY, EMPTY]);
  }
});

test("setPages with a page that the format can't hold is refused, all or nothing", () => {
  const { ops } = fixture(sun4uIopte, 13);
  for (const bad of [sun4uIopte.largestPage(13) + 1, -1, 0.5, Number.NaN]) {
    for (const at of [0, 1, 299]) {
      const pages = Float64Array.from({ length: 300 }, (_, i) => (i === at ? bad : 1000 - i));
      assert.equal(ops.setPages(0, pages, 300, 3), "platform-refused", `${bad} as page ${at}`);
      for (let i = 0; i < 300; i++) assert.deepEqual(get(ops, i), EMPTY);
    }
  }
  assert.throws(() => ops.setPages(2047, new Float64Array(2), 2, 3), InvalidArgumentError);
  assert.equal(ops.setPages(0, new Float64Array(1), 2, 3), "platform-refused", "a column that is too short");
});

test("a page that the format can't hold is refused, all or nothing", () => {
  const { ops } = fixture(sun4uIopte, 13);
  const largest = sun4uIopte.largestPage(13);
  for (const [count, page] of [
    [1, largest + 1],
    [2, largest],
    [256, largest - 254],
    [1000, largest - 998],
    [1, -1],
    [300, -1],
    [1, 0.5],
    [300, 0.5],
    [1, Number.NaN],
    [300, Number.NaN],
  ] as const) {
    assert.equal(ops.set(0, count, page, 3), "platform-refused", `${count} entries from page ${page}`);
    for (let i = 0; i < count; i++) assert.deepEqual(get(ops, i), EMPTY);
  }
  assert.equal(ops.set(0, 1000, largest - 999, 3), undefined);
  assert.equal(get(ops, 999).page, largest);
});

test("entries beyond the table are refused by every operation, and nothing changes", () => {
  const { ops, memory, registers } = fixture(powernvTce, 12, 100);
  const before = new Uint8Array(memory.bytes);
  memory.read(0, before);
  const wrong: (() => unknown)[] = [
    () => ops.set(100, 1, 1, 3),
    () => ops.set(99, 2, 1, 3),
    () => ops.set(-1, 1, 1, 3),
    () => ops.set(0, 0, 1, 3),
    () => ops.set(Number.NaN, 1, 1, 3),
    () => ops.clear(99, 2),
    () => ops.clear(-1, 1),
    () => ops.clear(5, 0),
    () => ops.get(100, { page: 0, access: 0 }),
    () => ops.exchange(100, 1, 1, { page: 0, access: 0 }),
    () => ops.invalidate(99, 101),
    () => ops.invalidate(5, 5),
  ];
  for (const use of wrong) assert.throws(use, InvalidArgumentError, String(use));
  assert.throws(
    () => ops.set(99, 2, 1, 3),
    /range of entries is \[99, 101\); expected at least one entry in \[0, 100\)/,
  );
  const after = new Uint8Array(memory.bytes);
  memory.read(0, after);
  assert.deepEqual(after, before);
  assert.deepEqual(registers.writes, []);
});

test("exchange gives the old page and access, and a refusal changes nothing", () => {
  for (const format of [powernvTce, sun4uIopte, createSun4uIopte({ context: 5 })]) {
    const pageShift = format.pageShifts[0] as number;
    const { ops } = fixture(format, pageShift);
    const old: EntryValue = { page: -1, access: 3 };
    assert.equal(ops.exchange(7, 1000, 3, old), undefined);
    assert.deepEqual(old, EMPTY);
    assert.equal(ops.exchange(7, 2 ** 28 + 5, 1, old), undefined);
    assert.deepEqual(old, { page: 1000, access: 3 });
    assert.equal(ops.exchange(7, format.largestPage(pageShift) + 1, 1, old), "platform-refused");
    assert.deepEqual(old, { page: 1000, access: 3 });
    assert.deepEqual(get(ops, 7), { page: 2 ** 28 + 5, access: 1 });
    assert.deepEqual(get(ops, 6), EMPTY);
    assert.deepEqual(get(ops, 8), EMPTY);
  }
});

test("an invalidation rings the doorbell of its thread: first, then count; long ranges ring for everything", () => {
  const { ops, registers } = fixture();
  assert.equal(ops.invalidate(5, 8), undefined);
  assert.deepEqual(registers.writes.splice(0), [
    [INVALIDATE_FIRST, 5],
    [INVALIDATE_COUNT, 3],
  ]);
  ops.invalidate(0, INVALIDATE_ALL_ABOVE);
  assert.equal(registers.writes.splice(0).at(-1)?.[0], INVALIDATE_COUNT);
  ops.invalidate(0, INVALIDATE_ALL_ABOVE + 1);
  assert.deepEqual(
    registers.writes.splice(0).map(([at]) => at),
    [INVALIDATE_ALL],
  );
  ops.invalidateAll();
  assert.deepEqual(
    registers.writes.splice(0).map(([at]) => at),
    [INVALIDATE_ALL],
  );
});

test("what the machine could not do is a failure that the caller gets", () => {
  const { ops, registers } = fixture();
  registers.result = RESULT_BUSY;
  assert.equal(ops.invalidate(0, 1), "platform-busy");
  assert.equal(ops.invalidateAll(), "platform-busy");
  registers.result = RESULT_WOULD_BLOCK;
  assert.equal(ops.invalidate(0, 1), "would-block");
  assert.equal(ops.invalidateAll(), "would-block");
});

test("a table that memory can't hold, or of a page size that the format lacks, is refused", () => {
  const memory = createMemory(65536);
  const good = { memory, registers: new RecordingRegisters(), format: powernvTce, pageShift: 12, entries: 512 };
  const refused = (changes: Partial<ConstructorParameters<typeof LinearOps>[0]>, message: RegExp): void => {
    const options = { ...good, tableAddress: 0, ...changes };
    assert.throws(() => new LinearOps(options), message);
    assert.throws(() => new LinearOps(options), InvalidArgumentError);
  };
  refused({ tableAddress: 100 }, /table address is 100; expected a multiple of 4096 from 0 to 61440/);
  refused({ tableAddress: 65536 }, /table address is 65536/);
  refused({ tableAddress: -4096 }, /table address is -4096/);
  refused({ entries: 0 }, /entries of the table is 0/);
  refused({ entries: 8193 }, /a table of 65544 bytes in 65536 of memory/);
  refused({ pageShift: 11 }, /page shift of powernv-tce is 11/);
  refused({ format: sun4uIopte }, /page shift of sun4u-iopte is 12; expected one of 13, 16/);
});

test("random histories of set, clear, exchange and get agree with a plain array", () => {
  const seed = Date.now() & 0x7fffffff;
  console.log(`random histories of linear ops, seed ${seed}`);
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((state / 2 ** 31) * below);
  };
  for (const [format, pageShift] of [
    [powernvTce, 12],
    [powernvTce, 34],
    [sun4uIopte, 13],
    [sun4uIopte, 16],
  ] as const) {
    const { ops } = fixture(format, pageShift);
    const model: EntryValue[] = Array.from({ length: 2048 }, () => ({ ...EMPTY }));
    for (let step = 0; step < 2000; step++) {
      const first = random(2048);
      const count = 1 + random(random(4) === 0 ? 2048 - first : Math.min(8, 2048 - first));
      const access = (1 + random(3)) as Access;
      const page = random(format.largestPage(pageShift) - count + 1);
      switch (random(4)) {
        case 0:
          assert.equal(ops.set(first, count, page, access), undefined);
          for (let i = 0; i < count; i++) model[first + i] = { page: page + i, access: format.grants[access] };
          break;
        case 1:
          ops.clear(first, count);
          model.fill(EMPTY, first, first + count);
          break;
        case 2: {
          const old: EntryValue = { page: -1, access: 0 };
          assert.equal(ops.exchange(first, page, access, old), undefined);
          assert.deepEqual(old, model[first]);
          model[first] = { page, access: format.grants[access] };
          break;
        }
        default:
          assert.deepEqual(get(ops, first), model[first]);
      }
    }
    for (let entry = 0; entry < 2048; entry++) assert.deepEqual(get(ops, entry), model[entry], `seed ${seed}`);
  }
});

for (const [format, pageShift, valid] of [
  [powernvTce, 12, 1],
  [sun4uIopte, 13, 0],
] as const) {
  test(`${format.name}: word ${valid}, which says valid, is stored last when entries are set, and first when they are cleared`, () => {
    const real = createMemory(65536);
    const last: number[] = [];
    const memory = new Proxy(real, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]): unknown => {
          if (name === "storeWords") last.push(args[3] as number);
          return value.apply(target, args);
        };
      },
    });
    const registers = new RecordingRegisters();
    const ops = new LinearOps({ memory, registers, format, pageShift, entries: 2048, tableAddress: TABLE_ADDRESS });
    for (const count of [1, 700]) {
      last.length = 0;
      assert.equal(ops.set(3, count, 5, 3), undefined);
      assert.deepEqual(new Set(last), new Set([valid]));
      last.length = 0;
      ops.clear(3, count);
      // Where the empty entry is a valid one, it has been made not valid before: then it is set like any other.
      assert.deepEqual(new Set(last), new Set([format.emptyIsValid === true ? valid : 1 - valid]));
    }
  });
}
