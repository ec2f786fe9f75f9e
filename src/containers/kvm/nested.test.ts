/**
 * A pseries guest under KVM: its platform makes hypercalls, KVM's guest tables answer them, and devices of the machine do DMA by the hardware's
 * table at the addresses that the guest has mapped.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ScatterList } from "../../dma/scatter-list.ts";
import { createDevice } from "../../dma/windows.ts";
import type { Machine } from "../../machine/contract.ts";
import { resetPartition } from "../../platforms/powernv/eeh.ts";
import { PseriesPlatform } from "../../platforms/pseries/platform.ts";
import type { GuestCall } from "./guest-calls.ts";
import { countsOf, ENTRIES, LIOBN, type Scene, sceneOf, USER_PAGE, Vcpu } from "./set-up.model.ts";

const FUNCTION = -2;
const H_PUT_TCE_INDIRECT = 0x13c;
/** List pages of the guest: guest pages from here on. */
const LIST_PAGES = 240;

interface Nested extends Scene {
  readonly guest: PseriesPlatform;
  /** Numbers of the calls that user space got. */
  readonly told: number[];
}

/** User space registers all of the guest's memory when the first call needs it. */
function nestedScene(invalidate: "strict" | "lazy"): Nested {
  const scene = sceneOf({ levels: 2 });
  const { tables, hardware, pinned, owner, machine, ram } = scene;
  assert.equal(tables.createTable(LIOBN, { pageShift: 12, offset: 0, size: ENTRIES }), undefined);
  assert.equal(tables.attachHardware(LIOBN, hardware[0] as never), undefined);
  const told: number[] = [];
  const vcpu: Vcpu = new Vcpu(scene, ({ number, args }: GuestCall) => {
    told.push(number);
    if (args[0] !== BigInt(LIOBN)) return FUNCTION;
    assert.equal(typeof pinned.register(owner, USER_PAGE, 256), "number");
    return vcpu.calls.answer(number, args);
  });
  const { crew, registers } = machine;
  const guestMachine: Machine = {
    crew,
    memory: ram,
    registers,
    hypercall: vcpu.calls.hypercall,
    faults: () => machine.faults(),
  };
  const properties = {
    liobn: LIOBN,
    base: 0n,
    bytes: BigInt(ENTRIES) << 12n,
    pageShift: 12,
    multiTce: true,
    devices: ["nic"],
    configAddress: 0,
    unitId: 0n,
    limitedAddressing: false,
  };
  const region = { address: LIST_PAGES * 4096, bytes: 8 * 4096 };
  const guest = PseriesPlatform.create(guestMachine, { properties, region, table: { invalidate } });
  return { ...scene, guest, told };
}

/** Bytes as "nic" reads them; undefined: refused, and the PE is reset after. */
function nicReads({ machine, phb }: Scene, iova: bigint, bytes: number): Uint8Array | undefined {
  const into = new Uint8Array(bytes);
  if (machine.device("nic").dmaRead(iova, into)) return into;
  machine.faults();
  assert.equal(resetPartition(phb, 1), undefined);
  return undefined;
}

for (const invalidate of ["strict", "lazy"] as const) {
  test(`${invalidate}: a device reads and writes a mapped page of the guest, in the physical page behind it`, () => {
    const scene = nestedScene(invalidate);
    const { guest, machine, ram, told } = scene;
    const device = createDevice(guest.windows);
    // Over two blocks of 64 KiB, which do not adjoin in physical memory.
    const address = 15 * 4096 + 100;
    const pattern = Uint8Array.from({ length: 3 * 4096 }, (_, i) => i % 251);
    ram.write(address, pattern);
    const mapping = device.map(BigInt(address), pattern.length, 3);
    assert.ok(typeof mapping !== "string", String(mapping));
    assert.deepEqual(nicReads(scene, mapping.iova, pattern.length), pattern);
    assert.deepEqual(told, [H_PUT_TCE_INDIRECT], "user space registered the memory once");
    assert.deepEqual(countsOf(scene), { 0: 4 });
    assert.equal(machine.device("nic").dmaWrite(mapping.iova + 5000n, Uint8Array.of(1, 2, 3)), true);
    const written = new Uint8Array(3);
    ram.read(address + 5000, written);
    assert.deepEqual([...written], [1, 2, 3]);
    assert.equal(device.unmap(mapping), undefined);
    assert.deepEqual(countsOf(scene), { 0: 0 }, "H_STUFF_TCE invalidates before it returns");
    assert.equal(nicReads(scene, mapping.iova, 4), undefined);
  });

  test(`${invalidate}: a scatterlist of the guest`, () => {
    const scene = nestedScene(invalidate);
    const { guest, ram } = scene;
    const device = createDevice(guest.windows);
    const list = new ScatterList(20);
    const wanted: number[] = [];
    for (let i = 0; i < 20; i++) {
      const address = ((i * 37) % 200) * 4096 + 16 * i;
      ram.write(address, Uint8Array.of(i, i + 1, i + 2, i + 3));
      wanted.push(i, i + 1, i + 2, i + 3);
      list.add(BigInt(address), 4);
    }
    assert.equal(device.mapSg(list, 1), undefined);
    const read: number[] = [];
    for (let segment = 0; segment < list.segments; segment++) {
      read.push(...(nicReads(scene, list.iovas[segment] as bigint, list.segmentBytes[segment] as number) ?? []));
    }
    assert.deepEqual(read, wanted);
    assert.deepEqual(countsOf(scene), { 0: 20 });
    const first = list.iovas[0] as bigint;
    assert.equal(device.unmapSg(list), undefined);
    assert.deepEqual(countsOf(scene), { 0: 0 });
    assert.equal(nicReads(scene, first, 4), undefined);
    guest.close();
  });
}

test("a refusal by the hardware's table fails the guest's map, and nothing stays mapped (spec section 8, defect 16)", () => {
  const scene = nestedScene("strict");
  const { guest, tces, tables, hardware } = scene;
  const device = createDevice(guest.windows);
  const before = device.map(4096n, 4096, 3);
  assert.ok(typeof before !== "string");
  const { ops } = tces[0] as Scene["tces"][0];
  const exchange = ops.exchange.bind(ops);
  let calls = 0;
  ops.exchange = (entry, page, access, old) =>
    calls++ === 2 ? "platform-refused" : exchange(entry, page, access, old);
  assert.equal(device.map(8192n, 5 * 4096, 3), "platform-refused");
  assert.deepEqual([countsOf(scene), hardware[0]?.mapped], [{ 0: 1 }, 1]);
  const pages = tables.pagesOf(LIOBN);
  assert.ok(pages !== undefined);
  const tces64 = new BigUint64Array(pages.buffer as unknown as SharedArrayBuffer, pages.byteOffset, ENTRIES);
  assert.deepEqual(
    tces64.filter((tce) => (tce & 3n) !== 0n),
    BigUint64Array.of(0x1003n),
  );
});

test("the guest dies with live mappings: its tables end, then its memory is unpinned, and no device reaches it", () => {
  const scene = nestedScene("lazy");
  const { guest, pinned, owner, tables, hardware } = scene;
  const mapping = createDevice(guest.windows).map(4096n, 3 * 4096, 3);
  assert.ok(typeof mapping !== "string");
  assert.equal(pinned.unregister(owner, USER_PAGE, 256), "EBUSY");
  assert.equal(pinned.endOwner(owner), undefined);
  assert.equal(nicReads(scene, mapping.iova, 4), undefined);
  assert.deepEqual([pinned.pins, hardware[0]?.mapped, tables.pagesOf(LIOBN)], [0, 0, undefined]);
});
