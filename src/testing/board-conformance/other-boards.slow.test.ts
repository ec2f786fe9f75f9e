/**
 * The suite on boards of other kinds than those there are: machines whose refusals are silent, that lead stray DMA to a dummy page,
 * or that keep what a device writes in a streaming cache. They are made of the linear board, so that the suite's side of it is tried
 * without them; and a bug planted in each is still caught.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DmaMaster } from "../../machine/contract.ts";
import type { Board, BoardKind } from "../../machines/board.ts";
import { boardNamed } from "../../machines/boards.ts";
import type { TableOps } from "../../table/contract.ts";
import { cellsOf } from "./matrix.ts";
import { type BoardSetting, PLAIN } from "./setting.ts";
import { BOARD_CASES, boardConformance } from "./suite.ts";

const LINEAR: BoardKind = { ...boardNamed("linear-tce"), pageShifts: [12, 34] };

function decorated(facts: Partial<BoardKind>, decorate: (board: Board) => void, plant?: (board: Board) => void) {
  const made = (board: Board): Board => {
    plant?.(board);
    decorate(board);
    return board;
  };
  return {
    ...LINEAR,
    ...facts,
    create: (options) => made(LINEAR.create({ ...options, entries: Math.max(1024, options.entries ?? 0) })),
    attach: (handle) => made(LINEAR.attach(handle)),
  } satisfies BoardKind;
}

/** Refusals show only by bytes that do not move; there is no IOTLB; entry 0 is never handed out; one thread. */
const silent = (plant?: (board: Board) => void): BoardKind =>
  decorated(
    { name: "silent", refusals: "data", hasIotlb: false, maxThreads: 1 },
    (board) => {
      const device = board.machine.device(0);
      const take = board.takeFaults;
      const forget = board.table.ops.invalidateAll.bind(board.table.ops);
      const read = device.dmaRead.bind(device);
      const write = device.dmaWrite.bind(device);
      device.dmaRead = (iova, into) => {
        forget();
        if (!read(iova, into)) into.fill(0xff);
        return true;
      };
      device.dmaWrite = (iova, from) => {
        forget();
        write(iova, from);
        return true;
      };
      board.takeFaults = () => take().slice(0, 0);
      board.table.reserve({ first: 0, end: 1 });
    },
    plant,
  );

/** DMA to unmapped addresses is granted, but moves no byte of the rig's memory. */
const dummyPage = (plant?: (board: Board) => void): BoardKind =>
  decorated({ name: "dummy-page", strayAccess: "dummy-page" }, withDummyPage, plant);

function withDummyPage(board: Board): void {
  const device = board.machine.device(0);
  const take = board.takeFaults;
  const kept: ReturnType<typeof take>[number][] = [];
  const granted = (done: boolean): boolean => {
    if (done) return true;
    const faults = take();
    if (faults.every(({ reason }) => reason === "not-mapped")) return true;
    kept.push(...faults);
    return false;
  };
  const read = device.dmaRead.bind(device);
  const write = device.dmaWrite.bind(device);
  device.dmaRead = (iova, into) => {
    const done = read(iova, into);
    if (!done) into.fill(0);
    return granted(done);
  };
  device.dmaWrite = (iova, from) => granted(write(iova, from));
  board.takeFaults = () => kept.splice(0);
}

/** A device's writes reach memory when the entries are invalidated, not before; coherent entries are not streamed. */
const streaming = (plant?: (board: Board) => void): BoardKind => decorated({ name: "streaming" }, withStreaming, plant);

function withStreaming(board: Board): void {
  const { memory } = board.machine;
  const { ops, window } = board.table;
  const pending: (readonly [address: number, byte: number])[] = [];
  const coherent = withCoherentEntries(ops);
  const device: DmaMaster = board.machine.device(0);
  const write = device.dmaWrite.bind(device);
  device.dmaWrite = (iova, from) => {
    const old: (readonly [address: number, byte: number, place: number])[] = [];
    for (let i = 0; i < from.length; i++) {
      const offset = iova + BigInt(i) - window.base;
      const value = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
      const entry = Number(offset >> BigInt(window.pageShift));
      if (entry < window.entries) ops.get(entry, value);
      const byte = new Uint8Array(1);
      const address = value.page * 2 ** window.pageShift + Number(offset % 2n ** BigInt(window.pageShift));
      if (value.access === 0 || coherent.has(entry)) continue;
      memory.read(address, byte);
      old.push([address, byte[0] as number, i]);
    }
    const granted = write(iova, from);
    if (!granted) return false;
    for (const [address, byte, i] of old) {
      memory.write(address, Uint8Array.of(byte));
      pending.push([address, from[i] as number]);
    }
    return true;
  };
  const arrive = (): void => {
    for (const [address, byte] of pending.splice(0)) memory.write(address, Uint8Array.of(byte));
  };
  const invalidate = ops.invalidate.bind(ops);
  const invalidateAll = ops.invalidateAll.bind(ops);
  ops.invalidate = (first, end) => {
    arrive();
    return invalidate(first, end);
  };
  ops.invalidateAll = () => {
    arrive();
    return invalidateAll();
  };
}

/** The entries that were set as coherent, and not cleared since. */
function withCoherentEntries(ops: TableOps): ReadonlySet<number> {
  const entries = new Set<number>();
  const clear = ops.clear.bind(ops);
  ops.setCoherent = (first, count, page, access) => {
    for (let i = 0; i < count; i++) entries.add(first + i);
    return ops.set(first, count, page, access);
  };
  ops.clear = (first, count) => {
    for (let i = 0; i < count; i++) entries.delete(first + i);
    clear(first, count);
  };
  return entries;
}

function failed(kind: BoardKind, settings: readonly BoardSetting[]): string[] {
  return settings.flatMap((setting) =>
    boardConformance(kind, setting, { shareBoard: true }).flatMap(({ name, run }) => {
      try {
        run();
        return [];
      } catch (error) {
        return [`${name}: ${(error as Error).message}`];
      }
    }),
  );
}

const settingsOf = (kind: BoardKind): BoardSetting[] => cellsOf(kind).flatMap(({ settings }) => settings);

test("boards whose refusals are silent, without an IOTLB, with one thread, pass", () => {
  assert.deepEqual(failed(silent(), settingsOf(silent())), []);
});

test("boards that lead stray DMA to a dummy page pass", () => {
  assert.deepEqual(failed(dummyPage(), settingsOf(dummyPage())), []);
});

test("boards that stream pass with one thread: nothing is looked at before it is unmapped and flushed", () => {
  // The model's cache is one thread's.
  const kind = { ...streaming(), maxThreads: 1 };
  assert.deepEqual(failed(kind, settingsOf(kind)), []);
});

test("an unmap that clears nothing is caught on each of them", () => {
  const setting = { ...PLAIN, pageShift: 12, levels: 1 };
  const clearsNothing = (board: Board): void => {
    board.table.ops.clear = () => undefined;
  };
  for (const kind of [silent, dummyPage, streaming]) {
    const found = failed(kind(clearsNothing), [setting]);
    assert.ok(
      found.some((text) => /unmap: once it is unmapped.*the device still reads memory/.test(text)),
      found.join("\n"),
    );
  }
});

test("a write to memory that may only be read is caught where refusals are silent", () => {
  const always = (board: Board): void => {
    const set = board.table.ops.set.bind(board.table.ops);
    board.table.ops.set = (first, count, page) => set(first, count, page, 3);
  };
  const found = failed(silent(always), [{ ...PLAIN, pageShift: 12, levels: 1 }]);
  assert.ok(
    found.some((text) => /permissions: of each access.*memory at 0x\w+ has changed/.test(text)),
    found.join("\n"),
  );
});

test("one board for all cases of a setting is made once and given back by the last case", () => {
  let open = 0;
  let made = 0;
  const counted: BoardKind = {
    ...LINEAR,
    create: (options) => {
      const board = LINEAR.create(options);
      open++;
      made++;
      const close = board.close;
      board.close = () => {
        open--;
        close();
      };
      return board;
    },
  };
  const setting: BoardSetting = { ...PLAIN, threads: 2, pageShift: 12, levels: 1 };
  for (const { run } of boardConformance(counted, setting, { shareBoard: true })) run();
  assert.equal(open, 0);
  assert.equal(made, 1 + BOARD_CASES.filter(({ table }) => table !== undefined).length);
});
