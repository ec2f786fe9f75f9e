import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { factsOf, linesOf } from "./facts-of.model.ts";

const FAULT = "Unhandled context fault: fsr=0x402, iova=0x1032db3e0, fsynr=0x130000, cbfrsynra=0x300, cb=4";

/** Addresses of the faults of a text, with their lines. */
function faultsOf(text: string): object[] {
  return factsOf(text).map((fact) =>
    fact.kind === "fault" ? { iova: fact.iova, stream: fact.streamId, lines: fact.lines } : fact,
  );
}

const EXPECTED = { iova: 0x1032db3e0n, stream: 0x300n };

test("quoted-printable breaks a line inside a number, inside a word and before a blank", () => {
  const whole = `[   12.345670] arm-smmu 15000000.iommu: ${FAULT.replaceAll("=", "=3D")}`;
  for (const at of [60, 62, 67, 74, 75]) {
    if (whole[at - 1] === "=" || whole[at - 2] === "=") continue;
    assert.deepEqual(
      faultsOf(`${whole.slice(0, at)}=\n${whole.slice(at)}`),
      [{ ...EXPECTED, lines: linesOf(1, 2) }],
      `${at}`,
    );
  }
});

test("a terminal of 80 columns cuts anywhere", () => {
  for (const time of ["1.345670", "12.345670", "  12.345670", "   12.345670", "12345.345670"]) {
    const whole = `[${time}] arm-smmu 15000000.iommu: ${FAULT}`;
    assert.deepEqual(
      faultsOf(`${whole.slice(0, 80)}\n${whole.slice(80)}`),
      [{ ...EXPECTED, lines: linesOf(1, 2) }],
      time,
    );
  }
});

test("a terminal that is wider cuts inside a word", () => {
  const whole = `[   12.345670] arm-smmu 15000000.iommu: ${FAULT}`;
  const at = whole.indexOf("130000") + 3;
  assert.deepEqual(faultsOf(`${whole.slice(0, at)}\n${whole.slice(at)}`), [{ ...EXPECTED, lines: linesOf(1, 2) }]);
});

test("a line without prefix that begins a message is not the rest of the line before", () => {
  const line = `arm-smmu 15000000.iommu: ${FAULT}`;
  assert.ok(line.length > 80);
  assert.deepEqual(faultsOf(`${line}\n${line.replace("0x300", "0x400")}`), [
    { ...EXPECTED, lines: linesOf(1) },
    { ...EXPECTED, stream: 0x400n, lines: linesOf(2) },
  ]);
});

test("a loss and the fault of the same line and time are two facts", () => {
  const kinds = factsOf(`[   12.345670] arm-smmu 15000000.iommu: ${FAULT.replace("0x402", "0x80000402")}`).map(
    ({ kind }) => kind,
  );
  assert.deepEqual(kinds, ["loss", "fault"]);
});

describe("a line without prefix between lines of the kernel", () => {
  const kernel = "[  100.000000] DMAR: Setting identity map for device 0000:00:02.0 [0xab800000 - 0xaf9fffff]";
  const times = (...lines: readonly string[]): unknown[] =>
    factsOf(lines.join("\n")).map(({ shape, time }) => [shape, time]);

  test("has no time when a monitor of virtual machines or a program printed it (review of 2026-11-30)", () => {
    const walk =
      "qemu-system-x86_64: vtd_iova_to_slpte: detected slpte permission error (iova=0x1000, level=0x1, slpte=0x0, write=0)";
    assert.deepEqual(times(kernel, walk), [
      ["identity-map", 100],
      ["qemu-vtd-walk", undefined],
    ]);
    assert.deepEqual(times(kernel, "vtd_ce_not_present Context entry bus 1 devfn 0 not present"), [
      ["identity-map", 100],
      ["qemu-vtd-context", undefined],
    ]);
    assert.deepEqual(times("[  100.000000] DMAR: text", `arm-smmu 15000000.iommu: ${FAULT}`), [
      ["smmu-context-fault", undefined],
    ]);
  });

  test("has the time of the line before when it is the rest of that line", () => {
    const head = "Jul 28 16:14:53 a-host-with-a-long-name kernel: [  100.500000] arm-smmu";
    assert.deepEqual(times(head, `15000000.iommu: ${FAULT}`), [["smmu-context-fault", 100.5]]);
  });
});

test("an event of a device has its own line, not the one before it", () => {
  const text = `arm-smmu 15000000.iommu: ${FAULT}\nnvme nvme0: I/O 128 QID 3 timeout, aborting`;
  assert.deepEqual(
    factsOf(text).map(({ kind, lines }) => [kind, lines]),
    [
      ["event", linesOf(2)],
      ["fault", linesOf(1)],
    ],
  );
});
