import assert from "node:assert/strict";
import { test } from "node:test";
import { factsOf, linesOf } from "../facts-of.model.ts";

const EVENT = {
  kind: "fault",
  family: "smmu-v3",
  shape: "smmu-v3-event",
  iommu: "arm-smmu-v3.5.auto",
  cause: "absent",
  granule: 1,
  reason: { code: "0x10", text: "F_TRANSLATION" },
} as const;

test("the raw words and the decoded lines of an event are one fact", () => {
  const text = `[   70.355743] arm-smmu-v3 arm-smmu-v3.5.auto: event 0x10 received:
[   70.361893] arm-smmu-v3 arm-smmu-v3.5.auto: \t0x0002060000000010
[   70.367948] arm-smmu-v3 arm-smmu-v3.5.auto:  0x0000020000000000
[   70.370000] usb 1-1: new device
[   70.374002] arm-smmu-v3 arm-smmu-v3.5.auto: 0x00000000ff9bc000
[   70.380055] arm-smmu-v3 arm-smmu-v3.5.auto:      0x0000000000000000
[   70.386109] arm-smmu-v3 arm-smmu-v3.5.auto: event: F_TRANSLATION client: 0001:06:00.0 sid: 0x20600 ssid: 0x0 iova: 0xff9bc000 ipa: 0x0
[   70.398531] arm-smmu-v3 arm-smmu-v3.5.auto: unpriv data write s1 "Input address caused fault" stag: 0x0 r8169 0000:03:00.0: next`;
  assert.deepEqual(factsOf(text), [
    {
      ...EVENT,
      lines: linesOf(1, 2, 3, 5, 6, 7, 8),
      text: "arm-smmu-v3 arm-smmu-v3.5.auto: event 0x10 received:",
      time: 70.355743,
      clock: "uptime",
      streamId: 0x20600n,
      access: "write",
      values: { stage: 1, class: "input address", stalled: 0 },
      iova: 0xff9bc000n,
      device: "0001:06:00.0",
    },
  ]);
});

test("decoded lines alone state the whole event; an unassigned stream names no device", () => {
  const text = `arm-smmu-v3 arm-smmu-v3.5.auto: event: F_PERMISSION client: 0000:01:00.0 sid: 0x11 ssid: 0x5 iova: 0x9b0cc000 ipa: 0x0
arm-smmu-v3 arm-smmu-v3.5.auto: priv inst read s1 "Input address caused fault" stag: 0x0
arm-smmu-v3 arm-smmu-v3.5.auto: event: C_BAD_STREAMID client: (unassigned sid) sid: 0x900 ssid: 0x0`;
  assert.deepEqual(factsOf(text), [
    {
      ...EVENT,
      shape: "smmu-v3-decoded",
      cause: "permission",
      reason: { code: "0x13", text: "F_PERMISSION" },
      lines: linesOf(1, 2),
      text: text.split("\n")[0],
      device: "0000:01:00.0",
      streamId: 0x11n,
      pasid: 5n,
      iova: 0x9b0cc000n,
      access: "execute",
      values: { stage: 1, class: "Input address caused fault" },
    },
    {
      ...EVENT,
      shape: "smmu-v3-decoded",
      cause: "no-table",
      reason: { code: "0x2", text: "C_BAD_STREAMID" },
      lines: linesOf(3),
      text: text.split("\n")[2],
      streamId: 0x900n,
    },
  ]);
});

test("Xen prints three words; a mail program breaks one and quotes all", () => {
  const text = `> (XEN) SMMUv3: /smmuv3@9050000: event 0x10 received:
> (XEN) SMMUv3: /smmuv3@9050000:  0x00000180 00000010
> (XEN) SMMUv3: /smmuv3@9050000:  0x00000088
> 00000000
> (XEN) SMMUv3: /smmuv3@9050000:  0x0000000008090040`;
  assert.deepEqual(factsOf(text), [
    {
      ...EVENT,
      iommu: "/smmuv3@9050000",
      lines: linesOf(1, 2, 3, 4, 5),
      text: "SMMUv3: /smmuv3@9050000: event 0x10 received:",
      streamId: 0x180n,
      access: "read",
      values: { stage: 2, class: "context descriptor fetch", stalled: 0 },
      iova: 0x8090040n,
    },
  ]);
});

test("two events of one SMMU stay apart, and so do the words of two SMMUs", () => {
  const event = (name: string, sid: number, iova: string): string[] => [
    `arm-smmu-v3 ${name}: event 0x10 received:`,
    `arm-smmu-v3 ${name}: 0x${sid.toString(16).padStart(8, "0")}00000010`,
    `arm-smmu-v3 ${name}: 0x0000020800000000`,
    `arm-smmu-v3 ${name}: 0x${iova.padStart(16, "0")}`,
    `arm-smmu-v3 ${name}: 0x0000000000000000`,
  ];
  const [one, two] = [event("a.iommu", 1, "1000"), event("b.iommu", 2, "2000")];
  const mixed = one.flatMap((line, index) => [line, two[index] ?? ""]);
  const faults = factsOf([...mixed, ...event("a.iommu", 1, "3000")].join("\n"));
  const seen = faults.map((fact) =>
    fact.kind === "fault" ? `${fact.iommu} ${fact.streamId} ${fact.iova}` : fact.kind,
  );
  assert.deepEqual(seen.sort(), ["a.iommu 1 12288", "a.iommu 1 4096", "b.iommu 2 8192"]);
});

test("an event whose first line is lost is read from its words", () => {
  const [fact, ...others] = factsOf(`arm-smmu-v3 a.iommu: 0x0000001200000013
arm-smmu-v3 a.iommu: 0x0000020800000000
arm-smmu-v3 a.iommu: 0x00000000fffef040`);
  assert.deepEqual(others, []);
  assert.equal(
    fact?.kind === "fault" && `${fact.cause} ${fact.streamId} ${fact.iova} ${fact.access}`,
    "permission 18 4294897728 read",
  );
});

test("a CMD_SYNC time-out is no fault, and an SMMU that took no command is silent", () => {
  const text = `  | platform arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x00000146
  | [hwprod 0x00000146, hwcons 0x00000000]`;
  assert.deepEqual(factsOf(text), [
    {
      kind: "invalidation-timeout",
      shape: "smmu-v3-cmd-sync",
      lines: linesOf(1, 2),
      text: "platform arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x00000146",
      iommu: "arm-smmu-v3.0.auto",
      silent: "iommu",
    },
  ]);
});

test("errors of the command queue: a device that answers no invalidation, an illegal command and its words", () => {
  const text = `arm-smmu-v3 arm-smmu-v3.1.auto: CMDQ error (cons 0x0300001e): ATC invalidate timeout
arm-smmu-v3 arm-smmu-v3.1.auto: CMDQ error (cons 0x01000020): Illegal command
arm-smmu-v3 arm-smmu-v3.1.auto: skipping command in error state:
arm-smmu-v3 arm-smmu-v3.1.auto: \t0x0000001200000010
arm-smmu-v3 arm-smmu-v3.1.auto: device has entered Service Failure Mode!
arm-smmu-v3 arm-smmu-v3.1.auto: EVTQ overflow detected -- events lost`;
  const line = (index: number): { lines: ReturnType<typeof linesOf>; text: string | undefined } => ({
    lines: linesOf(index),
    text: text.split("\n")[index - 1],
  });
  const error = { kind: "fault", family: "smmu-v3", iommu: "arm-smmu-v3.1.auto", cause: "table-error", granule: 1 };
  const inOrder = factsOf(text).sort((a, b) => (a.lines[0]?.line ?? 0) - (b.lines[0]?.line ?? 0));
  assert.deepEqual(inOrder, [
    {
      kind: "invalidation-timeout",
      shape: "smmu-v3-cmdq-error",
      ...line(1),
      iommu: "arm-smmu-v3.1.auto",
      silent: "device",
    },
    { ...error, shape: "smmu-v3-cmdq-error", ...line(2), reason: { code: "0x1", text: "Illegal command" } },
    {
      ...error,
      shape: "smmu-v3-service-failure",
      ...line(5),
      reason: { code: "0x100", text: "device has entered Service Failure Mode" },
    },
    { kind: "loss", what: "faults", shape: "smmu-v3-lost", ...line(6) },
  ]);
});

test("a page request that no driver answers", () => {
  const text = `arm-smmu-v3 arm-smmu-v3.0.auto: unexpected PRI request received:
arm-smmu-v3 arm-smmu-v3.0.auto: \tsid 0x00000100.0x00001: [1L] unprivileged -W- access at iova 0x0000ffff8000a000`;
  assert.deepEqual(factsOf(text), [
    {
      kind: "fault",
      family: "smmu-v3",
      shape: "smmu-v3-page-request",
      lines: linesOf(2),
      text: text.split("\n")[1],
      cause: "absent-or-permission",
      granule: 4096,
      iommu: "arm-smmu-v3.0.auto",
      streamId: 0x100n,
      pasid: 1n,
      iova: 0xffff8000a000n,
      access: "write",
    },
  ]);
});
