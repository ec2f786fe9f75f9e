/** The effect of a device's mask, named by a line of the log, on the reading of a trace. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Finding } from "../contract.ts";
import { explainTexts } from "../texts.ts";
import { DEVICE, TraceText } from "./trace.model.ts";

const MASK_LINES = [
  `/sys/bus/pci/devices/${DEVICE}/dma_mask_bits:36`,
  `[    1.500000] foo ${DEVICE}: using a 36-bit DMA mask`,
  `[    1.500000] foo ${DEVICE}: DMA mask 0xfffffffff`,
  `[    1.500000] foo ${DEVICE}: set dma_mask to 36 bits`,
];
const OTHER_LINES = [
  `[    1.500000] foo ${DEVICE}: Failed to set 36-bit DMA mask`,
  `[    1.500000] foo ${DEVICE}: using a 36-bit coherent DMA mask`,
  "[    1.500000] foo 0000:00:09.0: using a 36-bit DMA mask",
];
const HIGH = 0x20_1234_5000;

function faultAt(iova: number, log: readonly string[], isComplete = true): Finding | undefined {
  const trace = new TraceText();
  if (isComplete) trace.add(100, DEVICE);
  trace.dmaMap(1_000_000, DEVICE, 0xffff_0000, 4096, "FROM_DEVICE");
  return trace.fault(2_000_000, iova, "write").findings({ log })[0];
}

function said({ verdict, certainty }: Finding): string {
  return `${verdict} ${certainty}`;
}

describe("an address that is wider than the mask of its device", () => {
  for (const line of MASK_LINES) {
    test(`is beyond the mask, by the line "${line}"`, () => {
      const finding = faultAt(HIGH, [line]) as Finding;
      assert.equal(said(finding), "beyond-mask strong");
      const because = finding.candidates[0]?.because[0];
      assert.match(because?.text ?? "", /^The address has more bits than the device's mask, 36:/);
      assert.ok(because?.proof.some(({ file }) => file === "dmesg.txt"));
      assert.equal(said(faultAt(0x8_1234_5000, [line]) as Finding), "not-mapped certain", "an address within the mask");
    });
  }

  test("stays open in an incomplete recording, and where the address is nearly all ones", () => {
    assert.equal(said(faultAt(HIGH, [MASK_LINES[0] as string], false) as Finding), "undecided undecided");
  });

  for (const line of OTHER_LINES) {
    test(`is unknown from the line "${line}", and the answer says that no line names the mask`, () => {
      const finding = faultAt(HIGH, [line]) as Finding;
      assert.equal(said(finding), "not-mapped certain");
      assert.ok(
        finding.follows.some(({ text }) => /at most 32 bits\. No line names its mask/.test(text)),
        JSON.stringify(finding.follows),
      );
    });
  }

  test("is a hint in a log alone, the widest mask counts", () => {
    const log = (...lines: string[]): Finding =>
      explainTexts([
        {
          file: "dmesg",
          text: [
            ...lines,
            "[    9.000000] DMAR: [DMA Write NO_PASID] Request device [00:04.0] fault addr 0x2012345000 [fault reason 0x05] PTE Write access is not set",
            "",
          ].join("\n"),
        },
      ]).findings[0] as Finding;
    const verdicts = ({ candidates }: Finding): string[] => candidates.map(({ verdict }) => verdict);
    assert.ok(verdicts(log(MASK_LINES[1] as string)).includes("beyond-mask"));
    assert.equal(log(MASK_LINES[1] as string).certainty, "undecided");
    assert.ok(
      !verdicts(log(MASK_LINES[1] as string, `[    2.000000] foo ${DEVICE}: using a 64-bit DMA mask`)).includes(
        "beyond-mask",
      ),
    );
    assert.ok(!verdicts(log()).includes("beyond-mask"));
  });
});

test("free space at a failed mapping is counted below the mask that the log names", () => {
  const trace = new TraceText().add(100, DEVICE).dmaMap(1_000_000, DEVICE, 0x10_0000, 4096, "FROM_DEVICE");
  const failed = `dma_map_page: ${DEVICE} dir=FROM_DEVICE dma_addr=ffffffffffffffff size=4194304 phys_addr=70000000 attrs=`;
  trace.event(2_000_000, failed);
  const named = trace.findings({ log: [`/sys/bus/pci/devices/${DEVICE}/dma_mask_bits:24`] })[0] as Finding;
  assert.equal(said(named), "allocator-state strong");
  assert.match(named.follows[1]?.text ?? "", /^The device's mask has 24 bits\. /);
  const guessed = trace.findings()[0] as Finding;
  assert.equal(said(guessed), "full strong");
  assert.match(
    guessed.follows[1]?.text ?? "",
    /^All addresses that the device got have at most 21 bits; no line names its mask\. /,
  );
});
