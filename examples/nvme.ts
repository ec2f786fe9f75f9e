// A disk driver on any platform: blocks are written from memory, read back elsewhere, and compared.
//
//   node build/examples/nvme.js                       on the plain table of TCEs
//   node build/examples/nvme.js --platform sun4u      … on a SPARC with its streaming cache; `iova platforms` lists all
import { BLOCK_BYTES, NvmeController, NvmeDriver } from "iova/devices";
import { setUp } from "./stage.ts";

// Not page-aligned, so the first element is shorter than a page.
const WRITTEN = 0x10_0204;
const READ_BACK = 0x20_04c0;

const { device, dma, memory, count, end } = setUp("commands", 200);
const disk = new Uint8Array(2 ** 22);
const driver = new NvmeDriver({ dma, memory, device: new NvmeController(device, disk) }, 16);

let wrong = 0;
for (let number = 0; number < count; number++) {
  const blocks = 1 + ((number * 37) % 200);
  const first = (number * 251) % (disk.length / BLOCK_BYTES - blocks);
  const data = Uint8Array.from({ length: blocks * BLOCK_BYTES }, (_, i) => number ^ (i >> 4));
  memory.write(WRITTEN, data);
  const written = driver.write(first, blocks, WRITTEN);
  const read = driver.read(first, blocks, READ_BACK);
  if (written !== 0 || read !== 0) throw new Error(`command ${number}: write ${written}, read ${read}`);
  const back = new Uint8Array(data.length);
  memory.read(READ_BACK, back);
  if (back.some((byte, i) => byte !== data[i])) wrong++;
}
driver.close();
end(`${count} times written and read back, ${wrong} times wrong;`, wrong);
