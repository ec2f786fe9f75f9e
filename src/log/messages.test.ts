import assert from "node:assert/strict";
import { test } from "node:test";
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
