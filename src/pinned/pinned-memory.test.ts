/** Registered regions in one thread: charges, pins, users, live mappings, dirty pages, and every errno. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Crew } from "../crew/crew.ts";
import { errnoCode } from "../units/errno.ts";
import { PinnedMemory, type PinnedMemoryOptions } from "./pinned-memory.ts";
import { type UserMemory, userRange } from "./user-memory.ts";

const MEBIBYTE = 2 ** 20;
const ENOENT = errnoCode("ENOENT");
const ENXIO = errnoCode("ENXIO");
const EFAULT = errnoCode("EFAULT");

/** User page n lies in physical page n − 1000, in pages of 4 KiB. Keeps the arguments of `onUnpin`. */
class LinearMemory implements UserMemory {
  readonly absent = new Set<number>();
  readonly unpinned: [userPage: number, physicalPage: number, isDirty: boolean][] = [];
  shift = 12;

  pageOf(userPage: number): number {
    return this.absent.has(userPage) ? -1 : userPage - 1000;
  }
  backingShift(): number {
    return this.shift;
  }
  onUnpin(userPage: number, physicalPage: number, isDirty: boolean): void {
    this.unpinned.push([userPage, physicalPage, isDirty]);
  }
}

interface Scene {
  readonly pinned: PinnedMemory;
  readonly owner: number;
  readonly memory: LinearMemory;
}

function scene(limitPages = 64, options: Partial<PinnedMemoryOptions> = {}): Scene {
  const pinned = PinnedMemory.create({ memoryBytes: MEBIBYTE, threads: 4, ...options });
  const memory = new LinearMemory();
  return { pinned, memory, owner: numberOf(pinned.addOwner({ limitBytes: limitPages * 4096 }, memory)) };
}

function numberOf(answer: number | string | undefined): number {
  assert.equal(typeof answer, "number", `answered ${answer}`);
  return answer as number;
}

describe("register", () => {
  test("charges and pins each page, and put takes both back", () => {
    const { pinned, owner, memory } = scene();
    const region = numberOf(pinned.register(owner, 1004, 8));
    assert.equal(pinned.chargedPages(owner), 8);
    assert.equal(pinned.pins, 8);
    assert.deepEqual(
      [3, 4, 11, 12].map((page) => pinned.pinsOf(page)),
      [0, 1, 1, 0],
    );
    assert.equal(pinned.mapped(region), 1);
    assert.equal(pinned.put(region), undefined);
    assert.equal(pinned.chargedPages(owner), 0);
    assert.equal(pinned.pins, 0);
    assert.equal(memory.unpinned.length, 8);
  });

  test("charges first: beyond the limit is ENOMEM, also when a page is absent and the range overlaps", () => {
    const { pinned, owner, memory } = scene(8);
    numberOf(pinned.register(owner, 1000, 4));
    memory.absent.add(1003);
    assert.equal(pinned.register(owner, 1003, 5), "ENOMEM");
    assert.equal(pinned.register(owner, 1003, 4), "EFAULT");
    memory.absent.clear();
    assert.equal(pinned.register(owner, 1003, 4), "EINVAL");
    assert.equal(numberOf(pinned.register(owner, 1004, 4)), 1);
    assert.equal(pinned.chargedPages(owner), 8);
  });

  test("a partial pin is undone: an absent last page leaves nothing pinned or charged (spec section 8, defect 21)", () => {
    const { pinned, owner, memory } = scene();
    memory.absent.add(1015);
    assert.equal(pinned.register(owner, 1000, 16), "EFAULT");
    assert.equal(pinned.pins, 0);
    assert.equal(pinned.chargedPages(owner), 0);
    assert.equal(memory.unpinned.length, 15);
    assert.equal(typeof pinned.register(owner, 1000, 15), "number");
  });

  test("a UserMemory that throws, or answers a page beyond the physical memory, leaves nothing pinned or charged", () => {
    const { pinned, owner, memory } = scene();
    memory.pageOf = (page) => {
      if (page === 1003) throw new Error("lost");
      return page - 1000;
    };
    assert.throws(() => pinned.register(owner, 1000, 8), /lost/);
    memory.pageOf = (page) => page;
    assert.throws(
      () => pinned.register(owner, 1000, 8),
      /physical page of user page 1000 is 1000; expected an integer from 0 to 255/,
    );
    assert.equal(pinned.pins, 0);
    assert.equal(pinned.chargedPages(owner), 0);
  });

  test("refuses an empty range and an end beyond 2^64 bytes with EINVAL", () => {
    const { pinned, owner } = scene();
    assert.equal(pinned.register(owner, 1000, 0), "EINVAL");
    assert.equal(pinned.register(owner, 2 ** 52 - 1, 2), "EINVAL");
    assert.throws(() => pinned.register(owner, 1000.5, 1), /user page is 1000.5/);
    assert.throws(() => pinned.register(owner, 1000, 1, { user: -1 }), /user of a region is -1/);
  });

  test("without room for the region or its pages the answer is ENOMEM", () => {
    const { pinned, owner } = scene(Number.POSITIVE_INFINITY, { regions: 2, pages: 10 });
    assert.equal(pinned.register(owner, 1000, 11), "ENOMEM");
    numberOf(pinned.register(owner, 1000, 1));
    numberOf(pinned.register(owner, 1001, 1));
    assert.equal(pinned.register(owner, 1002, 1), "ENOMEM");
  });
});

describe("regions of one owner and of several", () => {
  test("shared regions may overlap, each pins its pages, and lookups do not find them", () => {
    const { pinned, owner } = scene();
    const first = numberOf(pinned.register(owner, 1000, 2, { isShared: true }));
    const second = numberOf(pinned.register(owner, 1001, 2, { isShared: true }));
    assert.deepEqual(
      [0, 1, 2].map((page) => pinned.pinsOf(page)),
      [1, 2, 1],
    );
    assert.equal(pinned.take(owner, 1000, 1), ENOENT);
    assert.equal(pinned.get(owner, 1000, 2), "ENOENT");
    numberOf(pinned.register(owner, 1000, 3));
    assert.equal(pinned.pinsOf(1), 3);
    for (const region of [first, second]) assert.equal(pinned.put(region), undefined);
    assert.equal(pinned.pinsOf(1), 1);
  });

  test("regions of different owners may have the same pages, each with its own limit", () => {
    const { pinned, owner, memory } = scene(4);
    const other = numberOf(pinned.addOwner({ limitBytes: 4 * 4096 + 4095 }, memory));
    numberOf(pinned.register(owner, 1000, 4));
    assert.equal(pinned.register(other, 1000, 5), "ENOMEM");
    numberOf(pinned.register(other, 1000, 4));
    assert.equal(pinned.pinsOf(0), 2);
  });
});

describe("device memory", () => {
  test("is neither pinned nor charged, and translates", () => {
    const { pinned, owner } = scene(0);
    const physicalPage = 2 ** 40 + 16;
    const region = numberOf(pinned.registerDevice(owner, 2 ** 51, 16, physicalPage));
    assert.equal(pinned.pins, 0);
    assert.equal(pinned.chargedPages(owner), 0);
    assert.equal(pinned.take(owner, 2 ** 51 + 3, 1), region);
    assert.equal(pinned.physicalPage(region, 2 ** 51 + 3, 16), physicalPage + 3);
    assert.equal(pinned.physicalPage(region, 2 ** 51 + 3, 17), EFAULT);
    pinned.markDirty(region, 2 ** 51);
    pinned.drop();
    assert.equal(pinned.registerDevice(owner, 2 ** 51 + 15, 1, 0), "EINVAL");
    assert.equal(pinned.put(region), undefined);
    assert.equal(pinned.pins, 0);
  });
});

describe("users of a region", () => {
  test("get finds exactly these pages, and the last put unregisters", () => {
    const { pinned, owner } = scene();
    const region = numberOf(pinned.register(owner, 1000, 4, { user: 7 }));
    assert.equal(pinned.get(owner, 1000, 3), "ENOENT");
    assert.equal(pinned.get(owner, 1001, 3), "ENOENT");
    assert.equal(pinned.get(owner, 1000, 4, 8), region);
    assert.equal(pinned.find(owner, 1000, 4, 8), region);
    assert.equal(pinned.find(owner, 1000, 4, 9), undefined);
    assert.deepEqual(pinned.regionsOf(owner, 7), [region]);
    assert.equal(pinned.put(region, 7), undefined);
    assert.deepEqual(pinned.regionsOf(owner, 7), []);
    assert.equal(pinned.pins, 4);
    assert.equal(pinned.put(region, 8), undefined);
    assert.equal(pinned.pins, 0);
  });

  test("put of a region without this user is ENOENT", () => {
    const { pinned, owner } = scene();
    const region = numberOf(pinned.register(owner, 1000, 4));
    assert.equal(pinned.put(region, 1), "ENOENT");
    assert.equal(pinned.put(region), undefined);
    assert.equal(pinned.put(region), "ENOENT");
    assert.equal(pinned.unregister(owner, 1000, 4), "ENOENT");
  });

  test("the last put is EBUSY while something is mapped, and the user stays", () => {
    const { pinned, owner } = scene();
    const region = numberOf(pinned.register(owner, 1000, 4));
    assert.equal(pinned.get(owner, 1000, 4), region);
    assert.equal(pinned.take(owner, 1001, 2), region);
    pinned.keep();
    assert.equal(pinned.put(region), undefined);
    assert.equal(pinned.put(region), "EBUSY");
    assert.equal(pinned.put(region), "EBUSY");
    assert.equal(pinned.mapped(region), 2);
    pinned.lower(region);
    assert.equal(pinned.unregister(owner, 1000, 4), undefined);
    assert.equal(pinned.pins, 0);
  });

  test("a pinned memory has room for as many further users as regions", () => {
    const { pinned, owner } = scene(64, { regions: 2 });
    const region = numberOf(pinned.register(owner, 1000, 4));
    for (const user of [1, 2]) assert.equal(pinned.get(owner, 1000, 4, user), region);
    assert.equal(pinned.get(owner, 1000, 4, 3), "ENOMEM");
    assert.equal(pinned.put(region, 1), undefined);
    assert.equal(pinned.get(owner, 1000, 4, 3), region);
  });
});

describe("live mappings", () => {
  test("a lookup finds the region that contains the pages, and its count keeps the region (spec section 8, defect 20)", () => {
    const { pinned, owner } = scene();
    numberOf(pinned.register(owner, 1000, 2));
    const region = numberOf(pinned.register(owner, 1002, 4));
    assert.equal(pinned.take(owner, 1005, 2), ENOENT);
    assert.equal(pinned.take(owner, 1001, 2), ENOENT);
    assert.equal(pinned.take(owner, 1003, 3), region);
    assert.equal(pinned.put(region), "EBUSY");
    assert.equal(pinned.physicalPage(region, 1003, 12), 3);
    pinned.drop();
    assert.equal(pinned.put(region), undefined);
    assert.equal(pinned.takeRegion(region), ENXIO);
  });

  test("physicalPage: outside of the region, or with an IO page larger than a page behind it, is EFAULT", () => {
    const { pinned, owner, memory } = scene();
    memory.shift = 16;
    memory.pageOf = (page) => page - 1008;
    const wide = numberOf(pinned.register(owner, 1008, 16));
    const narrow = numberOf(pinned.register(owner, 1025, 16));
    assert.equal(pinned.regionOf(wide).backingShift, 16);
    assert.equal(pinned.regionOf(narrow).backingShift, 12);
    assert.equal(pinned.physicalPage(wide, 1008, 16), 0);
    assert.equal(pinned.physicalPage(wide, 1008, 17), EFAULT);
    assert.equal(pinned.physicalPage(narrow, 1026, 16), EFAULT);
    assert.equal(pinned.physicalPage(wide, 1007, 12), EFAULT);
    assert.equal(pinned.physicalPage(wide, 1024, 12), EFAULT);
  });
});

describe("counts and dirty pages", () => {
  test("one thread lowers what another has raised", () => {
    const { pinned, owner } = scene();
    const other = PinnedMemory.attach(pinned.handle);
    const region = numberOf(pinned.register(owner, 1000, 4));
    pinned.take(owner, 1000, 4, 4);
    pinned.keep();
    other.lower(region, 3);
    assert.equal(pinned.mapped(region), 2);
    assert.equal(other.put(region), "EBUSY");
    other.lower(region);
    assert.equal(other.put(region), undefined);
    other.close();
  });

  test("lower refuses more mappings than the region has", () => {
    const { pinned, owner } = scene();
    const other = PinnedMemory.attach(pinned.handle);
    const region = numberOf(pinned.register(owner, 1000, 4));
    pinned.take(owner, 1000, 1);
    pinned.keep();
    other.lower(region);
    assert.throws(() => pinned.lower(region), /mappings that were removed from region 0 is 1; expected at most 0/);
    assert.equal(pinned.mapped(region), 1);
    other.close();
  });

  test("onUnpin gets the dirty mark of each page, and a region that is registered again is clean", () => {
    const { pinned, owner, memory } = scene();
    const region = numberOf(pinned.register(owner, 1000, 3));
    pinned.take(owner, 1001, 1);
    pinned.keep();
    pinned.markDirty(region, 1001);
    pinned.lower(region);
    pinned.put(region);
    assert.deepEqual(memory.unpinned.splice(0), [
      [1002, 2, false],
      [1001, 1, true],
      [1000, 0, false],
    ]);
    pinned.put(numberOf(pinned.register(owner, 1000, 3)));
    assert.ok(memory.unpinned.every(([, , isDirty]) => !isDirty));
    assert.equal(memory.unpinned.length, 3);
  });
});

describe("charges", () => {
  test("count towards the limit like regions, and end one by one", () => {
    const { pinned, owner } = scene(8);
    const charge = numberOf(pinned.charge(owner, 5, 3));
    assert.equal(pinned.register(owner, 1000, 4), "ENOMEM");
    assert.equal(pinned.charge(owner, 4), "ENOMEM");
    numberOf(pinned.register(owner, 1000, 3));
    assert.deepEqual(pinned.chargesOf(owner, 3), [charge]);
    assert.equal(pinned.uncharge(charge), undefined);
    assert.equal(pinned.uncharge(charge), "ENOENT");
    assert.equal(pinned.chargedPages(owner), 3);
  });
});

describe("owners", () => {
  test("the end of an owner unpins its regions, unless something is mapped", () => {
    const { pinned, owner } = scene();
    const mapped = numberOf(pinned.register(owner, 1000, 4));
    numberOf(pinned.register(owner, 1010, 4));
    numberOf(pinned.charge(owner, 2));
    pinned.take(owner, 1000, 1);
    pinned.keep();
    assert.equal(pinned.endOwner(owner), "EBUSY");
    assert.equal(pinned.pins, 4);
    assert.equal(pinned.register(owner, 1020, 1), "ESRCH");
    assert.equal(pinned.charge(owner, 1), "ESRCH");
    pinned.lower(mapped);
    assert.equal(pinned.endOwner(owner), undefined);
    assert.equal(pinned.pins, 0);
    assert.equal(pinned.hasOwner(owner), false);
    assert.equal(pinned.endOwner(owner), "ESRCH");
  });

  test("the number of an ended owner does not name a later one", () => {
    const { pinned, owner, memory } = scene(8, { owners: 1 });
    assert.equal(pinned.addOwner({ limitBytes: 0 }, memory), "ENOMEM");
    assert.equal(pinned.endOwner(owner), undefined);
    const next = numberOf(pinned.addOwner({ limitBytes: 4096 }, memory));
    assert.notEqual(next, owner);
    assert.equal(pinned.register(owner, 1000, 1), "ESRCH");
    assert.equal(pinned.join(owner), "ESRCH");
    numberOf(pinned.register(next, 1000, 1));
  });
});

describe("the death of a thread", () => {
  const crewed = (): { crew: Crew; scene: Scene; dead: PinnedMemory } => {
    const crew = Crew.create({ threads: 4 });
    const { threads: _, ...rest } = { threads: 4 };
    const made = PinnedMemory.create({ memoryBytes: MEBIBYTE, crew, ...rest });
    const memory = new LinearMemory();
    const owner = numberOf(made.addOwner({ limitBytes: 2 ** 18 }, memory));
    const dead = PinnedMemory.attach(made.handle, Crew.attach(crew.handle));
    assert.equal(dead.join(owner, memory), undefined);
    return { crew, scene: { pinned: made, owner, memory }, dead };
  };

  test("ends its owner, whose regions are unpinned", () => {
    const {
      crew,
      scene: { pinned, owner },
      dead,
    } = crewed();
    numberOf(dead.register(owner, 1000, 4));
    assert.equal(crew.reclaim(dead.thread, "in-flight").isFree, false);
    assert.equal(pinned.pins, 4);
    assert.equal(crew.reclaim(dead.thread, "everything").isFree, true);
    assert.equal(pinned.pins, 0);
    assert.equal(pinned.hasOwner(owner), false);
  });

  test("does not end its owner when another thread has joined it", () => {
    const {
      crew,
      scene: { pinned, owner },
      dead,
    } = crewed();
    assert.equal(pinned.join(owner), undefined);
    numberOf(dead.register(owner, 1000, 4));
    assert.equal(crew.reclaim(dead.thread, "everything").isFree, true);
    assert.equal(pinned.pins, 4);
    assert.equal(pinned.hasOwner(owner), true);
  });

  test("lowers the count in its hand; while something is mapped, its owner stays", () => {
    const {
      crew,
      scene: { pinned, owner },
      dead,
    } = crewed();
    const region = numberOf(dead.register(owner, 1000, 4));
    dead.take(owner, 1000, 1);
    dead.keep();
    dead.take(owner, 1001, 1);
    assert.throws(() => crew.reclaim(dead.thread, "everything"), /owner \d+ of thread 1 can't end: EBUSY/);
    assert.equal(pinned.mapped(region), 2);
    pinned.lower(region);
    assert.equal(crew.reclaim(dead.thread, "everything").isFree, true);
    assert.equal(pinned.pins, 0);
  });
});

test("user ranges: aligned to pages, inside of 64 bits, not empty", () => {
  assert.deepEqual(userRange(0xffff_ffff_ffff_f000n, 4096n), { userPage: 2 ** 52 - 1, pages: 1 });
  for (const [address, bytes] of [
    [1n, 4096n],
    [0n, 1n],
    [0n, 0n],
    [0xffff_ffff_ffff_f000n, 8192n],
    [-4096n, 4096n],
  ] as const) {
    assert.equal(userRange(address, bytes), "EINVAL");
  }
  assert.throws(() => userRange(0 as unknown as bigint, 0n), /user address in bytes is 0; expected a bigint/);
});

test("attach refuses a foreign handle, and a closed view refuses calls", () => {
  assert.throws(() => PinnedMemory.attach({} as never), /not that of a pinned memory/);
  const { pinned, owner } = scene();
  assert.throws(
    () => PinnedMemory.attach({ ...pinned.handle, state: new SharedArrayBuffer(4096) }),
    /first word is not the magic number/,
  );
  pinned.close();
  pinned.close();
  assert.throws(() => pinned.register(owner, 1000, 1), /view of the pinned memory is closed/);
});

test("setMemory refuses a memory without its functions, as addOwner does", () => {
  const { pinned, owner } = scene();
  assert.throws(() => pinned.setMemory(owner, {} as never), /memory of an owner/);
  assert.throws(() => pinned.setMemory(-1, new LinearMemory()), /owner is -1/);
});
