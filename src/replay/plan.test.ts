import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { parseTrace } from "../trace/parser.ts";
import { type RequestHistory, requestsOf } from "../trace/requests.ts";
import { Arena } from "./arena.ts";
import { deal, type PlanOptions, planReplay } from "./plan.ts";

const traces = new URL("../../../traces/", import.meta.url);
const recorded = (name: string): RequestHistory => {
  const bytes = readFileSync(new URL(name, traces));
  return requestsOf(parseTrace(name.endsWith(".gz") ? gunzipSync(bytes) : bytes));
};
const NAMES = ["nvme-io-612.txt.gz", "fixtures/linux-6.1.txt", "fixtures/e1000e.txt", "fixtures/vfio.txt"];
const options = (changes: Partial<PlanOptions> = {}): PlanOptions => ({
  workers: 2,
  pageShift: 12,
  arenaBytes: 2 ** 28,
  ...changes,
});

describe("CPUs are dealt to workers", () => {
  test("so that loads are even", () => {
    const loads = new Map([
      [0, 3703],
      [1, 5926],
      [2, 2395],
      [3, 717],
    ]);
    assert.deepEqual(deal(loads, 2), [
      [1, 3],
      [0, 2],
    ]);
    assert.deepEqual(deal(loads, 4), [[1], [0], [2], [3]]);
  });

  test("again, when there are more workers: each plays the history as a device of its own", () => {
    assert.deepEqual(deal(new Map([[7, 1]]), 3), [[7], [7], [7]]);
    const plan = planReplay(recorded("fixtures/linux-6.1.txt"), options({ workers: 3 }));
    assert.deepEqual(
      plan.workers.map(({ cpus }) => cpus),
      [[0], [0], [0]],
    );
    assert.equal(plan.peakEntries, 3 * (plan.workers[0]?.peakEntries as number));
  });
});

describe("a plan", () => {
  for (const name of NAMES) {
    for (const workers of [1, 2]) {
      test(`of ${name} for ${workers} maps and unmaps each request once, with its pieces' sizes`, () => {
        const history = recorded(name);
        const plan = planReplay(history, options({ workers }));
        const sizes: number[] = [];
        for (const part of plan.workers) {
          const state = new Uint8Array(part.requests);
          for (const operation of part.operations) {
            const request = Math.abs(operation) - 1;
            assert.equal(state[request], operation > 0 ? 0 : 1);
            state[request] = operation > 0 ? 1 : 2;
          }
          assert.deepEqual(state, new Uint8Array(part.requests).fill(2), "a pass ends with nothing mapped");
          for (const [i, bytes] of part.elementBytes.entries()) {
            sizes.push(bytes);
            assert.ok((part.elementAddress[i] as number) + bytes <= part.arenaBytes);
          }
        }
        const total = (values: Iterable<number>): number => [...values].reduce((a, b) => a + b, 0);
        if (workers <= plan.cpus.length) assert.equal(total(sizes), total(history.elementBytes));
      });
    }
  }

  test("keeps the order of the trace within a worker", () => {
    const history = recorded("nvme-io-612.txt.gz");
    const plan = planReplay(history, options({ workers: 1 }));
    const played = plan.workers[0]?.operations.subarray(0, history.operations.length);
    assert.deepEqual(played, history.operations);
  });

  test("computes the most pages live at one time: 257 in nvme-io-612", () => {
    const plan = planReplay(recorded("nvme-io-612.txt.gz"), options({ workers: 1 }));
    assert.deepEqual([plan.workers[0]?.peakEntries, plan.workers[0]?.longestEntries], [257, 32]);
  });

  test("counts in the table's pages", () => {
    const plan = planReplay(recorded("nvme-io-612.txt.gz"), options({ workers: 1, pageShift: 16 }));
    // A list of 32 scattered pages of 4 KiB needs 32 of 64 KiB; a contiguous piece of 128 KiB two or three.
    assert.equal(plan.workers[0]?.longestEntries, 32);
    assert.ok((plan.workers[0]?.peakEntries as number) < 257);
  });

  test("tells which unmaps another CPU, and another worker, did in the recording", () => {
    const history = recorded("fixtures/e1000e.txt");
    const one = planReplay(history, options({ workers: 1 }));
    assert.equal(one.crossCpuUnmaps, history.counts.crossCpuUnmaps);
    assert.equal(one.crossWorkerUnmaps, 0);
  });

  test("of many requests lets them share scatterlists, never two live ones", () => {
    const history = recorded("nvme-io-612.txt.gz");
    const times = Math.ceil(17_000 / history.length);
    const plan = planReplay(repeated(history, times), options({ workers: 1 }));
    const part = plan.workers[0];
    assert.ok(part !== undefined && part.requests > 16_384);
    assert.ok(part.slotCapacity.length < 300, `${part.slotCapacity.length} lists`);
    const holder = new Map<number, number>();
    for (const operation of part.operations) {
      const request = Math.abs(operation) - 1;
      const slot = part.slot[request] as number;
      assert.ok((part.slotCapacity[slot] as number) >= (part.elementCount[request] as number));
      assert.equal(holder.get(slot), operation > 0 ? undefined : request);
      if (operation > 0) holder.set(slot, request);
      else holder.delete(slot);
    }
  });

  test("of nothing is refused", () => {
    assert.throws(
      () => planReplay(requestsOf(parseTrace(new Uint8Array(0))), options()),
      /requests of the trace is 0; expected at least one mapping/,
    );
  });
});

/** The same history several times, one after the other. */
function repeated(history: RequestHistory, times: number): RequestHistory {
  const all = <T extends { length: number }>(column: T, from: (values: number[]) => T): T =>
    from(Array.from({ length: times }, () => [...(column as unknown as number[])]).flat());
  const int32 = (column: Int32Array): Int32Array => all(column, (values) => Int32Array.from(values));
  return {
    ...history,
    length: history.length * times,
    cpu: int32(history.cpu),
    unmapCpu: int32(history.unmapCpu),
    device: int32(history.device),
    access: all(history.access, (values) => Uint8Array.from(values)),
    line: int32(history.line),
    elementFirst: int32(history.elementFirst),
    elementCount: int32(history.elementCount),
    operations: Int32Array.from(
      Array.from({ length: times }, (_, time) =>
        [...history.operations].map((o) => o + Math.sign(o) * time * history.length),
      ).flat(),
    ),
  };
}

describe("the arena", () => {
  const placed = (arena: Arena, address: number, bytes: number): (readonly [number, number])[] => {
    const addresses: number[] = [];
    const lengths: number[] = [];
    arena.place(address, bytes, addresses, lengths);
    return addresses.map((at, i) => [at, lengths[i] as number] as const);
  };

  test("moves used pages together, and keeps contiguity, offsets and sharing", () => {
    const arena = new Arena(12, 2 ** 20);
    arena.note(0x9000_0200, 512);
    arena.note(0x5000, 8192);
    arena.note(0x6000, 8192);
    arena.settle();
    assert.equal(arena.bytes, 4 * 4096);
    assert.deepEqual(placed(arena, 0x5000, 8192), [[0, 8192]]);
    assert.deepEqual(placed(arena, 0x6000, 8192), [[0x1000, 8192]]);
    assert.deepEqual(placed(arena, 0x9000_0200, 512), [[0x3200, 512]]);
  });

  test("folds addresses beyond its size, and never crosses its end", () => {
    const arena = new Arena(12, 16 * 4096);
    const pieces = Array.from({ length: 100 }, (_, i) => [i * 0x1_0000_1000 + 0x10, 3 * 4096 + i] as const);
    for (const [address, bytes] of pieces) arena.note(address, bytes);
    arena.settle();
    assert.equal(arena.bytes, 16 * 4096);
    for (const [address, bytes] of pieces) {
      const [[at, length]] = placed(arena, address, bytes) as [readonly [number, number]];
      assert.equal(length, bytes);
      assert.equal(at % 4096, address % 4096);
      assert.ok(at >= 0 && at + bytes <= arena.bytes, `${at} + ${bytes}`);
    }
  });

  test("takes a piece longer than itself in parts", () => {
    const arena = new Arena(12, 2 * 4096);
    arena.note(0x10_0800, 5 * 4096);
    arena.settle();
    const parts = placed(arena, 0x10_0800, 5 * 4096);
    assert.equal(
      parts.reduce((sum, [, bytes]) => sum + bytes, 0),
      5 * 4096,
    );
    for (const [at, bytes] of parts) assert.ok(at >= 0 && at + bytes <= arena.bytes, `${at} + ${bytes}`);
    assert.deepEqual(parts[0], [0x800, 2 * 4096 - 0x800]);
  });

  test("keeps the place inside a larger IO page", () => {
    const arena = new Arena(16, 2 ** 24);
    arena.note(0x1234_5000, 4096);
    arena.settle();
    assert.deepEqual(placed(arena, 0x1234_5000, 4096), [[0x5000, 4096]]);
  });
});
