/** Pools of small coherent blocks, on the software machine. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FreeError, InvalidArgumentError, IovaError } from "../units/errors.ts";
import type { CoherentMemory } from "./contract.ts";
import { DmaDevice } from "./device.ts";
import { DmaPool, DmaPoolCorruption, type DmaPoolOptions } from "./dma-pool.ts";
import { got, type SetUp, setUp } from "./set-up.model.ts";

const seed = Date.now() & 0x7fffffff;

function poolOf(machine: SetUp, options: DmaPoolOptions): DmaPool {
  return new DmaPool(new DmaDevice(machine.table, {}, machine.withCoherent), machine.memory, options);
}

test("blocks are zeroed, aligned, cross no boundary and no other block, in any order of use", (t) => {
  t.diagnostic(`seed ${seed}`);
  const cases = fc.record({
    blockBytes: fc.integer({ min: 1, max: 6000 }),
    alignmentLog2: fc.integer({ min: 0, max: 13 }),
    boundaryLog2: fc.option(fc.integer({ min: 0, max: 14 }), { nil: undefined }),
    debug: fc.boolean(),
    steps: fc.array(fc.integer({ min: 0, max: 2 ** 30 }), { maxLength: 60 }),
  });
  fc.assert(
    fc.property(cases, ({ blockBytes, alignmentLog2, boundaryLog2, debug, steps }) => {
      const machine = setUp({ entries: 256 });
      const alignment = 2 ** alignmentLog2;
      const boundary =
        boundaryLog2 === undefined ? undefined : Math.max(2 ** boundaryLog2, 2 ** Math.ceil(Math.log2(blockBytes)));
      const options = { blockBytes, alignment, debug, ...(boundary === undefined ? {} : { boundary }) };
      const pool = poolOf(machine, options);
      const live: CoherentMemory[] = [];
      for (const step of steps) {
        if (step % 3 === 0 && live.length > 0) {
          pool.free(live.splice(step % live.length, 1)[0]!);
          continue;
        }
        const block = pool.allocate();
        if (typeof block === "string") continue;
        assert.equal(block.bytes, blockBytes);
        assert.ok(machine.seen(block.iova, blockBytes)?.equals(Buffer.alloc(blockBytes)), "zeros");
        for (const address of [BigInt(block.address), block.iova as bigint]) {
          assert.equal(address % BigInt(alignment), 0n, "alignment");
          if (boundary === undefined) continue;
          const last = address + BigInt(blockBytes) - 1n;
          assert.equal(address / BigInt(boundary), last / BigInt(boundary), "boundary");
        }
        for (const other of live) {
          const apart = other.address + blockBytes <= block.address || block.address + blockBytes <= other.address;
          assert.ok(apart, "blocks overlap");
        }
        assert.ok(machine.nic.dmaWrite(block.iova, Buffer.alloc(blockBytes, 9)));
        live.push(block);
        assert.equal(pool.blocksInUse, live.length);
      }
      for (const block of live) pool.free(block);
      assert.equal(pool.destroy(), undefined);
      machine.assertNothingLeft();
      machine.machine.close();
    }),
    { seed, includeErrorInReport: true, numRuns: 60 },
  );
});

test("a page is cut into as many blocks as go into it", () => {
  const machine = setUp({ entries: 8 });
  for (const [options, blocks] of [
    [{ blockBytes: 64 }, 64],
    [{ blockBytes: 64, alignment: 128 }, 32],
    [{ blockBytes: 96, boundary: 256 }, 32],
    [{ blockBytes: 4096 }, 1],
    [{ blockBytes: 100, alignment: 8192 }, 1],
  ] as const) {
    const pool = poolOf(machine, options);
    const taken = Array.from({ length: blocks }, () => got(pool.allocate()));
    const pages = machine.pages.takenPages;
    const more = got(pool.allocate());
    assert.equal(machine.pages.takenPages, 2 * pages, `${JSON.stringify(options)}: one more takes more memory`);
    for (const block of [...taken, more]) pool.free(block);
    assert.equal(pool.destroy(), undefined);
  }
  machine.assertNothingLeft();
  machine.machine.close();
});

test("wrong frees throw and change nothing", () => {
  const machine = setUp();
  const pool = poolOf(machine, { blockBytes: 64 });
  const other = poolOf(machine, { blockBytes: 64 });
  const block = got(pool.allocate());
  const foreign = got(other.allocate());
  const wrong = (code: string) => (error: unknown) => error instanceof FreeError && error.code === code;
  assert.throws(() => pool.free(foreign), wrong("out-of-range"));
  assert.throws(() => pool.free({ ...block, iova: block.iova + 1n }), wrong("not-allocated"));
  assert.throws(() => pool.free({ ...block, bytes: 63 }), wrong("wrong-length"));
  assert.throws(() => pool.free({ ...block, address: block.address + 64 }), wrong("wrong-owner"));
  assert.equal(pool.blocksInUse, 1);
  pool.free(block);
  assert.throws(() => pool.free(block), wrong("not-allocated"));
  const never = { ...block, iova: block.iova + 64n, address: block.address + 64 };
  assert.throws(() => pool.free(never), wrong("not-allocated"));
  assert.equal(pool.blocksInUse, 0);
  // The double free did not put the block in the pool twice.
  assert.notEqual(got(pool.allocate()).iova, got(pool.allocate()).iova);
  machine.machine.close();
});

test("in debug mode a write to a free block is found when it is handed out, and the block is not used again", () => {
  const machine = setUp();
  const pool = poolOf(machine, { blockBytes: 64, debug: true });
  const block = got(pool.allocate());
  pool.free(block);
  machine.nic.dmaWrite(block.iova + 17n, Buffer.from([0x42]));
  assert.throws(
    () => pool.allocate(),
    (error) => {
      assert.ok(error instanceof DmaPoolCorruption && error instanceof IovaError);
      const { address, offset, expected, found, code } = error;
      assert.deepEqual(
        { address, offset, expected, found, code },
        {
          address: block.address,
          offset: 17,
          expected: 0xdb,
          found: 0x42,
          code: "dma-pool-corruption",
        },
      );
      assert.match(error.message, /free block of the pool at 0x[0-9a-f]+: byte 17 is 0x42; expected 0xdb/);
      return true;
    },
  );
  const next = got(pool.allocate());
  assert.notEqual(next.iova, block.iova);
  pool.free(next);
  assert.equal(pool.destroy(), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("in debug mode a write past the end of a block is found when it is freed, where blocks are not side by side", () => {
  const machine = setUp();
  const pool = poolOf(machine, { blockBytes: 60, alignment: 64, debug: true });
  const block = got(pool.allocate());
  const last = Array.from({ length: 63 }, () => got(pool.allocate())).at(-1)!;
  for (const victim of [block, last]) {
    machine.nic.dmaWrite(victim.iova, Buffer.alloc(61, 7));
    assert.throws(() => pool.free(victim), {
      name: "DmaPoolCorruption",
      address: victim.address,
      offset: 60,
      expected: 0xdc,
      found: 7,
    });
  }
  assert.equal(pool.blocksInUse, 62);
  machine.machine.close();
});

test("destroy refuses while blocks are in use, and says which", () => {
  const machine = setUp();
  const pool = poolOf(machine, { blockBytes: 64 });
  const blocks = [1, 2, 3].map(() => got(pool.allocate()));
  pool.free(blocks[0]!);
  const inUse = new RegExp(`2 blocks in use, one at 0x${blocks[1]!.address.toString(16)}$`);
  assert.throws(
    () => pool.destroy(),
    (error) => error instanceof IovaError && error.code === "dma-pool-in-use" && inUse.test(error.message),
  );
  pool.free(blocks[1]!);
  pool.free(blocks[2]!);
  assert.equal(pool.destroy(), undefined);
  machine.assertNothingLeft();
  for (const use of [() => pool.allocate(), () => pool.free(blocks[0]!), () => pool.destroy()]) {
    assert.throws(use, { code: "dma-pool-destroyed" });
  }
  machine.machine.close();
});

test("a pool that can't grow says why, and can be used on", () => {
  const machine = setUp({ pagesBytes: 4096 });
  const pool = poolOf(machine, { blockBytes: 2048 });
  const [first, second] = [got(pool.allocate()), got(pool.allocate())];
  assert.equal(pool.allocate(), "out-of-memory");
  pool.free(first);
  assert.equal(got(pool.allocate()).iova, first.iova);
  pool.free(first);
  pool.free(second);
  assert.equal(pool.destroy(), undefined);
  machine.assertNothingLeft();
  machine.machine.close();
});

test("options out of range are refused", () => {
  const machine = setUp();
  for (const options of [
    { blockBytes: 0 },
    { blockBytes: 1.5 },
    { blockBytes: 64, alignment: 48 },
    { blockBytes: 64, alignment: 0 },
    { blockBytes: 64, boundary: 32 },
    { blockBytes: 64, boundary: 100 },
  ]) {
    assert.throws(() => poolOf(machine, options), InvalidArgumentError, JSON.stringify(options));
  }
  machine.machine.close();
});

test("in debug mode a write past the end is found whatever the size and alignment of blocks (review of 2026-11-30, B4)", () => {
  const shapes = [
    [64, 64],
    [64, 1],
    [60, 1],
    [60, 64],
    [256, 256],
    [4096, 4096],
    [4096, 1],
    [1, 1],
  ] as const;
  for (const [blockBytes, alignment] of shapes) {
    const machine = setUp({ entries: 256 });
    const pool = poolOf(machine, { blockBytes, alignment, debug: true });
    for (let i = 0; i < 3; i++) {
      const block = got(pool.allocate());
      assert.equal(block.address % alignment, 0);
      machine.memory.write(block.address + blockBytes, Uint8Array.of(1));
      assert.throws(() => pool.free(block), { name: "DmaPoolCorruption", offset: blockBytes });
    }
  }
});
