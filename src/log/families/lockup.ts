/**
 * Soft lock-ups, hung tasks and RCU stalls whose stack stands in the IOMMU code. The line of the lock-up begins the fact; without a function of
 * the IOMMU code below it there is none. What the function waited for does not follow.
 */
import type { SlowFact } from "../facts.ts";
import type { Family, Found, Shape } from "../shape.ts";

const KEY = "lockup";
/** The line that began each fact. */
const HEADS = new WeakMap<SlowFact, Found>();

const HEAD: Shape = {
  name: "lockup",
  example: "watchdog: BUG: soft lockup - CPU#58 stuck for 23s! [ksoftirqd/58:302]",
  kernels: "all",
  pattern:
    /soft\s+lockup\s+-\s+CPU|[Hh]ard\s+LOCKUP\s+on|blocked\s+for\s+more\s+than\s+\d+\s+seconds|self-detected\s+stall\s+on|detected\s+(?:expedited\s+)?stalls?\s+on/,
  fields: {},
  read(_values, found, sink) {
    sink.note(KEY, found);
  },
};

/** Functions of the allocator, of the mapping code, and of those that wait for an invalidation. */
const FUNCTIONS = [
  String.raw`(?:private_)?\w*(?:alloc|free|find|insert|remove|reserve)_iova\w*`,
  String.raw`iova_\w+`,
  String.raw`\w*iommu_(?:dma|map|unmap|iotlb|flush|completion|range)\w*`,
  String.raw`(?:amd|intel)_(?:iommu|unmap|map)\w*`,
  String.raw`qi_(?:submit|flush)\w*`,
  String.raw`\w*arm_smmu_(?:cmdq|tlb|atc)\w*`,
  String.raw`fq_(?:flush|ring)\w*`,
].join("|");

const FRAME: Shape = {
  name: "lockup-frame",
  example: " alloc_iova+0xf2/0x140",
  kernels: "all: a line of the stack",
  pattern: new RegExp(String.raw`(?<!\?\s)\b(?<function>${FUNCTIONS})(?:\.\w+\.\d+)*\+0x[0-9a-f]+\/0x[0-9a-f]+`),
  fields: { function: { radix: "text", unit: "function" } },
  read(values, found, sink) {
    const head = sink.noted(KEY);
    if (head === undefined) return;
    const open = sink.open(KEY);
    if (open?.kind === "slow" && HEADS.get(open) === head) {
      sink.extend(open, found);
      return;
    }
    const lines = [...head.base.lines, ...found.base.lines];
    const fact: SlowFact = { kind: "slow", ...head.base, lines, where: values.text("function") ?? "" };
    HEADS.set(fact, head);
    sink.add(fact, KEY);
  },
};

export const LOCKUP: Family = {
  name: "lockup",
  about: "Lock-ups and stalls whose stack stands in the IOMMU code",
  hint: /lockup|LOCKUP|blocked\s+for|stalls?\s+on|\+0x[0-9a-f]/,
  shapes: [HEAD, FRAME],
};
