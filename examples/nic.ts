// A network driver on any platform: frames go out of one ring, over a wire, and come back into the other.
//
//   node build/examples/nic.js                        on the plain table of TCEs
//   node build/examples/nic.js --platform pseries     … with the entries made by hypercalls; `iova platforms` lists all
import { RingDriver, RingNic } from "iova/devices";
import { setUp } from "./stage.ts";

const HEADER = 0x10_0000;
const PAYLOAD = 0x11_7f00;

const { device, dma, memory, pages, count, end } = setUp("frames", 1000);
const nic: RingNic = new RingNic(device, (frame) => nic.deliver(frame));
const driver = new RingDriver({ dma, memory, pages, device: nic }, 64);

let wrong = 0;
let received = 0;
for (let number = 0; number < count; number++) {
  // A header and a payload, far apart in memory: the device sees one frame.
  const header = Uint8Array.from({ length: 14 }, (_, i) => number + i);
  const payload = Uint8Array.from({ length: 64 + (number % 1400) }, (_, i) => number ^ i);
  memory.write(HEADER, header);
  memory.write(PAYLOAD, payload);
  const failure = driver.send([
    { address: HEADER, bytes: header.length },
    { address: PAYLOAD, bytes: payload.length },
  ]);
  if (failure !== undefined) throw new Error(`frame ${number} can't be sent: ${failure}`);
  received += driver.poll((frame) => {
    const sent = [...header, ...payload];
    if (frame.length !== sent.length || frame.some((byte, i) => byte !== sent[i])) wrong++;
  });
}
driver.close();
const mistakes = wrong + driver.errors + (count - received);
end(`${received} frames came back, ${wrong} of them wrong; ${driver.errors} errors,`, mistakes);
