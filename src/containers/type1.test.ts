import assert from "node:assert/strict";
import { test } from "node:test";
import { explainTexts } from "../explain.ts";
import { PinnedMemory } from "../pinned/pinned-memory.ts";
import { isErrno } from "../units/errno.ts";
import type { Failure } from "../units/failure.ts";
import { ContainerEnd } from "./container-end.ts";
import type { Domain } from "./domain.ts";
import type { MapRequest } from "./requests.ts";
import {
  ABSENT,
  deviceReads,
  numberPages,
  PAGE,
  physicalAddress,
  type Scene,
  type SceneOptions,
  sceneOf,
  USER_BASE,
  userAddress,
  WINDOW,
} from "./set-up.model.ts";
import { Type1Container, type Type1Options } from "./type1.ts";

interface Opened extends Scene {
  readonly container: Type1Container;
}

function opened(options: SceneOptions & Pick<Type1Options, "version" | "mappings"> = {}): Opened {
  const { version = 2, mappings = 100, ...rest } = options;
  const scene = sceneOf(rest);
  const container = Type1Container.open({ version, mappings, pinned: scene.pinned, owner: scene.owner });
  assert.ok(!isErrno(container), String(container));
  assert.equal(container.attachGroup({ number: 3, domain: scene.domain }), undefined);
  return { ...scene, container };
}

/** `pages` pages of the process from `page` on, at entry `entry` of the window. */
function request(entry: number, page: number, pages: number, flags = 3): MapRequest {
  const iova = WINDOW.base + BigInt(entry) * PAGE;
  return { iova, userAddress: userAddress(page), bytes: BigInt(pages) * PAGE, flags };
}

const rangeAt = (entry: number, pages: number) => ({
  iova: WINDOW.base + BigInt(entry) * PAGE,
  bytes: BigInt(pages) * PAGE,
});

function assertNothingLeft({ pinned, owner, platform }: Scene): void {
  assert.equal(pinned.pins, 0, "pins");
  assert.equal(pinned.chargedPages(owner), 0, "charged pages");
  const value = { page: 0, access: 0 as const };
  for (let entry = 0; entry < WINDOW.entries; entry++) {
    platform.ops.get(entry, value);
    assert.equal(value.access, 0, `entry ${entry}`);
  }
}

test("type 1: maps user memory where it is asked to, and devices reach it until it is unmapped", () => {
  const { container, machine, pinned, owner, ...rest } = opened();
  numberPages(machine);
  assert.equal(container.map(request(10, 40, 3)), undefined);
  assert.equal(pinned.chargedPages(owner), 3);
  assert.equal(deviceReads(machine, WINDOW.base + 12n * PAGE), 42);
  assert.equal(deviceReads(machine, WINDOW.base + 13n * PAGE), undefined);
  assert.equal(container.unmap(rangeAt(10, 3)), 3n * PAGE);
  assert.equal(deviceReads(machine, WINDOW.base + 10n * PAGE), undefined);
  assertNothingLeft({ ...rest, machine, pinned, owner });
});

test("type 1: pages that devices could write are dirty when they are unpinned, others are not", () => {
  const { container, memory } = opened();
  container.map(request(0, 7, 1, 1));
  container.map(request(1, 8, 1, 2));
  assert.equal(container.unmapAll(), 2n * PAGE);
  assert.deepEqual(memory.unpinned, [
    [7, false],
    [8, true],
  ]);
});

test("type 1: map: each error, and nothing is left of what failed", () => {
  const { container, ...scene } = opened({
    limitPages: 10,
    mappings: 2,
    reserved: [{ first: 0x11_0000n, last: 0x11_0fffn }],
  });
  const before = WINDOW.base - PAGE;
  for (const [errno, wrong] of [
    ["EINVAL", { ...request(0, 0, 1), iova: WINDOW.base + 1n }],
    ["EINVAL", { ...request(0, 0, 1), userAddress: userAddress(0) + 512n }],
    ["EINVAL", { ...request(0, 0, 1), bytes: 4095n }],
    ["EINVAL", { ...request(0, 0, 1), bytes: 0n }],
    ["EINVAL", request(0, 0, 1, 0)],
    ["EINVAL", request(0, 0, 1, 7)],
    ["EINVAL", { ...request(0, 0, 1), argsz: 31 }],
    ["EINVAL", { ...request(0, 0, 1), iova: before }],
    ["EINVAL", { ...request(0, 0, 2), iova: before }],
    ["EINVAL", request(511, 0, 2)],
    ["EINVAL", { ...request(0, 0, 2), iova: 2n ** 64n - PAGE }],
    ["EINVAL", { ...request(0, 0, 2), userAddress: 2n ** 64n - PAGE }],
    ["EINVAL", request(16, 0, 1)],
    ["EINVAL", request(15, 0, 2)],
    ["ENOMEM", request(0, 0, 11)],
    ["EFAULT", request(0, 1023, 2)],
    ["EFAULT", request(0, [...ABSENT][0]! - USER_BASE - 1, 3)],
  ] as const) {
    assert.equal(
      container.map(wrong),
      errno,
      JSON.stringify(wrong, (_, value) => String(value)),
    );
    assertNothingLeft(scene);
  }
  assert.equal(container.map(request(4, 0, 4)), undefined);
  for (const [entry, pages] of [
    [4, 4],
    [3, 2],
    [7, 1],
    [0, 20],
  ] as const) {
    assert.equal(container.map(request(entry, 20, pages)), "EEXIST");
  }
  assert.equal(container.map(request(0, 20, 1)), undefined);
  assert.equal(container.map(request(30, 20, 1)), "ENOSPC");
  assert.deepEqual(container.info(), {
    pageBytes: 4096,
    allowed: [
      { first: 0x10_0000n, last: 0x10_ffffn },
      { first: 0x11_1000n, last: 0x2f_ffffn },
    ],
    available: 0,
  });
  assert.equal(container.close(), undefined);
  assertNothingLeft(scene);
});

test("type 1: version 2 refuses to divide a mapping, and unmaps nothing then; an unmap of unmapped addresses returns 0 bytes", () => {
  const { container, pinned } = opened();
  container.map(request(8, 0, 8));
  container.map(request(20, 8, 2));
  for (const [entry, pages] of [
    [9, 7],
    [8, 7],
    [0, 10],
    [10, 2],
    [8, 13],
    [15, 7],
  ] as const) {
    assert.equal(container.unmap(rangeAt(entry, pages)), "EINVAL", `[${entry}, ${entry + pages})`);
  }
  assert.equal(pinned.pins, 10);
  assert.equal(container.unmap(rangeAt(0, 8)), 0n);
  assert.equal(container.unmap(rangeAt(16, 4)), 0n);
  assert.equal(container.unmap({ iova: 0n, bytes: 2n ** 64n - PAGE }), 10n * PAGE);
});

test("type 1: version 1 divides mappings; the pages stay pinned until both parts are unmapped", () => {
  const { container, machine, pinned, ...rest } = opened({ version: 1 });
  numberPages(machine);
  container.map(request(8, 0, 8));
  assert.equal(container.unmap(rangeAt(10, 2)), 2n * PAGE);
  assert.deepEqual(
    container.mappings().map(({ busPage, pages, userPage }) => [busPage - 256, pages, userPage - USER_BASE]),
    [
      [8, 2, 0],
      [12, 4, 4],
    ],
  );
  assert.equal(deviceReads(machine, WINDOW.base + 10n * PAGE), undefined);
  assert.equal(deviceReads(machine, WINDOW.base + 12n * PAGE), 4);
  assert.equal(container.map(request(10, 30, 2)), undefined);
  assert.equal(pinned.pins, 10);
  assert.equal(container.unmap(rangeAt(0, 100)), 8n * PAGE);
  assertNothingLeft({ machine, pinned, ...rest });
});

test("type 1: a stale mapping: the user who ignores that version 2 refused to unmap runs into EEXIST, and devices still use the old page", () => {
  const { container, machine } = opened();
  numberPages(machine);
  container.map(request(0, 0, 4));
  assert.equal(container.unmap(rangeAt(0, 1)), "EINVAL");
  assert.equal(container.map(request(0, 50, 1)), "EEXIST");
  assert.equal(deviceReads(machine, WINDOW.base), 0);
  // The line that a VMM prints for this answer is input of `iova explain`.
  const [finding] = explainTexts([
    { file: "qemu.log", text: "vfio_dma_map(0x55d0c0, 0x100000, 0x1000, 0x7f0000) = -17 (File exists)\n" },
  ]).findings;
  assert.equal(finding?.verdict, "overlap");
  assert.ok(
    finding.follows.some(({ text }) => /unmap before it took 0 bytes, the device still uses the old memory/.test(text)),
  );
});

test("type 1: without a group nothing can be mapped, and the last group's detachment unmaps everything", () => {
  const { container, ...scene } = opened();
  assert.equal(container.attachGroup({ number: 3, domain: scene.domain }), "EBUSY");
  assert.equal(container.attachGroup({ number: 4, domain: scene.domain }), undefined);
  container.map(request(0, 0, 4));
  assert.equal(container.detachGroup(9), "EINVAL");
  assert.equal(container.detachGroup(3), undefined);
  assert.equal(scene.pinned.pins, 4);
  assert.equal(container.detachGroup(4), undefined);
  assertNothingLeft(scene);
  assert.equal(container.map(request(0, 0, 4)), "EINVAL");
  assert.deepEqual(container.info().allowed, []);
});

test("type 1: a group that comes later reaches all mappings; one that does not allow them is refused", () => {
  const { container, machine, domain, ...rest } = opened();
  numberPages(machine);
  const seen: [number, number][] = [];
  const other = fakeDomain(seen);
  container.map(request(5, 11, 2));
  const narrow: Domain = { ...other, reserved: [{ first: WINDOW.base + 6n * PAGE, last: WINDOW.base + 6n * PAGE }] };
  assert.equal(container.attachGroup({ number: 8, domain: narrow }), "EINVAL");
  assert.deepEqual(seen, []);
  assert.equal(container.attachGroup({ number: 8, domain: other }), undefined);
  assert.deepEqual(seen, [
    [5, 1024 + 11],
    [6, 1024 + 12],
  ]);
  assert.equal(container.map(request(0, 1, 1)), undefined);
  assert.equal(seen.length, 3);
  assert.equal(container.detachGroup(8), undefined);
  assert.deepEqual(seen, []);
  assert.equal(container.close(), undefined);
  assertNothingLeft({ machine, domain, ...rest });
});

test("type 1: a map that one of several domains refuses is undone in all of them", () => {
  const { container, ...scene } = opened();
  const seen: [number, number][] = [];
  const other = fakeDomain(seen);
  container.attachGroup({ number: 8, domain: other });
  for (const failing of ["set", "publish"] as const) {
    const right = other.ops[failing];
    let calls = 0;
    other.ops[failing] = (() => (calls++ === 0 ? "platform-refused" : undefined)) as never;
    assert.equal(container.map(request(0, 1, 3)), "EINVAL", failing);
    other.ops[failing] = right as never;
    assert.deepEqual(seen, []);
    assertNothingLeft(scene);
  }
});

test("type 1: memory is unpinned only after the invalidation (spec section 8, defect 28)", () => {
  const { container, platform, pinned, ...rest } = opened();
  container.map(request(0, 1, 3));
  const { invalidate } = platform.ops;
  let pinsThen = -1;
  platform.ops.invalidate = (first, end) => {
    pinsThen = pinned.pins;
    return invalidate.call(platform.ops, first, end);
  };
  assert.equal(container.unmap(rangeAt(0, 3)), 3n * PAGE);
  assert.equal(pinsThen, 3);
  assertNothingLeft({ platform, pinned, ...rest });
});

test("type 1: while an invalidation fails, memory stays pinned: an unmap can be repeated, a failed map is cleaned up by a later call", () => {
  const { container, platform, pinned, ...rest } = opened();
  const right = platform.ops.invalidate.bind(platform.ops);
  const fails = (): Failure => "platform-busy";
  container.map(request(0, 1, 3));
  platform.ops.invalidate = fails;
  assert.equal(container.unmap(rangeAt(0, 3)), "EBUSY");
  assert.equal(container.close(), "EBUSY");
  assert.equal(pinned.pins, 3);
  const { publish } = platform.ops;
  platform.ops.publish = fails;
  assert.equal(container.map(request(9, 20, 2)), "EBUSY");
  assert.equal(pinned.pins, 5);
  platform.ops.publish = publish;
  platform.ops.invalidate = right;
  assert.equal(container.unmap(rangeAt(0, 3)), 3n * PAGE);
  assertNothingLeft({ platform, pinned, ...rest });
});

test("type 1: a closed container answers EPERM, and a second close does nothing", () => {
  const { container } = opened();
  assert.equal(container.close(), undefined);
  assert.equal(container.close(), undefined);
  assert.equal(container.map(request(0, 0, 1)), "EPERM");
  assert.equal(container.unmap(rangeAt(0, 1)), "EPERM");
  assert.equal(container.detachGroup(3), "EPERM");
});

test("type 1: another process is refused, and what cannot be opened says why", () => {
  const { container, pinned, owner, domain } = opened();
  const other = owner + 1;
  assert.equal(container.map(request(0, 0, 1), other), "EPERM");
  assert.equal(container.unmap(rangeAt(0, 1), other), "EPERM");
  assert.equal(container.attachGroup({ number: 9, domain }, other), "EPERM");
  assert.equal(container.unmapAll(other), "EPERM");
  assert.equal(container.unmap({ ...rangeAt(0, 1), flags: 1 }), "EINVAL");
  assert.equal(container.unmap({ ...rangeAt(0, 1), argsz: 23 }), "EINVAL");
  assert.equal(Type1Container.open({ pinned, owner, version: 3 }), "EINVAL");
  assert.equal(Type1Container.open({ pinned, owner: other }), "ESRCH");
});

test("type 1: the process's end closes its containers first, and waits for those of other threads", () => {
  const { container, pinned, owner, ...rest } = opened();
  container.map(request(0, 0, 3));
  assert.equal(pinned.endOwner(owner), undefined);
  assert.equal(container.map(request(0, 0, 3)), "EPERM");
  assertNothingLeft({ pinned, owner, ...rest });
});

test("type 1: a thread that does not watch the container cannot end its process", () => {
  const { container, pinned, owner, ...rest } = opened();
  container.map(request(0, 0, 3));
  const other = PinnedMemory.attach(pinned.handle);
  assert.equal(other.endOwner(owner), "EBUSY");
  assert.equal(pinned.pins, 3);
  const end = ContainerEnd.watch(container.handle, other, [rest.domain]);
  assert.equal(other.endOwner(owner), undefined);
  assertNothingLeft({ pinned, owner, ...rest });
  end.close();
  other.close();
});

test("type 1: a handle whose state has another size is refused", () => {
  const { container, pinned, domain } = opened();
  const handle = { ...container.handle, state: new SharedArrayBuffer(0) };
  assert.throws(() => ContainerEnd.watch(handle, pinned, [domain]), /state of a container has 0 bytes; expected 4/);
});

test("type 1: misuse throws errors that name the thing", () => {
  const { container, pinned, owner } = opened();
  const wrong = (values: object) => () => container.map({ ...request(0, 0, 1), ...values } as never);
  assert.throws(wrong({ iova: 4096 }), /iova of a request is 4096; expected a bigint/);
  assert.throws(wrong({ flags: 1.5 }), /flags of a request is 1.5; expected an integer from 0 to 4294967295/);
  assert.throws(wrong({ size: 1 }), /option of a request is "size"/);
  assert.throws(() => Type1Container.open({ pinned, owner, mappings: 0 }), /mappings of a container is 0; expected/);
  assert.throws(
    () => container.attachGroup({ number: 1, domain: undefined as never }),
    /domain of a group is undefined/,
  );
});

const dirty = (container: Type1Container, entry: number, pages: number): number[] => {
  const bits = new Uint8Array(64);
  assert.equal(container.takeDirty(rangeAt(entry, pages), bits), undefined);
  return Array.from({ length: pages }, (_, i) => i).filter((i) => ((bits[i >> 3]! >> (i & 7)) & 1) === 1);
};

test("dirty pages of a container are those that devices wrote since the last call, and no others", () => {
  const { container, machine } = opened();
  container.map(request(0, 0, 100));
  const device = machine.device(0);
  device.dmaWrite(WINDOW.base, new Uint8Array(10));
  assert.equal(container.takeDirty(rangeAt(0, 100), new Uint8Array(64)), "EINVAL", "not begun");
  assert.equal(container.startDirtyTracking(), undefined);
  assert.deepEqual(dirty(container, 0, 100), []);
  device.dmaWrite(WINDOW.base + 31n * PAGE + 4095n, new Uint8Array(2));
  device.dmaWrite(WINDOW.base + 95n * PAGE, new Uint8Array(1));
  device.dmaRead(WINDOW.base + 50n * PAGE, new Uint8Array(9000));
  assert.equal(container.takeDirty(rangeAt(0, 99), new Uint8Array(64)), "EINVAL", "divides the mapping");
  assert.equal(container.takeDirty(rangeAt(0, 100), new Uint8Array(12)), "EINVAL", "short");
  assert.deepEqual(dirty(container, 0, 100), [31, 32, 95]);
  assert.deepEqual(dirty(container, 0, 100), []);
  device.dmaWrite(WINDOW.base + 31n * PAGE, new Uint8Array(1));
  assert.deepEqual(dirty(container, 0, 100), [31]);
  const bits = new Uint8Array(64);
  device.dmaWrite(WINDOW.base + 37n * PAGE, new Uint8Array(1));
  assert.equal(container.takeDirty({ ...rangeAt(0, 128), pageBytes: 65536 }, bits), undefined);
  assert.deepEqual([...bits.slice(0, 2)], [4, 0]);
  assert.equal(container.stopDirtyTracking(), undefined);
  assert.equal(container.stopDirtyTracking(), "EINVAL");
});

test("dirty pages of a container are all that devices may write, where the IOMMU keeps no record", () => {
  const { container } = opened({ hasDirtyLog: false });
  container.map(request(0, 0, 3, 1));
  container.map(request(5, 10, 2, 3));
  assert.equal(container.startDirtyTracking(), undefined);
  assert.deepEqual(dirty(container, 0, 10), [5, 6]);
});

test("dirty pages of a container: the process reads the written bytes of every marked page", () => {
  const { container, machine } = opened();
  container.map(request(0, 0, 4));
  container.startDirtyTracking();
  machine.device(0).dmaWrite(WINDOW.base + 2n * PAGE, Uint8Array.of(7, 8, 9, 1));
  assert.deepEqual(dirty(container, 0, 4), [2]);
  assert.equal(machine.memory.load32(physicalAddress(2)), 0x01090807);
});

/** A domain of entries in a list: a second IOMMU. */
function fakeDomain(seen: [number, number][]): Domain {
  return {
    window: WINDOW,
    ops: {
      set: (first, count, page) => {
        for (let i = 0; i < count; i++) seen.push([first + i, page + i]);
        return undefined;
      },
      clear: (first, count) => {
        const kept = seen.filter(([entry]) => entry < first || entry >= first + count);
        seen.splice(0, seen.length, ...kept);
      },
      get: () => undefined,
      exchange: () => "platform-refused",
      publish: () => undefined,
      invalidate: () => undefined,
      invalidateAll: () => undefined,
    },
  };
}
