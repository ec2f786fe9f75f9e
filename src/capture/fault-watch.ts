/** Looks for the first fault: in the lines that are new in the kernel's log, and in the `io_page_fault` events of drivers that report so. */
import type { Fact } from "../log/facts.ts";
import { LogReader } from "../log/reader.ts";

/** Facts that end a recording: what comes after them only overwrites what led to them. */
const ENDING: readonly Fact["kind"][] = ["fault", "invalidation-timeout", "conflict", "exhausted", "misuse"];
/** A message in several lines may begin in lines that were looked at before. */
const LINES_KEPT = 8;

export class FaultWatch {
  readonly #device: string | undefined;
  #kept: string[] = [];

  /** @param device - only faults of this device count, and those that name none */
  constructor(device: string | undefined) {
    this.#device = device;
  }

  /** The first message among the lines that tells of a fault. The lines end with line feeds. */
  inLog(lines: readonly string[]): string | undefined {
    if (lines.length === 0) return undefined;
    const before = this.#kept.length;
    const all = [...this.#kept, ...lines];
    this.#kept = all.slice(-LINES_KEPT);
    let found: string | undefined;
    const reader = new LogReader("log", (fact) => {
      if (found !== undefined || !ENDING.includes(fact.kind) || !this.#concerns(fact)) return;
      if (fact.lines.some(({ line }) => line > before)) found = fact.text;
    });
    reader.write(new TextEncoder().encode(all.join("")));
    reader.finish();
    return found;
  }

  /** The first fault in the text of a trace. */
  inTrace(text: string): string | undefined {
    for (const [event, device] of text.matchAll(/io_page_fault: IOMMU:\S+ (\S+) iova=.*/g)) {
      if (this.#device === undefined || device === this.#device) return event;
    }
    return undefined;
  }

  #concerns(fact: Fact): boolean {
    const device = "device" in fact ? fact.device : undefined;
    return this.#device === undefined || device === undefined || device === this.#device;
  }
}
