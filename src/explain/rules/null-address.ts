/** An address below 4 KiB: a pointer or an address register that was never set. */
import { statement } from "../statement.ts";
import type { Rule } from "./rule.ts";

export const NULL_ADDRESS: Rule = {
  name: "null-address",
  title: "A DMA to an address below 4 KiB is mostly an address that was never set.",
  kinds: ["dma-fault"],
  needs: "a fault with an address below 4096",
  concludes: "null-address",
  safety: "strong",
  excludedBy: "a guest whose memory begins at 0 (vfio-pci), or a map of that address",
  example: "DMAR: [DMA Write] Request device [00:14.0] fault addr 0 [fault reason 05] PTE Write access is not set",
  apply(group) {
    const { first } = group;
    if (first.kind !== "fault" || first.iova === undefined || first.iova >= 4096n) return [];
    const because = statement(
      "The address is below 4 KiB: drivers do not get such addresses, unset registers have them.",
      first,
    );
    return [{ says: "candidate", verdict: "null-address", weight: "strong", because }];
  },
};
