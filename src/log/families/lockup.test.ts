import assert from "node:assert/strict";
import { test } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

test("a lock-up whose stack stands in the allocator is one fact", () => {
  const text = `[Wed May 25 05:27:59 2022] watchdog: BUG: soft lockup - CPU#58 stuck for 23s! [ksoftirqd/58:302]
[Wed May 25 05:27:59 2022] Modules linked in: nvme e1000e
[Wed May 25 05:27:59 2022]  ? free_iova+0x10/0x20
[Wed May 25 05:27:59 2022]  alloc_iova+0xf2/0x140
[Wed May 25 05:27:59 2022]  alloc_iova_fast+0x56/0x251
[Wed May 25 05:27:59 2022]  dma_ops_alloc_iova.isra.27+0x4b/0x70`;
  assert.deepEqual(factsOf(text), [
    {
      kind: "slow",
      shape: "lockup",
      lines: linesOf(1, 4, 5, 6),
      text: "watchdog: BUG: soft lockup - CPU#58 stuck for 23s! [ksoftirqd/58:302]",
      time: Date.UTC(2022, 4, 25, 5, 27, 59) / 1000,
      clock: "wall",
      where: "alloc_iova",
    },
  ]);
});

test("hung tasks and RCU stalls that wait for an invalidation", () => {
  for (const [head, frame, where] of [
    ["INFO: task kworker/3:1:812 blocked for more than 120 seconds.", " qi_submit_sync+0x2a0/0x4b0", "qi_submit_sync"],
    [
      "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
      " arm_smmu_cmdq_issue_cmdlist+0x1c8/0x8e0",
      "arm_smmu_cmdq_issue_cmdlist",
    ],
    ["rcu: INFO: rcu_sched self-detected stall on CPU", "RIP: 0010:__iommu_dma_unmap+0x40/0x100", "__iommu_dma_unmap"],
  ]) {
    assert.deepEqual(factsOf(`${head}\nCall Trace:\n${frame}`), [
      { kind: "slow", shape: "lockup", lines: linesOf(1, 3), text: head, where },
    ]);
  }
});

test("a lock-up elsewhere, and a stack without a lock-up, are no facts", () => {
  const elsewhere = "watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [cat:30]\n ext4_readdir+0x10/0x20";
  assert.deepEqual(factsOf(elsewhere), []);
  assert.deepEqual(factsOf("Call Trace:\n alloc_iova+0xf2/0x140"), []);
});
