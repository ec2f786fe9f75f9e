import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { explainTexts } from "../explain/texts.ts";
import { printReport } from "./explain-report.ts";
import { RecordingTerminal } from "./terminal.model.ts";

/** Pieces of public reports. */
const REPORTS = fileURLToPath(new URL("../../../src/explain/fixtures/reports/", import.meta.url));
/** Lines of a command; they may be wider than the screen. */
const COMMAND = /^ {4}\S/;
/** The report of an answer with one finding that has every section. */
const SCREEN_LINES = 45;

function reportOf(text: string, width = 80): string[] {
  const terminal = new RecordingTerminal(width);
  printReport(explainTexts([{ file: "log.txt", text }]), terminal, () => []);
  return terminal.output.trimEnd().split("\n");
}

describe("the answer to each piece of a public report", () => {
  for (const name of readdirSync(REPORTS)) {
    test(name, () => {
      const text = readFileSync(join(REPORTS, name, "log.txt"), "utf8");
      const lines = reportOf(text);
      const sentences = lines.filter((line) => !COMMAND.test(line));
      assert.deepEqual(
        sentences.filter((line) => line.length > 80),
        [],
        "fits 80 columns",
      );
      assert.ok(lines.length <= SCREEN_LINES, `${lines.length} lines on a screen`);
      assert.deepEqual(
        sentences.filter((line) => /\[lines? ?[\d, ]*(?:and)?$/.test(line)),
        [],
        "no line ends within a citation",
      );
      const whole = sentences.join(" ").replace(/\s+/g, " ");
      assert.match(
        whole,
        /These lines do not decide why\.|Certain \([a-z-]+\): |Most likely \([a-z-]+\): |^Nothing found/,
      );
      assert.match(whole, /Do next: |^Nothing found/);
      assert.doesNotMatch(whole, /undefined|NaN|\u00a0|\.\./);
    });
  }
});

test("a line does not end between a number and its unit", () => {
  const text =
    "swiotlb: foo\n[    1.0] nvme 0000:07:00.0: swiotlb buffer is full (sz: 524288 bytes), total 32768 (slots), used 4 (slots)";
  for (let width = 60; width < 120; width++)
    assert.deepEqual(
      reportOf(text, width).filter((line) => /\d$/.test(line)),
      [],
    );
});

const FAULT = (device: string, address: string) =>
  `DMAR: [DMA Write NO_PASID] Request device [${device}] fault addr 0x${address} [fault reason 0x05] PTE Write access is not set`;

test("the first lines say what happened, how sure the cause is, what to do next, and what an IOMMU is", () => {
  assert.deepEqual(reportOf(FAULT("02:00.0", "ffffe000")).slice(0, 5), [
    "Device 0000:02:00.0 tried to write to page 0xffffe000, and the IOMMU refused it.",
    "These lines do not decide why. Do next: record it when it happens again",
    "  (commands below, or iova capture), and let iova explain read the recording.",
    "(IOMMU: the unit between devices and memory; a device reaches only what was",
    "  mapped for it.)",
  ]);
});

test("a code with two meanings names both among what it may be", () => {
  const text = reportOf(FAULT("02:00.0", "ffffe000")).join("\n");
  assert.match(text, /may be +not-mapped:[\s\S]*use-after-unmap:[\s\S]*permission:/);
});

test("later findings are whole while there is room on the screen, and have a line each after that", () => {
  const many = Array.from({ length: 12 }, (_, at) => FAULT(`0${(at % 9) + 1}:00.${at > 8 ? 1 : 0}`, "ffffe000")).join(
    "\n",
  );
  const lines = reportOf(many);
  assert.ok(lines.length <= 60, `${lines.length} lines`);
  const text = lines.join("\n");
  assert.match(text, /^12 findings, the most important first\./);
  assert.match(text, /11 further findings; --device or --at shows one whole, --json all:/);
  assert.match(text, /- and 3 more/);
});

test("commands that an earlier finding shows are not shown again", () => {
  const full = (device: string): string =>
    `virtio-pci ${device}: swiotlb buffer is full (sz: 4096 bytes), total 524288 (slots), used 523564 (slots)`;
  const text = reportOf(`${full("0000:00:02.0")}\n${full("0000:00:03.0")}`).join("\n");
  assert.match(text, /^2 findings/);
  assert.equal(text.split("io_tlb_").length, 2, text);
  assert.match(text, /record this +with the commands above/);
});

test("lost faults and messages are printed with their effect on the answer", () => {
  const text = reportOf(
    `DMAR: DRHD: handling fault status reg 3\n${FAULT("02:00.0", "ffffe000")}\ndmar_fault: 893 callbacks suppressed`,
  )
    .join(" ")
    .replace(/\s+/g, " ");
  assert.match(
    text,
    /lost Some faults are missing in the answer\. More accesses were refused than are counted.* \[line 1\]/,
  );
  assert.match(text, /893 messages are missing in the answer\. .* \[line 3\]/);
  assert.equal(text.split(/Faults or messages were lost|More accesses were refused/).length, 2, "once");
});

test("a reason that excludes several verdicts is printed once", () => {
  const terminal = new RecordingTerminal(80);
  const explanation = explainTexts([{ file: "log.txt", text: FAULT("02:00.0", "ffffe000") }]);
  const because = [{ text: "The address is mapped.", proof: [] }];
  const excluded = [
    { verdict: "not-mapped", because },
    { verdict: "use-after-unmap", because },
  ];
  printReport(
    { ...explanation, findings: explanation.findings.map((finding) => ({ ...finding, excluded })) },
    terminal,
    () => [],
  );
  assert.match(terminal.output, /^not +not-mapped, use-after-unmap: The address is mapped\.$/m);
});
