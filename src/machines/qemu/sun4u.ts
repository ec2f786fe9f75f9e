/**
 * The board sun4u of qemu-system-sparc64: a "sabre" host bridge with its IOMMU, and an LSI53C895A behind its second PCI bridge.
 * (UltraSPARC-IIi user's manual, chapter 19 "PCI bus module"; Advanced PCI Bridge user's manual.)
 *
 * The CPU never runs (-S). Registers: those of the host bridge; the IOMMU has control at 0x200, TSB base at 0x208 and flush at 0x210.
 *
 * For each DMA the board writes an entry for the device's program into the table under test, at the last entry that the DMA does not use,
 * and restores the old entry afterwards. It holds the machine's lock, so that no other thread sees the change. With the IOMMU off, bus
 * addresses are physical addresses.
 */

import { LsiDma } from "./lsi53c895a.ts";
import type { ModelParts, QemuModel } from "./model.ts";
import { hex, type Qtest } from "./qtest.ts";

const RAM_BYTES = 2 ** 28;
/** The board's page, above the platform's memory. */
const OWN_PAGE = RAM_BYTES - 0x1_0000;

const BRIDGE = 0x1fe_0000_0000;
const CONFIGURATION = BRIDGE + 0x100_0000;
/** Start of the PCI memory addresses. */
const PCI_MEMORY = 0x1ff_0000_0000;
const LSI_REGISTERS = 0x1000_0000;
const LSI_RAM = 0x1000_2000;

const CONTROL = 0x200;
const TSB_BASE = 0x208;
const ENABLE = 1n;
const TABLE_OF_64K_PAGES = 4n;
const TSB_SIZE_SHIFT = 16n;

/** VALID, CACHE, WRITE: formats/sun4u-iopte.ts, which this board may not use to test it. */
const OWN_ENTRY = (1n << 63n) | 0x12n | BigInt(OWN_PAGE);

export const sun4u: QemuModel = {
  name: "sun4u",
  device: "lsi53c895a",
  program: "qemu-system-sparc64",
  args: ["-machine", "sun4u", "-m", "256M", "-S", "-device", "lsi53c895a,bus=pciB,addr=1.0"],
  // The board ignores -machine memory-backend.
  memoryIsFile: false,
  firmware: new Uint8Array(0),
  ramBytes: RAM_BYTES,
  memoryBytes: OWN_PAGE,
  firstFreeByte: 0,
  registers: { base: BRIDGE, bytes: 0x1_0000, halves: true },
  setUp,
  dmaMaster: ({ qtest, memory, refusals }: ModelParts) =>
    new LsiDma({
      qtest,
      memory,
      refusals,
      registers: PCI_MEMORY + LSI_REGISTERS,
      page: OWN_PAGE,
      borrow: (iova, bytes, use) => borrow(qtest, iova, bytes, use),
    }),
};

/** The set-up that firmware would do: the bridge forwards bus 2, and the controller has its addresses and may do DMA. */
function setUp(qtest: Qtest): void {
  const bridge = configuration(0, 1);
  writeBytes(qtest, bridge + 0x18, 4, 0x0002_0200); // bus numbers: primary 0, secondary and subordinate 2
  writeBytes(qtest, bridge + 0x20, 4, 0x10f0_1000); // memory 0x10000000 .. 0x10ffffff
  writeBytes(qtest, bridge + 0x04, 2, 7); // I/O, memory, bus master
  const lsi = configuration(2, 1);
  writeBytes(qtest, lsi + 0x14, 4, LSI_REGISTERS);
  writeBytes(qtest, lsi + 0x18, 4, LSI_RAM);
  writeBytes(qtest, lsi + 0x04, 2, 6); // memory, bus master
}

function configuration(bus: number, device: number): number {
  return CONFIGURATION + bus * 2 ** 16 + device * 2 ** 11;
}

/** Writes little-endian bytes, as PCI expects. */
function writeBytes(qtest: Qtest, at: number, bytes: number, value: number): void {
  const data = Buffer.alloc(bytes);
  data.writeUIntLE(value, 0, bytes);
  qtest.call(`write ${hex(at)} ${hex(bytes)} 0x${data.toString("hex")}`);
}

function borrow(qtest: Qtest, iova: number, bytes: number, use: (page: number) => void): void {
  const control = qtest.read64(BRIDGE + CONTROL);
  if ((control & ENABLE) === 0n) {
    use(OWN_PAGE);
    return;
  }
  const pageBytes = (control & TABLE_OF_64K_PAGES) === 0n ? 2 ** 13 : 2 ** 16;
  // Only entries below 2^32 bytes: the device's bus addresses have 32 bits.
  const entries = Math.min(1024 * 2 ** Number((control >> TSB_SIZE_SHIFT) & 7n), 2 ** 32 / pageBytes);
  const used = [iova, iova + bytes - 1].map((address) => Math.floor(address / pageBytes) % entries);
  let entry = entries - 1;
  while (used.includes(entry)) entry--;
  const at = Number(qtest.read64(BRIDGE + TSB_BASE)) + entry * 8;
  const old = qtest.read64(at);
  qtest.write64(at, OWN_ENTRY);
  try {
    use(2 ** 32 - (entries - entry) * pageBytes);
  } finally {
    qtest.write64(at, old);
  }
}
