// A VMM in miniature. It registers its guest's memory and gives a device to the guest; the guest, a vCPU thread, maps its pages by hypercalls;
// the device transfers; the guest dies in mid-work; everything is released. The counts tell the story.
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Crew, orThrow } from "iova";
import { GuestCalls, GuestTables, powernvSpaprGroup, SpaprContainer } from "iova/containers";
import {
  Phb,
  PinnedMemory,
  PinnedTable,
  PowernvTable,
  SoftwareMachine,
  TableGroup,
  type UserMemory,
} from "iova/platform";

const PAGE = 4096;
const MEBIBYTE = 2 ** 20;
/** The guest's memory: 64 pages, which lie at 1 MiB in the machine and at 0x7f0000000 in the VMM. */
const GUEST_PAGES = 64;
const GUEST_AT = MEBIBYTE;
const USER_ADDRESS = 0x7f000_0000n;
/** The bus on which the guest finds its device: its number, and PAPR's call that puts an entry into the bus's table. */
const LIOBN = 0x8000_0000;
const H_PUT_TCE = 0x20;
const H_PARAMETER = -4;
/** KVM leaves the call to the VMM. */
const H_TOO_HARD = 9999;
const READ_AND_WRITE = 3n;

const userMemory: UserMemory = {
  pageOf(userPage) {
    const page = userPage - Number(USER_ADDRESS / 4096n);
    return page >= 0 && page < GUEST_PAGES ? GUEST_AT / PAGE + page : -1;
  },
  backingShift: () => 12,
};

if (isMainThread) await vmm();
else vcpu();

async function vmm(): Promise<void> {
  // The host: a machine with a PowerPC bridge, and a network card in a group of its own.
  const machine = SoftwareMachine.create({
    memoryBytes: 4 * MEBIBYTE,
    iommu: "phb4",
    devices: ["nic"],
    partitions: 4,
    windows: 2,
  });
  const phb = Phb.create(machine, {
    devices: [{ name: "nic", requesterId: 0 }],
    region: { address: 2 * MEBIBYTE, bytes: 2 * MEBIBYTE },
  });
  const group = powernvSpaprGroup(phb, TableGroup.create(phb, 1));
  phb.bindDevice("nic", 1);
  const nic = machine.device("nic");

  // The VMM's process may lock 128 pages. It gets the group, and registers the guest's memory.
  const pinned = PinnedMemory.create({ memoryBytes: 4 * MEBIBYTE, crew: machine.crew });
  const owner = orThrow(pinned.addOwner({ limitBytes: 128 * PAGE }, userMemory));
  orThrow(pinned.join(owner));
  const count = (): string => `${pinned.chargedPages(owner)} pages charged, ${pinned.pins} pinned`;
  const container = orThrow(SpaprContainer.open({ pinned, owner, kind: "spapr-v2" }));
  orThrow(container.attachGroup(group));
  orThrow(container.register({ userAddress: USER_ADDRESS, bytes: BigInt(GUEST_PAGES * PAGE) }));
  console.log(`guest memory registered: ${count()}`);

  // A window for the device, instead of the default one of 2 GiB, and the guest's table for it: what the guest puts goes to both.
  orThrow(container.removeWindow({ iova: 0n }));
  const base = orThrow(container.createWindow({ pageShift: 12, windowBytes: BigInt(MEBIBYTE), levels: 1 }));
  const table = container.tables.find(({ window }) => window.base === base) as PinnedTable;
  const tables = GuestTables.create({ pinned, owner, entries: 256 });
  orThrow(tables.setMemory(0, { guestAddress: 0n, bytes: BigInt(GUEST_PAGES * PAGE), userAddress: USER_ADDRESS }));
  orThrow(tables.createTable(LIOBN, { pageShift: 12, offset: Number(base >> 12n), size: 256 }));
  orThrow(tables.attachHardware(LIOBN, table));
  console.log(`device given to the guest, window at 0x${base.toString(16)}: ${count()}`);

  // The guest runs.
  const seat = machine.crew.addThread();
  const platform = container.platformHandles[container.tables.indexOf(table)];
  const handles = { machine: machine.handle, phb: phb.handle, pinned: pinned.handle, tables: tables.handle };
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { seat, owner, base, handles, platform, table: table.handle },
  });
  const mapped = await new Promise((resolve) => worker.once("message", resolve));
  console.log(`the guest has mapped ${mapped} pages: ${table.mapped} entries lead to them`);

  // The device transfers. Page 5 of the guest is what it finds at the first address.
  console.log(`the device writes at 0x${base.toString(16)}: ${nic.dmaWrite(base, new TextEncoder().encode("ping"))}`);
  const bytes = new Uint8Array(4);
  machine.memory.read(GUEST_AT + 5 * PAGE, bytes);
  console.log(`the guest's page 5 begins with "${new TextDecoder().decode(bytes)}"`);
  const unregistered = container.unregister({ userAddress: USER_ADDRESS, bytes: BigInt(GUEST_PAGES * PAGE) });
  console.log(`while pages are mapped, the VMM cannot unregister the memory: ${unregistered}`);

  // The guest dies in the middle of its work. Its vCPU is recovered; what it has mapped stays, until the VMM's process ends.
  await worker.terminate();
  machine.crew.reclaim(seat.thread, "everything");
  console.log(`the guest is dead: ${table.mapped} entries, ${count()}`);
  orThrow(pinned.endOwner(owner));
  console.log(
    `the process has ended: ${pinned.pins} pages pinned; the device reads at 0x${base.toString(16)}: ${nic.dmaRead(base, bytes)}`,
  );
}

/** The guest. It maps its pages 5 to 12 at the beginning of the window, then other pages at entry 100, one after the other, until it is killed. */
function vcpu(): void {
  const { seat, owner, base, handles, platform, table } = workerData;
  const machine = SoftwareMachine.attach(handles.machine, Crew.attach(seat));
  const pinned = PinnedMemory.attach(handles.pinned, machine.crew);
  orThrow(pinned.join(owner, userMemory));
  const tables = GuestTables.attach(pinned, handles.tables);
  const { ops } = PowernvTable.attach(Phb.attach(machine, handles.phb), platform);
  orThrow(tables.attachHardware(LIOBN, PinnedTable.attach(pinned, table, ops)));
  const readUser = (userPage: number, into: Uint8Array): boolean => {
    const page = userMemory.pageOf(userPage);
    if (page >= 0) machine.memory.read(page * PAGE, into);
    return page >= 0;
  };
  const calls: GuestCalls = new GuestCalls({
    tables,
    readUser,
    userSpace: ({ number, args }) => repeat(calls, number, args),
  });
  const args = new BigUint64Array(4);
  const put = (entry: number, guestPage: number): void => {
    args.set([BigInt(LIOBN), base + BigInt(entry * PAGE), BigInt(guestPage * PAGE) | READ_AND_WRITE]);
    const code = calls.hypercall(H_PUT_TCE, args);
    if (code !== 0) throw new Error(`H_PUT_TCE answers ${code}`);
  };
  for (let entry = 0; entry < 8; entry++) put(entry, 5 + entry);
  put(100, 20);
  parentPort?.postMessage(9);
  for (let guestPage = 20; ; guestPage = 20 + ((guestPage + 1) % 40)) put(100, guestPage);
}

/** The VMM's answer to what KVM leaves to it: repeats the call, since a refused request to unregister the memory keeps new mappings out for a moment. */
function repeat(calls: GuestCalls, number: number, args: BigUint64Array): number {
  for (const end = Date.now() + 1000; Date.now() < end; ) {
    const code = calls.answer(number, args);
    if (code !== H_TOO_HARD) return code;
  }
  return H_PARAMETER;
}
