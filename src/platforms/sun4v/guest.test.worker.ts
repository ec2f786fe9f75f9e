/**
 * A driver of a sun4v guest: maps lists that take the hypervisor many calls, has its device read them, and unmaps them, until it is
 * stopped or killed.
 */
import { workerData } from "node:worker_threads";
import { DmaDevice } from "../../dma/device.ts";
import { ScatterList } from "../../dma/scatter-list.ts";
import { Sun4vHypervisor } from "../../machines/hypervisors/sun4v/hypervisor.ts";
import { type GuestPart, REPORT } from "./guest.model.ts";
import { Sun4vPlatform } from "./platform.ts";

const PAGE = 8192;

function run(part: GuestPart): void {
  const report = new Int32Array(part.report);
  const machine = Sun4vHypervisor.attach(part.hypervisor);
  const platform = Sun4vPlatform.attach(machine, part.platform);
  Atomics.store(report, REPORT.thread, platform.generic.thread + 1);
  const { pages, firstPage, tag } = part;
  for (let page = 0; page < pages; page++) machine.memory.write((firstPage + page) * PAGE, Uint8Array.of(tag, page));
  const device = new DmaDevice(platform.generic, { boundaryMask: 2n ** 64n - 1n, maxSegmentBytes: 2 ** 30 });
  const master = machine.device(0);
  const list = new ScatterList(pages);
  for (let page = pages - 1; page >= 0; page--) list.add(BigInt((firstPage + page) * PAGE), PAGE);
  const seen = new Uint8Array(2);
  while (Atomics.load(report, REPORT.stop) === 0) {
    if (device.mapSg(list, 1) !== undefined) continue;
    const first = list.iovas[0] as bigint;
    for (let i = 0; i < pages; i += 7) {
      const isRight = master.dmaRead(first + BigInt(i * PAGE), seen) && seen[0] === tag && seen[1] === pages - 1 - i;
      if (!isRight) Atomics.add(report, REPORT.wrong, 1);
    }
    device.unmapSg(list);
    if (master.dmaRead(first, seen) && seen[0] === tag) Atomics.add(report, REPORT.wrong, 1);
    Atomics.add(report, REPORT.lists, 1);
  }
  platform.generic.close();
  machine.close();
}

run(workerData as GuestPart);
