/**
 * Does the suite bite? Boards with a bug planted in the platform, each of which a case made for it must catch, with a message that
 * leads to the place. A bug that no case catches is a hole in the suite.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Board, BoardKind } from "../../machines/board.ts";
import { BOARD_KINDS, boardNamed } from "../../machines/boards.ts";
import type { TableOps } from "../../table/contract.ts";
import { setEachPage } from "../../table/set-pages.ts";
import type { Failure } from "../../units/failure.ts";
import type { Access, EntryAccess } from "../../units/numbers.ts";
import { type CoherentBug, coherentWith } from "./coherent.model.ts";
import { type BoardSetting, type Choice, PLAIN } from "./setting.ts";
import { BOARD_CASES, type BoardConformanceOptions, boardConformance } from "./suite.ts";

/** The kind with a bug in every view of its boards. */
function planted(kind: BoardKind, plant: (board: Board) => void): BoardKind {
  const withBug = (board: Board): Board => {
    plant(board);
    return board;
  };
  return {
    ...kind,
    create: (options) => withBug(kind.create(options)),
    attach: (handle) => withBug(kind.attach(handle)),
  };
}

/** Messages of the failing cases, by their names without the setting. */
function failures(
  kind: BoardKind,
  setting: BoardSetting,
  options: BoardConformanceOptions = {},
): ReadonlyMap<string, string> {
  const failed = new Map<string, string>();
  for (const { name, run } of boardConformance(kind, setting, { shareBoard: true, ...options })) {
    try {
      run();
    } catch (error) {
      failed.set(name.split(": ").slice(1).join(": "), (error as Error).message);
    }
  }
  return failed;
}

type Set = TableOps["set"];

/** In place of `set`, with the right one at hand. `setPages` sets each page by it. */
function plantSet(kind: BoardKind, wrong: (set: Set, ...args: Parameters<Set>) => Failure | undefined): BoardKind {
  return planted(kind, ({ table: { ops } }) => {
    const set = ops.set.bind(ops);
    ops.set = (...args) => wrong(set, ...args);
    ops.setPages = (...args) => setEachPage(ops, ...args);
  });
}

function plantClear(kind: BoardKind, wrong: (clear: TableOps["clear"], first: number, count: number) => void) {
  return planted(kind, ({ table: { ops } }) => {
    const clear = ops.clear.bind(ops);
    ops.clear = (first, count) => wrong(clear, first, count);
  });
}

interface Bug {
  readonly name: string;
  readonly plant: (kind: BoardKind) => BoardKind;
  /** The case that is made for it, and what it says. */
  readonly caught: RegExp;
  readonly says: RegExp;
  readonly setting?: Partial<Choice>;
}

/** In place of `exchange`, with the right one at hand. */
function plantExchange(
  wrong: (exchange: TableOps["exchange"], ...args: Parameters<TableOps["exchange"]>) => Failure | undefined,
): (kind: BoardKind) => BoardKind {
  return (kind) =>
    planted(kind, ({ table: { ops } }) => {
      const exchange = ops.exchange.bind(ops);
      ops.exchange = (...args) => wrong(exchange, ...args);
    });
}

const BUGS: readonly Bug[] = [
  {
    name: "no invalidation at all",
    plant: (kind) =>
      planted(kind, ({ table: { ops } }) => {
        ops.invalidate = () => undefined;
        ops.invalidateAll = () => undefined;
      }),
    caught: /^unmap: once it is unmapped/,
    says: /after unmap, at page 0 of 4, the device still reads memory at 0x\w+ through 0x\w+/,
  },
  {
    name: "no invalidation of the whole IOTLB, in lazy mode",
    plant: (kind) => planted(kind, ({ table: { ops } }) => Object.assign(ops, { invalidateAll: () => undefined })),
    caught: /^lazy flush: entries that come round/,
    says: /the device reads .* at 0x\w+; memory has/,
    setting: { invalidate: "lazy" },
  },
  {
    name: "an invalidation that forgets the last entry of the range",
    plant: (kind) =>
      planted(kind, ({ table: { ops } }) => {
        const invalidate = ops.invalidate.bind(ops);
        ops.invalidate = (first, end) => (end - first > 1 ? invalidate(first, end - 1) : invalidate(first, end));
      }),
    caught: /^unmap: once it is unmapped/,
    says: /after unmap, at page 3 of 4, the device still reads/,
  },
  {
    name: "set writes one entry too few",
    plant: (kind) =>
      plantSet(kind, (set, first, count, page, access) => set(first, Math.max(1, count - 1), page, access)),
    caught: /^map: a mapping over several pages/,
    says: /a read of the device at 0x\w+ is refused|the device reads .*; memory has/,
  },
  {
    name: "set writes one entry too many",
    plant: (kind) =>
      plantSet(kind, (set, first, count, page, access) => {
        const failure = set(first, count, page, access);
        if (failure === undefined && first + count < 128) set(first + count, 1, page + count, access);
        return failure;
      }),
    caught: /^map: the entries of a mapping read back/,
    says: /entry \d+ leads to page \d+ with access \d; it was empty/,
  },
  {
    name: "setPages sets the first page in every entry",
    plant: (kind) =>
      planted(kind, ({ table: { ops } }) => {
        ops.setPages = (first, pages, count, access) =>
          setEachPage(ops, first, new Float64Array(count).fill(pages[0] as number), count, access);
      }),
    caught: /^scatterlists: whole pages one after another merge/,
    says: /the device reads .*; memory has/,
  },
  {
    name: "clear leaves the last entry",
    plant: (kind) => plantClear(kind, (clear, first, count) => (count > 1 ? clear(first, count - 1) : undefined)),
    caught: /^unmap: the entries of what is unmapped are empty/,
    says: /after unmap of 1 entries from \d+ on, entry \d+ leads to page/,
  },
  {
    name: "clear empties one entry too many",
    plant: (kind) => plantClear(kind, (clear, first, count) => clear(first, Math.min(count + 1, 128 - first))),
    caught: /^unmap: what is unmapped in the middle leaves its neighbours/,
    says: /after unmap of the middle one of three mappings, entry \d+ is empty; it led to page/,
  },
  {
    name: "every entry lets the device write",
    plant: (kind) => plantSet(kind, (set, first, count, page) => set(first, count, page, 3)),
    caught: /^permissions: of each access the device may do/,
    says: /mapped for access 1, .*(memory at 0x\w+ has changed|a write of the device at 0x\w+ is granted)/,
  },
  {
    name: "no entry lets the device write",
    plant: (kind) => plantSet(kind, (set, first, count, page) => set(first, count, page, 1)),
    caught: /^permissions: of each access the device may do/,
    says: /a write of the device at 0x\w+ is refused: .*write-refused/,
  },
  {
    name: "weak ordering takes the access away",
    plant: (kind) =>
      plantSet(kind, (set, first, count, page, access) =>
        set(first, count, page, (access > 3 ? 1 : access) as EntryAccess),
      ),
    caught: /^permissions: an entry that is weakly ordered/,
    says: /entry \d+ reads back as access 1; expected 3/,
  },
  {
    name: "pages are off by one",
    plant: (kind) => plantSet(kind, (set, first, count, page, access) => set(first, count, page + 1, access)),
    caught: /^map: what is mapped the device reads and writes/,
    says: /the device reads .* at 0x\w+; memory has/,
  },
  {
    name: "only the pages of long runs are off by one",
    plant: (kind) =>
      plantSet(kind, (set, first, count, page, access) => set(first, count, count > 3 ? page - 1 : page, access)),
    caught: /^map: a mapping over several pages/,
    says: /the device reads .* at 0x\w+; memory has/,
  },
  {
    name: "a set that fails leaves the entries it had written",
    plant: (kind) =>
      plantSet(kind, (set, first, count, page, access) => {
        const failure = set(first, count, page, access);
        if (failure !== undefined && count > 1) set(first, 1, 7, access);
        return failure;
      }),
    caught: /^rollback: a set that the platform refuses/,
    says: /after a set of 2 entries from \d+ on for pages from \d+ on, platform-refused, entry \d+ leads to page 7/,
  },
  {
    name: "a set that the platform refuses is reported as done",
    plant: (kind) =>
      plantSet(kind, (set, ...args) => {
        set(...args);
        return undefined;
      }),
    caught: /^rollback: a set that the platform refuses/,
    says: /a set of 1 entries from \d+ on for pages from \d+ on is granted/,
  },
  {
    name: "what is abandoned is not invalidated",
    plant: (kind) =>
      planted(kind, ({ table }) => {
        table.abandon = (first, count) => {
          table.ops.clear(first, count);
          table.allocator.abandon(first, count);
        };
      }),
    caught: /^rollback: what was set and is abandoned/,
    says: /after abandon, the device still reads memory/,
  },
  {
    name: "what is abandoned keeps its entries",
    plant: (kind) =>
      planted(kind, ({ table }) => {
        table.abandonAll = (firsts, counts, areas) => {
          for (let i = 0; i < areas; i++) table.allocator.abandon(firsts[i] as number, counts[i] as number);
        };
      }),
    caught: /^rollback: a mapSg that fails at any step/,
    says: /after a mapSg .* (failed|found no space), entry \d+ leads to page \d+ with access 3; it was empty/,
  },
  {
    name: "what is abandoned stays taken",
    plant: (kind) =>
      planted(kind, ({ table }) => {
        table.abandon = (first, count) => {
          table.ops.clear(first, count);
          table.ops.invalidate(first, first + count);
          table.allocator.commit(first, count);
        };
      }),
    caught: /^rollback: a map that fails at any step/,
    says: /after a map whose set failed, \d+ entries are taken; 1 were before/,
  },
  {
    name: "a lazily freed entry is handed out before the flush",
    plant: (kind) =>
      planted(kind, ({ table: { allocator } }) => {
        allocator.finishFreeLazily = (first, count) => {
          allocator.finishFree(first, count);
          return undefined;
        };
      }),
    caught: /^lazy flush: an entry is not handed out again/,
    says: /entry \d+ is handed out again, and since it was unmapped the IOTLB was not flushed/,
    setting: { invalidate: "lazy" },
  },
  {
    name: "the last entry of the table is never handed out",
    plant: (kind) =>
      planted(kind, ({ table }) => {
        const { entries } = table.window;
        const allocate = table.allocate.bind(table);
        table.allocate = (count, ...rest) => {
          const first = allocate(count, ...rest);
          if (first < 0 || first + count < entries) return first;
          table.allocator.abandon(first, count);
          return -1;
        };
      }),
    caught: /^exhaustion: every entry can be had once/,
    says: /round 1: 127 entries could be had; 128 are free/,
  },
  {
    name: "an unmap whose invalidation failed is reported as done",
    plant: (kind) =>
      planted(kind, ({ table }) => {
        const unmap = table.unmap.bind(table);
        table.unmap = (first, count) => {
          unmap(first, count);
          return undefined;
        };
      }),
    caught: /^invalidation: when the IOTLB can't be invalidated/,
    says: /unmap whose invalidation is busy: undefined/,
  },
  {
    name: "another thread's views have a table of their own memory",
    plant: (kind) => ({ ...kind, attach: (handle) => otherPages(kind.attach(handle)) }),
    caught: /^threads: two threads' views are one table/,
    says: /the device reads .*; memory has|the other view reads page \d+ back; page \d+ was mapped/,
    setting: { threads: 2 },
  },
  {
    name: "the kind claims a grant that it does not give",
    plant: (kind) => ({ ...kind, grants: { 1: 3, 2: 3, 3: 3 } as Readonly<Record<Access, Access>> }),
    caught: /^permissions: of each access the device may do/,
    says: /a write of the device at 0x\w+ is refused: .*write-refused/,
  },
  {
    name: "the kind claims to refuse what it grants",
    plant: (kind) => ({ ...kind, grants: { 1: 1, 2: 2, 3: 3 } as Readonly<Record<Access, Access>> }),
    caught: /^permissions: of each access the device may do/,
    says: /mapped for access 2, (the device still reads memory|a read of the device at 0x\w+ is granted)/,
  },
  {
    name: "a device's limits are not kept",
    plant: (kind) =>
      planted(kind, ({ table }) => {
        const allocate = table.allocate.bind(table);
        table.allocate = (count) => allocate(count);
      }),
    caught: /^exhaustion: a device with limits/,
    says: /entry \d+ is at 0x\w+, which is no multiple of 16384/,
    setting: { limits: "alignment" },
  },
  {
    name: "an empty entry reads back as if it led somewhere",
    plant: (kind) =>
      planted(kind, ({ table: { ops } }) => {
        const get = ops.get.bind(ops);
        ops.get = (entry, into) => {
          get(entry, into);
          if (entry === 99) Object.assign(into, { page: 9, access: 1 });
        };
      }),
    caught: /^scatterlists: an element longer than the boundary/,
    says: /after a refused mapSg, entry 99 leads to page 9 with access 1; it was empty/,
  },
  {
    name: "beyond the window the device writes to memory untranslated",
    plant: (kind) =>
      planted(kind, ({ machine, table: { window } }) => {
        const device = machine.device(0);
        const write = device.dmaWrite.bind(device);
        const end = window.base + (BigInt(window.entries) << BigInt(window.pageShift));
        device.dmaWrite = (iova, from) => {
          if (iova >= end) machine.memory.write(0x10000, from);
          return write(iova, from);
        };
      }),
    caught: /^faults: right behind the window/,
    says: /after a write of the device behind the window: memory at 0x10000 has changed/,
  },
  {
    name: "another thread's unmap does not clear the entries",
    plant: (kind) => ({ ...kind, attach: (handle) => withoutClear(kind.attach(handle)) }),
    caught: /^ownership: what one thread has mapped another may unmap/,
    says: /after another thread's unmap, the device still reads memory/,
    setting: { threads: 2 },
  },
  {
    name: "a wrong free is passed over in silence",
    plant: (kind) =>
      planted(kind, ({ table }) => {
        const unmap = table.unmap.bind(table);
        table.unmap = (first, count) => {
          try {
            return unmap(first, count);
          } catch {
            return undefined;
          }
        };
      }),
    caught: /^ownership: where only the owner may unmap/,
    says: /another thread's unmap: is taken; expected a FreeError wrong-owner/,
    setting: { threads: 2 },
  },
  {
    name: "another thread's devices are not those of the machine",
    plant: (kind) => ({ ...kind, attach: (handle) => withBlindDevice(kind.attach(handle)) }),
    caught: /^threads: a device is the same whichever thread's view/,
    says: /driven by the other thread, the device reads 0,0/,
    setting: { threads: 2 },
  },
  {
    name: "closing a view does not give its slot back",
    plant: (kind) => ({ ...kind, attach: (handle) => Object.assign(kind.attach(handle), { close: () => undefined }) }),
    caught: /^threads: a view that is closed gives back/,
    says: /all 6 thread numbers are taken/,
    setting: { threads: 2 },
  },
  {
    name: "the kind claims to have no IOTLB",
    plant: (kind) => ({ ...kind, hasIotlb: false }),
    caught: /^lazy flush: without an IOTLB/,
    says: /after unmap, before a flush, the device still reads memory/,
    setting: { invalidate: "lazy" },
  },
  {
    name: "the kind claims that faults cut devices off",
    plant: (kind) => ({ ...kind, faultsFreeze: true }),
    caught: /^faults: a fault cuts the device off/,
    says: /before it is taken, the device reaches what is mapped; the kind says otherwise/,
  },
  {
    name: "faults are not recorded",
    plant: (kind) =>
      planted(kind, (board) => {
        const take = board.takeFaults;
        board.takeFaults = () => {
          take();
          return [];
        };
      }),
    caught: /^faults: a stray access before, beside and after/,
    says: /is recorded as 0 faults/,
  },
  // Review of 2026-11-30, B15: no case called `exchange`.
  {
    name: "exchange gives no old value",
    plant: plantExchange((exchange, entry, page, access) => exchange(entry, page, access, { page: 0, access: 0 })),
    caught: /^permissions: an exchange swaps/,
    says: /an exchange of entry \d+ gives as the old value page -1, access 0; expected page \d+, access 3/,
  },
  {
    name: "exchange changes nothing",
    plant: plantExchange(() => undefined),
    caught: /^permissions: an exchange swaps/,
    says: /an exchange of entry \d+ gives as the old value/,
  },
  {
    name: "exchange keeps the old access",
    plant: plantExchange((exchange, entry, page, _, old) => exchange(entry, page, 3, old)),
    caught: /^permissions: an exchange swaps/,
    says: /after an exchange, entry \d+ holds page \d+, access 3; expected page \d+, access 1/,
  },
  {
    name: "a reset does not invalidate the IOTLB",
    plant: (kind) =>
      planted(kind, ({ platform }) => {
        platform.reset = () => undefined;
      }),
    caught: /^platform: after a reset what is mapped works/,
    says: /after a reset, the device still reads memory/,
  },
  {
    name: "a reset empties the table",
    plant: (kind) =>
      planted(kind, ({ platform, table: { ops, window } }) => {
        platform.reset = () => {
          ops.clear(0, window.entries);
          return ops.publish() ?? ops.invalidateAll();
        };
      }),
    caught: /^platform: after a reset what is mapped works/,
    says: /after a stray access and a reset, the device does not reach what is mapped/,
  },
  {
    name: "the platform's windows leave its table out",
    plant: (kind) => planted(kind, ({ platform }) => Object.defineProperty(platform, "windows", { value: [] })),
    caught: /^platform: the generic table is one of the platform's windows/,
    says: /the generic table is 0 of the 0 windows/,
  },
  {
    name: "a platform can be closed once only",
    plant: (kind) => planted(kind, closedOnceOnly),
    caught: /^platform: a platform's and a board's second close do nothing/,
    says: /closed already/,
    setting: { threads: 2 },
  },
  {
    name: "the platform keeps a resource of a mapping that has ended",
    plant: (kind) =>
      planted(kind, ({ platform }) => Object.defineProperty(platform, "resources", { value: { pagesLent: 1 } })),
    caught: /^map: what is mapped the device reads and writes/,
    says: /at the end, 1 of the platform's pagesLent are still in use/,
  },
];

/** The first close of the platform ends it; each further one is an error. */
function closedOnceOnly({ platform }: Board): void {
  const close = platform.close.bind(platform);
  let isClosed = false;
  platform.close = () => {
    if (isClosed) throw new Error("closed already");
    isClosed = true;
    close();
  };
}

function withoutClear(board: Board): Board {
  board.table.ops.clear = () => undefined;
  return board;
}

function withBlindDevice(board: Board): Board {
  board.machine.device(0).dmaRead = (_, into) => {
    into.fill(0);
    return true;
  };
  return board;
}

/** A view whose `get` reads other pages than everybody else's. */
function otherPages(board: Board): Board {
  const { ops } = board.table;
  const get = ops.get.bind(ops);
  ops.get = (entry, into) => {
    get(entry, into);
    if (into.access !== 0) into.page++;
  };
  return board;
}

const kind = boardNamed("linear-tce");
const settingOf = (choice: Partial<Choice> = {}): BoardSetting => ({ ...PLAIN, ...choice, pageShift: 12, levels: 1 });

test("without a bug nothing fails", () => {
  for (const choice of [{}, { invalidate: "lazy" }, { threads: 2 }] as const) {
    assert.deepEqual([...failures(kind, settingOf(choice))], []);
  }
});

/** Cases that some bug has failed, not counting what only the check at their end has found. */
const bitten = new Set<string>();

for (const { name, plant, caught, says, setting } of BUGS) {
  test(`a bug is caught: ${name}`, () => {
    const failed = failures(plant(kind), settingOf(setting));
    for (const [which, message] of failed) if (!message.startsWith("at the end")) bitten.add(which);
    const found = [...failed].find(([which]) => caught.test(which));
    assert.ok(found !== undefined, `no case ${caught} failed; failed: ${[...failed.keys()].join("; ") || "none"}`);
    assert.match(found[1], says);
  });
}

const COHERENT_BUGS: readonly (readonly [CoherentBug, RegExp, RegExp])[] = [
  ["not zeroed", /^coherent: it is zeroed/, /byte 0 at 0x\w+ is 238, not zero/],
  ["misaligned", /^coherent: it is aligned/, /4096 bytes are at 0x\w+40, in memory at 0x\w+40/],
  ["not given back", /^coherent: when nothing is left/, /8 pieces of 8192 bytes could be had, then 0/],
];

for (const [bug, caught, says] of COHERENT_BUGS) {
  test(`a bug is caught: coherent memory is ${bug}`, () => {
    const failed = failures(kind, settingOf(), { operations: coherentWith(bug) });
    for (const which of failed.keys()) bitten.add(which);
    const found = [...failed].find(([which]) => caught.test(which));
    assert.ok(found !== undefined, `failed: ${[...failed.keys()].join("; ") || "none"}`);
    assert.match(found[1], says);
  });
}

test("on every board whose machine keeps what is stale, invalidations that do nothing are caught", () => {
  const kinds = BOARD_KINDS.filter(({ hasIotlb, name }) => hasIotlb && !name.includes("@"));
  assert.ok(kinds.length > 0);
  const forgets = (BUGS[0] as Bug).plant;
  for (const one of kinds) {
    const setting = { ...PLAIN, pageShift: one.pageShifts[0] as number, levels: one.levels[0] as number };
    const failed = [...failures(forgets(one), setting).keys()];
    // Where an unmapped entry leads to a dummy page, what is set is flushed too: an entry never comes round with an old page.
    const reuse = one.strayAccess === "dummy-page" ? [] : [/^invalidation: strict: entries that come round/];
    for (const caught of [/^unmap: once it is unmapped/, ...reuse]) {
      assert.ok(
        failed.some((which) => caught.test(which)),
        `${one.name}: no case ${caught} failed`,
      );
    }
  }
});

test("on every board where faults freeze devices, a kind that does not say so, and freezes that are never ended, are caught", () => {
  const kinds = BOARD_KINDS.filter(({ faultsFreeze }) => faultsFreeze === true);
  assert.ok(kinds.length > 0);
  for (const one of kinds) {
    const setting = { ...PLAIN, pageShift: one.pageShifts[0] as number, levels: one.levels[0] as number };
    const silent = failures({ ...one, faultsFreeze: false }, setting);
    const [[which, message] = ["", ""], ...others] = [...silent];
    assert.deepEqual(others, [], one.name);
    assert.match(which, /^faults: a fault cuts the device off/);
    assert.match(message, /before it is taken, the device is cut off/);
    const unended = planted(one, (board) => {
      board.takeFaults = () => board.machine.faults();
    });
    const failed = failures(unended, setting);
    assert.match(
      failed.get("faults: after faults, once they are taken, the device reaches what is mapped as before") ?? "",
      /is recorded as 0 faults/,
    );
  }
});

test("a machine that has no IOTLB and says it had one is caught: the suite would prove nothing there", () => {
  const forgetful = planted(kind, ({ machine, table: { ops } }) => {
    const device = machine.device(0);
    const read = device.dmaRead.bind(device);
    // Every DMA begins with an empty IOTLB.
    const { invalidateAll } = ops;
    device.dmaRead = (iova, into) => {
      invalidateAll.call(ops);
      return read(iova, into);
    };
  });
  const [[which, message] = ["", ""], ...others] = [...failures(forgetful, settingOf())];
  assert.deepEqual(others, []);
  assert.match(which, /^invalidation: with the platform's invalidations left out/);
  assert.match(message, /linear-tce has no IOTLB that shows it/);
});

test("no case is without a bug that it catches", () => {
  const idle = BOARD_CASES.filter((one) => !bitten.has(`${one.behaviour}: ${one.name}`));
  assert.deepEqual(
    idle.map(({ behaviour, name }) => `${behaviour}: ${name}`),
    [],
  );
});
