// A disk driver on any platform: blocks are written from memory, read back elsewhere, and compared.
//
//   node build/examples/nvme.js                       on the plain table of TCEs
//   node build/examples/nvme.js --platform sun4u      … on a SPARC with its streaming cache; `iova platforms` lists all
import { parseArgs } from "node:util";
import { BLOCK_BYTES, NvmeController } from "../src/devices/nvme-controller.ts";
import { NvmeDriver } from "../src/devices/nvme-driver.ts";
import { DmaDevice } from "../src/dma/device.ts";
import { PhysicalPages } from "../src/machine/physical-pages.ts";
import { boardNamed } from "../src/machines/boards.ts";

const { values } = parseArgs({
  options: { platform: { type: "string", default: "linear-tce" }, commands: { type: "string", default: "200" } },
});
const board = boardNamed(values.platform).create({ memoryBytes: 2 ** 24, entries: 1024, devices: ["nvme0"] });
const { memory } = board.machine;
const reserved = board.table.statistics().taken;
const pages = PhysicalPages.create({ address: 2 ** 22, bytes: board.usableBytes - 2 ** 22 });
const dma = new DmaDevice(board.table, { mask: 2n ** 64n - 1n }, { memory, coherentPages: pages });

const disk = new Uint8Array(2 ** 22);
const driver = new NvmeDriver({ dma, memory, device: new NvmeController(board.machine.device("nvme0"), disk) }, 16);

let wrong = 0;
for (let number = 0; number < Number(values.commands); number++) {
  const blocks = 1 + ((number * 37) % 200);
  const first = (number * 251) % (disk.length / BLOCK_BYTES - blocks);
  const data = Uint8Array.from({ length: blocks * BLOCK_BYTES }, (_, i) => number ^ (i >> 4));
  // Not at the start of a page: the first piece is a short one.
  memory.write(0x10204, data);
  const written = driver.write(first, blocks, 0x10204);
  const read = driver.read(first, blocks, 0x204c0);
  if (written !== 0 || read !== 0) throw new Error(`command ${number}: write ${written}, read ${read}`);
  const back = new Uint8Array(data.length);
  memory.read(0x204c0, back);
  if (back.some((byte, i) => byte !== data[i])) wrong++;
}
driver.close();
const taken = board.table.statistics().taken - reserved;
console.log(`${board.kind.name}: ${values.commands} times written and read back, ${wrong} times wrong;`);
console.log(
  `${board.takeFaults().length} faults; ${board.statistics().invalidations} invalidations, ${taken} entries still taken`,
);
board.close();
