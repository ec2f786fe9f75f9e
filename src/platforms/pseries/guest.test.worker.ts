/**
 * A driver of a pseries guest: maps and unmaps pages of its own, one by one and in lists, on a hypervisor that fails now and then, and has
 * its device read what was mapped, until it is stopped or killed.
 */
import { workerData } from "node:worker_threads";
import { DmaDevice } from "../../dma/device.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import { PaprHypervisor } from "../../machines/hypervisors/papr/hypervisor.ts";
import { type GuestWorkerData, PAGES, REPORT } from "./guest.model.ts";
import { PseriesPlatform } from "./platform.ts";

const data = workerData as GuestWorkerData;
const hypervisor = PaprHypervisor.attach(data.hypervisor);
const platform = PseriesPlatform.attach(hypervisor, data.platform, { pause: () => undefined });
const report = new Int32Array(data.report);
const device = new DmaDevice(platform.generic, { maxSegmentBytes: 2 ** 24 });
const master = hypervisor.device(0);
const list = new ScatterList(PAGES / 2);
let state = data.seed;

function random(below: number): number {
  state = (Math.imul(state, 0x19660d) + 0x3c6ef35f) | 0;
  return (state >>> 8) % below;
}

function check(iova: bigint, pages: number): void {
  for (let page = 0; page < pages; page++) {
    const seen = new Uint8Array(1);
    const granted = master.dmaRead(iova + BigInt(page) * 4096n, seen);
    if (!granted && data.freezes) Atomics.add(report, REPORT.dropped, 1);
    else if (!granted || seen[0] !== data.tag) Atomics.add(report, REPORT.wrong, 1);
  }
}

function mapPiece(): void {
  const pages = 1 + random(PAGES / 2);
  const mapping = device.map(BigInt(data.firstPage + random(PAGES / 2)) * 4096n, pages * 4096, 3);
  if (typeof mapping === "string") {
    Atomics.add(report, REPORT.failures, 1);
    return;
  }
  Atomics.add(report, REPORT.maps, 1);
  check(mapping.iova, pages);
  if (device.unmap(mapping) !== undefined) Atomics.add(report, REPORT.failures, 1);
}

function mapList(): void {
  list.clear();
  const count = 1 + random(PAGES / 2);
  for (let i = 0; i < count; i++) list.addNumber((data.firstPage + 2 * i) * 4096, 4096);
  if (device.mapSg(list, 3) !== undefined) {
    Atomics.add(report, REPORT.failures, 1);
    return;
  }
  Atomics.add(report, REPORT.maps, 1);
  for (let i = 0; i < list.segments; i++) check(list.iovas[i] as bigint, (list.segmentBytes[i] as number) / 4096);
  if (device.unmapSg(list) !== undefined) Atomics.add(report, REPORT.failures, 1);
}

for (let page = 0; page < PAGES; page++)
  hypervisor.memory.write((data.firstPage + page) * 4096, Uint8Array.of(data.tag));
Atomics.store(report, REPORT.thread, platform.generic.thread);
Atomics.store(report, REPORT.running, 1);
Atomics.notify(report, REPORT.running);
while (Atomics.load(report, REPORT.stop) === 0) {
  if (random(2) === 0) mapPiece();
  else mapList();
}
platform.generic.allocator.flushIotlb();
platform.close();
hypervisor.close();
