/** Two ends of a channel: exports in cookies, copies and their errors, pages mapped in and revoked. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../../dma/device.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import { LDC_MAP, ldcEntryPermissions } from "../../formats/ldc-map-entry.ts";
import type { LdcEnd } from "../../machines/hypervisors/ldc/end.ts";
import { LdcHypervisor, type LdcHypervisorHandle } from "../../machines/hypervisors/ldc/hypervisor.ts";
import { SoftwareMachine } from "../../machines/software/machine.ts";
import { iovaOf } from "../../table/iommu-table.ts";
import { FormatError, FreeError, InvalidArgumentError, IovaError } from "../../units/errors.ts";
import { EBUSY, EIO } from "../sun4v/services.ts";
import { cookieIndex, cookiePages, cookieWindow, type LdcCookie, sizeCodeOf } from "./cookies.ts";
import { type LdcErrno, LdcError } from "./errors.ts";
import { type CopyDirection, LdcLink, type MappedInPage } from "./link.ts";
import { LdcPlatform, type LdcPlatformHandle, type LdcPlatformOptions } from "./platform.ts";
import { LDC_COPY, LDC_SET_MAP_TABLE } from "./services.ts";

const PAGE = 8192;
const MEMORY = 2 ** 22;
const OTHER_MEMORY = 2 ** 18;
const TABLE = MEMORY - 2 ** 17;
const { shadow, direct, io, read, write, execute, all } = LDC_MAP;
const COPYABLE: number = shadow | read | write;

interface Channel {
  readonly hypervisor: LdcHypervisor;
  readonly exporter: LdcPlatform;
  /** The other end. */
  readonly domain: LdcEnd;
  readonly importer: LdcLink;
}

function start(options: Partial<LdcPlatformOptions> = {}): Channel {
  const hypervisor = LdcHypervisor.create({ memoryBytes: MEMORY, otherMemoryBytes: OTHER_MEMORY, busyMilliseconds: 5 });
  const exporter = LdcPlatform.create(hypervisor, { tableAddress: TABLE, ...options });
  const importer = new LdcLink(hypervisor.ends[1]);
  exporter.link.connect();
  importer.connect();
  return { hypervisor, exporter, domain: hypervisor.ends[1], importer };
}

function fails(errno: LdcErrno, run: () => void): void {
  assert.throws(run, (error) => error instanceof LdcError && error.code === errno);
}

function bytesAt(machine: { memory: LdcEnd["memory"] }, address: number, length: number): number[] {
  const bytes = new Uint8Array(length);
  machine.memory.read(address, bytes);
  return [...bytes];
}

function tableOf({ hypervisor, exporter }: Channel): Buffer {
  const bytes = new Uint8Array(exporter.generic.window.entries * 16);
  hypervisor.memory.read(exporter.handle.tableAddress, bytes);
  return Buffer.from(bytes);
}

test("contiguous pages share a cookie; the other end copies by it, both ways", () => {
  const channel = start();
  const { hypervisor, exporter, domain, importer } = channel;
  const address = 5 * PAGE + 16;
  const bytes = 3 * PAGE;
  const cookies = exporter.map(address, bytes, COPYABLE, 4);
  assert.deepEqual(cookies, [{ address: 16n, bytes }]);
  assert.deepEqual([...tableOf(channel).subarray(0, 16)], [0, 0, 0, 0, 0, 0, 0xa6, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  hypervisor.memory.write(address, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  hypervisor.memory.write(address + bytes - 8, Uint8Array.of(11, 12, 13, 14, 15, 16, 17, 18));
  assert.equal(importer.copy("in", 4096, bytes, cookies), bytes);
  assert.deepEqual(bytesAt(domain, 4096, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.deepEqual(bytesAt(domain, 4096 + bytes - 8, 8), [11, 12, 13, 14, 15, 16, 17, 18]);
  domain.memory.write(0, new Uint8Array(16).fill(9));
  assert.equal(importer.copy("out", 0, 16, cookies, PAGE - 24), 16);
  assert.deepEqual(bytesAt(hypervisor, address + PAGE - 32, 32), [
    ...new Uint8Array(8),
    ...new Uint8Array(16).fill(9),
    ...new Uint8Array(8),
  ]);
  assert.equal(exporter.unmap(cookies), undefined);
  fails("EFAULT", () => importer.copy("in", 4096, 8, cookies));
  assert.deepEqual(
    hypervisor.faults().map(({ iova, access, reason }) => [iova, access, reason]),
    [[16n, 1, "not-mapped"]],
  );
  assert.ok(tableOf(channel).every((byte) => byte === 0));
});

test("pieces that meet at a page's end share a cookie, others get one each; entries are those of one range", () => {
  const channel = start();
  const { exporter, importer, hypervisor, domain } = channel;
  const pieces = [
    { address: 10 * PAGE + 8, bytes: PAGE - 8 }, // to the end of its page
    { address: 40 * PAGE, bytes: PAGE }, // goes on
    { address: 60 * PAGE, bytes: 64 }, // goes on, and ends inside
    { address: 20 * PAGE, bytes: 0 },
    { address: 30 * PAGE, bytes: 128 },
    { address: 31 * PAGE + 8, bytes: 2 * PAGE },
  ];
  pieces.forEach(({ address, bytes }, i) => {
    hypervisor.memory.write(address, new Uint8Array(bytes).fill(i + 1));
  });
  const cookies = exporter.mapSg(pieces, COPYABLE, 7);
  const at = (page: number, offset: number): bigint => BigInt(page * PAGE + offset);
  assert.deepEqual(cookies, [
    { address: at(0, 8), bytes: 2 * PAGE - 8 + 64 },
    { address: at(3, 0), bytes: 128 },
    { address: at(4, 8), bytes: 2 * PAGE },
  ]);
  const total = pieces.reduce((sum, { bytes }) => sum + bytes, 0);
  assert.equal(importer.copy("in", 0, total + 800, cookies), total, "a short copy returns its length");
  const expected = pieces.flatMap(({ bytes }, i) => Array.from({ length: bytes }, () => i + 1));
  assert.deepEqual(bytesAt(domain, 0, total), expected);
  assert.equal(exporter.unmap(cookies), undefined);
  assert.equal(exporter.generic.statistics().taken, 0);
});

test("each error has its errno, and nothing is exported: permissions, alignment, cookies, entries", () => {
  const channel = start();
  const { exporter } = channel;
  for (const permissions of [-1, 64, all + 1, 0.5]) fails("EINVAL", () => exporter.map(0, PAGE, permissions, 9));
  fails("EINVAL", () => exporter.map(0, 0, COPYABLE, 9));
  fails("EINVAL", () => exporter.map(-8, 8, COPYABLE, 9));
  fails("EFAULT", () => exporter.map(4, 8, COPYABLE, 9));
  fails("EFAULT", () => exporter.map(8, 4, COPYABLE, 9));
  // Pages are compared, though all of them would share one cookie.
  fails("EMSGSIZE", () => exporter.map(0, 3 * PAGE, COPYABLE, 2));
  fails("EMSGSIZE", () => exporter.map(8, 2 * PAGE, COPYABLE, 2));
  for (const most of [0, -1, Number.NaN]) fails("EMSGSIZE", () => exporter.map(0, 8, COPYABLE, most));
  fails("EMSGSIZE", () =>
    exporter.mapSg(
      Array.from({ length: 3 }, () => ({ address: 0, bytes: 8 })),
      COPYABLE,
      2,
    ),
  );
  fails("ENOMEM", () => exporter.map(0, 8193 * PAGE, COPYABLE, 9000));
  assert.equal(exporter.map(0, 8192 * PAGE, COPYABLE, 8192).length, 1, "all entries of the one pool can be had");
  fails("ENOMEM", () => exporter.map(0, 8, COPYABLE, 1));
  assert.equal(exporter.unmap([{ address: 0n, bytes: 8192 * PAGE }]), undefined);
  assert.ok(tableOf(channel).every((byte) => byte === 0));
  assert.equal(exporter.generic.statistics().taken, 0);
});

test("errors of a copy: direction, alignment, a link that is down or was reset, refusals on a live link", () => {
  const { hypervisor, exporter, importer, domain } = start();
  const cookies = exporter.map(0, PAGE, shadow | read, 1);
  const copy = (direction: CopyDirection = "in", address = 0, bytes = 8, offset = 0) =>
    importer.copy(direction, address, bytes, cookies, offset);
  fails("EINVAL", () => copy("sideways" as CopyDirection));
  fails("EFAULT", () => copy("in", 4));
  fails("EFAULT", () => copy("in", 0, 12));
  fails("EFAULT", () => copy("in", 0, 8, 4));
  fails("EFAULT", () => copy("out"));
  assert.equal(hypervisor.faults()[0]?.reason, "write-refused");
  fails("EFAULT", () => copy("in", OTHER_MEMORY));
  fails("EFAULT", () => importer.copy("in", 0, 8, [{ address: 7n << 60n, bytes: 8 }]));
  fails("EFAULT", () => importer.copy("in", 0, 8, [{ address: 9000n << 13n, bytes: 8 }]));
  fails("EFAULT", () => importer.copy("in", 0, 8, [{ address: 1n << 60n, bytes: 8 }]));
  hypervisor.injection.set({ fail: { times: 1 }, status: EBUSY });
  fails("EBUSY", () => copy());
  hypervisor.injection.set({ fail: { times: 1 }, status: EIO });
  fails("EFAULT", () => copy());
  assert.equal(copy(), 8);

  exporter.link.reset();
  assert.deepEqual([importer.state, exporter.link.state], ["reset", "reset"]);
  fails("ECONNRESET", () => copy());
  exporter.link.connect();
  assert.deepEqual([importer.state, exporter.link.state], ["reset", "down"]);
  fails("ECONNRESET", () => copy());
  assert.equal(hypervisor.device(0).dmaRead(0n, new Uint8Array(8)), false);
  importer.connect();
  assert.deepEqual([importer.state, exporter.link.state], ["up", "up"]);
  assert.equal(copy(), 8);
  assert.equal(domain.link, 1);
});

test("a link that was never connected is down", () => {
  const hypervisor = LdcHypervisor.create({ memoryBytes: MEMORY });
  const link = new LdcLink(hypervisor.ends[1]);
  assert.equal(link.state, "down");
  fails("ECONNRESET", () => link.copy("in", 0, 8, [{ address: 0n, bytes: 8 }]));
  fails("ECONNRESET", () => link.mapIn(0n));
});

test("partial copies are gone on with; a reset or a refusal in their middle is told, whatever was copied before", () => {
  const { hypervisor, exporter, importer, domain } = start();
  hypervisor.memory.write(
    0,
    Uint8Array.from({ length: 4096 }, (_, i) => i % 251),
  );
  const cookies = exporter.map(0, 4096, COPYABLE, 1);
  hypervisor.injection.set({ most: 1000 });
  const before = hypervisor.injection.calls;
  assert.equal(importer.copy("in", 0, 4096, cookies), 4096);
  assert.equal(hypervisor.injection.calls - before, 5);
  assert.deepEqual(bytesAt(domain, 0, 4096), bytesAt(hypervisor, 0, 4096));
  // The third call is refused, on a link that stays up.
  hypervisor.injection.set({ most: 1000, fail: { after: 2, times: 1 }, status: EIO });
  fails("EFAULT", () => importer.copy("in", 0, 4096, cookies));
  // The other end resets the link when the third call is made.
  hypervisor.injection.set({ most: 1000 });
  let calls = 0;
  const machine = {
    memory: domain.memory,
    registers: domain.registers,
    faults: () => domain.faults(),
    hypercall: (number: number, args: BigUint64Array) => {
      calls++;
      if (calls === 3) exporter.link.reset();
      return domain.hypercall(number, args);
    },
  };
  fails("ECONNRESET", () => new LdcLink(machine).copy("in", 0, 4096, cookies));
  // A call takes 8 bytes at least.
  exporter.link.connect();
  importer.connect();
  hypervisor.injection.set({ most: 4 });
  assert.equal(importer.copy("in", 0, 4096, cookies), 4096);
});

test("a copy that ends short in one cookie does not go on with the next: what was copied is the copy's beginning", () => {
  const { hypervisor, exporter, importer, domain } = start();
  hypervisor.memory.write(0, new Uint8Array(3 * PAGE).fill(5));
  const cookies = [exporter.map(0, PAGE, COPYABLE, 1), exporter.map(2 * PAGE, PAGE, COPYABLE, 1)].flat();
  let left = 1;
  const machine = {
    memory: domain.memory,
    registers: domain.registers,
    faults: () => domain.faults(),
    // The first call copies 16 bytes, the second none, the others all.
    hypercall: (number: number, args: BigUint64Array) => {
      if (number === LDC_COPY && left >= 0) args[4] = BigInt(16 * left--);
      return domain.hypercall(number, args);
    },
  };
  assert.equal(new LdcLink(machine).copy("in", 0, 2 * PAGE, cookies), 16);
  assert.deepEqual(bytesAt(domain, 8, 16), [...Array(8).fill(5), ...Array(8).fill(0)]);
  assert.deepEqual(bytesAt(domain, PAGE, 8), Array(8).fill(0));
  assert.equal(importer.copy("in", 0, 2 * PAGE, cookies), 2 * PAGE);
});

test("a copy over several pages stops before the first that is refused, and says so at the next call", () => {
  const { exporter, importer, hypervisor } = start();
  const cookies = exporter.map(0, 2 * PAGE, COPYABLE, 2);
  const longer: LdcCookie[] = [{ address: (cookies[0] as LdcCookie).address, bytes: 3 * PAGE }];
  const args = BigUint64Array.of(1n, 0n, 0n, 0n, BigInt(3 * PAGE));
  assert.equal(hypervisor.ends[1].hypercall(0xec, args), 0);
  assert.equal(args[0], BigInt(2 * PAGE));
  fails("EFAULT", () => importer.copy("in", 0, 3 * PAGE, longer));
});

for (const [code, pageShift] of [13, 16, 19, 22, 25, 28, 31, 34].entries()) {
  test(`cookies of pages with size code ${code}: the window's own addressing, with the same allocator and no boundary`, () => {
    const pageBytes = 2 ** pageShift;
    const hypervisor = LdcHypervisor.create({ memoryBytes: 2 ** 26, otherMemoryBytes: 65536 });
    const exporter = LdcPlatform.create(hypervisor, { tableAddress: 2 ** 25, pageShift });
    const importer = new LdcLink(hypervisor.ends[1]);
    exporter.link.connect();
    importer.connect();
    hypervisor.memory.write(24, new Uint8Array(8).fill(7));
    exporter.map(0, 8, COPYABLE, 1);
    const cookies = exporter.map(24, 8, COPYABLE, 1);
    const expected = (BigInt(code) << 60n) + BigInt(pageBytes) + 24n;
    assert.deepEqual(cookies, [{ address: expected, bytes: 8 }]);
    assert.deepEqual(
      [cookieIndex(expected), sizeCodeOf(expected), iovaOf(exporter.generic.window, 1) + 24n],
      [1, code, expected],
    );
    assert.equal(cookiePages({ address: expected, bytes: pageBytes }), 2);
    // Pages of the large sizes reach beyond this memory; only what lies in it is copied.
    assert.equal(importer.copy("in", 0, 8, cookies), 8);
    assert.deepEqual(bytesAt(hypervisor.ends[1], 0, 8), Array(8).fill(7));
    assert.equal(exporter.unmap(cookies), undefined);
    fails("EFAULT", () => importer.copy("in", 0, 8, cookies));
    const device = new DmaDevice(exporter.generic, { boundaryMask: 2n ** 64n - 1n });
    const mapping = device.map(0n, 5000 * 8, 3);
    assert.ok(typeof mapping !== "string");
    assert.equal(sizeCodeOf(mapping.iova), code);
    assert.equal(device.unmap(mapping), undefined);
  });
}

test("ldc_unmap takes the real address alone, and no channel", () => {
  const { exporter, importer, hypervisor } = start();
  const [cookie] = exporter.map(3 * PAGE, PAGE, direct | read, 1) as [LdcCookie];
  const page = importer.mapIn(cookie.address);
  const [, end] = hypervisor.ends;
  assert.equal(end.hypercall(0xee, BigUint64Array.of(BigInt(page.address))), 0);
  assert.equal(end.readMappedIn(page.address, new Uint8Array(8)), false);
  assert.equal(end.hypercall(0xee, BigUint64Array.of(BigInt(page.address))), 14, "ENOMAP");
  assert.equal(
    end.hypercall(0xee, BigUint64Array.of(1n, BigInt(page.address))),
    6,
    "EINVAL: 1 is no address of a page",
  );
});

// Review of 2026-11-30, platforms, remark on the LDC model.
test("a copy of which the hypervisor takes less than 8 bytes looks at the entry all the same, and copies 8", () => {
  const { exporter, importer, hypervisor } = start();
  const cookies = exporter.map(0, PAGE, COPYABLE, 1) as LdcCookie[];
  for (const injection of [{ most: 3 }, { random: true, most: 7 }]) {
    hypervisor.injection.set(injection);
    const args = BigUint64Array.of(1n, 0n, 0n, 0n, 64n);
    assert.deepEqual([hypervisor.ends[1].hypercall(0xec, args), args[0]], [0, 8n]);
  }
  assert.equal(exporter.unmap(cookies), undefined);
  fails("EFAULT", () => importer.copy("in", 0, 64, cookies));
});

test("the index of a cookie is what is below its code, shifted by the page size of that code", () => {
  assert.equal(cookieIndex(0x2000n * 5n + 7n), 5);
  assert.equal(cookieIndex((3n << 60n) | (77n << 22n) | 99n), 77);
  assert.equal(cookieIndex((5n << 60n) | (8191n << 28n)), 8191);
  assert.equal(cookieIndex((6n << 60n) | (8191n << 31n) | 99n), 8191);
  assert.equal(cookieIndex((7n << 60n) | (8191n << 34n) | 99n), 8191);
  assert.throws(() => cookieWindow(14, 8192), /page shift of ldc-map-entry is 14/);
  assert.equal(cookieWindow(22, 8192).base, 3n << 60n);
});

test("kinds of mapping: only memory exported for copying is copied, only memory exported for CPUs is mapped in", () => {
  const { hypervisor, exporter, importer } = start();
  const cookieOf = (permissions: number) => (exporter.map(0, PAGE, permissions, 1)[0] as LdcCookie).address;
  const copies = (direction: CopyDirection, address: bigint): boolean => {
    try {
      return importer.copy(direction, 0, 8, [{ address, bytes: 8 }]) === 8;
    } catch (error) {
      assert.ok(error instanceof LdcError && error.code === "EFAULT");
      return false;
    }
  };
  for (const [permissions, ins, outs, cpu] of [
    [shadow | read, true, false, 0],
    [shadow | write, false, true, 0],
    [direct | read, false, false, 1],
    [direct | write | execute, false, false, 6],
    [io | read | write, false, false, 0],
    [all, true, true, 7],
    [read | write | execute, false, false, 0],
    [shadow, false, false, 0],
  ] as const) {
    const cookie = cookieOf(permissions);
    assert.deepEqual([copies("in", cookie), copies("out", cookie)], [ins, outs], `permissions ${permissions}`);
    if (cpu === 0) fails("EFAULT", () => importer.mapIn(cookie));
    else {
      const page = importer.mapIn(cookie);
      assert.equal(page.permissions, cpu);
      importer.unmapIn(page);
    }
  }
  hypervisor.faults();
});

test("a page is mapped in, used, and given back; its revoke cookie stands in the entry meanwhile", () => {
  const channel = start();
  const { hypervisor, exporter, importer, domain } = channel;
  hypervisor.memory.write(3 * PAGE + 8, Uint8Array.of(5, 6));
  const [cookie] = exporter.map(3 * PAGE, PAGE, direct | read | write, 1) as [LdcCookie];
  const page = importer.mapIn(cookie.address + 8n);
  const seen = new Uint8Array(2);
  assert.ok(domain.readMappedIn(page.address, seen));
  assert.deepEqual([...seen], [5, 6]);
  assert.ok(domain.writeMappedIn(page.address + 1, Uint8Array.of(77)));
  assert.deepEqual(bytesAt(hypervisor, 3 * PAGE + 8, 2), [5, 77]);
  assert.equal(domain.readMappedIn(page.address, new Uint8Array(PAGE)), false, "beyond the page");
  assert.equal(domain.readMappedIn(page.address + 2 ** 34, seen), false, "another slot");
  assert.ok(
    tableOf(channel)
      .subarray(8, 16)
      .some((byte) => byte !== 0),
  );
  fails("EBUSY", () => importer.mapIn(cookie.address));
  importer.unmapIn(page);
  assert.ok(
    tableOf(channel)
      .subarray(8, 16)
      .every((byte) => byte === 0),
  );
  assert.equal(domain.readMappedIn(page.address, seen), false);
  // Read-only.
  const [only] = exporter.map(4 * PAGE, PAGE, direct | read, 1) as [LdcCookie];
  assert.equal(domain.writeMappedIn(importer.mapIn(only.address).address, seen), false);
});

test("unmapping revokes what the other end has mapped in: afterwards it reads and writes nothing", () => {
  for (const mode of ["strict", "lazy"] as const) {
    const channel = start({ table: { invalidate: mode } });
    const { exporter, importer, domain } = channel;
    const cookies = exporter.map(2 * PAGE, 3 * PAGE, direct | read | write, 3);
    const { address } = cookies[0] as LdcCookie;
    const pages = [0n, 2n].map((page) => importer.mapIn(address + page * BigInt(PAGE)));
    const [kept] = exporter.map(9 * PAGE, PAGE, direct | read, 1) as [LdcCookie];
    const other = importer.mapIn(kept.address);
    assert.equal(exporter.unmap(cookies), undefined);
    if (mode === "lazy") {
      assert.ok(domain.readMappedIn((pages[0] as { address: number }).address, new Uint8Array(8)), "not yet");
      assert.equal(exporter.generic.allocator.flushIotlb(), undefined);
    }
    for (const page of pages) {
      assert.equal(domain.readMappedIn(page.address, new Uint8Array(8)), false);
      assert.equal(domain.writeMappedIn(page.address, new Uint8Array(8)), false);
      importer.unmapIn(page);
    }
    assert.ok(domain.readMappedIn(other.address, new Uint8Array(8)), "another page stays");
    assert.equal(exporter.unmap([kept]), undefined);
    assert.equal(exporter.generic.allocator.flushIotlb(), undefined);
    assert.ok(
      tableOf(channel).every((byte) => byte === 0),
      "no revoke cookie is left",
    );
  }
});

test("a page whose cookie has more than 32 bits below its code is revoked like any other", () => {
  const pageBytes = 2 ** 22;
  const hypervisor = LdcHypervisor.create({ memoryBytes: 2 ** 23, otherMemoryBytes: 65536 });
  const exporter = LdcPlatform.create(hypervisor, { tableAddress: pageBytes, pageShift: 22 });
  const importer = new LdcLink(hypervisor.ends[1]);
  exporter.link.connect();
  importer.connect();
  // 4 GiB of the window.
  const before = exporter.map(0, 1024 * pageBytes, COPYABLE, 1024);
  const cookies = exporter.map(0, pageBytes, direct | read, 1);
  const { address } = cookies[0] as LdcCookie;
  assert.equal(address, (3n << 60n) + 2n ** 32n);
  const page = importer.mapIn(address);
  assert.ok(hypervisor.ends[1].readMappedIn(page.address, new Uint8Array(8)));
  assert.equal(exporter.unmap(cookies), undefined);
  assert.equal(hypervisor.ends[1].readMappedIn(page.address, new Uint8Array(8)), false);
  assert.equal(exporter.unmap(before), undefined);
});

test("an export whose entries are refused leaves nothing, and says so", () => {
  const channel = start();
  const { exporter } = channel;
  for (const [failure, errno] of [
    ["platform-refused", "EFAULT"],
    ["platform-busy", "EBUSY"],
  ] as const) {
    const { setWith } = exporter.ops;
    // The second piece is refused.
    exporter.ops.setWith = function (this: typeof exporter.ops, first, ...rest) {
      return first > 0 ? failure : setWith.call(this, first, ...rest);
    };
    const pieces = [
      { address: 0, bytes: 8 },
      { address: PAGE, bytes: 8 },
    ];
    fails(errno, () => exporter.mapSg(pieces, COPYABLE, 2));
    exporter.ops.setWith = setWith;
    assert.equal(exporter.generic.statistics().taken, 0);
    assert.ok(tableOf(channel).every((byte) => byte === 0));
  }
});

test("a page that is unmapped or revoked while the other end maps it in is not mapped in", () => {
  for (const meanwhile of ["cleared", "unmapped"] as const) {
    const channel = start();
    const { hypervisor, exporter, importer } = channel;
    const cookies = exporter.map(0, PAGE, direct | read, 1);
    const { memory } = hypervisor;
    const compareExchange32 = memory.compareExchange32.bind(memory);
    // In the middle of ldc_mapin: the revoke cookie has just been stored.
    memory.compareExchange32 = (at, expected, wanted) => {
      const found = compareExchange32(at, expected, wanted);
      memory.compareExchange32 = compareExchange32;
      if (meanwhile === "cleared") exporter.ops.clear(0, 1);
      else assert.equal(exporter.unmap(cookies), undefined);
      return found;
    };
    fails("EFAULT", () => importer.mapIn(0n));
    assert.ok(
      tableOf(channel).every((byte) => byte === 0),
      meanwhile,
    );
    if (meanwhile === "cleared") assert.equal(exporter.unmap(cookies), undefined);
    // The slot and the entry serve again.
    for (let i = 0; i < 9; i++) {
      const [again] = exporter.map(0, PAGE, direct | read, 1) as [LdcCookie];
      importer.unmapIn(importer.mapIn(again.address));
    }
  }
});

test("a revocation that fails keeps the entries out of use, until it succeeds", () => {
  const { hypervisor, exporter, importer, domain } = start();
  const cookies = exporter.map(0, PAGE, direct | read, 1);
  const page = importer.mapIn((cookies[0] as LdcCookie).address);
  hypervisor.injection.set({ fail: { times: 1 }, status: EBUSY });
  assert.equal(exporter.unmap(cookies), "platform-busy");
  assert.ok(domain.readMappedIn(page.address, new Uint8Array(8)));
  assert.equal(exporter.generic.statistics().quarantined, 1);
  assert.equal(exporter.generic.allocator.flushIotlb(), undefined);
  assert.equal(domain.readMappedIn(page.address, new Uint8Array(8)), false);
  assert.equal(exporter.generic.statistics().taken, 0);
});

test("a domain maps in so many pages per thread, and its slots serve again", () => {
  const { exporter, importer } = start();
  const cookies = exporter.map(0, 20 * PAGE, direct | read, 20);
  for (let round = 0; round < 3; round++) {
    const pages = Array.from({ length: 8 }, (_, i) => importer.mapIn(BigInt(i * PAGE)));
    fails("EFAULT", () => importer.mapIn(BigInt(9 * PAGE)));
    for (const page of pages) importer.unmapIn(page);
  }
  assert.equal(exporter.unmap(cookies), undefined);
});

test("a scatterlist through the generic table is the other end's DMA, with what it may do and no more", () => {
  const { hypervisor, exporter } = start();
  const device = new DmaDevice(exporter.generic, { boundaryMask: 2n ** 64n - 1n });
  const list = new ScatterList(3);
  for (const page of [3, 7, 5]) list.add(BigInt(page * PAGE), PAGE);
  hypervisor.memory.write(7 * PAGE + 3, Uint8Array.of(42));
  assert.equal(device.mapSg(list, 1), undefined);
  assert.equal(list.segments, 1);
  const user = hypervisor.device("device0");
  const byte = new Uint8Array(1);
  assert.ok(user.dmaRead(list.iovas[0]! + BigInt(PAGE + 3), byte));
  assert.equal(byte[0], 42);
  assert.equal(user.dmaWrite(list.iovas[0]!, byte), false);
  assert.equal(hypervisor.faults()[0]?.reason, "write-refused");
  assert.equal(device.unmapSg(list), undefined);
});

test("exchange swaps an entry and tells the old one; wrong entries, pages and cookies are refused", () => {
  const { exporter, hypervisor } = start();
  const { ops } = exporter;
  const old = { page: 0, access: 0 as 0 | 1 | 2 | 3 };
  assert.equal(ops.set(3, 1, 5, 1), undefined);
  assert.equal(ops.exchange(3, 2 ** 40, 3, old), undefined);
  assert.deepEqual(old, { page: 5, access: 1 });
  ops.get(3, old);
  assert.deepEqual(old, { page: 2 ** 40, access: 3 });
  assert.equal(ops.set(3, 1, 2 ** 47, 1), "platform-refused");
  assert.equal(ops.exchange(3, -1, 1, old), "platform-refused");
  assert.throws(() => ops.set(8192, 1, 0, 1), /range of entries is \[8192, 8193\)/);
  assert.throws(() => ops.clear(-1, 1), InvalidArgumentError);
  const cookies = exporter.map(0, 2 * PAGE, COPYABLE, 2);
  for (const wrong of [[], [{ address: 1n << 60n, bytes: 8 }], [{ address: cookies[0]!.address, bytes: PAGE }]]) {
    assert.throws(() => exporter.unmap(wrong), FreeError);
  }
  assert.ok(hypervisor.device(0).dmaRead(cookies[0]!.address, new Uint8Array(8)));
});

test("a map table that is taken away while in use is refused; afterwards every use throws and the other end copies nothing", () => {
  const { exporter, importer, hypervisor } = start();
  const other = LdcPlatform.attach(LdcHypervisor.attach(hypervisor.handle), structuredClone(exporter.handle));
  const cookies = exporter.map(0, PAGE, COPYABLE, 1);
  assert.throws(
    () => exporter.remove(),
    (error) => error instanceof IovaError && error.code === "in-use",
  );
  assert.equal(other.unmap(cookies), undefined);
  exporter.remove();
  fails("EFAULT", () => importer.copy("in", 0, 8, cookies));
  assert.throws(
    () => other.ops.set(0, 1, 0, 1),
    (error) => error instanceof IovaError && error.code === "table-gone",
  );
});

test("a map table that is taken away is out of reach for good: what was unmapped lazily and is still mapped in is revoked first", () => {
  const { exporter, importer, domain, hypervisor } = start({ table: { invalidate: "lazy" } });
  const cookies = exporter.map(0, PAGE, direct | read, 1);
  const page = importer.mapIn((cookies[0] as LdcCookie).address);
  assert.equal(exporter.unmap(cookies), undefined);
  assert.ok(domain.readMappedIn(page.address, new Uint8Array(8)), "lazily: not yet");
  hypervisor.injection.set({ fail: { after: 1, times: 1 }, status: EBUSY });
  assert.throws(
    () => exporter.remove(),
    (error) => error instanceof IovaError && error.code === "platform-refused",
  );
  exporter.remove();
  assert.equal(domain.readMappedIn(page.address, new Uint8Array(8)), false);
});

test("a map table that a thread took away and died before it said so can be taken away by another", () => {
  const { exporter, importer, hypervisor } = start({ table: { invalidate: "lazy" } });
  const cookies = exporter.map(0, PAGE, direct | read, 1);
  importer.mapIn((cookies[0] as LdcCookie).address);
  assert.equal(exporter.unmap(cookies), undefined);
  const dying = LdcHypervisor.attach(hypervisor.handle);
  const view = LdcPlatform.attach(dying, structuredClone(exporter.handle));
  const { hypercall } = dying;
  Object.assign(dying, {
    hypercall: (number: number, args: BigUint64Array): number => {
      const status = hypercall(number, args);
      if (number === LDC_SET_MAP_TABLE) throw new Error("it dies");
      return status;
    },
  });
  assert.throws(() => view.remove(), /it dies/);
  hypervisor.crew.reclaim(dying.thread, "everything");
  exporter.remove();
  assert.throws(() => exporter.ops.set(0, 1, 0, 1), { code: "table-gone" });
});

test("a map table in place of another ends what the other end had mapped in by the old one", () => {
  const { hypervisor, exporter, importer, domain } = start();
  const [cookie] = exporter.map(0, PAGE, direct | read, 1) as [LdcCookie];
  const page = importer.mapIn(cookie.address);
  assert.ok(domain.readMappedIn(page.address, new Uint8Array(8)));
  // As after a crash of the exporting domain: the exports are unknown.
  const next = LdcPlatform.create(hypervisor, { tableAddress: TABLE });
  assert.equal(domain.readMappedIn(page.address, new Uint8Array(8)), false);
  for (let i = 0; i < 9; i++) {
    const [again] = next.map(0, PAGE, direct | read, 1) as [LdcCookie];
    importer.unmapIn(importer.mapIn(again.address));
  }
});

test("a page that is about to be mapped in when the map table is taken away is not mapped in", () => {
  const { hypervisor, exporter, importer, domain } = start();
  const [cookie] = exporter.map(0, PAGE, direct | read, 1) as [LdcCookie];
  const { memory } = hypervisor;
  const load32 = memory.load32.bind(memory);
  // In the middle of ldc_mapin: the entry is being read, and no slot shows that.
  memory.load32 = (at) => {
    memory.load32 = load32;
    assert.equal(hypervisor.hypercall(LDC_SET_MAP_TABLE, BigUint64Array.of(1n, 0n, 0n)), 0);
    return load32(at);
  };
  let page: MappedInPage | undefined;
  fails("EFAULT", () => {
    page = importer.mapIn(cookie.address);
  });
  assert.ok(page === undefined || !domain.readMappedIn(page.address, new Uint8Array(8)));
});

test("a map table that can't be taken away while a page of it is in use can be later", () => {
  const { hypervisor, exporter, importer, domain } = start();
  // Past the generic table, so that nothing is live.
  assert.equal(exporter.ops.setWith(7, 1, 0, ldcEntryPermissions(direct | read)), undefined);
  const page = importer.mapIn(BigInt(7 * PAGE));
  const dead = LdcHypervisor.attach(hypervisor.handle);
  const { memory } = dead;
  memory.read = () => {
    throw new Error("it dies");
  };
  assert.throws(() => dead.ends[1].readMappedIn(page.address, new Uint8Array(8)), /it dies/);
  assert.throws(() => exporter.remove(), { code: "platform-refused" });
  // If another thread has died meanwhile, the call must not wait for that one, but for this one.
  const other = LdcHypervisor.attach(hypervisor.handle);
  hypervisor.crew.reclaim(other.thread, "in-flight");
  assert.throws(() => exporter.remove(), { code: "platform-refused" }, "an access of before may still go on");
  hypervisor.crew.reclaim(dead.thread, "in-flight");
  exporter.remove();
  assert.equal(domain.readMappedIn(page.address, new Uint8Array(8)), false);
  assert.throws(() => exporter.ops.set(0, 1, 0, 1), { code: "table-gone" });
});

test("a page that is given back while the hypervisor can't is told, and can be given back again", () => {
  const { exporter, importer, domain, hypervisor } = start();
  const [cookie] = exporter.map(0, PAGE, direct | read, 1) as [LdcCookie];
  const page = importer.mapIn(cookie.address);
  hypervisor.injection.set({ fail: { times: 1 }, status: EBUSY });
  fails("EBUSY", () => importer.unmapIn(page));
  assert.ok(domain.readMappedIn(page.address, new Uint8Array(8)));
  importer.unmapIn(page);
  assert.equal(domain.readMappedIn(page.address, new Uint8Array(8)), false);
  // A second time does no harm.
  importer.unmapIn(page);
});

test("options and handles that do not fit are refused with the numbers", () => {
  const hypervisor = LdcHypervisor.create({ memoryBytes: MEMORY });
  const refused = (options: Partial<LdcPlatformOptions>, message: RegExp): void => {
    assert.throws(() => LdcPlatform.create(hypervisor, { tableAddress: TABLE, ...options }), message);
  };
  refused({ pageShift: 12 }, /page shift of ldc-map-entry is 12/);
  refused({ entries: 100 }, /entries of the map table is 100/);
  refused({ entries: 1000 }, /entries of the map table is 1000; expected a power of two/);
  refused({ tableAddress: 4096 }, /address of the map table is 4096; expected a multiple of 8192/);
  refused({ tableAddress: MEMORY }, /address of the map table is 4194304/);
  refused({ table: { pools: 0 } }, /pools is 0/);
  const bare = SoftwareMachine.create({ memoryBytes: MEMORY });
  assert.throws(() => LdcPlatform.create(bare, { tableAddress: TABLE }), /hypervisor of the machine is missing/);
  assert.throws(() => new LdcLink(bare), /hypervisor of the machine is missing/);
  const { handle } = LdcPlatform.create(hypervisor, { tableAddress: TABLE });
  for (const wrong of [undefined, {}, { ...handle, table: undefined }, { ...handle, table: null }]) {
    assert.throws(() => LdcPlatform.attach(hypervisor, wrong as unknown as LdcPlatformHandle), FormatError);
  }
  const old = { ...handle, state: new SharedArrayBuffer(16) };
  assert.throws(() => LdcPlatform.attach(hypervisor, old), /version 0/);
  for (const wrong of [undefined, {}, { ...hypervisor.handle, state: new SharedArrayBuffer(256) }]) {
    assert.throws(() => LdcHypervisor.attach(wrong as LdcHypervisorHandle), FormatError);
  }
});
