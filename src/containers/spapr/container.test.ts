/** sPAPR containers over powernv bridges: each error of each call, and what devices reach. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ModelOps } from "../../dma/ops.model.ts";
import type { SoftwareMachine } from "../../machines/software/machine.ts";
import { PinnedMemory } from "../../pinned/pinned-memory.ts";
import type { UserMemory } from "../../pinned/user-memory.ts";
import { TableGroup } from "../../platforms/powernv/group.ts";
import type { Phb } from "../../platforms/powernv/phb.ts";
import { machineWith, phbOn, readByte } from "../../platforms/powernv/set-up.model.ts";
import { PowernvTable } from "../../platforms/powernv/table.ts";
import { SpaprContainer, type SpaprKind } from "./container.ts";
import type { SpaprGroup } from "./group.ts";
import { powernvSpaprGroup } from "./powernv-group.ts";

const PAGE = 4096n;
const DEFAULT_BYTES = 2n ** 20n;
const SECOND = 1n << 59n;
/** User page n is physical page n − 0x1000, up to physical page 256; pages 0x1080 and later are not present. */
const USER = 0x1000n * PAGE;
const SHAPE = { pageShift: 12, windowBytes: 2n ** 20n, levels: 1 } as const;

interface Scene {
  readonly machine: SoftwareMachine;
  readonly phb: Phb;
  readonly pinned: PinnedMemory;
  readonly owner: number;
  readonly container: SpaprContainer;
  readonly groups: readonly [SpaprGroup, SpaprGroup];
  readonly tableGroups: readonly [TableGroup, TableGroup];
}

function scene(kind: SpaprKind, limitPages = 2 ** 20, shift = 12): Scene {
  const machine = machineWith({ faultRecords: 64 });
  const phb = phbOn(machine);
  const pinned = PinnedMemory.create({ memoryBytes: machine.memory.bytes, crew: machine.crew, regions: 64 });
  const user: UserMemory = { pageOf: (page) => (page < 0x1080 ? page - 0x1000 : -1), backingShift: () => shift };
  const owner = pinned.addOwner({ limitBytes: limitPages * 4096 }, user) as number;
  const container = SpaprContainer.open({ pinned, owner, kind }) as SpaprContainer;
  const tableGroups = [1, 2].map((partition) => TableGroup.create(phb, partition)) as [TableGroup, TableGroup];
  const groups = tableGroups.map((group) => powernvSpaprGroup(phb, group, { defaultBytes: DEFAULT_BYTES }));
  phb.bindDevice("nic", 1);
  phb.bindDevice("disk", 2);
  for (let page = 1; page < 256; page++) machine.memory.write(page * 4096, Uint8Array.of(page));
  return { machine, phb, pinned, owner, container, groups: groups as [SpaprGroup, SpaprGroup], tableGroups };
}

/** A container of version 2 with one group and 16 registered pages. */
function ready(limitPages?: number, shift?: number): Scene {
  const made = scene("spapr-v2", limitPages, shift);
  assert.equal(made.container.attachGroup(made.groups[0]), undefined);
  assert.equal(made.container.register({ userAddress: USER, bytes: 16n * PAGE }), undefined);
  return made;
}

/** A container of version 1 with one group, enabled. */
function enabled(): Scene {
  const made = scene("spapr-v1");
  assert.equal(made.container.attachGroup(made.groups[0]), undefined);
  assert.equal(made.container.enable(), undefined);
  return made;
}

const map = (entry: number, page: number, pages = 1, flags = 3) => ({
  iova: BigInt(entry) * PAGE,
  userAddress: USER + BigInt(page) * PAGE,
  bytes: BigInt(pages) * PAGE,
  flags,
});

/** The byte that the device reads at a bus address; undefined: refused. The PE thaws afterwards. */
function read({ machine }: Scene, device: string, iova: bigint): number | undefined {
  const byte = readByte(machine, device, iova);
  machine.faults();
  for (const partition of [1, 2]) machine.translation.thaw(partition);
  return byte;
}

describe("open and groups", () => {
  test("another kind is EINVAL, another process EPERM in every later call", () => {
    const { pinned, owner, container, groups } = scene("spapr-v2");
    assert.equal(SpaprContainer.open({ pinned, owner, kind: "type1" }), "EINVAL");
    assert.equal(SpaprContainer.open({ pinned, owner: 999, kind: "spapr-v2" }), "ESRCH");
    const other = pinned.addOwner({ limitBytes: 0 }, { pageOf: () => -1, backingShift: () => 12 }) as number;
    const memory = { userAddress: USER, bytes: PAGE };
    assert.deepEqual(
      [
        container.attachGroup(groups[0], other),
        container.detachGroup(groups[0], other),
        container.info({}, other),
        container.enable(other),
        container.disable(other),
        container.register(memory, other),
        container.unregister(memory, other),
        container.createWindow(SHAPE, other),
        container.removeWindow({ iova: 0n }, other),
        container.map(map(0, 0), other),
        container.unmap({ iova: 0n, bytes: PAGE }, other),
      ],
      Array.from({ length: 11 }, () => "EPERM"),
    );
  });

  test("version 1 takes one group; the same group twice is EBUSY, and one that the kernel uses", () => {
    const { container, groups, phb, tableGroups } = scene("spapr-v2");
    const used = PowernvTable.create(phb, { ...SHAPE, window: 0 });
    tableGroups[1].setWindow(used);
    const entry = used.generic.allocate(1);
    const busy = powernvSpaprGroup(phb, tableGroups[1], { tables: [used] });
    assert.equal(container.attachGroup(busy), "EBUSY");
    used.generic.abandon(entry, 1);
    assert.equal(container.attachGroup(busy), undefined);
    assert.equal(container.attachGroup(busy), "EBUSY");
    assert.equal(container.attachGroup(groups[0]), undefined);
    const v1 = enabled();
    assert.equal(v1.container.attachGroup(v1.groups[1]), "EBUSY");
  });

  test("version 2 refuses a group without dynamic windows with EINVAL, and one of another bridge with EPERM", () => {
    const { container, groups } = ready();
    const fixed: SpaprGroup = { ...plain(groups[1]), dynamicWindows: 0 };
    assert.equal(container.attachGroup(fixed), "EINVAL");
    const another = scene("spapr-v2");
    assert.equal(container.attachGroup(another.groups[1]), "EPERM");
  });
});

describe("what groups see", () => {
  test("info has the 32-bit window, and what windows can be made; ENXIO without a group", () => {
    const { container, groups } = scene("spapr-v2");
    assert.equal(container.info(), "ENXIO");
    container.attachGroup(groups[0]);
    assert.equal(container.info({ argsz: 8 }), "EINVAL");
    assert.deepEqual(container.info(), {
      dma32Start: 0n,
      dma32Bytes: DEFAULT_BYTES,
      dynamicWindows: 2,
      pageShifts: [12, 16, 21, 30],
      levels: 4,
    });
    assert.deepEqual(enabled().container.info(), {
      dma32Start: 0n,
      dma32Bytes: DEFAULT_BYTES,
      dynamicWindows: 0,
      pageShifts: [],
      levels: 0,
    });
  });

  test("a group that leaves reaches nothing; mappings stay for the others, and a group that comes later has the windows", () => {
    const made = ready();
    const { container, groups } = made;
    assert.equal(container.attachGroup(groups[1]), undefined);
    assert.equal(container.map(map(5, 3)), undefined);
    assert.deepEqual([read(made, "nic", 5n * PAGE), read(made, "disk", 5n * PAGE)], [3, 3]);
    assert.equal(container.detachGroup(groups[0]), undefined);
    assert.equal(container.detachGroup(groups[0]), "ENODEV");
    assert.deepEqual([read(made, "nic", 5n * PAGE), read(made, "disk", 5n * PAGE)], [undefined, 3]);
    assert.equal(container.attachGroup(groups[0]), undefined);
    assert.equal(read(made, "nic", 5n * PAGE), 3);
  });
});

describe("version 1", () => {
  test("ENABLE: no group ENODEV, no 32-bit window EPERM, the limit ENOMEM, twice EBUSY; DISABLE gives the charge back", () => {
    const { container, groups, pinned, owner } = scene("spapr-v1");
    assert.equal(container.enable(), "ENODEV");
    const { defaultWindow: _, ...without } = plain(groups[0]);
    assert.equal(container.attachGroup(without), undefined);
    assert.equal(container.enable(), "EPERM");
    assert.equal(container.detachGroup(without), undefined);
    assert.equal(container.attachGroup(groups[0]), undefined);
    assert.equal(container.enable(), undefined);
    assert.equal(pinned.chargedPages(owner), 256);
    assert.equal(container.enable(), "EBUSY");
    assert.equal(container.disable(), undefined);
    assert.equal(container.disable(), undefined);
    assert.equal(pinned.chargedPages(owner), 0);
    const poor = scene("spapr-v1", 255);
    poor.container.attachGroup(poor.groups[0]);
    assert.equal(poor.container.enable(), "ENOMEM");
  });

  test("calls of version 2 are ENOTTY, and those of version 1 in version 2", () => {
    const { container } = scene("spapr-v1");
    const memory = { userAddress: USER, bytes: PAGE };
    const two = scene("spapr-v2").container;
    assert.deepEqual(
      [
        container.register(memory),
        container.unregister(memory),
        container.createWindow(SHAPE),
        container.removeWindow({ iova: 0n }),
        two.enable(),
        two.disable(),
      ],
      Array.from({ length: 6 }, () => "ENOTTY"),
    );
  });
});

describe("maps of version 1", () => {
  test("a map pins its memory, and the unmap of its last entry unpins it", () => {
    const made = enabled();
    const { container, pinned } = made;
    assert.equal(container.map(map(1, 7, 2)), undefined);
    assert.equal(pinned.pins, 2);
    assert.equal(read(made, "nic", 2n * PAGE), 8);
    assert.equal(container.map(map(2, 0x7f, 2)), "EFAULT");
    assert.equal(pinned.pins, 2);
    assert.equal(container.map(map(2, 20)), undefined, "replaces one of the two");
    assert.deepEqual([read(made, "nic", PAGE), read(made, "nic", 2n * PAGE), pinned.pins], [7, 20, 3]);
    assert.equal(container.unmap({ iova: PAGE, bytes: PAGE }), undefined);
    assert.deepEqual([read(made, "nic", PAGE), pinned.pins], [undefined, 1]);
    assert.equal(container.close(), undefined);
    assert.equal(pinned.pins, 0);
  });

  test("memory in pages that are smaller than the IO page is EPERM", () => {
    const made = scene("spapr-v1");
    const [group] = made.groups;
    const wide: SpaprGroup = {
      ...plain(group),
      windowOps: {
        tableBytes: (_, shape) => group.windowOps?.tableBytes(group, shape) ?? "EINVAL",
        createTable: (_, window, shape) =>
          group.windowOps?.createTable(group, window, { ...shape, pageShift: 16, windowBytes: 2n ** 24n }) ?? "EINVAL",
        setWindow: (_, table) => group.windowOps?.setWindow(group, table),
        unsetWindow: (_, table) => group.windowOps?.unsetWindow(group, table),
      },
    };
    assert.equal(made.container.attachGroup(wide), undefined);
    assert.equal(made.container.enable(), undefined);
    assert.equal(made.container.map({ iova: 0n, userAddress: USER, bytes: 65536n, flags: 3 }), "EPERM");
    assert.equal(made.pinned.pins, 0);
  });

  test("a legacy group's fixed table is filled, and is empty when the kernel has it again", () => {
    const { machine, phb, pinned, owner } = scene("spapr-v1");
    const legacy = TableGroup.createLegacy(phb, 3, SHAPE);
    phb.bindDevice("nic", 3);
    const table = legacy.createTable({ ...SHAPE, window: 0 });
    const container = SpaprContainer.open({ pinned, owner, kind: "spapr-v1" }) as SpaprContainer;
    assert.equal(container.attachGroup(powernvSpaprGroup(phb, legacy, { tables: [table] })), undefined);
    assert.equal(container.enable(), undefined);
    assert.equal(container.map(map(4, 9)), undefined);
    assert.equal(readByte(machine, "nic", 4n * PAGE), 9);
    assert.equal(container.close(), undefined);
    assert.equal(readByte(machine, "nic", 4n * PAGE), undefined);
    assert.equal(pinned.pins, 0);
    assert.equal(legacy.isOwned, false);
  });
});

/** The members of a group, as a plain object. */
function plain(group: SpaprGroup): SpaprGroup {
  const { number, windowOps, dynamicWindows, pageShifts, levels, defaultWindow, fixedTables } = group;
  return {
    number,
    ...(windowOps === undefined ? {} : { windowOps: forwarding(windowOps, group) }),
    dynamicWindows,
    pageShifts,
    levels,
    ...(defaultWindow === undefined ? {} : { defaultWindow }),
    fixedTables,
    takeOwnership: () => group.takeOwnership(),
    releaseOwnership: () => group.releaseOwnership(),
  };
}

function forwarding(
  ops: NonNullable<SpaprGroup["windowOps"]>,
  group: SpaprGroup,
): NonNullable<SpaprGroup["windowOps"]> {
  return {
    tableBytes: (_, shape) => ops.tableBytes(group, shape),
    createTable: (_, window, shape) => ops.createTable(group, window, shape),
    setWindow: (_, table) => ops.setWindow(group, table),
    unsetWindow: (_, table) => ops.unsetWindow(group, table),
  };
}

describe("REGISTER and UNREGISTER", () => {
  const memory = { userAddress: USER, bytes: 16n * PAGE };

  test("unaligned, short, flags, overflow: EINVAL; twice EBUSY; limit ENOMEM; not present EFAULT; overlap EINVAL", () => {
    const { container } = scene("spapr-v2", 40);
    assert.equal(container.register({ ...memory, userAddress: USER + 1n }), "EINVAL");
    assert.equal(container.register({ ...memory, bytes: 1n }), "EINVAL");
    assert.equal(container.register({ userAddress: 2n ** 64n - PAGE, bytes: 2n * PAGE }), "EINVAL");
    assert.equal(container.register({ ...memory, argsz: 23 }), "EINVAL");
    assert.equal(container.register({ ...memory, flags: 1 }), "EINVAL");
    assert.equal(container.register(memory), undefined);
    assert.equal(container.register(memory), "EBUSY");
    assert.equal(container.register({ userAddress: USER + 16n * PAGE, bytes: 25n * PAGE }), "ENOMEM");
    assert.equal(container.register({ userAddress: USER + 0x7fn * PAGE, bytes: 2n * PAGE }), "EFAULT");
    assert.equal(container.register({ userAddress: USER + 15n * PAGE, bytes: 2n * PAGE }), "EINVAL");
  });

  test("before any REGISTER EPERM, unknown ENOENT, mapped EBUSY", () => {
    const fresh = scene("spapr-v2").container;
    assert.equal(fresh.unregister(memory), "EPERM");
    const { container, pinned } = ready();
    assert.equal(container.unregister({ ...memory, bytes: PAGE }), "ENOENT");
    assert.equal(container.unregister({ ...memory, bytes: 1n }), "EINVAL");
    assert.equal(container.map(map(3, 3)), undefined);
    assert.equal(container.unregister(memory), "EBUSY");
    assert.equal(container.unmap({ iova: 3n * PAGE, bytes: PAGE }), undefined);
    assert.equal(container.unregister(memory), undefined);
    assert.equal(container.unregister(memory), "ENOENT");
    assert.equal(pinned.pins, 0);
  });

  test("two containers of a process share a region, each with its own registration", () => {
    const { container, pinned, owner } = ready();
    const other = SpaprContainer.open({ pinned, owner, kind: "spapr-v2" }) as SpaprContainer;
    assert.equal(other.register(memory), undefined);
    assert.equal(pinned.pins, 16);
    assert.equal(container.unregister(memory), undefined);
    assert.equal(container.unregister(memory), "ENOENT");
    assert.equal(pinned.pins, 16);
    assert.equal(other.close(), undefined);
    assert.equal(pinned.pins, 0);
  });
});

describe("MAP and UNMAP", () => {
  test("before the first REGISTER EPERM; short, bad flags, no access, misaligned, not registered, beyond the end EINVAL; no window ENXIO", () => {
    const fresh = scene("spapr-v2").container;
    assert.equal(fresh.map(map(0, 0)), "EPERM");
    assert.equal(fresh.unmap({ iova: 0n, bytes: PAGE }), "EPERM");
    const { container } = ready();
    assert.equal(container.map({ ...map(0, 0), argsz: 31 }), "EINVAL");
    assert.equal(container.map(map(0, 0, 1, 7)), "EINVAL");
    assert.equal(container.map(map(0, 0, 1, 0)), "EINVAL");
    for (const member of ["iova", "userAddress", "bytes"] as const) {
      const request = map(1, 1);
      assert.equal(container.map({ ...request, [member]: request[member] + 1n }), "EINVAL");
    }
    assert.equal(container.map(map(0, 16)), "EINVAL");
    assert.equal(container.map(map(255, 0, 2)), "EINVAL", "its end is checked (spec section 8, defect 18)");
    assert.equal(container.map(map(256, 0)), "ENXIO");
    assert.equal(container.unmap({ iova: DEFAULT_BYTES, bytes: PAGE }), "ENXIO");
    assert.equal(container.unmap({ iova: 0n, bytes: 1n }), "EINVAL");
    assert.equal(container.unmap({ iova: 0n, bytes: PAGE, flags: 1 }), "EINVAL");
    assert.equal(container.unmap({ iova: 0n, bytes: PAGE, argsz: 8 }), "EINVAL");
    assert.equal(container.unmap({ iova: 255n * PAGE, bytes: 2n * PAGE }), "EINVAL");
    assert.equal(container.unmap({ iova: 0n, bytes: 16n * PAGE }), undefined, "of nothing");
    assert.throws(() => container.map({ ...map(0, 0), iova: 0 as never }), /iova of a request is 0; expected a bigint/);
    assert.throws(() => container.map({ ...map(0, 0), vaddr: 0n } as never), /vaddr/);
  });

  test("devices reach what is mapped, with the access; a map over live entries replaces them", () => {
    const made = ready();
    const { container, machine } = made;
    assert.equal(container.map(map(5, 3, 2, 1)), undefined);
    assert.deepEqual([read(made, "nic", 5n * PAGE), read(made, "nic", 6n * PAGE)], [3, 4]);
    assert.equal(machine.device("nic").dmaWrite(5n * PAGE, Uint8Array.of(1)), false);
    assert.equal(read(made, "disk", 5n * PAGE), undefined, "its group is not in the container");
    assert.equal(container.map(map(6, 9)), undefined);
    assert.equal(read(made, "nic", 6n * PAGE), 9);
    assert.equal(container.unmap({ iova: 5n * PAGE, bytes: 2n * PAGE }), undefined);
    assert.equal(read(made, "nic", 6n * PAGE), undefined);
  });

  test("a map of memory that is partly not registered is EINVAL and changes no entry (spec section 8, defect 19)", () => {
    const made = ready();
    const { container, pinned, owner } = made;
    assert.equal(container.map(map(12, 3)), undefined);
    assert.equal(container.map(map(10, 12, 6)), "EINVAL", "pages 16 and 17 are not registered");
    assert.deepEqual(
      [10n, 12n].map((entry) => read(made, "nic", entry * PAGE)),
      [undefined, 3],
    );
    const region = pinned.find(owner, 0x1000, 16, container.user) as number;
    assert.equal(pinned.mapped(region), 2);
  });

  test("an IO page larger than the pages behind is EINVAL, for device memory EPERM", () => {
    const { container, pinned, owner } = ready(undefined, 12);
    const iova = container.createWindow({ pageShift: 16, windowBytes: 2n ** 24n, levels: 1 });
    assert.equal(iova, SECOND);
    assert.equal(container.map({ iova: SECOND, userAddress: USER, bytes: 65536n, flags: 3 }), "EINVAL");
    assert.equal(typeof pinned.registerDevice(owner, 0x2000, 16, 0x81), "number");
    assert.equal(container.map({ iova: SECOND, userAddress: 0x2000n * PAGE, bytes: 65536n, flags: 3 }), "EPERM");
    const wide = ready(undefined, 16);
    assert.equal(wide.container.createWindow({ pageShift: 16, windowBytes: 2n ** 24n, levels: 1 }), SECOND);
    assert.equal(wide.container.map({ iova: SECOND, userAddress: USER, bytes: 65536n, flags: 3 }), undefined);
    assert.equal(read(wide, "nic", SECOND + 11n * PAGE), 11);
  });
});

describe("windows", () => {
  test("CREATE makes a pending default window first; a third is ENOSPC, no group ENXIO, bad shapes EINVAL", () => {
    const fresh = scene("spapr-v2").container;
    assert.equal(fresh.createWindow(SHAPE), "ENXIO");
    const { container } = ready();
    assert.equal(container.createWindow({ ...SHAPE, pageShift: 24 }), "EINVAL");
    assert.equal(container.createWindow({ ...SHAPE, windowBytes: 3n * PAGE }), "EINVAL");
    assert.equal(container.createWindow({ ...SHAPE, levels: 6 }), "EINVAL");
    assert.equal(container.createWindow({ ...SHAPE, argsz: 39 }), "EINVAL");
    assert.equal(container.createWindow({ ...SHAPE, flags: 1 }), "EINVAL");
    assert.equal(container.createWindow(SHAPE), SECOND);
    assert.equal(container.createWindow(SHAPE), "ENOSPC");
    assert.deepEqual(
      container.tables.map(({ window }) => window.base),
      [0n, SECOND],
    );
  });

  test("a table beyond the limit is ENOMEM, and one that the bridge has no memory for; the charge comes back", () => {
    const { container, pinned, owner } = ready(18);
    assert.equal(container.removeWindow({ iova: 0n }), undefined);
    assert.equal(container.createWindow({ ...SHAPE, windowBytes: 2n ** 23n }), "ENOMEM");
    assert.equal(container.createWindow(SHAPE), 0n);
    assert.equal(pinned.chargedPages(owner), 17);
    assert.equal(container.removeWindow({ iova: 0n }), undefined);
    assert.equal(pinned.chargedPages(owner), 16);
    const rich = ready();
    assert.equal(rich.container.removeWindow({ iova: 0n }), undefined);
    assert.equal(rich.container.createWindow({ ...SHAPE, windowBytes: 2n ** 31n }), "ENOMEM");
    assert.equal(rich.pinned.chargedPages(rich.owner), 16);
  });

  test("groups that can't make windows are EPERM", () => {
    const { container, groups } = scene("spapr-v2");
    const { windowOps: _, ...group } = plain(groups[0]);
    assert.equal(container.attachGroup({ ...group, fixedTables: [] }), "ENODEV");
    const fixed = {
      window: { base: 0n, pageShift: 12, entries: 16 },
      ops: new ModelOps(16),
      handle: {},
      release: () => undefined,
    };
    assert.equal(container.attachGroup({ ...group, fixedTables: [fixed] }), undefined);
    assert.equal(container.createWindow(SHAPE), "EPERM");
  });

  test("a group that can't set the window: then no group has it", () => {
    const { container, groups, pinned, owner, phb } = ready();
    const taken = powernvSpaprGroup(phb, TableGroup.of(phb, 2), { defaultBytes: DEFAULT_BYTES });
    assert.equal(container.attachGroup(taken), undefined);
    TableGroup.of(phb, 2).openBypass();
    const before = pinned.chargedPages(owner);
    assert.equal(container.createWindow(SHAPE), "EBUSY");
    assert.equal(container.tables.length, 1, "the default window alone");
    assert.equal(pinned.chargedPages(owner), before + 1);
    TableGroup.of(phb, 2).closeBypass();
    assert.equal(container.createWindow(SHAPE), SECOND);
    assert.equal(groups.length, 2);
  });
});

describe("windows that go", () => {
  test("REMOVE is by containment, cancels a pending default at 0, clears live entries; unknown EINVAL (spec section 8, defect 22)", () => {
    const made = ready();
    const { container, pinned } = made;
    assert.equal(container.removeWindow({ iova: 0n, argsz: 8 }), "EINVAL");
    assert.equal(container.removeWindow({ iova: 0n }), undefined);
    assert.deepEqual(container.tables, []);
    assert.equal(container.map(map(0, 0)), "ENXIO");
    assert.equal(container.createWindow(SHAPE), 0n);
    assert.equal(container.map(map(5, 3)), undefined);
    assert.equal(container.removeWindow({ iova: DEFAULT_BYTES }), "EINVAL");
    assert.equal(container.removeWindow({ iova: 7n * PAGE }), undefined);
    assert.equal(read(made, "nic", 5n * PAGE), undefined);
    assert.equal(container.unregister({ userAddress: USER, bytes: 16n * PAGE }), undefined);
    assert.equal(pinned.pins, 0);
  });
});

describe("the end", () => {
  test("of the process releases everything in order, and the kernel's tables come back", () => {
    const made = scene("spapr-v2");
    const { container, phb, pinned, owner, tableGroups } = made;
    const table = PowernvTable.create(phb, { ...SHAPE, window: 0 });
    assert.equal(tableGroups[0].setWindow(table), undefined);
    const pages = phb.pages.takenPages;
    const options = { tables: [table], defaultBytes: DEFAULT_BYTES };
    assert.equal(container.attachGroup(powernvSpaprGroup(phb, tableGroups[0], options)), undefined);
    assert.equal(container.register({ userAddress: USER, bytes: 16n * PAGE }), undefined);
    assert.equal(container.map(map(5, 3, 4)), undefined);
    assert.equal(read(made, "nic", 5n * PAGE), 3);
    assert.equal(pinned.endOwner(owner), undefined);
    assert.deepEqual(
      [pinned.pins, pinned.hasOwner(owner), phb.pages.takenPages, tableGroups[0].isOwned, table.groups],
      [0, false, pages, false, 1],
    );
    assert.equal(read(made, "nic", 5n * PAGE), undefined);
    assert.equal(container.map(map(5, 3)), "EPERM");
    assert.equal(container.close(), undefined);
    assert.equal(table.generic.allocate(1) >= 0, true);
  });
});
