import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DmaDevice } from "../dma/device.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import { ModelTable } from "../dma/table.model.ts";
import type { DmaMaster } from "../machine/contract.ts";
import { createMemory } from "../machines/software/memory.ts";
import type { PhysicalMemory } from "../memory/physical-memory.ts";
import { PAGES_CHECKED, TranslationChecker } from "./check.ts";
import type { WorkerPlan } from "./plan.ts";
import { Player, SAMPLE_EVERY } from "./player.ts";

const BASE = 0x1_0000_0000n;
const modelTable = (entries = 64): ModelTable => new ModelTable({ base: BASE, pageShift: 12, entries });

/** A device that translates by the model's entries; `lie` changes what it moves. */
class PlainDevice implements DmaMaster {
  readonly name = "plain";
  readonly table: ModelTable;
  readonly memory: PhysicalMemory;
  lie: "" | "read" | "write" | "refuse" = "";
  reads = 0;
  writes = 0;

  constructor(table: ModelTable, memory: PhysicalMemory) {
    this.table = table;
    this.memory = memory;
  }
  #address(iova: bigint): number {
    const entry = this.table.entries[Number((iova - BASE) >> 12n)];
    assert.ok(entry !== undefined && entry.state === "live", `DMA to 0x${iova.toString(16)}, which is not mapped`);
    return entry.page * 4096 + Number(iova & 4095n);
  }
  dmaRead(iova: bigint, into: Uint8Array): boolean {
    this.reads++;
    this.memory.read(this.#address(iova), into);
    if (this.lie === "read") into[0] = (into[0] as number) ^ 1;
    return this.lie !== "refuse";
  }
  dmaWrite(iova: bigint, from: Uint8Array): boolean {
    this.writes++;
    const last = this.lie === "write" ? from.map((byte, i) => (i === from.length - 1 ? byte ^ 1 : byte)) : from;
    this.memory.write(this.#address(iova), last);
    return this.lie !== "refuse";
  }
}

function mapped(pieces: readonly (readonly [address: number, bytes: number])[], access: 1 | 2 | 3) {
  const table = modelTable();
  const memory = createMemory(2 ** 20);
  const device = new PlainDevice(table, memory);
  const list = new ScatterList(pieces.length);
  for (const [address, bytes] of pieces) list.addNumber(address, bytes);
  assert.equal(new DmaDevice(table, { maxSegmentBytes: 2 ** 32 - 1 }).mapSg(list, access), undefined);
  return { device, list, checker: new TranslationChecker(device, memory, 12) };
}

describe("a translation is checked", () => {
  for (const [access, reads, writes] of [
    [1, 4, 0],
    [2, 0, 4],
    [3, 4, 4],
  ] as const) {
    test(`in the directions that access ${access} permits, at up to ${PAGES_CHECKED} pages`, () => {
      const { device, list, checker } = mapped([[0x3000, 8 * 4096]], access);
      checker.checkEnds(list, access);
      checker.checkBetween(list, access);
      assert.deepEqual(
        [device.reads, device.writes, checker.checked, checker.wrong],
        [reads, writes, PAGES_CHECKED, 0],
      );
    });
  }

  test("at every page in between, in the course of time", () => {
    const { device, list, checker } = mapped([[0x3000, 8 * 4096]], 1);
    const seen = new Set<bigint>();
    const { dmaRead } = device;
    device.dmaRead = (iova, into) => {
      seen.add(iova);
      return dmaRead.call(device, iova, into);
    };
    for (let i = 0; i < 12; i++) checker.checkBetween(list, 1);
    assert.deepEqual(
      [...seen].toSorted(),
      Array.from({ length: 6 }, (_, i) => BASE + BigInt(i + 1) * 4096n),
    );
    assert.equal(checker.checked, 24);
  });

  test("at the very first and the very last byte of pieces that are no whole pages", () => {
    const { list, checker } = mapped(
      [
        [0x3ff8, 8],
        [0x5010, 100],
        [0x8000, 1],
      ],
      3,
    );
    checker.checkEnds(list, 3);
    assert.deepEqual([checker.checked, checker.wrong], [2, 0]);
  });

  for (const [lie, access, message] of [
    ["read", 1, /^a read of bus address 0x10000[0-9a-f]{4} did not reach memory at 0x3000$/],
    ["write", 2, /^a write to bus address/],
    ["write", 3, /^a write to bus address/],
    ["refuse", 1, /^a read of/],
    ["refuse", 2, /^a write to/],
  ] as const) {
    test(`and wrong when the device ${lie === "refuse" ? "is refused" : `${lie}s something else`}, with access ${access}`, () => {
      const { device, list, checker } = mapped([[0x3000, 4096]], access);
      device.lie = lie;
      checker.checkEnds(list, access);
      checker.checkBetween(list, access);
      assert.equal(checker.wrong, checker.checked);
      assert.match(checker.firstWrong, message);
    });
  }
});

/** Two requests that share one list, and one of its own; every request mapped and unmapped once a pass. */
const PLAN: WorkerPlan = {
  cpus: [0],
  requests: 3,
  operations: Int32Array.of(1, 3, -1, 2, -2, -3),
  access: Uint8Array.of(3, 3, 3),
  elementFirst: Int32Array.of(0, 1, 3),
  elementCount: Int32Array.of(1, 2, 1),
  elementAddress: Float64Array.of(0x1000, 0x3000, 0x7000, 0x9000),
  elementBytes: Uint32Array.of(4096, 4096, 8192, 512),
  slot: Int32Array.of(0, 0, 1),
  slotCapacity: Int32Array.of(2, 1),
  arenaBytes: 0x10000,
  peakEntries: 4,
  longestEntries: 3,
  longestLine: 1,
};

describe("the player", () => {
  const playerOn = (table: ModelTable): { player: Player; checker: TranslationChecker } => {
    const memory = createMemory(2 ** 20);
    const checker = new TranslationChecker(new PlainDevice(table, memory), memory, 12);
    return { player: new Player(PLAN, 0x20000, new DmaDevice(table), checker), checker };
  };

  test("maps each request's own pieces, in its own arena, also where requests share a list", () => {
    const table = modelTable();
    const { player } = playerOn(table);
    const pages = (): number[] => table.entries.filter(({ state }) => state === "live").map(({ page }) => page - 0x20);
    const seen: number[][] = [];
    for (let i = 0; i < 12; i++) {
      player.play(1);
      seen.push(pages().toSorted((a, b) => a - b));
    }
    const pass = [[1], [1, 9], [9], [3, 7, 8, 9], [9], []];
    assert.deepEqual(seen, [...pass, ...pass]);
    assert.equal(player.completed, 6);
  });

  test("checks every sixteenth mapping, when it is made and before it goes", () => {
    const { player, checker } = playerOn(modelTable());
    // The first one, of one page: once when it was made, once before it went.
    player.play(3);
    assert.equal(checker.checked, 2);
    player.play(PLAN.operations.length * SAMPLE_EVERY - 3);
    assert.equal(player.completed, 3 * SAMPLE_EVERY);
    const samples = 3;
    assert.ok(checker.checked >= samples * 2 && checker.checked <= samples * 2 * PAGES_CHECKED, `${checker.checked}`);
    assert.equal(checker.wrong, 0);
  });

  test("counts a failed mapping by its reason and does not unmap it", () => {
    const table = modelTable(2);
    const { player } = playerOn(table);
    player.play(PLAN.operations.length);
    // The request of three pages never fits into two.
    assert.deepEqual([player.completed, player.failures[4]], [2, 1]);
    assert.equal(table.entries.filter(({ state }) => state !== "free").length, 0);
  });

  test("unmaps all live mappings if it stops in the middle", () => {
    const table = modelTable();
    const { player } = playerOn(table);
    player.play(4);
    player.unmapAll();
    assert.deepEqual([player.completed, table.entries.filter(({ state }) => state !== "free").length], [3, 0]);
  });
});
