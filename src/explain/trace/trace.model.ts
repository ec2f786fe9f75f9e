/** Writes small traces and logs for tests. Times in microseconds of the trace's clock; the log's clock is `OFFSET_SECONDS` away. */
import type { Finding } from "../contract.ts";
import { explainTexts } from "../texts.ts";

export const DEVICE = "0000:00:04.0";
/** trace = log − offset: the boot line says so. */
const OFFSET_SECONDS = -0.5;

export type Direction = "TO_DEVICE" | "FROM_DEVICE" | "BIDIRECTIONAL";

export class TraceText {
  readonly #events: { at: number; text: string }[] = [];
  readonly #log: string[] = [];

  event(at: number, text: string, task = "node-174"): this {
    this.#events.push({ at, text: `${task} [000] ..... ${(at / 1e6).toFixed(6)}: ${text}` });
    return this;
  }

  /** A line that is no event: of a lost part, or the header of the next recording. */
  raw(at: number, text: string): this {
    this.#events.push({ at, text });
    return this;
  }

  remove(at: number, device: string): this {
    const group = Number.parseInt(device.slice(8, 10), 16);
    return this.event(at, `remove_device_from_group: IOMMU: groupID=${group} device=${device}`);
  }

  add(at: number, device: string): this {
    return this.event(
      at,
      `add_device_to_group: IOMMU: groupID=${Number.parseInt(device.slice(8, 10), 16)} device=${device}`,
      "swapper/0-1",
    );
  }

  attach(at: number, task?: string): this {
    return this.event(at, `attach_device_to_domain: IOMMU: device=${DEVICE}`, task);
  }

  map(at: number, iova: number, bytes: number, task?: string): this {
    return this.event(at, `map: IOMMU: iova=${range(iova, bytes)} paddr=${hex16(0x7000_0000)} size=${bytes}`, task);
  }

  unmap(at: number, iova: number, bytes: number, task?: string): this {
    return this.event(at, `unmap: IOMMU: iova=${range(iova, bytes)} size=${bytes} unmapped_size=${bytes}`, task);
  }

  /** A mapping by the DMA API: the `map` line and the dma event behind it. */
  dmaMap(at: number, device: string, iova: number, bytes: number, dir: Direction): this {
    const fields = `dir=${dir} dma_addr=${iova.toString(16)} size=${bytes} phys_addr=70000000 attrs=`;
    return this.map(at, iova, bytes, "init-1").event(at + 1, `dma_map_page: ${device} ${fields}`, "init-1");
  }

  dmaUnmap(at: number, device: string, iova: number, bytes: number, dir: Direction): this {
    const fields = `dir=${dir} dma_addr=${iova.toString(16)} size=${bytes} attrs=`;
    return this.unmap(at, iova, bytes, "init-1").event(at + 1, `dma_unmap_page: ${device} ${fields}`, "init-1");
  }

  /** A fault that the trace itself shows. */
  fault(at: number, iova: number, access: "read" | "write", device: string = DEVICE): this {
    const flags = access === "write" ? "0x0001" : "0x0000";
    return this.event(
      at,
      `io_page_fault: IOMMU:driver ${device} iova=${hex16(iova)} flags=${flags}`,
      "irq/24-AMD-Vi-52",
    );
  }

  /** A fault that only the log shows: VT-d, which names the page. */
  logged(at: number, iova: number, access: "read" | "write", device: string = DEVICE): this {
    const [name, reason] = access === "write" ? ["Write", "0x05"] : ["Read", "0x06"];
    const page = `0x${(Math.floor(iova / 4096) * 4096).toString(16)}`;
    const seconds = (at / 1e6 + OFFSET_SECONDS).toFixed(6);
    this.#log.push(
      `[${seconds}] DMAR: [DMA ${name} NO_PASID] Request device [${device.slice(5)}] fault addr ${page} [fault reason ${reason}] PTE ${name} access is not set`,
    );
    return this;
  }

  findings(options: { header?: string; clock?: boolean; log?: readonly string[] } = {}): readonly Finding[] {
    const events = [...this.#events].sort((a, b) => a.at - b.at).map(({ text }) => text);
    const header = options.header ?? `# entries-in-buffer/entries-written: ${events.length}/${events.length}   #P:2`;
    const boot = options.clock === false ? [] : ["[    0.100000] sched_clock: Marking stable (1, 1)->(1, -500000000)"];
    const log = [...boot, ...(options.log ?? []), ...this.#log];
    const inputs = [{ file: "trace.txt", text: `${[header, ...events].join("\n")}\n` }];
    if (log.length > 0) inputs.push({ file: "dmesg.txt", text: `${log.join("\n")}\n` });
    return explainTexts(inputs).findings;
  }
}

function hex16(value: number): string {
  return `0x${value.toString(16).padStart(16, "0")}`;
}

function range(iova: number, bytes: number): string {
  return `${hex16(iova)} - ${hex16(iova + bytes)}`;
}
