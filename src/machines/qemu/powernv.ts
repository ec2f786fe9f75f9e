/**
 * The board powernv9 of qemu-system-ppc64: a POWER9 chip with one PHB4, and QEMU's edu behind it.
 * (POWER9 PCIe Host Bridge (PHB4) specification, chapters "PHB registers" and "IODA tables".)
 *
 * Registers: the PHB's block, 64 bits each. The board sets up the PEC, the memory window and the device, as firmware would; the platform
 * sets up its RTT (register 0x168), its TVEs (IODA table 9, by 0x220 and 0x228), its TCE tables. The device has RID 0x0010.
 *
 * For the half of each DMA between the device's buffer and the board's memory, the board moves the device to another partition (with the
 * board's RTT and TVE), and restores RTT, TVE and IODA address afterwards, under the machine's lock. That invalidates the partition numbers
 * that the PHB has cached, so this machine can't show whether a platform invalidates them.
 */

import { EduDma } from "./edu.ts";
import type { ModelParts, QemuModel } from "./model.ts";
import { hex, type Qtest, writeq } from "./qtest.ts";

const RAM_BYTES = 2 ** 30;
/** The board's memory, above the platform's: RTT at 0, TCE table at 0x1000, the buffer at 0x2000. */
const OWN_MEMORY = RAM_BYTES - 0x2_0000;
const OWN_TCES = OWN_MEMORY + 0x1000;
const OWN_BUFFER = 0x2000;
const FIRMWARE_BYTES = 0x1_0000;
/** Address at which QEMU puts the device tree at reset, and an upper bound of its size. */
const DEVICE_TREE = { address: 0x100_0000, bytes: 0x10_0000 };

const PHB = 0x6_00c3_c000_0000;
const MEMORY_WINDOW = 0x6_00c2_0000_0000;
/** PCI address of the start of the memory window, and of the device. */
const PCI_MEMORY = 0x8000_0000;
const WINDOW_MASK = 0x7fff_ffffn;
const DEVICE = 0x10;

const CONFIGURATION_DATA = 0x130;
const CONFIGURATION_ADDRESS = 0x140;
const RTT_BAR = 0x168;
const MEMORY_START = 0x1a0;
const RTC_INVALIDATE = 0x208;
const IODA_ADDRESS = 0x220;
const IODA_DATA = 0x228;
/** IBM's bit 0: enable, auto-increment, all. */
const BIT_0 = 1n << 63n;
const TABLE_TVT = 9n;
const TABLE_MEMORY_BARS = 16n;

/** The partition that the board uses, the last one, and its first TVE. */
const OWN_PARTITION = 511;
const OWN_TVE_INDEX = BigInt(OWN_PARTITION * 2);
/** One level of 512 entries, pages of 64 KiB. */
const OWN_TVE = (BigInt(OWN_TCES / 4096) << 16n) | (1n << 8n) | 5n;

export const powernv: QemuModel = {
  name: "powernv",
  device: "edu",
  program: "qemu-system-ppc64",
  args: [
    ...["-machine", "powernv9,memory-backend=memory", "-m", "1G", "-accel", "tcg"],
    // With an idle CPU, virtual time jumps to the next timer: edu's DMA takes 100 virtual milliseconds.
    ...["-icount", "shift=0,sleep=off"],
    ...["-device", "pnv-phb,chip-id=0,index=0,id=phb0"],
    ...["-device", "edu,bus=phb0,addr=2.0,dma_mask=0xffffffffffffffff"],
  ],
  memoryIsFile: true,
  firmware: sleepingFirmware(),
  ramBytes: RAM_BYTES,
  memoryBytes: OWN_MEMORY,
  firstFreeByte: FIRMWARE_BYTES,
  registers: { base: PHB, bytes: 0x4000, halves: false },
  setUp,
  dmaMaster: ({ qtest, memory, refusals }: ModelParts) => {
    const own = { address: OWN_MEMORY + OWN_BUFFER, iova: BigInt(OWN_BUFFER) };
    const privately = (transfer: () => void): void => privatelyOn(qtest, transfer);
    return new EduDma({ qtest, memory, refusals, registers: MEMORY_WINDOW, own, privately });
  },
};

/** The instruction `stop`, and a branch back to it. A spinning CPU would use a core, and make a DMA 30 times slower. */
function sleepingFirmware(): Uint8Array {
  const code = new DataView(new ArrayBuffer(FIRMWARE_BYTES));
  for (let at = 0; at < FIRMWARE_BYTES; at += 8) {
    code.setUint32(at, 0x4c00_02e4);
    code.setUint32(at + 4, 0x4bff_fffc);
  }
  return new Uint8Array(code.buffer);
}

function setUp(qtest: Qtest, { memory }: ModelParts): void {
  // PEC 0, stack 0, nest registers: the physical addresses of the window and of the PHB's registers.
  const nest = (register: number): number => 0x6_03fc_0000_0000 + (0x401_0c40 + register) * 8;
  const ones = 2n ** 64n - 1n;
  qtest.callAll([
    writeq(nest(0x0e), BigInt(MEMORY_WINDOW) << 8n),
    writeq(nest(0x0f), ones ^ (((WINDOW_MASK + 1n) << 8n) - 1n)),
    writeq(nest(0x12), BigInt(PHB) << 8n),
    writeq(nest(0x14), 5n << 61n),
  ]);
  configure(qtest, 0x10, PCI_MEMORY);
  configure(qtest, 0x04, 6); // memory, bus master
  qtest.callAll([
    writeq(PHB + MEMORY_START, BigInt(PCI_MEMORY)),
    writeq(PHB + IODA_ADDRESS, BIT_0 | (TABLE_MEMORY_BARS << 48n)),
    writeq(PHB + IODA_DATA, (3n << 62n) | BigInt(MEMORY_WINDOW)),
    writeq(PHB + IODA_DATA, BIT_0 | ((2n ** 56n - 1n) ^ WINDOW_MASK)),
    writeq(PHB + IODA_ADDRESS, 0n),
  ]);
  memory.write(DEVICE_TREE.address, new Uint8Array(DEVICE_TREE.bytes));
  memory.write(OWN_MEMORY + DEVICE * 2, Uint8Array.of(OWN_PARTITION >>> 8, OWN_PARTITION & 0xff));
  const entry = Buffer.alloc(8);
  entry.writeBigUInt64BE(BigInt(OWN_MEMORY) | 3n);
  memory.write(OWN_TCES, entry);
}

/** Writes a little-endian word of the device's configuration space. */
function configure(qtest: Qtest, register: number, value: number): void {
  const data = Buffer.alloc(4);
  data.writeUInt32LE(value);
  qtest.callAll([
    writeq(PHB + CONFIGURATION_ADDRESS, BIT_0 | (BigInt(DEVICE) << 44n) | (BigInt(register) << 32n)),
    `write ${hex(PHB + CONFIGURATION_DATA)} 0x4 0x${data.toString("hex")}`,
  ]);
}

function privatelyOn(qtest: Qtest, transfer: () => void): void {
  const selectTve = writeq(PHB + IODA_ADDRESS, (TABLE_TVT << 48n) | OWN_TVE_INDEX);
  const read = (register: number): string => `readq ${hex(PHB + register)}`;
  const replies = qtest.callAll([read(RTT_BAR), read(IODA_ADDRESS), selectTve, read(IODA_DATA)]);
  const [rtt, ioda, , tve] = replies.map((reply) => (reply === "" ? 0n : BigInt(reply))) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  const become = (rttBar: bigint, entry: bigint): string[] => [
    selectTve,
    writeq(PHB + IODA_DATA, entry),
    writeq(PHB + RTT_BAR, rttBar),
    writeq(PHB + RTC_INVALIDATE, BIT_0),
  ];
  qtest.callAll(become(BIT_0 | BigInt(OWN_MEMORY), OWN_TVE));
  try {
    transfer();
  } finally {
    qtest.callAll([...become(rtt, tve), writeq(PHB + IODA_ADDRESS, ioda)]);
  }
}
