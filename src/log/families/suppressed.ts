/** Messages that a log would have had and does not: rate limits, a full buffer of the kernel, limits of the log daemon. */
import type { Family, Field, Shape } from "../shape.ts";

const COUNT: Field = { radix: "decimal", unit: "messages" };

/** Functions that print messages of IOMMUs and of DMA. Other functions' limits take nothing from the analysis. */
const PRINTERS =
  "dmar|iommu|smmu|sysmmu|ipmmu|_dart|tegra.?mc|tegra.?mcerr|swiotlb|vfio|dma_map|dma_api|debug_dma|qi_|iopf|io_page_fault|AMD-Vi|vtd_|eeh|__ratelimit";

const CALLBACKS: Shape = {
  name: "callbacks-suppressed",
  example: "dmar_fault: 893 callbacks suppressed",
  kernels: "all",
  pattern: new RegExp(
    String.raw`\b(?<by>[\w.-]{0,40}(?:${PRINTERS})[\w.-]{0,40}):\s+(?<count>\d+)\s+callbacks\s+suppressed`,
    "i",
  ),
  fields: { by: { radix: "text", unit: "function" }, count: COUNT },
  read(values, found, sink) {
    sink.add({ kind: "loss", what: "messages", ...found.base, count: values.small("count") ?? 0 });
  },
};

const MESSAGES: Shape = {
  name: "messages-suppressed",
  example: "printk: 415 messages suppressed.",
  kernels: "2.6: one limit for the messages of all",
  pattern: /\b(?<by>printk|kernel):\s+(?<count>\d+)\s+messages\s+suppressed/i,
  fields: { by: { radix: "text", unit: "function" }, count: COUNT },
  read: CALLBACKS.read,
};

const DROPPED: Shape = {
  name: "messages-dropped",
  example: "** 132 printk messages dropped **",
  kernels: "all: the console was slower than the kernel",
  pattern: /\*\*\s*(?<count>\d+)\s+printk\s+messages\s+dropped/,
  fields: { count: COUNT },
  read: CALLBACKS.read,
};

const MISSED: Shape = {
  name: "messages-missed",
  example: "systemd-journald[402]: Missed 31 kernel messages",
  kernels: "systemd",
  pattern: /\b(?:Missed|missed)\s+(?<count>\d+)\s+kernel\s+messages/,
  fields: { count: COUNT },
  read: CALLBACKS.read,
};

export const SUPPRESSED: Family = {
  name: "suppressed",
  about: "Messages that were not printed, with their number",
  hint: /suppressed|dropped|issed/,
  shapes: [CALLBACKS, MESSAGES, DROPPED, MISSED],
};
