// A network driver on any platform: frames go out of one ring, over a wire, and come back into the other.
//
//   node build/examples/nic.js                        on the plain table of TCEs
//   node build/examples/nic.js --platform pseries     … with the entries made by hypercalls; `iova platforms` lists all
import { parseArgs } from "node:util";
import { RingDriver } from "../src/devices/ring-driver.ts";
import { RingNic } from "../src/devices/ring-nic.ts";
import { DmaDevice } from "../src/dma/device.ts";
import { PhysicalPages } from "../src/machine/physical-pages.ts";
import { boardNamed } from "../src/machines/boards.ts";

const { values } = parseArgs({
  options: { platform: { type: "string", default: "linear-tce" }, frames: { type: "string", default: "1000" } },
});
const board = boardNamed(values.platform).create({ memoryBytes: 2 ** 24, entries: 1024, devices: ["nic0"] });
const { memory } = board.machine;
const reserved = board.table.statistics().taken;
const pages = PhysicalPages.create({ address: 2 ** 20, bytes: board.usableBytes - 2 ** 20 });
const dma = new DmaDevice(board.table, { mask: 2n ** 64n - 1n }, { memory, coherentPages: pages });

const nic: RingNic = new RingNic(board.machine.device("nic0"), (frame) => nic.deliver(frame));
const driver = new RingDriver({ dma, memory, pages, device: nic }, 64);

let wrong = 0;
let received = 0;
for (let number = 0; number < Number(values.frames); number++) {
  // A header and a payload, far apart in memory: the device sees one frame.
  const header = Uint8Array.from({ length: 14 }, (_, i) => number + i);
  const payload = Uint8Array.from({ length: 64 + (number % 1400) }, (_, i) => number ^ i);
  memory.write(0x1000, header);
  memory.write(0x7f00, payload);
  const failure = driver.send([
    { address: 0x1000, bytes: header.length },
    { address: 0x7f00, bytes: payload.length },
  ]);
  if (failure !== undefined) throw new Error(`frame ${number} can't be sent: ${failure}`);
  received += driver.poll((frame) => {
    const sent = [...header, ...payload];
    if (frame.length !== sent.length || frame.some((byte, i) => byte !== sent[i])) wrong++;
  });
}
driver.close();
const taken = board.table.statistics().taken - reserved;
console.log(`${board.kind.name}: ${received} frames came back, ${wrong} of them wrong; ${driver.errors} errors,`);
console.log(
  `${board.takeFaults().length} faults; ${board.statistics().invalidations} invalidations, ${taken} entries still taken`,
);
board.close();
