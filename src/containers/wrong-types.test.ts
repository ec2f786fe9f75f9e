/**
 * Values of another type in place of each argument and of each member of a request, in every public method of pinned memory, containers and
 * guest tables; and misspelt members. Each is refused with an error that shows what was found, or with an error number, and nothing changes.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PhysicalMemory } from "../memory/physical-memory.ts";
import { PinnedMemory } from "../pinned/pinned-memory.ts";
import { PinnedTable } from "../pinned/pinned-table.ts";
import type { UserMemory } from "../pinned/user-memory.ts";
import { TableGroup } from "../platforms/powernv/group.ts";
import { machineWith, phbOn } from "../platforms/powernv/set-up.model.ts";
import { isErrno } from "../units/errno.ts";
import { IovaError, shown } from "../units/errors.ts";
import { ContainerEnd } from "./container-end.ts";
import { IoAddressSpace } from "./iommufd.ts";
import { GuestCalls } from "./kvm/guest-calls.ts";
import { GuestTables } from "./kvm/guest-tables.ts";
import { PAGE, type Scene, sceneOf, USER_BASE, userAddress, WINDOW } from "./set-up.model.ts";
import { SpaprContainer } from "./spapr/container.ts";
import { powernvSpaprGroup } from "./spapr/powernv-group.ts";
import { Type1Container } from "./type1.ts";

// biome-ignore lint/suspicious/noExplicitAny: the tests pass values that the compiler refuses
type Anything = any;

const OBJECTS: readonly unknown[] = [null, "x", 5, 5n, true, () => 1];
const WRONG: Readonly<Record<string, readonly unknown[]>> = {
  number: [2n, "2", {}, null, true, [2], Number.NaN, () => 2],
  bigint: [10, "10", {}, null, true, -1n, 2n ** 70n, 1.5],
  boolean: [1, "true", null, {}],
  string: [1, null, {}, ""],
  function: [1, null, {}, "f"],
  object: OBJECTS,
};

/** Calls with one wrong argument each, or one wrong or misspelt member of an argument that is a plain object. */
function wrongCalls(
  good: readonly Anything[],
): readonly { readonly name: string; readonly args: readonly Anything[] }[] {
  return good.flatMap((argument, i) => {
    const replaced = (name: string, value: unknown) => ({ name, args: good.with(i, value) });
    const wrong = (WRONG[typeof argument] ?? []).map((value) => replaced(`argument ${i}: ${shown(value)}`, value));
    if (Object.getPrototypeOf(argument) !== Object.prototype) return wrong;
    const members = Object.entries(argument).flatMap(([key, member]) =>
      (WRONG[typeof member] ?? []).map((value) => replaced(`${key}: ${shown(value)}`, { ...argument, [key]: value })),
    );
    return [...wrong, ...members, replaced("misspelt", { ...argument, misspelt: 1 })];
  });
}

/** Asserts that each wrong call throws an error of this library, or answers an error number. `nothing`: further answers that are right. */
function checkRefused(
  name: string,
  call: (...args: Anything[]) => unknown,
  good: readonly Anything[],
  nothing: readonly unknown[] = [],
): void {
  for (const { name: what, args } of wrongCalls(good)) checkOne(`${name}, ${what}`, () => call(...args), nothing);
}

function checkOne(name: string, call: () => unknown, nothing: readonly unknown[] = []): void {
  let answer: unknown;
  try {
    answer = call();
  } catch (error) {
    assert.ok(error instanceof IovaError && error.code !== "invariant", `${name}: ${error}`);
    return;
  }
  assert.ok(isErrno(answer) || nothing.includes(answer), `${name}: answers ${shown(answer)}`);
}

function stateOf({ pinned, owner }: Pick<Scene, "pinned" | "owner">): unknown {
  return { pins: pinned.pins, charged: pinned.chargedPages(owner) };
}

const ofOneMapping = { iova: WINDOW.base, bytes: PAGE };

test("a container of type 1 refuses values of another type and changes nothing", () => {
  const scene = sceneOf();
  const { pinned, owner, domain } = scene;
  const open = (options: Anything) => Type1Container.open(options);
  const container = Type1Container.open({ pinned, owner }) as Type1Container;
  const options = { version: 2, pinned, owner, mappings: 5 };
  checkRefused("open", open, [options]);
  checkOne("open with an array as pinned", () => open({ ...options, pinned: [] }));
  checkRefused("attachGroup", (group) => container.attachGroup(group), [{ number: 3, domain }]);
  assert.equal(container.attachGroup({ number: 3, domain }), undefined);
  const request = { ...ofOneMapping, userAddress: userAddress(0), flags: 3, argsz: 32 };
  assert.equal(container.map(request), undefined);
  const before = { ...(stateOf(scene) as object), mappings: container.mappings() };
  checkRefused("map", (...args) => container.map(args[0], args[1]), [{ ...request, iova: WINDOW.base + PAGE }, owner]);
  checkRefused("unmap", (...args) => container.unmap(args[0], args[1]), [
    { ...ofOneMapping, argsz: 32, flags: 0 },
    owner,
  ]);
  checkRefused("detachGroup", (number) => container.detachGroup(number), [3]);
  container.startDirtyTracking();
  const takeDirty = (...args: Anything[]) => container.takeDirty(args[0], args[1]);
  checkRefused("takeDirty", takeDirty, [{ ...ofOneMapping, pageBytes: 4096 }, new Uint8Array(8)]);
  assert.deepEqual({ ...(stateOf(scene) as object), mappings: container.mappings() }, before);
});

test("a domain is refused unless each of its members has its type", () => {
  const { pinned, owner, domain } = sceneOf();
  const members: Readonly<Record<string, readonly unknown[]>> = {
    window: OBJECTS,
    ops: [...OBJECTS, [], {}],
    reserved: [null, 5, "x", {}, [null], [5], [{}], [{ first: 1, last: 2 }], [{ first: 2n, last: 1n }]],
    dirtyLog: [null, 5, "x", {}, { start: () => true }],
    misspelt: [1],
  };
  const container = Type1Container.open({ pinned, owner }) as Type1Container;
  const space = IoAddressSpace.create({ pinned, owner }) as IoAddressSpace;
  for (const [member, values] of Object.entries(members)) {
    for (const value of values) {
      const wrong: Anything = { ...domain, [member]: value };
      checkOne(`attachGroup, ${member} ${shown(value)}`, () => container.attachGroup({ number: 1, domain: wrong }));
      checkOne(`attach, ${member} ${shown(value)}`, () => space.attach(wrong));
      checkOne(`offer, ${member} ${shown(value)}`, () => ContainerEnd.offer(pinned, owner, [wrong]));
    }
  }
});

test("an IO address space refuses values of another type and changes nothing", () => {
  const scene = sceneOf();
  const { pinned, owner, domain } = scene;
  checkRefused("create", (options) => IoAddressSpace.create(options), [{ pinned, owner }]);
  const space = IoAddressSpace.create({ pinned, owner }) as IoAddressSpace;
  checkRefused("attach", (one) => space.attach(one), [domain]);
  checkRefused("allow", (ranges) => space.allow(ranges), [[]]);
  for (const range of [...OBJECTS, {}] as Anything[]) checkOne(`allow [${shown(range)}]`, () => space.allow([range]));
  assert.equal(space.attach(domain), undefined);
  const request = { userAddress: userAddress(0), bytes: PAGE, access: 3, iova: WINDOW.base } as const;
  assert.deepEqual(space.map(request), { iova: WINDOW.base });
  const before = { ...(stateOf(scene) as object), mappings: space.mappings() };
  const next = WINDOW.base + PAGE;
  checkRefused("map", (one) => space.map(one), [{ ...request, iova: next }]);
  const copy = { source: space, sourceIova: WINDOW.base, bytes: PAGE, access: 1, iova: next };
  checkRefused("copy", (one) => space.copy(one), [copy]);
  checkRefused("unmap", (range) => space.unmap(range), [ofOneMapping]);
  checkRefused("detach", (one) => space.detach(one), [domain]);
  const trackDirty = (...args: Anything[]) => space.trackDirty(args[0], args[1]);
  checkRefused("trackDirty", trackDirty, [domain, true]);
  space.trackDirty(domain, true);
  const takeDirty = (...args: Anything[]) => space.takeDirty(args[0], args[1]);
  checkRefused("takeDirty", takeDirty, [{ ...ofOneMapping, pageBytes: 4096 }, new Uint8Array(8)]);
  assert.deepEqual({ ...(stateOf(scene) as object), mappings: space.mappings() }, before);
});

test("the end of a container refuses values of another type", () => {
  const { pinned, owner, domain } = sceneOf();
  const offer = (...args: Anything[]) => ContainerEnd.offer(args[0], args[1], args[2]);
  checkRefused("offer", offer, [pinned, owner, [domain]]);
  const { handle } = ContainerEnd.offer(pinned, owner, [domain]);
  const watch = (...args: Anything[]) => ContainerEnd.watch(args[0], args[1], args[2]);
  // Fields that a handle does not need are ignored.
  checkRefused("watch", watch, [Object.assign(Object.create(null), handle), pinned, [domain]]);
});

test("an sPAPR container refuses values of another type and changes nothing", () => {
  const machine = machineWith({ faultRecords: 64 });
  const phb = phbOn(machine);
  const pinned = PinnedMemory.create({ memoryBytes: machine.memory.bytes, crew: machine.crew, regions: 64 });
  const user: UserMemory = { pageOf: (page) => page - USER_BASE, backingShift: () => 12 };
  const owner = pinned.addOwner({ limitBytes: 2 ** 30 }, user) as number;
  checkRefused("open", (options) => SpaprContainer.open(options), [{ pinned, owner, kind: "spapr-v2" }]);
  const container = SpaprContainer.open({ pinned, owner, kind: "spapr-v2" }) as SpaprContainer;
  const tableGroup = TableGroup.create(phb, 1);
  const groupOf = (...args: Anything[]) => powernvSpaprGroup(args[0], args[1], args[2]);
  checkRefused("powernvSpaprGroup", groupOf, [phb, tableGroup, { defaultBytes: 2n ** 20n }]);
  const group = powernvSpaprGroup(phb, tableGroup, { defaultBytes: 2n ** 20n });
  checkRefused("attachGroup", (one) => container.attachGroup(one), [group]);
  checkOne("attachGroup of a TableGroup", () => container.attachGroup(tableGroup as Anything));
  checkRefused("detachGroup", (one) => container.detachGroup(one), [group]);
  assert.equal(container.attachGroup(group), undefined);
  const memory = { userAddress: userAddress(0), bytes: 16n * PAGE, argsz: 40, flags: 0 };
  assert.equal(container.register(memory), undefined);
  const request = { iova: 0n, userAddress: userAddress(0), bytes: PAGE, flags: 3, argsz: 64 };
  assert.equal(container.map(request), undefined);
  const before = stateOf({ pinned, owner });
  const window = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1, argsz: 64, flags: 0 };
  checkRefused("info", (one) => container.info(one), [{ argsz: 32 }]);
  checkRefused("register", (one) => container.register(one), [{ ...memory, userAddress: userAddress(64) }]);
  checkRefused("unregister", (one) => container.unregister(one), [memory]);
  checkRefused("map", (one) => container.map(one), [{ ...request, iova: PAGE }]);
  checkRefused("unmap", (one) => container.unmap(one), [{ iova: 0n, bytes: PAGE, flags: 0, argsz: 64 }]);
  checkRefused("createWindow", (one) => container.createWindow(one), [window]);
  checkRefused("removeWindow", (one) => container.removeWindow(one), [{ iova: 0n, argsz: 64, flags: 0 }]);
  assert.deepEqual(stateOf({ pinned, owner }), before);
});

test("pinned memory refuses values of another type and changes nothing", () => {
  const scene = sceneOf();
  const { pinned, owner } = scene;
  const region = pinned.register(owner, USER_BASE, 4, { user: 1 }) as number;
  const charge = pinned.charge(owner, 1, 1) as number;
  const memory = { pageOf: () => 1, backingShift: () => 12, onUnpin: () => undefined };
  const before = { ...(stateOf(scene) as object), mapped: pinned.mapped(region) };
  const p: Anything = pinned;
  const call =
    (call: string) =>
    (...args: Anything[]) =>
      p[call](...args);
  const taken =
    (call: string) =>
    (...args: Anything[]) => {
      const answer = p[call](...args);
      if (answer >= 0) pinned.drop();
      return answer;
    };
  const sizes = { memoryBytes: 2 ** 20, regions: 4, pages: 4, owners: 2, charges: 3, threads: 2 };
  checkRefused("create", (options) => PinnedMemory.create(options), [sizes]);
  checkRefused("addOwner", call("addOwner"), [{ limitBytes: 4096 }, Object.assign(Object.create(null), memory)]);
  for (const member of Object.keys(memory)) {
    checkOne(`addOwner, ${member}`, () => pinned.addOwner({ limitBytes: 1 }, { ...memory, [member]: 1 }));
    checkOne(`join, ${member}`, () => pinned.join(owner, { ...memory, [member]: 1 }));
  }
  for (const method of ["endOwner", "hasOwner", "chargedPages"]) checkRefused(method, call(method), [owner]);
  checkRefused("onOwnerEnd", call("onOwnerEnd"), [owner, () => undefined]);
  checkRefused("register", call("register"), [owner, USER_BASE, 4, { user: 1, isShared: false, isCovered: false }]);
  checkRefused("registerDevice", call("registerDevice"), [owner, USER_BASE + 9, 4, 5, 1]);
  for (const method of ["get", "unregister"]) checkRefused(method, call(method), [owner, USER_BASE, 4, 1]);
  checkRefused("find", call("find"), [owner, USER_BASE, 4, 1], [undefined]);
  for (const method of ["use", "put"]) checkRefused(method, call(method), [region, 1]);
  for (const method of ["regionsOf", "chargesOf"]) checkRefused(method, call(method), [owner, 1]);
  for (const method of ["regionOf", "mapped", "pinsOf"]) checkRefused(method, call(method), [region]);
  checkRefused("charge", call("charge"), [owner, 4, 1]);
  checkRefused("uncharge", call("uncharge"), [charge]);
  checkRefused("take", taken("take"), [owner, USER_BASE, 4, 1], [-2]);
  checkRefused("takeRegion", taken("takeRegion"), [region, 1]);
  checkRefused("lower", call("lower"), [region, 1]);
  checkRefused("markDirty", call("markDirty"), [region, USER_BASE, 1]);
  assert.deepEqual({ ...(stateOf(scene) as object), mapped: pinned.mapped(region) }, before);
});

test("pinned tables and guest tables refuse values of another type", () => {
  const { pinned, owner, platform } = sceneOf();
  const region = pinned.register(owner, USER_BASE, 4) as number;
  const create = (...args: Anything[]) => PinnedTable.create(args[0], args[1], args[2], args[3]);
  const window = Object.assign(Object.create(null), WINDOW);
  checkRefused("PinnedTable.create", create, [pinned, owner, window, platform.ops]);
  const table: Anything = PinnedTable.create(pinned, owner, WINDOW, platform.ops);
  const attach = (...args: Anything[]) => PinnedTable.attach(args[0], args[1], args[2]);
  checkRefused("PinnedTable.attach", attach, [pinned, Object.assign(Object.create(null), table.handle), platform.ops]);
  checkRefused("PinnedTable.map", (...args) => table.map(...args), [0, 1, USER_BASE, 3]);
  checkRefused("PinnedTable.mapRegion", (...args) => table.mapRegion(...args), [0, 1, region, USER_BASE, 3]);
  checkRefused("PinnedTable.unmap", (...args) => table.unmap(...args), [0, 1]);
  checkRefused("PinnedTable.get", (entry) => table.get(entry), [0]);
  const options = { pinned, owner, entries: 1024, tables: 2, memorySlots: 2 };
  checkRefused("GuestTables.create", (one) => GuestTables.create(one), [options]);
  const tables: Anything = GuestTables.create(options as Anything);
  const range = { guestAddress: 0n, bytes: PAGE, userAddress: PAGE };
  checkRefused("setMemory", (...args) => tables.setMemory(...args), [0, range]);
  checkRefused("createTable", (...args) => tables.createTable(...args), [5, { pageShift: 12, offset: 256, size: 64 }]);
  assert.equal(tables.createTable(5, { pageShift: 12, offset: 256, size: 64 }), undefined);
  for (const method of ["removeTable", "pagesOf"]) checkRefused(method, (liobn) => tables[method](liobn), [5]);
  for (const method of ["attachHardware", "detachHardware"]) {
    checkRefused(method, (...args) => tables[method](...args), [5, table]);
  }
  const parts = { tables, readUser: () => true, userSpace: () => 0 };
  checkRefused("GuestCalls", (one) => new GuestCalls(one), [parts]);
  const calls = new GuestCalls(parts);
  for (const args of [...OBJECTS, new Float64Array(4), new BigUint64Array(3)] as Anything[]) {
    checkOne(`answer, ${shown(args)}`, () => calls.answer(0x20, args));
  }
  assert.equal(pinned.mapped(region), 1);
});

test("calls of closed views are refused", () => {
  const { pinned, owner, platform, memory } = sceneOf();
  const region = pinned.register(owner, USER_BASE, 4) as number;
  const table = PinnedTable.create(pinned, owner, WINDOW, platform.ops);
  const tables = GuestTables.create({ pinned, owner, entries: 64 });
  const window = { pageShift: 12, offset: 256, size: 64 };
  assert.equal(tables.createTable(5, window), undefined);
  const calls = new GuestCalls({ tables, readUser: () => true });
  for (const view of [table, tables, pinned]) view.close();
  const late: Readonly<Record<string, () => unknown>> = {
    map: () => table.map(0, 1, USER_BASE, 3),
    unmap: () => table.unmap(0, 1),
    get: () => table.get(0),
    remove: () => table.remove(),
    createTable: () => tables.createTable(6, window),
    removeTable: () => tables.removeTable(5),
    "a guest's call": () => calls.answer(0x1c, BigUint64Array.of(5n, 256n * PAGE, 0n, 0n)),
    addOwner: () => pinned.addOwner({ limitBytes: 4096 }, memory),
    register: () => pinned.register(owner, USER_BASE + 50, 1),
    take: () => pinned.take(owner, USER_BASE, 1),
    takeRegion: () => pinned.takeRegion(region),
    lower: () => pinned.lower(region, 0),
  };
  for (const [name, call] of Object.entries(late)) assert.throws(call, { code: "view-closed" }, name);
});

test("physical memory refuses addresses and words of another type, bigints above all", () => {
  const memory: Anything = PhysicalMemory.of([{ address: 0, buffer: new SharedArrayBuffer(8192) }]);
  const call =
    (method: string) =>
    (...args: Anything[]) =>
      memory[method](...args);
  const bytes = new Uint8Array(4);
  for (const method of ["read", "write"]) checkRefused(method, call(method), [0, bytes]);
  checkRefused("clear", call("clear"), [0, 4]);
  checkRefused("below", call("below"), [4096]);
  checkRefused("has", call("has"), [0, 4], [false]);
  checkRefused("load32", call("load32"), [0]);
  for (const value of [1n, "1", {}, null]) {
    checkOne(`store32, ${shown(value)}`, () => memory.store32(0, value));
    checkOne(`compareExchange32, ${shown(value)}`, () => memory.compareExchange32(0, 0, value));
    checkOne(`compareExchange32, ${shown(value)}`, () => memory.compareExchange32(0, value, 0));
  }
  assert.equal(memory.load32(0), 0);
});
