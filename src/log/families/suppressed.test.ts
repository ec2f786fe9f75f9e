import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

describe("messages that were not printed", () => {
  it("counts messages suppressed by a rate limit of IOMMU code", () => {
    const lines = [
      "dmar_fault: 893 callbacks suppressed",
      "amd_iommu_report_page_fault: 12 callbacks suppressed",
      "arm_smmu_context_fault: 7 callbacks suppressed",
      "viommu_fault_handler: 1330 callbacks suppressed",
      "__ratelimit: 44 callbacks suppressed",
    ];
    const losses = [893, 12, 7, 1330, 44].map((count, index) => ({
      shape: "callbacks-suppressed",
      kind: "loss",
      what: "messages",
      count,
      lines: linesOf(index + 1),
      text: lines[index],
    }));
    assert.deepEqual(factsOf(lines.join("\n")), losses);
  });

  it("does not count messages suppressed by limits of other functions", () => {
    const lines = ["kauditd_printk_skb: 12 callbacks suppressed", "net_ratelimit: 3 callbacks suppressed"];
    assert.deepEqual(factsOf(lines.join("\n")), []);
  });

  it("counts messages suppressed by limits of the whole log", () => {
    const lines = [
      "printk: 415 messages suppressed.",
      "** 132 printk messages dropped **",
      "systemd-journald[402]: Missed 31 kernel messages",
    ];
    assert.deepEqual(
      factsOf(lines.join("\n")).map((fact) => fact.kind === "loss" && [fact.shape, fact.what, fact.count]),
      [
        ["messages-suppressed", "messages", 415],
        ["messages-dropped", "messages", 132],
        ["messages-missed", "messages", 31],
      ],
    );
  });
});
