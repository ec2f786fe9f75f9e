/**
 * What programs in plain JavaScript hand in by mistake: misspelt options, values of another type, failure codes that were not looked at.
 * Each is an error of this library that names the thing, what was found and what was expected. Origin: review of 2026-11-30, new users'
 * defects B3, B10 to B14 and B18.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { areaConstraints } from "../allocator/constraints.ts";
import { PooledAllocator } from "../allocator/pooled-allocator.ts";
import { debugged } from "../dma/debug/debugged-device.ts";
import { DmaDevice } from "../dma/device.ts";
import { DirectDevice } from "../dma/direct.ts";
import { DmaPool } from "../dma/dma-pool.ts";
import { FaultInjectingTable } from "../dma/fault-injection.ts";
import { ModelOps } from "../dma/ops.model.ts";
import { isDmaPossible, largestMapping, mergeBoundary, requiredMask } from "../dma/queries.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import { createDevice } from "../dma/windows.ts";
import { createSun4uIopte } from "../formats/sun4u-iopte.ts";
import { boardNamed } from "../machines/boards.ts";
import { LdcHypervisor } from "../machines/hypervisors/ldc/hypervisor.ts";
import { PaprHypervisor } from "../machines/hypervisors/papr/hypervisor.ts";
import { Sun4vHypervisor } from "../machines/hypervisors/sun4v/hypervisor.ts";
import { QemuMachine } from "../machines/qemu/machine.ts";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { PhysicalPages } from "../memory/physical-pages.ts";
import { LdcPlatform } from "../platforms/ldc/platform.ts";
import { LinearOps } from "../platforms/linear/ops.ts";
import { LinearPlatform } from "../platforms/linear/platform.ts";
import { Phb } from "../platforms/powernv/phb.ts";
import { PowernvPlatform } from "../platforms/powernv/platform.ts";
import { PowernvTable } from "../platforms/powernv/table.ts";
import { PseriesPlatform } from "../platforms/pseries/platform.ts";
import { Sun4uPlatform } from "../platforms/sun4u/platform.ts";
import { Sun4vPlatform } from "../platforms/sun4v/platform.ts";
import { IommuTable, iovaOf } from "../table/iommu-table.ts";
import { boardConformance } from "../testing/board-conformance/suite.ts";
import { IovaError } from "./errors.ts";
import { failureCode, failureOf } from "./failure.ts";

// biome-ignore lint/suspicious/noExplicitAny: what the compiler refuses is what is tried here
type Anything = any;

const window: Anything = { base: 0x10000n, pageShift: 12, entries: 64 };
const ops = new ModelOps(64);
const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, threads: 1 });
const table = IommuTable.create(window, ops, { threads: 2 });
const device = new DmaDevice(table);
const allocator = PooledAllocator.create({ entries: 64, threads: 2 });
const wrong: Anything = { typo: 1 };

function refused(call: () => unknown, message: RegExp): void {
  assert.throws(call, (error: unknown) => {
    assert.ok(error instanceof IovaError, `${String(error)} is no error of this library`);
    assert.match(error.message, message);
    return true;
  });
}

test("what was found is shown so that its type can be seen", () => {
  const make = (entries: Anything) => () => PooledAllocator.create({ entries });
  refused(make("1000"), /^entries is "1000"; expected an integer from 1 to 2147483647$/);
  refused(make(10n), /^entries is 10n; /);
  refused(make(undefined), /^entries is undefined; /);
  refused(make({}), /^entries is an object; /);
  refused(make([1]), /^entries is an array; /);
  refused(
    make(() => 1),
    /^entries is a function; /,
  );
  refused(() => device.map(new Uint8Array(10) as Anything, 10, 1), /^address is a Uint8Array; /);
  refused(() => device.map(0n, table as Anything, 1), /is an IommuTable; /);
});

test("an unknown option is refused, and a similar one is suggested", () => {
  const create = (options: Anything) => () => PooledAllocator.create(options);
  refused(
    create({ entries: 10, pool: 3 }),
    /^option of an allocator is "pool"; expected one of entries, pools, .*; did you mean pools\?$/,
  );
  refused(() => new DmaDevice(table, { boundryMask: 0n } as Anything), /"boundryMask".*did you mean boundaryMask\?/);
  refused(() => new DmaDevice(table, { dmaMask: 3n } as Anything), /"dmaMask".*did you mean mask\?/);
  const every: Anything = { allocate: { every: 2 } };
  refused(
    () => new FaultInjectingTable(table, every),
    /faults of allocate is "every"; expected one of after, interval, /,
  );
});

test("every option object of the library refuses what it does not know", () => {
  const direct: Anything = { kind: "direct", base: 0n, address: 0, bytes: 4096 };
  const pages = PhysicalPages.create({ address: 0, bytes: 4096, threads: 1 });
  const bounce: Anything = { memory: machine.memory, bounce: { pages, trusted: true } };
  const properties: Anything = {};
  const none: Anything = undefined;
  const pseriesBoard = boardNamed("pseries").create({ memoryBytes: 2 ** 20 });
  const pseries = pseriesBoard.platform as PseriesPlatform;
  const calls: ReadonlyArray<() => unknown> = [
    () => PooledAllocator.create({ entries: 4, ...wrong }),
    () => IommuTable.create(window, ops, wrong),
    () => IommuTable.create(window, ops, { entries: 5 } as Anything),
    () => areaConstraints(window, wrong),
    () => new DmaDevice(table, wrong),
    () => new DmaDevice(table, {}, wrong),
    () => new DmaDevice(table, {}, bounce),
    () => new FaultInjectingTable(table, wrong),
    () => new FaultInjectingTable(table, { set: wrong }),
    () => new DirectDevice(direct, wrong),
    () => new DirectDevice(direct, {}, wrong),
    () => createDevice([direct], {}, wrong),
    () => isDmaPossible([direct], {}, wrong),
    () => largestMapping([direct], wrong),
    () => mergeBoundary([direct], {}, wrong),
    () => requiredMask([direct], wrong),
    () => new DmaPool(device, machine.memory, { blockBytes: 8, ...wrong }),
    () => debugged(device, wrong),
    () => debugged(device, { limits: wrong }),
    () => PhysicalPages.create({ address: 0, bytes: 4096, ...wrong }),
    () => SoftwareMachine.create({ memoryBytes: 4096, ...wrong }),
    () => SoftwareMachine.create({ memoryBytes: 4096, iotlb: wrong }),
    () => LdcHypervisor.create({ memoryBytes: 4096, ...wrong }),
    () => PaprHypervisor.create({ memoryBytes: 4096, ...wrong }),
    () => PaprHypervisor.create({ memoryBytes: 4096, dynamicWindows: wrong }),
    () => PaprHypervisor.create({ memoryBytes: 4096, machine: wrong }),
    () => Sun4vHypervisor.create({ memoryBytes: 2 ** 20, ...wrong }),
    () => boardNamed("linear-tce").create({ memoryBytes: 2 ** 20, ...wrong }),
    () => boardNamed("pseries").create({ memoryBytes: 2 ** 20, ...wrong }),
    () => LinearPlatform.create(machine, { format: "powernv-tce", window, ...wrong }),
    () => Sun4uPlatform.create(machine, wrong),
    () => Sun4vPlatform.create(machine, { listAddress: 0, ...wrong }),
    () => LdcPlatform.create(machine, { tableAddress: 0, ...wrong }),
    () => PowernvPlatform.create(machine, wrong),
    () => Phb.create(machine, { devices: [], region: { address: 0, bytes: 4096 }, ...wrong }),
    () => PseriesPlatform.create(machine, { properties, ...wrong }),
    () => createSun4uIopte(wrong),
    () => device.map(0n, 1, 1, wrong),
    () => device.mapSg(new ScatterList(1), 1, wrong),
    () => new DirectDevice(direct).map(0n, 1, 1, wrong),
    () => debugged(device).map(0n, 1, 1, wrong),
    () => QemuMachine.create("sun4u", wrong),
    () => PowernvTable.create(none, { window: 0, ...wrong }),
    () => pseries.makeDynamicWindow({ mask: 2n ** 64n - 1n, ...wrong }),
    () => PseriesPlatform.attach(pseriesBoard.machine, pseries.handle, wrong),
    () => new LinearOps(wrong),
    () => boardConformance(none, none, wrong),
  ];
  for (const call of calls) refused(call, /^option of .* is "(typo|entries|trusted)"; expected one of /);
  const withoutLedger: Anything = { entries: 4, ledger: false };
  refused(() => PooledAllocator.create(withoutLedger), /^option of an allocator is "ledger"; expected one of /);
});

test("options of another type are refused, and so is what is no object", () => {
  const none: Anything = undefined;
  refused(
    () => PooledAllocator.create({ entries: 4, largePool: 0 as Anything }),
    /^largePool of an allocator is 0; expected true or false/,
  );
  refused(() => PooledAllocator.create({ entries: 4, pools: null as Anything }), /^pools of an allocator is null; /);
  refused(
    () => new DmaDevice(table, {}, { merge: "no" as Anything }),
    /^merge of a device is "no"; expected true or false/,
  );
  refused(() => PooledAllocator.create(none), /^options of an allocator is undefined; expected an object/);
  refused(() => LinearPlatform.create(machine, none), /^options of a linear platform is undefined; /);
  refused(() => LinearPlatform.create(machine, { format: "powernv-tce" } as Anything), /^window is undefined; /);
  refused(() => PhysicalPages.create(none), /is undefined/);
  refused(() => SoftwareMachine.create(none), /is undefined/);
});

test("no raw TypeError comes of wrong arguments", () => {
  const none: Anything = undefined;
  refused(
    () => IommuTable.create({ ...window, base: 0x80000000 }, ops),
    /^the window's base is 2147483648; expected a bigint/,
  );
  refused(() => IommuTable.create({ pageShift: 12, entries: 4 } as Anything, ops), /^the window's base is undefined/);
  refused(() => IommuTable.create(none, ops), /^window is undefined; /);
  refused(() => areaConstraints({ entries: 4096 } as Anything, {}), /page shift is undefined/);
  refused(() => new DmaDevice(none), /^table of a device is undefined; /);
  refused(() => new DmaDevice(machine as Anything), /^table of a device is a SoftwareMachine; /);
  refused(
    () => createDevice([table] as Anything),
    /^window of a device is an IommuTable; expected \{ kind: "translated", table \}/,
  );
  refused(() => createDevice(none), /^windows of a device is undefined; /);
  refused(() => new DirectDevice(none), /^direct window is undefined; /);
  for (const list of [[], none, "list"] as Anything[]) {
    for (const call of ["unmapSg", "syncSgForCpu", "syncSgForDevice"] as const) {
      refused(() => device[call](list), /^scatterlist is (an array|undefined|"list"); expected a ScatterList/);
    }
    refused(() => device.mapSg(list, 1), /^scatterlist is/);
  }
  for (const mapping of [5n, none, "table-full", -1, {}] as Anything[]) {
    for (const call of ["unmap", "unmapResource", "freeCoherent", "syncForCpu", "syncForDevice"] as const) {
      refused(() => device[call](mapping), /^mapping is .*; expected an object with iova/);
    }
  }
  refused(() => PooledAllocator.restore("abc" as Anything), /^the snapshot is "abc"; expected a Uint8Array/);
  refused(() => machine.memory.write(0, "hello" as Anything), /^bytes of memory is "hello"; expected a Uint8Array/);
  refused(() => machine.memory.read(0, none), /^bytes of memory is undefined/);
});

test("failure codes that were not looked at are named", () => {
  refused(() => allocator.free(-1, 4), /free of -1: the failure table-full/);
  refused(() => device.unmapPages(-10, 1), /free of -10: the failure out-of-memory/);
  refused(() => iovaOf(window, -1), /^entry is -1; expected an integer from 0 to 63/);
  refused(() => iovaOf(window, 64), /^entry is 64; /);
  for (const code of [0, 1, -11, -1.5])
    refused(() => failureOf(code), /^failure code is .*; expected an integer from -10 to -1/);
  refused(() => failureCode("full" as Anything), /^failure is "full"; expected one of table-full, /);
  refused(() => new FaultInjectingTable(table, { set: { failure: "full" as Anything } }), /^failure is "full"/);
  const pages = PhysicalPages.create({ address: 0, bytes: 4096, threads: 1 });
  refused(() => pages.free(-1, 4096), /free of -1: the failure table-full/);
});

test("constraints that lack a field, or hold no number, are an error and not a full table", () => {
  refused(
    () => allocator.allocate(5, { alignmentPages: 8 } as Anything),
    /^limit of the constraints is undefined; .*areaConstraints/,
  );
  const whole = { limit: 64, alignmentPages: 1, boundaryPages: 0, basePage: 0 };
  for (const field of Object.keys(whole)) {
    refused(
      () => allocator.allocate(65 - 1, { ...whole, [field]: Number.NaN }),
      new RegExp(`^${field} of the constraints is NaN`),
    );
  }
  refused(() => areaConstraints(window, { limit: Number.NaN }), /^limit in entries is NaN/);
  assert.ok(allocator.allocate(5, whole) >= 0);
});

test("ops that lack a method are refused with its name, before a slot is taken", () => {
  for (const method of ["set", "clear", "get", "exchange", "publish", "invalidate", "invalidateAll"]) {
    const lacking: Anything = new ModelOps(64);
    lacking[method] = undefined;
    const message = new RegExp(`^${method} of a table's ops is undefined; expected a function`);
    refused(() => IommuTable.create(window, lacking), message);
    refused(() => IommuTable.attach(table.handle, lacking), message);
  }
  refused(() => IommuTable.create(window, undefined as Anything), /^ops of a table is undefined/);
  assert.deepEqual(table.allocator.threadsInUse(), [0]);
});

test("a handle is checked whole before a slot is taken", () => {
  const attach = (handle: Anything) => () => IommuTable.attach(handle, ops);
  const foreign = /^the handle is not that of a table: /;
  refused(attach(table.allocator.handle), foreign);
  refused(attach({ ...table.handle, window: { base: 0x1000n, pageShift: 16, entries: 9999 } }), foreign);
  refused(
    attach({ ...table.handle, window: { ...window, entries: 65 } }),
    /its window has 65 entries, its allocator 64/,
  );
  refused(attach(undefined), /^the handle has version undefined/);
  assert.deepEqual(table.allocator.threadsInUse(), [0]);
  const pages = PhysicalPages.create({ address: 0, bytes: 8192, threads: 2 });
  refused(() => PhysicalPages.attach({ ...pages.handle, bytes: 4096 }), /its allocator has 2 pages/);
  PhysicalPages.attach(pages.handle);
});

test("who posts a view in place of its handle is told to post the handle", () => {
  const hint = /post its `\.handle`/;
  refused(() => PooledAllocator.attach(structuredClone(allocator) as Anything), hint);
  refused(() => IommuTable.attach(table as Anything, ops), hint);
  const pages = PhysicalPages.create({ address: 0, bytes: 4096, threads: 1 });
  refused(() => PhysicalPages.attach(structuredClone(pages) as Anything), hint);
  refused(() => SoftwareMachine.attach(machine as Anything), hint);
  const platform = LinearPlatform.create(machine, { format: "powernv-tce", window });
  refused(() => LinearPlatform.attach(machine, platform as Anything), hint);
});

test("right options are taken, whole or in part", () => {
  const list = new ScatterList(1);
  list.addNumber(0, 100);
  const careful = new DmaDevice(table, { mask: undefined } as Anything, { merge: false });
  assert.equal(careful.mapSg(list, 1), undefined);
  assert.equal(careful.unmapSg(list), undefined);
});
