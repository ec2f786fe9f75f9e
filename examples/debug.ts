// The debug mode's reports of a driver that frees part of a buffer and leaks another one.
//
//   node build/examples/debug.js
import { DEVICE_WRITES, DmaDevice, orThrow } from "iova";
import { debugged, describeMisuse } from "iova/debug";
import { LinearPlatform, SoftwareMachine } from "iova/platform";

const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20, devices: ["nvme0"] });
const window = { base: 0x8000_0000n, pageShift: 12, entries: 64 };
const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
const device = debugged(new DmaDevice(table), {
  device: "nvme0",
  owner: "queue 3",
  onMisuse: (report) => console.log(describeMisuse(report).join("\n")),
});

const buffer = orThrow(device.map(0x1_2340n, 5000, DEVICE_WRITES));
orThrow(device.map(0x2_0000n, 64, DEVICE_WRITES));
try {
  device.unmap({ ...buffer, bytes: 100 });
} catch (error) {
  console.log(`The table refuses it: ${(error as Error).message}`);
}
device.unmap(buffer);
device.deviceRemoved();
