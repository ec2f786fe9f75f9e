/**
 * Containers when ops throw or the IOMMU does not answer, at every point of every call: memory that a device may reach stays pinned, and once
 * the ops work again nothing is left (review of 2026-11-30).
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ModelOps } from "../dma/ops.model.ts";
import { PinnedMemory } from "../pinned/pinned-memory.ts";
import type { Failure } from "../units/failure.ts";
import { ContainerEnd } from "./container-end.ts";
import type { DirtyLog, Domain } from "./domain.ts";
import { IoAddressSpace } from "./iommufd.ts";
import { PAGE, type Scene, sceneOf, USER_BASE, userAddress, WINDOW } from "./set-up.model.ts";
import { Type1Container } from "./type1.ts";

/** Counts calls of the ops of several domains, and makes one of them fail. */
class Faults {
  calls = 0;
  failing = Number.POSITIVE_INFINITY;
  throws = true;
  /** Undefined: the call works. */
  next(): Failure | undefined {
    if (++this.calls < this.failing) return undefined;
    if (this.throws) throw new Error("the ops throw");
    return "platform-busy";
  }
}

class FaultyOps extends ModelOps {
  readonly #faults: Faults;
  constructor(faults: Faults) {
    super(WINDOW.entries);
    this.#faults = faults;
  }
  override set(...args: Parameters<ModelOps["set"]>): Failure | undefined {
    return this.#faults.next() ?? super.set(...args);
  }
  override clear(first: number, count: number): void {
    if (this.#faults.throws) this.#faults.next();
    super.clear(first, count);
  }
  override publish(): Failure | undefined {
    return this.#faults.next() ?? super.publish();
  }
  override invalidate(first: number, end: number): Failure | undefined {
    return this.#faults.next() ?? super.invalidate(first, end);
  }
}

interface Opened {
  readonly scene: Scene;
  readonly container: Type1Container;
  readonly domains: readonly (Domain & { readonly ops: FaultyOps })[];
  readonly faults: Faults;
}

function opened(): Opened {
  const scene = sceneOf();
  const { pinned, owner } = scene;
  const faults = new Faults();
  const domains = [0, 1].map(() => ({ window: WINDOW, ops: new FaultyOps(faults) }));
  const container = Type1Container.open({ pinned, owner, version: 1 }) as Type1Container;
  assert.equal(container.attachGroup({ number: 0, domain: domains[0] as Domain }), undefined);
  assert.equal(container.map(request(0, 4)), undefined);
  return { scene, container, domains, faults };
}

function request(entry: number, pages: number) {
  const iova = WINDOW.base + BigInt(entry) * PAGE;
  return { iova, userAddress: userAddress(entry), bytes: BigInt(pages) * PAGE, flags: 3 };
}

/** Asserts that every page that a device may reach is pinned. */
function assertReachableIsPinned({ scene: { pinned }, domains }: Opened, what: string): void {
  for (const { ops } of domains) {
    for (const { page, access } of ops.entries) if (access !== 0) assert.ok(pinned.pinsOf(page) > 0, what);
    // A stale entry does not have its page any more: entry n led to page n of the process.
    for (const entry of ops.stale) assert.ok(pinned.pinsOf(1024 + entry) > 0, what);
  }
}

const CALLS: Readonly<Record<string, (opened: Opened) => unknown>> = {
  map: ({ container }) => container.map(request(8, 3)),
  unmap: ({ container }) => container.unmap({ iova: WINDOW.base, bytes: 4n * PAGE }),
  "unmap of a part": ({ container }) => container.unmap({ iova: WINDOW.base + PAGE, bytes: PAGE }),
  "attach a group": ({ container, domains }) => container.attachGroup({ number: 1, domain: domains[1] as Domain }),
  "detach a group": ({ container }) => container.detachGroup(0),
  close: ({ container }) => container.close(),
};

for (const throws of [true, false]) {
  for (const [name, call] of Object.entries(CALLS)) {
    test(`${name}, ${throws ? "ops that throw" : "an IOMMU that does not answer"} from each point on: what devices reach stays pinned, and then nothing is left`, () => {
      for (let point = 1; ; point++) {
        const made = opened();
        const { container, faults, scene, domains } = made;
        faults.throws = throws;
        faults.calls = 0;
        faults.failing = point;
        try {
          call(made);
        } catch (error) {
          assert.match(String(error), /the ops throw/);
        }
        const isReached = faults.calls >= point;
        assertReachableIsPinned(made, `${name}, point ${point}`);
        faults.failing = Number.POSITIVE_INFINITY;
        assert.notEqual(container.unmapAll(), "EBUSY");
        assert.equal(container.close(), undefined, `${name}, point ${point}`);
        assert.equal(scene.pinned.pins, 0, `${name}, point ${point}`);
        assert.equal(scene.pinned.chargedPages(scene.owner), 0);
        for (const { ops } of domains) assert.deepEqual([ops.used, ops.stale.size], [0, 0], `${name}, point ${point}`);
        if (!isReached) break;
      }
    });
  }
}

test("a domain that can't be added, without room for further users of its regions: unmaps wait for its invalidation", () => {
  // One region, and as many users of regions as there can be.
  const scene = sceneOf({ regions: 1 });
  const { pinned, owner } = scene;
  const faults = new Faults();
  const domains = [new ModelOps(WINDOW.entries), new FaultyOps(faults)].map((ops) => ({ window: WINDOW, ops }));
  const space = IoAddressSpace.create({ pinned, owner }) as IoAddressSpace;
  assert.equal(space.attach(domains[0] as Domain), undefined);
  const { bytes, iova } = request(0, 1);
  const userMemory = userAddress(0);
  assert.deepEqual(space.map({ userAddress: userMemory, bytes, access: 3, iova }), { iova });
  while (pinned.use(0, 77) === undefined);
  faults.throws = false;
  faults.calls = 0;
  faults.failing = 2; // The entry is set, and not published.
  assert.equal(space.attach(domains[1] as Domain), "EBUSY");
  while (pinned.put(0, 77) === undefined && pinned.regionsOf(owner, 77).length > 0);
  assert.equal(space.unmapAll(), "EBUSY");
  assert.equal(pinned.pins, 1, "the second domain's devices may reach it");
  faults.failing = Number.POSITIVE_INFINITY;
  assert.equal(space.unmapAll(), PAGE);
  assert.equal(pinned.pins, 0);
});

test("IO pages above 4 KiB lead to aligned physical memory only", () => {
  const { pinned } = sceneOf();
  const memory = { pageOf: (page: number) => page - USER_BASE + 1, backingShift: () => 16 };
  const owner = pinned.addOwner({ limitBytes: 2 ** 20 }, memory) as number;
  const ops = new ModelOps(16);
  const domain = { window: { base: 0n, pageShift: 16, entries: 16 }, ops };
  const mapping = { iova: 0n, userAddress: userAddress(0), bytes: 65536n } as const;
  const container = Type1Container.open({ pinned, owner }) as Type1Container;
  assert.equal(container.attachGroup({ number: 1, domain }), undefined);
  assert.equal(container.map({ ...mapping, flags: 3 }), "EINVAL");
  assert.deepEqual([ops.used, pinned.pins], [0, 0]);
});

test("a copy of another pinned memory's mapping is EPERM, whatever its owner's number", () => {
  const [one, other] = [sceneOf(), sceneOf()];
  const [source, space] = [one, other].map(
    ({ pinned, owner }) => IoAddressSpace.create({ pinned, owner }) as IoAddressSpace,
  ) as [IoAddressSpace, IoAddressSpace];
  const made = source.map({ userAddress: userAddress(0), bytes: PAGE, access: 3 });
  assert.deepEqual(made, { iova: PAGE });
  assert.equal(one.owner, other.owner);
  assert.equal(space.copy({ source, sourceIova: PAGE, bytes: PAGE, access: 3 }), "EPERM");
});

test("a container can't be opened with the handle of another owner's", () => {
  const { pinned, owner, memory, domain } = sceneOf();
  const other = pinned.addOwner({ limitBytes: 4096 }, memory) as number;
  const { handle } = ContainerEnd.offer(pinned, owner, [domain]);
  assert.throws(() => Type1Container.open({ pinned, owner: other, handle }), /owner of a container's handle is 16/);
});

test("pages that the devices of a dead thread's container may have written are dirty when they are unpinned", () => {
  const scene = sceneOf();
  const { pinned, owner, memory, domain } = scene;
  const container = Type1Container.open({ pinned, owner }) as Type1Container;
  container.attachGroup({ number: 1, domain });
  container.map(request(3, 1));
  const other = PinnedMemory.attach(pinned.handle);
  other.join(owner, memory);
  const end = ContainerEnd.watch(container.handle, other, [domain]);
  assert.equal(other.endOwner(owner), undefined);
  assert.deepEqual(memory.unpinned, [[3, true]]);
  end.close();
  other.close();
});

function takeDirty(container: Type1Container | IoAddressSpace, pages: number): number[] {
  const bits = new Uint8Array(64);
  assert.equal(container.takeDirty({ iova: WINDOW.base, bytes: BigInt(pages) * PAGE }, bits), undefined);
  return Array.from({ length: pages }, (_, i) => i).filter((i) => ((bits[i >> 3]! >> (i & 7)) & 1) === 1);
}

function tracking(): Scene & { readonly container: Type1Container } {
  const scene = sceneOf();
  const container = Type1Container.open({ pinned: scene.pinned, owner: scene.owner }) as Type1Container;
  container.attachGroup({ number: 1, domain: scene.domain });
  container.map(request(0, 8));
  assert.equal(container.startDirtyTracking(), undefined);
  scene.machine.device(0).dmaWrite(WINDOW.base + 5n * PAGE, new Uint8Array(1));
  return { ...scene, container };
}

test("a second start of dirty tracking loses no page", () => {
  const { container, pinned, owner, domain, machine } = tracking();
  assert.equal(container.startDirtyTracking(), undefined);
  assert.deepEqual(takeDirty(container, 8), [5]);
  container.close();
  const space = IoAddressSpace.create({ pinned, owner }) as IoAddressSpace;
  space.attach(domain);
  const { iova, bytes } = request(0, 8);
  space.map({ userAddress: userAddress(0), bytes, access: 3, iova });
  assert.equal(space.trackDirty(domain, true), undefined);
  machine.device(0).dmaWrite(WINDOW.base + 6n * PAGE, new Uint8Array(1));
  assert.equal(space.trackDirty(domain, true), undefined);
  assert.deepEqual(takeDirty(space, 8), [6]);
});

test("pages that devices of a removed group have written are reported once", () => {
  const { container, domain } = tracking();
  const ops = new ModelOps(WINDOW.entries);
  assert.equal(container.attachGroup({ number: 2, domain: { window: WINDOW, ops, dirtyLog: quietLog() } }), undefined);
  assert.equal(container.detachGroup(1), undefined);
  assert.equal(container.takeDirty({ iova: WINDOW.base, bytes: PAGE }, new Uint8Array(1)), "EINVAL", "a part");
  assert.deepEqual(takeDirty(container, 8), [5]);
  assert.deepEqual(takeDirty(container, 8), []);
  // A group without a record is removed: all pages that its devices could write count as written.
  const { dirtyLog: _, ...plain } = domain;
  assert.equal(container.attachGroup({ number: 3, domain: plain }), undefined);
  assert.equal(container.detachGroup(3), undefined);
  assert.deepEqual(takeDirty(container, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(takeDirty(container, 8), []);
});

test("while writes are recorded, a group whose record can't start is not attached", () => {
  const { container } = tracking();
  const ops = new ModelOps(WINDOW.entries);
  const dirtyLog = { ...quietLog(), start: () => false };
  assert.equal(container.attachGroup({ number: 2, domain: { window: WINDOW, ops, dirtyLog } }), "EBUSY");
  assert.equal(ops.used, 0);
});

/** A record in which no page is ever written. */
function quietLog(): DirtyLog {
  return { start: () => true, stop: () => true, take: () => undefined };
}
