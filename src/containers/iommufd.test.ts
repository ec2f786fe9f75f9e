import assert from "node:assert/strict";
import { test } from "node:test";
import { isErrno } from "../units/errno.ts";
import { IoAddressSpace } from "./iommufd.ts";
import {
  deviceReads,
  numberPages,
  PAGE,
  type Scene,
  type SceneOptions,
  sceneOf,
  userAddress,
  WINDOW,
} from "./set-up.model.ts";

interface Opened extends Scene {
  readonly space: IoAddressSpace;
}

function opened(options: SceneOptions = {}): Opened {
  const scene = sceneOf(options);
  numberPages(scene.machine);
  const space = created(scene);
  assert.equal(space.attach(scene.domain), undefined);
  return { ...scene, space };
}

const bytes = (pages: number): bigint => BigInt(pages) * PAGE;
const at = (entry: number): bigint => WINDOW.base + bytes(entry);

function created({ pinned, owner }: Pick<Scene, "pinned" | "owner">): IoAddressSpace {
  const space = IoAddressSpace.create({ pinned, owner });
  assert.ok(!isErrno(space), String(space));
  return space;
}

function mapped(answer: ReturnType<IoAddressSpace["map"]>): bigint {
  assert.ok(!isErrno(answer), String(answer));
  return answer.iova;
}

test("IO address space: chooses the lowest free addresses, or takes a fixed one", () => {
  const { space, machine, pinned } = opened();
  assert.equal(mapped(space.map({ userAddress: userAddress(5), bytes: bytes(2), access: 3 })), at(0));
  assert.equal(mapped(space.map({ userAddress: userAddress(9), bytes: bytes(1), access: 3, iova: at(3) })), at(3));
  assert.equal(mapped(space.map({ userAddress: userAddress(20), bytes: bytes(2), access: 3 })), at(4));
  assert.equal(mapped(space.map({ userAddress: userAddress(30), bytes: bytes(1), access: 3 })), at(2));
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5, 6].map((entry) => deviceReads(machine, at(entry))),
    [5, 6, 30, 9, 20, 21, undefined],
  );
  assert.equal(space.unmapAll(), bytes(6));
  assert.equal(pinned.pins, 0);
});

test("IO address space: map: each error, and nothing is left", () => {
  const reserved = [{ first: at(8), last: at(9) - 1n }];
  const { space, pinned, owner } = opened({ limitPages: 600, reserved });
  const plain = { userAddress: userAddress(0), bytes: bytes(2), access: 3 } as const;
  for (const [errno, wrong] of [
    ["EINVAL", { ...plain, access: 0 }],
    ["EINVAL", { ...plain, bytes: 0n }],
    ["EINVAL", { ...plain, bytes: 100n }],
    ["EINVAL", { ...plain, userAddress: userAddress(0) + 1n }],
    ["EINVAL", { ...plain, iova: at(0) + 1n }],
    ["EINVAL", { ...plain, iova: at(0) - PAGE }],
    ["EINVAL", { ...plain, iova: at(7) }],
    ["EINVAL", { ...plain, iova: at(511) }],
    ["EOVERFLOW", { ...plain, iova: 2n ** 64n - PAGE }],
    ["EOVERFLOW", { ...plain, userAddress: 2n ** 64n - PAGE }],
    ["ENOSPC", { ...plain, bytes: bytes(504) }],
    ["EFAULT", { ...plain, userAddress: userAddress(99) }],
  ] as const) {
    assert.equal(
      space.map(wrong),
      errno,
      JSON.stringify(wrong, (_, value) => String(value)),
    );
    assert.deepEqual([pinned.pins, pinned.chargedPages(owner), space.mappings().length], [0, 0, 0]);
  }
  mapped(space.map({ ...plain, iova: at(20) }));
  assert.equal(space.map({ ...plain, iova: at(21) }), "EEXIST");
  assert.equal(mapped(space.map({ userAddress: userAddress(200), bytes: bytes(480), access: 3 })), at(22));
  assert.equal(space.map({ userAddress: userAddress(800), bytes: bytes(119), access: 3, iova: at(30) }), "EEXIST");
  assert.equal(space.close(), undefined);
  assert.equal(pinned.pins, 0);
});

test("IO address space: the limit of locked memory counts copies once", () => {
  const { space, pinned, owner } = opened({ limitPages: 4 });
  const iova = mapped(space.map({ userAddress: userAddress(0), bytes: bytes(4), access: 3 }));
  assert.equal(space.map({ userAddress: userAddress(50), bytes: bytes(1), access: 3 }), "ENOMEM");
  mapped(space.copy({ source: space, sourceIova: iova, bytes: bytes(4), access: 3 }));
  assert.deepEqual([pinned.pins, pinned.chargedPages(owner)], [4, 4]);
});

test("IO address space: copies map a part of another space's mapping, and keep its memory when that is unmapped", () => {
  const { space, machine, pinned, owner, domain } = opened();
  const other = created({ pinned, owner });
  const iova = mapped(other.map({ userAddress: userAddress(10), bytes: bytes(4), access: 1 }));
  assert.equal(space.copy({ source: other, sourceIova: iova, bytes: bytes(5), access: 1 }), "ENOENT");
  assert.equal(space.copy({ source: other, sourceIova: iova - PAGE, bytes: bytes(2), access: 1 }), "ENOENT");
  assert.equal(space.copy({ source: other, sourceIova: iova, bytes: bytes(1), access: 3 }), "EPERM");
  const copied = mapped(
    space.copy({ source: other, sourceIova: iova + PAGE, bytes: bytes(2), access: 1, iova: at(7) }),
  );
  assert.equal(copied, at(7));
  assert.equal(other.close(), undefined);
  assert.equal(pinned.pins, 4);
  assert.deepEqual(
    [deviceReads(machine, at(7)), deviceReads(machine, at(8)), deviceReads(machine, at(9))],
    [11, 12, undefined],
  );
  assert.equal(space.copy({ source: other, sourceIova: iova, bytes: bytes(1), access: 1 }), "EPERM", "a closed source");
  assert.equal(space.detach(domain), undefined);
  assert.equal(deviceReads(machine, at(7)), undefined);
  assert.equal(pinned.pins, 4);
  assert.equal(space.attach(domain), undefined);
  assert.equal(deviceReads(machine, at(7)), 11);
  assert.equal(space.unmap({ iova: at(7), bytes: bytes(2) }), bytes(2));
  assert.equal(pinned.pins, 0);
});

test("IO address space: unmap takes whole mappings only, many at a time", () => {
  const { space } = opened();
  for (const entry of [0, 2, 4])
    mapped(space.map({ userAddress: userAddress(entry), bytes: bytes(2), access: 3, iova: at(entry) }));
  assert.equal(space.unmap({ iova: at(1), bytes: bytes(3) }), "ENOENT");
  assert.equal(space.unmap({ iova: at(0), bytes: bytes(3) }), "ENOENT");
  assert.equal(space.unmap({ iova: at(9), bytes: bytes(3) }), "ENOENT");
  assert.equal(space.unmap({ iova: at(2), bytes: bytes(0) }), "EINVAL");
  assert.equal(space.mappings().length, 3);
  assert.equal(space.unmap({ iova: at(0), bytes: bytes(4) }), bytes(4));
  assert.equal(space.unmap({ iova: at(4), bytes: bytes(2) }), bytes(2));
});

test("IO address space: allowed ranges: where addresses are chosen, and what every domain has to allow", () => {
  const { space, domain } = opened({ reserved: [{ first: at(100), last: at(101) - 1n }] });
  assert.equal(space.allow([{ first: at(99), last: at(101) }]), "EADDRINUSE");
  assert.equal(
    space.allow([
      { first: at(40) + 5n, last: at(43) - 1n },
      { first: at(60), last: at(70) - 1n },
    ]),
    undefined,
  );
  const user = userAddress(0);
  assert.equal(mapped(space.map({ userAddress: user, bytes: bytes(3), access: 1 })), at(60));
  assert.equal(mapped(space.map({ userAddress: user, bytes: bytes(2), access: 1 })), at(41));
  assert.equal(space.map({ userAddress: user, bytes: bytes(8), access: 1 }), "ENOSPC");
  assert.equal(mapped(space.map({ userAddress: user, bytes: bytes(8), access: 1, iova: at(0) })), at(0));
  const narrow = { ...domain, window: { ...WINDOW, entries: 64 } };
  assert.equal(space.attach(narrow), "EADDRINUSE");
  assert.equal(space.allow([]), undefined);
  assert.equal(space.attach({ ...narrow, reserved: [{ first: at(61), last: at(61) }] }), "EADDRINUSE");
  assert.equal(space.attach({ ...domain, window: { ...WINDOW, base: 0n, pageShift: 16, entries: 4096 } }), "EINVAL");
  assert.equal(space.attach(domain), "EBUSY");
  assert.equal(space.detach(narrow), "ENOENT");
});

test("IO address space: dirty pages of a tracked domain", () => {
  const { space, machine, domain } = opened();
  mapped(space.map({ userAddress: userAddress(0), bytes: bytes(9), access: 3, iova: at(0) }));
  const range = { iova: at(0), bytes: bytes(9) };
  const bits = new Uint8Array(2);
  assert.equal(space.takeDirty(range, bits), "EINVAL");
  assert.equal(space.trackDirty({ ...domain }, true), "ENOENT");
  assert.equal(space.trackDirty(domain, true), undefined);
  machine.device(0).dmaWrite(at(8), new Uint8Array(1));
  assert.equal(space.takeDirty(range, bits), undefined);
  assert.deepEqual([...bits], [0, 1]);
  assert.equal(space.trackDirty(domain, false), undefined);
  const { dirtyLog: _, ...without } = domain;
  space.detach(domain);
  assert.equal(space.attach(without), undefined);
  assert.equal(space.trackDirty(without, true), "EOPNOTSUPP");
});

test("IO address space: a closed space answers EPERM", () => {
  const { space, domain } = opened();
  assert.equal(space.close(), undefined);
  assert.equal(space.close(), undefined);
  assert.equal(space.map({ userAddress: userAddress(0), bytes: bytes(1), access: 1 }), "EPERM");
  assert.equal(space.attach(domain), "EPERM");
  assert.equal(space.unmapAll(), "EPERM");
});
