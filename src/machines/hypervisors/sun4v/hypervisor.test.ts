/** The sun4v hypervisor by its calls alone, as an independently written guest would make them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as api from "../../../platforms/sun4v/services.ts";
import { FormatError, InvalidArgumentError, IovaError } from "../../../units/errors.ts";
import { Sun4vHypervisor, type Sun4vHypervisorHandle, type Sun4vHypervisorOptions } from "./hypervisor.ts";

const PAGE = 8192n;
const LIST = 0x10000n;
const BASE = 0x8000_0000n;

function start(options: Partial<Sun4vHypervisorOptions> = {}): Sun4vHypervisor {
  return Sun4vHypervisor.create({ memoryBytes: 2 ** 22, legacyEntries: 2048, devices: ["a", "b"], ...options });
}

/** A call with the device handle in front: its status, and what stands where the arguments stood. */
function call(machine: Sun4vHypervisor, number: number, ...args: readonly bigint[]): [number, ...bigint[]] {
  const block = new BigUint64Array(8);
  block.set([BigInt(api.DEVICE_HANDLE), ...args]);
  const status = machine.hypercall(number, block);
  return [status, ...block.subarray(0, 2)];
}

/** Writes a list of real addresses, big-endian. */
function writeList(machine: Sun4vHypervisor, pages: readonly bigint[]): void {
  const bytes = new DataView(new ArrayBuffer(pages.length * 8));
  pages.forEach((page, i) => {
    bytes.setBigUint64(8 * i, page);
  });
  machine.memory.write(Number(LIST), new Uint8Array(bytes.buffer));
}

function entryBytes(machine: Sun4vHypervisor, index: number): number[] {
  const bytes = new Uint8Array(8);
  machine.machine.memory.read(machine.guestBytes + 8 * index, bytes);
  return [...bytes];
}

function readByte(machine: Sun4vHypervisor, device: string, iova: bigint): number | undefined {
  const byte = new Uint8Array(1);
  return machine.device(device).dmaRead(iova, byte) ? byte[0] : undefined;
}

test("pci_iommu_map makes entries of the listed pages, getmap tells them, demap ends them and the IOTLB's knowledge", () => {
  const machine = start();
  assert.equal(machine.guestBytes, 2 ** 22 - 2048 * 8);
  assert.equal(machine.memory.bytes, machine.guestBytes, "the table is out of the guest's reach");
  machine.memory.write(3 * 8192 + 5, Uint8Array.of(33));
  machine.memory.write(9 * 8192, Uint8Array.of(99));
  writeList(machine, [3n * PAGE, 9n * PAGE]);
  assert.deepEqual(call(machine, api.PCI_IOMMU_MAP, 7n, 2n, 3n, LIST).slice(0, 2), [0, 2n]);
  assert.deepEqual(entryBytes(machine, 7), [0, 0, 0, 0, 0, 0, 0x60, 0x03]);
  assert.deepEqual(entryBytes(machine, 8), [0, 0, 0, 0, 0, 1, 0x20, 0x03]);
  assert.equal(readByte(machine, "a", BASE + 7n * PAGE + 5n), 33);
  assert.equal(readByte(machine, "b", BASE + 8n * PAGE), 99);
  assert.deepEqual(call(machine, api.PCI_IOMMU_GETMAP, 8n), [0, 3n, 9n * PAGE]);
  assert.deepEqual(call(machine, api.PCI_IOMMU_UNMAP, 7n, 2n).slice(0, 2), [0, 2n]);
  assert.deepEqual(entryBytes(machine, 7), [0, 0, 0, 0, 0, 0, 0, 0]);
  assert.equal(call(machine, api.PCI_IOMMU_GETMAP, 8n)[0], api.ENOMAP);
  assert.equal(readByte(machine, "a", BASE + 7n * PAGE + 5n), undefined);
  assert.deepEqual(
    machine.faults().map(({ device, reason }) => [device, reason]),
    [["a", "not-mapped"]],
  );
  // Of nothing, too.
  assert.deepEqual(call(machine, api.PCI_IOMMU_UNMAP, 7n, 2n).slice(0, 2), [0, 2n]);
});

test("an entry that is mapped over is replaced, for devices that knew the old one too", () => {
  const machine = start();
  machine.memory.write(3 * 8192, Uint8Array.of(33));
  machine.memory.write(9 * 8192, Uint8Array.of(99));
  writeList(machine, [3n * PAGE]);
  call(machine, api.PCI_IOMMU_MAP, 7n, 1n, 1n, LIST);
  assert.equal(readByte(machine, "a", BASE + 7n * PAGE), 33);
  writeList(machine, [9n * PAGE]);
  assert.deepEqual(call(machine, api.PCI_IOMMU_MAP, 7n, 1n, 1n, LIST).slice(0, 2), [0, 1n]);
  assert.equal(readByte(machine, "a", BASE + 7n * PAGE), 99);
});

test("attributes: without WRITE the device may not write; relaxed order is kept and told", () => {
  const machine = start();
  writeList(machine, [3n * PAGE]);
  call(machine, api.PCI_IOMMU_MAP, 1n, 1n, 1n, LIST);
  assert.equal(machine.device("a").dmaWrite(BASE + PAGE, Uint8Array.of(1)), false);
  assert.equal(machine.faults()[0]?.reason, "write-refused");
  call(machine, api.PCI_IOMMU_MAP, 1n, 1n, 7n, LIST);
  assert.equal(machine.device("a").dmaWrite(BASE + PAGE, Uint8Array.of(1)), true);
  assert.deepEqual(call(machine, api.PCI_IOMMU_GETMAP, 1n), [0, 7n, 3n * PAGE]);
});

test("what a call can't do has the API's status, and changes nothing", () => {
  const machine = start();
  writeList(machine, [3n * PAGE, 3n * PAGE + 8n, 1n << 56n, BigInt(machine.guestBytes)]);
  const map = (...args: readonly bigint[]): number => call(machine, api.PCI_IOMMU_MAP, ...args)[0];
  assert.equal(machine.hypercall(api.PCI_IOMMU_MAP, BigUint64Array.of(1n, 0n, 1n, 1n, LIST)), api.EINVAL);
  assert.equal(machine.hypercall(0x10, BigUint64Array.of(0n)), api.EBADTRAP);
  assert.equal(call(machine, 0x1ff)[0], api.EBADTRAP);
  assert.equal(map(1n << 32n, 1n, 1n, LIST), api.EINVAL, "another TSB");
  assert.equal(map(2048n, 1n, 1n, LIST), api.EINVAL, "an index beyond");
  assert.equal(map(2047n, 2n, 1n, LIST), api.EINVAL, "an end beyond");
  assert.equal(map(0n, 0n, 1n, LIST), api.EINVAL, "no entries");
  assert.equal(map(0n, 1n, 0n, LIST), api.EINVAL, "no attributes");
  assert.equal(map(0n, 1n, 4n, LIST), api.EINVAL, "neither READ nor WRITE");
  assert.equal(map(0n, 1n, 9n, LIST), api.EINVAL, "an unknown attribute");
  assert.equal(map(0n, 1n, 1n, LIST + 4n), api.EBADALIGN, "a misaligned list");
  assert.equal(map(0n, 1n, 1n, 1n << 40n), api.ENORADDR, "a list outside of memory");
  assert.equal(map(0n, 1n, 1n, BigInt(machine.guestBytes)), api.ENORADDR, "a list in the hypervisor's memory");
  assert.equal(map(0n, 1n, 1n, LIST + 8n), api.EBADALIGN, "a misaligned page");
  assert.equal(map(0n, 1n, 1n, LIST + 16n), api.ENORADDR, "a page beyond 56 bits");
  assert.equal(map(0n, 1n, 1n, LIST + 24n), api.ENORADDR, "a page of the hypervisor's");
  assert.equal(call(machine, api.PCI_IOMMU_UNMAP, 2048n, 1n)[0], api.EINVAL);
  assert.equal(call(machine, api.PCI_IOMMU_UNMAP, 0n, 0n)[0], api.EINVAL);
  assert.equal(call(machine, api.PCI_IOMMU_GETMAP, 2048n)[0], api.EINVAL);
  for (let entry = 0; entry < 2048; entry++) assert.deepEqual(entryBytes(machine, entry), [0, 0, 0, 0, 0, 0, 0, 0]);
});

test("a call takes the pages before the first bad one, at most 1024, and what the injection lets it", () => {
  const machine = start();
  const pages = Array.from({ length: 1500 }, (_, i) => BigInt(i % 100) * PAGE);
  writeList(machine, pages);
  const map = (count: bigint): readonly [number, bigint | undefined] => {
    const [status, taken] = call(machine, api.PCI_IOMMU_MAP, 0n, count, 1n, LIST);
    return [status, taken];
  };
  assert.deepEqual(map(1500n), [0, 1024n]);
  machine.injection.set({ most: 5 });
  assert.deepEqual(map(1500n), [0, 5n]);
  assert.deepEqual(map(3n), [0, 3n]);
  assert.deepEqual(call(machine, api.PCI_IOMMU_UNMAP, 0n, 100n).slice(0, 2), [0, 5n]);
  machine.injection.set({ random: true });
  const taken = new Set(Array.from({ length: 200 }, () => map(8n)[1]));
  assert.deepEqual([...taken].sort(), [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n]);
  machine.injection.set({});
  writeList(machine, [PAGE, 2n * PAGE, 4n, 3n * PAGE]);
  assert.deepEqual(map(4n), [0, 2n]);
});

test("the injection fails the call it was told to, as often as it was told to", () => {
  const machine = start();
  machine.injection.set({ fail: { after: 1, times: 2 }, status: api.EIO });
  const statuses = Array.from({ length: 5 }, () => call(machine, api.PCI_IOMMU_UNMAP, 0n, 1n)[0]);
  assert.deepEqual(statuses, [0, api.EIO, api.EIO, 0, 0]);
  assert.equal(machine.injection.calls, 5);
  assert.throws(() => machine.injection.set({ most: -1 }), /what a call takes at most is -1/);
});

test("an IOTSB is made of the guest's memory, emptied, bound to devices, and given back", () => {
  const machine = start();
  const base = 0x8_0000_0000n;
  const table = 0x100000n;
  machine.memory.write(Number(table), new Uint8Array(8192).fill(0xff));
  const configure = (...args: readonly bigint[]): number => call(machine, api.PCI_IOTSB_CONF, ...args)[0];
  assert.equal(configure(table, PAGE, 4096n, base), api.EBADPGSZ);
  assert.equal(configure(table + 8n, PAGE, PAGE, base), api.EBADALIGN);
  assert.equal(configure(table, 100n, PAGE, base), api.EBADALIGN);
  assert.equal(configure(table, PAGE, PAGE, base + 1n), api.EBADALIGN);
  assert.equal(configure(1n << 40n, PAGE, PAGE, base), api.ENORADDR);
  assert.equal(configure(BigInt(machine.guestBytes) - PAGE, 2n * PAGE, PAGE, base), api.ENORADDR);
  assert.equal(configure(table, 0n, PAGE, base), api.EINVAL);
  assert.equal(configure(table, PAGE, PAGE, BASE), api.EINVAL, "over the legacy window");
  assert.equal(call(machine, api.PCI_IOTSB_BIND, 1n, 0n)[0], api.EINVAL, "there is none yet");
  assert.deepEqual(call(machine, api.PCI_IOTSB_CONF, table, PAGE, PAGE, base).slice(0, 2), [0, 1n]);
  assert.equal(configure(table, PAGE, PAGE, base), api.ETOOMANY);

  machine.memory.write(3 * 8192, Uint8Array.of(33));
  writeList(machine, [3n * PAGE]);
  const index = (1n << 48n) | 1023n;
  assert.deepEqual(call(machine, api.PCI_IOTSB_MAP, 1n, index, 1n, LIST).slice(0, 2), [0, 1n]);
  assert.equal(call(machine, api.PCI_IOTSB_MAP, 2n, index, 1n, LIST)[0], api.EINVAL, "another IOTSB");
  assert.equal(call(machine, api.PCI_IOTSB_MAP, 1n, (2n << 48n) | 1023n, 1n, LIST)[0], api.EINVAL, "beyond its end");
  assert.deepEqual(call(machine, api.PCI_IOTSB_GETMAP, 1n, 1023n), [0, 3n * PAGE, 1n]);
  const at = base + 1023n * PAGE;
  assert.equal(readByte(machine, "a", at), undefined, "not bound yet");
  assert.equal(call(machine, api.PCI_IOTSB_UNBIND, 1n, 0n)[0], api.ENOMAP, "it is not bound");
  assert.equal(call(machine, api.PCI_IOTSB_BIND, 1n, 0n)[0], 0);
  assert.equal(call(machine, api.PCI_IOTSB_BIND, 1n, 0n)[0], api.EBUSY, "it is bound already");
  assert.equal(call(machine, api.PCI_IOTSB_BIND, 1n, 2n)[0], api.EINVAL);
  assert.equal(readByte(machine, "a", at), 33);
  assert.equal(readByte(machine, "b", at), undefined);
  // A bound device has the legacy window besides; what ends there ends for it.
  call(machine, api.PCI_IOMMU_MAP, 5n, 1n, 1n, LIST);
  assert.equal(readByte(machine, "a", BASE + 5n * PAGE), 33);
  assert.equal(readByte(machine, "b", BASE + 5n * PAGE), 33);
  call(machine, api.PCI_IOMMU_UNMAP, 5n, 1n);
  assert.equal(readByte(machine, "a", BASE + 5n * PAGE), undefined);
  assert.equal(readByte(machine, "b", BASE + 5n * PAGE), undefined);
  // The table itself can't be mapped, and can't contain a list.
  writeList(machine, [table]);
  assert.equal(call(machine, api.PCI_IOTSB_MAP, 1n, index, 3n, LIST)[0], api.ENORADDR);
  assert.equal(call(machine, api.PCI_IOMMU_MAP, 0n, 1n, 3n, LIST)[0], api.ENORADDR);
  assert.equal(call(machine, api.PCI_IOMMU_MAP, 0n, 1n, 3n, table + PAGE - 8n)[0], api.ENORADDR);
  assert.equal(call(machine, api.PCI_IOMMU_MAP, 0n, 1n, 3n, table + PAGE)[0], 0, "right behind it");
  assert.equal(call(machine, api.PCI_IOMMU_MAP, 0n, 2n, 3n, table - 8n)[0], api.ENORADDR, "into it");

  assert.equal(call(machine, api.PCI_IOTSB_UNCONF, 1n)[0], api.EBUSY);
  assert.equal(call(machine, api.PCI_IOTSB_UNBIND, 1n, 0n)[0], 0);
  assert.equal(readByte(machine, "a", at), undefined);
  assert.equal(call(machine, api.PCI_IOTSB_UNCONF, 1n)[0], 0);
  assert.equal(call(machine, api.PCI_IOTSB_UNMAP, 1n, 1023n, 1n)[0], api.EINVAL);
  assert.equal(call(machine, api.PCI_IOMMU_MAP, 0n, 1n, 3n, LIST)[0], 0, "the memory is the guest's again");
});

test("other threads' views share tables, injection and IOTSB; a closed view makes no calls", () => {
  const machine = start();
  const other = Sun4vHypervisor.attach(structuredClone(machine.handle));
  assert.notEqual(other.thread, machine.thread);
  writeList(machine, [3n * PAGE]);
  call(machine, api.PCI_IOTSB_CONF, 0x100000n, PAGE, PAGE, 0x8_0000_0000n);
  other.injection.set({ fail: { times: 1 }, status: api.EIO });
  assert.equal(call(machine, api.PCI_IOMMU_GETMAP, 0n)[0], api.EIO);
  assert.equal(call(other, api.PCI_IOTSB_MAP, 1n, 1n << 48n, 1n, LIST)[0], 0);
  assert.equal(call(machine, api.PCI_IOTSB_GETMAP, 1n, 0n)[0], 0);
  other.close();
  assert.throws(
    () => call(other, api.PCI_IOTSB_GETMAP, 1n, 0n),
    (error) => error instanceof IovaError && error.code === "closed",
  );
});

test("sizes that do not fit, and invalid handles, are refused", () => {
  assert.throws(() => start({ memoryBytes: 16384, legacyEntries: 2048 }), /memory size in bytes is 16384/);
  assert.throws(() => start({ memoryBytes: 2 ** 22 + 4096 }), InvalidArgumentError);
  assert.throws(() => start({ legacyEntries: 2 ** 18 + 1 }), /entries of the legacy window is 262145/);
  const { handle } = start();
  for (const wrong of [undefined, {}, { ...handle, state: new SharedArrayBuffer(4) }]) {
    assert.throws(() => Sun4vHypervisor.attach(wrong as Sun4vHypervisorHandle), FormatError);
  }
  const old = new SharedArrayBuffer(handle.state.byteLength);
  assert.throws(() => Sun4vHypervisor.attach({ ...handle, state: old }), /version 0; this library has version 1/);
});
