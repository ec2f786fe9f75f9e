// Two pieces of memory are mapped as one segment for a device that reads them, and unmapped.
import { DEVICE_READS, DmaDevice, ScatterList } from "iova";
import { LinearPlatform, SoftwareMachine } from "iova/platform";

const machine = SoftwareMachine.create({ memoryBytes: 16 * 2 ** 20, devices: ["nvme0"] });
const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
const driver = new DmaDevice(table, { mask: 0xffff_ffffn });

const list = new ScatterList(2);
list.add(0x12_3000n, 4096); // two pages of physical memory, far apart
list.add(0x45_6000n, 512);
machine.memory.write(0x45_6000, new TextEncoder().encode("hello, device"));
const failure = driver.mapSg(list, DEVICE_READS);
if (failure !== undefined) throw new Error(failure);

const iova = list.iovas[0]!; // to the device they are one piece
console.log(`${list.segments} segment of ${list.segmentBytes[0]} bytes at 0x${iova.toString(16)}`);
const seen = new Uint8Array(list.segmentBytes[0]!);
machine.device("nvme0").dmaRead(iova, seen);
console.log(new TextDecoder().decode(seen.subarray(4096, 4109)));

driver.unmapSg(list);
console.log("after unmapSg:", machine.device("nvme0").dmaRead(iova, seen), machine.faults()[0]?.reason);
