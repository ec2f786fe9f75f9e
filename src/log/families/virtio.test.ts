import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

const FAULT = { shape: "virtio-fault", kind: "fault", family: "virtio", granule: 1, iommu: "virtio0" } as const;

describe("faults of virtio-iommu", () => {
  it("reads the endpoint as a decimal requester id, and empty brackets as no access", () => {
    const text = "[   32.951702] virtio_iommu virtio0: page fault from EP 32 at 0x103231000 []";
    assert.deepEqual(factsOf(text), [
      {
        ...FAULT,
        lines: linesOf(1),
        text: text.slice(15),
        time: 32.951702,
        clock: "uptime",
        cause: "absent-or-permission",
        device: "0000:00:04.0",
        iova: 0x103231000n,
        values: { endpoint: 32 },
      },
    ]);
  });

  it("reads the reasons, the letters of the access, and a fault without an address", () => {
    const read = (text: string): unknown[] =>
      factsOf(`virtio_iommu virtio0: ${text}`).map((fact) => fact.kind === "fault" && [fact.cause, fact.access]);
    assert.deepEqual(read("domain fault from EP 8 at 0x1000 [R]"), [["no-table", "read"]]);
    assert.deepEqual(read("page fault from EP 8 at 0x1000 [RW]"), [["absent-or-permission", "write"]]);
    assert.deepEqual(read("page fault from EP 8 at 0x1000 [X]"), [["absent-or-permission", "execute"]]);
    assert.deepEqual(read("unknown fault from EP 65544 flags 4"), [["unknown", undefined]]);
    const [far] = factsOf("virtio_iommu virtio0: unknown fault from EP 65544 flags 4");
    assert.equal(far?.kind === "fault" && far.device, "0001:00:01.0");
  });
});
