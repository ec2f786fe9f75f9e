/** With a trace: what the lives of mappings prove about a fault (src/explain/trace). */
import type { Rule } from "./rule.ts";

const EXAMPLE = [
  "node-174 [000] ..... 8.139461: map: IOMMU: iova=0x0000000512340000 - 0x0000000512350000 paddr=0x000000000b061000 size=65536",
  "node-174 [000] ..... 8.396878: unmap: IOMMU: iova=0x0000000512340000 - 0x0000000512350000 size=65536 unmapped_size=65536",
  "irq/24-AMD-Vi-52 [000] ..... 8.400868: io_page_fault: IOMMU:vfio-pci 0000:00:04.0 iova=0x0000000512348100 flags=0x0001",
  "",
].join("\n");

export const TRACE_LIFE: Rule = {
  name: "trace-life",
  title:
    "A recording shows whether the address was mapped for the device when the fault was reported, before, or never.",
  kinds: ["dma-fault"],
  needs:
    "a trace with `iommu:map` and `iommu:unmap`, and clocks of log and trace that can be related; or a log with the maps and unmaps of dynamic debug",
  concludes:
    "use-after-unmap, permission, mapped-but-faulted, past-end, before-start, truncated-address, physical-address, wrong-device or not-mapped",
  safety: "certain",
  excludedBy:
    "lost events, mappings that no line ties to a device, or a recording that began late: then the conclusion is weaker",
  example: EXAMPLE,
  apply: (group, evidence) => evidence.answerTo(group.first)?.conclusions ?? [],
};
