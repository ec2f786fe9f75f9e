/** A guest's calls in one thread: each code, the state after it, and the reaction of user space to H_TOO_HARD. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { H_GET_TCE, H_PUT_TCE } from "../../platforms/pseries/papr.ts";
import {
  countsOf,
  deviceReads,
  ENTRIES,
  GUEST_PAGES,
  LIOBN,
  LIST_PAGE,
  type Scene,
  type SceneOptions,
  sceneOf,
  tceOf,
  USER_PAGE,
  Vcpu,
  viewOf,
} from "./set-up.model.ts";

const SUCCESS = 0;
const HARDWARE = -1;
const FUNCTION = -2;
const PARAMETER = -4;
const TOO_HARD = 9999;

interface Attached extends Scene {
  readonly vcpu: Vcpu;
}

/** A guest with one table, to which all hardware tables are attached; guest pages 0 .. 15 and 16 .. 31 are registered, a region each. */
function attachedScene(options: SceneOptions = {}, pageShift = 12): Attached {
  const scene = sceneOf(options);
  const { tables, hardware, pinned, owner } = scene;
  const size = ENTRIES / 2 ** (pageShift - 12);
  assert.equal(tables.createTable(LIOBN, { pageShift, offset: 0, size }), undefined);
  for (const table of hardware) assert.equal(tables.attachHardware(LIOBN, table), undefined);
  for (const page of [0, 16]) assert.equal(typeof pinned.register(owner, USER_PAGE + page, 16), "number");
  return { ...scene, vcpu: new Vcpu(scene) };
}

test("a put maps the page behind the guest's page in every attached table; a put of 0 unmaps it", () => {
  const scene = attachedScene();
  const { vcpu, machine } = scene;
  assert.equal(vcpu.put(9, tceOf(20)), SUCCESS);
  assert.deepEqual([deviceReads(machine, "nic", 9), deviceReads(machine, "disk", 9)], [20, 20]);
  assert.deepEqual([vcpu.get(9), countsOf(scene)], [0x1_4003n, { 0: 0, 16: 2 }]);
  assert.equal(vcpu.put(9, tceOf(3)), SUCCESS, "over a live entry");
  assert.deepEqual([deviceReads(machine, "nic", 9), countsOf(scene)], [3, { 0: 2, 16: 0 }]);
  assert.equal(vcpu.put(9, 0xabc4), SUCCESS, "a value without permissions");
  assert.deepEqual([vcpu.get(9), countsOf(scene)], [0xabc4n, { 0: 0, 16: 0 }]);
  assert.equal(deviceReads(machine, "nic", 9), undefined);
});

test("with nothing attached only the guest table changes, and memory need not be registered", () => {
  const scene = sceneOf();
  const vcpu = new Vcpu(scene);
  assert.equal(scene.tables.createTable(LIOBN, { pageShift: 12, offset: 0, size: ENTRIES }), undefined);
  assert.equal(vcpu.put(9, tceOf(200)), SUCCESS);
  assert.equal(vcpu.put(10, tceOf(GUEST_PAGES)), TOO_HARD, "no memory slot has the page");
  assert.equal(vcpu.put(10, tceOf(1) | 4), TOO_HARD, "a bit between page and permissions");
  assert.deepEqual([vcpu.get(9), vcpu.get(10), deviceReads(scene.machine, "nic", 9)], [0xc_8003n, 0n, undefined]);
});

test("PARAMETER: outside of the window, more than 512, a misaligned list, a stuffed value with permissions (spec section 8, defect 18)", () => {
  const { vcpu } = attachedScene();
  const list = Array.from({ length: 4 }, (_, i) => tceOf(i));
  const calls: readonly (readonly [string, number | bigint])[] = [
    ["put behind the end", vcpu.put(ENTRIES, tceOf(1))],
    ["get behind the end", vcpu.get(ENTRIES)],
    ["stuff over the end", vcpu.stuff(ENTRIES - 2, 0, 3)],
    ["stuff of 2^40", vcpu.stuff(0, 0, 2 ** 40)],
    ["stuff with permissions", vcpu.stuff(0, tceOf(1), 2)],
    ["list over the end", vcpu.putList(ENTRIES - 2, list)],
    ["list of 513", vcpu.putList(0, list, 513)],
    ["misaligned list", vcpu.putList(0, list, 4, LIST_PAGE * 4096 + 8)],
  ];
  for (const [name, code] of calls) assert.equal(code, PARAMETER, name);
  for (const entry of [0, ENTRIES - 2, ENTRIES - 1]) assert.equal(vcpu.get(entry), 0n);
  assert.equal(vcpu.stuff(0, 0, 0), SUCCESS);
  assert.equal(vcpu.putList(0, [], 0), SUCCESS);
});

test("a window that does not begin at 0: addresses below it are PARAMETER", () => {
  const { tables, ...scene } = sceneOf();
  const vcpu = new Vcpu({ tables, ...scene });
  assert.equal(tables.createTable(LIOBN, { pageShift: 12, offset: 100, size: 10 }), undefined);
  assert.deepEqual(
    [99, 100, 109, 110].map((entry) => vcpu.put(entry, tceOf(1))),
    [PARAMETER, SUCCESS, SUCCESS, PARAMETER],
  );
});

test("TOO_HARD: unknown liobn, and a guest page that is misaligned, unknown or unregistered; nothing changes", () => {
  const { vcpu, ...scene } = attachedScene({ shifts: [12] }, 16);
  const unit = 16;
  assert.equal(vcpu.put(1 * unit, tceOf(unit)), SUCCESS);
  const list = [tceOf(0), tceOf(unit)];
  const calls: readonly (readonly [string, number])[] = [
    ["misaligned", vcpu.put(0, tceOf(8))],
    ["unknown", vcpu.put(0, tceOf(GUEST_PAGES))],
    ["unregistered", vcpu.put(0, tceOf(2 * unit))],
    ["2^63", vcpu.put(0, 2n ** 63n + 3n)],
    ["a list whose third page is unregistered", vcpu.putList(0, [...list, tceOf(2 * unit)])],
    ["a list outside of memory", vcpu.putList(0, list, 2, GUEST_PAGES * 4096)],
  ];
  for (const [name, code] of calls) assert.equal(code, TOO_HARD, name);
  assert.deepEqual([vcpu.get(0), vcpu.get(16), countsOf(scene)], [0n, 0x1_0003n, { 0: 0, 16: 16 }]);
  vcpu.liobn = LIOBN + 1;
  for (const code of [vcpu.put(0, 0), vcpu.get(0), vcpu.stuff(0, 0, 1), vcpu.putList(0, list)]) {
    assert.equal(code, TOO_HARD);
  }
  assert.equal(vcpu.answer(H_GET_TCE, 2 ** 32 + LIOBN, 0), TOO_HARD, "a liobn of 33 bits");
  assert.equal(vcpu.answer(4), TOO_HARD, "a call that is not for TCEs");
});

test("stuff itself does not check 512, and stores the value in every entry", () => {
  const { tables, ...scene } = sceneOf();
  const vcpu = new Vcpu({ tables, ...scene });
  assert.equal(tables.createTable(LIOBN, { pageShift: 12, offset: 0, size: 1000 }), undefined);
  assert.equal(vcpu.stuff(1, 0x7000, 700), SUCCESS);
  assert.deepEqual(
    [0, 1, 700, 701].map((entry) => vcpu.get(entry)),
    [0n, 0x7000n, 0x7000n, 0n],
  );
});

test("a list of more than 512 changes nothing, also where the window has room (spec section 8, defect 17)", () => {
  const { tables, ...scene } = sceneOf();
  const vcpu = new Vcpu({ tables, ...scene });
  assert.equal(tables.createTable(LIOBN, { pageShift: 12, offset: 0, size: 1000 }), undefined);
  const list = Array.from({ length: 512 }, () => tceOf(1));
  assert.equal(vcpu.putList(0, list, 513), PARAMETER);
  assert.deepEqual([vcpu.get(0), vcpu.get(511)], [0n, 0n]);
  assert.equal(vcpu.putList(0, list), SUCCESS);
  assert.deepEqual([vcpu.get(0), vcpu.get(511), vcpu.get(512)], [0x1003n, 0x1003n, 0n]);
});

test("a list with a page that does not fit the hardware's IO page changes nothing", () => {
  const { tables, hardware, pinned, owner, ...scene } = sceneOf({ shifts: [16] });
  const vcpu = new Vcpu({ tables, hardware, pinned, owner, ...scene });
  assert.equal(tables.createTable(LIOBN, { pageShift: 16, offset: 0, size: ENTRIES / 16 }), undefined);
  assert.equal(tables.attachHardware(LIOBN, hardware[0] as never), undefined);
  assert.equal(typeof pinned.register(owner, USER_PAGE, 32), "number");
  assert.equal(typeof pinned.register(owner, USER_PAGE + 32, 17), "number", "backed by pages of 4 KiB alone");
  const guestAddress = 2n ** 24n;
  const userAddress = BigInt(USER_PAGE + 1) << 12n;
  assert.equal(tables.setMemory(1, { guestAddress, bytes: 65536n, userAddress }), undefined);
  assert.equal(vcpu.putList(0, [tceOf(0), tceOf(32)]), TOO_HARD, "pages behind the region are smaller");
  assert.equal(vcpu.putList(0, [tceOf(0), guestAddress + 3n]), TOO_HARD, "the user address is not aligned");
  assert.deepEqual([vcpu.get(0), hardware[0]?.mapped], [0n, 0]);
  assert.equal(vcpu.putList(0, [tceOf(0), tceOf(16)]), SUCCESS);
});

test("a guest page of several hardware pages is mapped as a whole", () => {
  const scene = attachedScene({ shifts: [12, 16] }, 16);
  const { vcpu, machine } = scene;
  assert.equal(vcpu.put(32, tceOf(16)), SUCCESS);
  assert.deepEqual(
    [32, 40, 47].map((entry) => deviceReads(machine, "nic", entry)),
    [16, 24, 31],
  );
  assert.deepEqual(
    [32, 40, 47].map((entry) => deviceReads(machine, "disk", entry)),
    [16, 24, 31],
  );
  assert.deepEqual(countsOf(scene), { 0: 0, 16: 17 });
  assert.equal(vcpu.stuff(0, 0, 16), SUCCESS);
  assert.deepEqual(countsOf(scene), { 0: 0, 16: 0 });
  assert.deepEqual([deviceReads(machine, "nic", 47), deviceReads(machine, "disk", 32)], [undefined, undefined]);
});

test("a guest page of which the last hardware page is not registered is mapped nowhere (spec section 8, defect 19)", () => {
  const scene = attachedScene({ shifts: [12] }, 16);
  const { vcpu, machine, pinned, owner } = scene;
  assert.equal(typeof pinned.register(owner, USER_PAGE + 32, 15), "number");
  assert.equal(vcpu.put(0, tceOf(32)), TOO_HARD);
  assert.deepEqual([vcpu.get(0), countsOf(scene)], [0n, { 0: 0, 16: 0, 32: 0 }]);
  assert.equal(deviceReads(machine, "nic", 0), undefined);
});

/** The hardware table refuses its next exchange, before which `act` runs. */
function refuseNext({ tces }: Scene, which: number, act: () => void = () => undefined): void {
  const { ops } = tces[which] as Scene["tces"][0];
  const { exchange } = ops;
  ops.exchange = () => {
    ops.exchange = exchange;
    act();
    return "platform-refused";
  };
}

test("when the second hardware table refuses, the first gets its old page back (spec section 8, defects 16 and 19)", () => {
  const scene = attachedScene();
  const { vcpu, machine } = scene;
  assert.equal(vcpu.put(5, tceOf(20)), SUCCESS);
  for (const entry of [5, 6]) {
    refuseNext(scene, 1);
    assert.equal(vcpu.put(entry, tceOf(0)), HARDWARE);
  }
  assert.deepEqual([vcpu.get(5), vcpu.get(6), countsOf(scene)], [0x1_4003n, 0n, { 0: 0, 16: 2 }]);
  assert.deepEqual([deviceReads(machine, "nic", 5), deviceReads(machine, "disk", 5)], [20, 20]);
  assert.equal(deviceReads(machine, "nic", 6), undefined);
});

test("when the second hardware table refuses and the old page is not registered any more, the entry is empty in all", () => {
  const scene = attachedScene();
  const { vcpu, machine, hardware, pinned, owner } = scene;
  assert.equal(vcpu.put(5, tceOf(20)), SUCCESS);
  // As a container would with the same hardware table: then only the first table counts in the region.
  assert.equal(hardware[1]?.unmap(5, 1), undefined);
  refuseNext(scene, 1, () => assert.equal(pinned.unregister(owner, USER_PAGE + 16, 16), undefined));
  assert.equal(vcpu.put(5, tceOf(0)), HARDWARE);
  assert.deepEqual([vcpu.get(5), countsOf(scene)], [0n, { 0: 0 }]);
  assert.deepEqual([deviceReads(machine, "nic", 5), hardware[1]?.get(5)], [undefined, undefined]);
});

test("the old page is dirty only if the entry let the device write", () => {
  const { vcpu, pinned, owner, memory, machine } = attachedScene({ shifts: [12] });
  assert.equal(vcpu.put(0, tceOf(0, 1)), SUCCESS);
  assert.equal(vcpu.put(1, tceOf(1, 2)), SUCCESS);
  assert.equal(machine.device("nic").dmaWrite(4096n, Uint8Array.of(1)), true);
  assert.equal(vcpu.put(0, tceOf(16, 3)), SUCCESS);
  assert.equal(vcpu.put(1, tceOf(16, 3)), SUCCESS);
  assert.equal(pinned.unregister(owner, USER_PAGE, 16), undefined);
  assert.deepEqual(memory.dirty, [memory.pageOf(USER_PAGE + 1)]);
});

test("user space registers memory that KVM finds unregistered and repeats the call; it answers for devices that it emulates", () => {
  const scene = attachedScene();
  const { pinned, owner, machine } = scene;
  const emulated = new Map<bigint, bigint>();
  const told: string[] = [];
  const vcpu: Vcpu = new Vcpu(scene, ({ number, args }) => {
    told.push(`${number} for ${args[0]}`);
    if (number !== H_PUT_TCE) return FUNCTION;
    const [liobn, ioba, tce] = args as unknown as [bigint, bigint, bigint];
    if (liobn !== BigInt(LIOBN)) {
      emulated.set(ioba, tce);
      return SUCCESS;
    }
    const page = Number(tce >> 12n);
    const registered = page < GUEST_PAGES ? pinned.register(owner, USER_PAGE + page, 1) : "EFAULT";
    if (typeof registered === "string") return PARAMETER;
    return vcpu.calls.answer(number, args);
  });
  assert.equal(vcpu.hypercall(H_PUT_TCE, LIOBN, 0x7000, tceOf(77)), SUCCESS);
  assert.equal(deviceReads(machine, "nic", 7), 77);
  assert.equal(
    vcpu.hypercall(H_PUT_TCE, LIOBN, 0x7000, tceOf(GUEST_PAGES)),
    PARAMETER,
    "the guest never sees TOO_HARD",
  );
  assert.equal(vcpu.hypercall(H_PUT_TCE, 71, 0x3000, 0x5003), SUCCESS);
  assert.deepEqual([...emulated], [[0x3000n, 0x5003n]]);
  assert.equal(vcpu.hypercall(H_PUT_TCE, LIOBN, 0x7000, tceOf(1)), SUCCESS, "not told to user space");
  assert.equal(vcpu.hypercall(0xf000, 1), FUNCTION);
  assert.deepEqual(told, ["32 for 2147483648", "32 for 2147483648", "32 for 71", "61440 for 1"]);
});

test("without user space the guest gets PARAMETER for too hard TCE calls and FUNCTION for other calls; user space that answers TOO_HARD is an error", () => {
  const scene = attachedScene();
  assert.equal(scene.vcpu.hypercall(H_PUT_TCE, 71, 0, 0), PARAMETER);
  assert.equal(scene.vcpu.hypercall(4), FUNCTION);
  const wrong = new Vcpu(scene, () => TOO_HARD);
  assert.throws(() => wrong.hypercall(H_PUT_TCE, 71, 0, 0), /user space answers H_TOO_HARD to call 32/);
  assert.throws(() => scene.vcpu.calls.answer(H_PUT_TCE, new BigUint64Array(3)), /arguments of a hypercall is 3/);
});

test("a vCPU whose thread has no view of an attached table leaves its calls to user space, which registers the view", () => {
  const { vcpu, handle, machine } = attachedScene();
  const other = viewOf(handle);
  const second = new Vcpu(other);
  assert.equal(second.put(3, tceOf(1)), TOO_HARD);
  for (const table of other.hardware) assert.equal(other.tables.attachHardware(LIOBN, table), undefined);
  assert.equal(second.put(3, tceOf(1)), SUCCESS);
  assert.deepEqual([vcpu.get(3), deviceReads(machine, "disk", 3)], [0x1003n, 1]);
  // A view stays registered when another thread detaches the table and attaches it again.
  assert.equal(other.tables.detachHardware(LIOBN, other.hardware[1] as never), undefined);
  assert.equal(other.tables.attachHardware(LIOBN, other.hardware[1] as never), undefined);
  assert.equal(vcpu.put(3, tceOf(2)), SUCCESS);
  assert.equal(deviceReads(machine, "disk", 3), 2);
});
