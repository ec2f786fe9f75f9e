import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { explainTexts } from "../explain/texts.ts";
import { askedText, isAsked } from "./asked.ts";
import { momentOf } from "./moment.ts";

function findingOf(text: string) {
  const [finding] = explainTexts([{ file: "log", text: `${text}\n` }]).findings;
  assert.ok(finding !== undefined);
  return finding;
}

const PCI = findingOf(
  "[  100.633518] ath10k_pci 0000:03:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xcece9e40 flags=0x0020]",
);
const STREAM = findingOf(
  "arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0x1032db3e0, fsynr=0x130000, cbfrsynra=0x300, cb=4",
);

describe("a device is found as people write it", () => {
  const spellings = [
    "0000:03:00.0",
    "03:00.0",
    "3:0.0",
    "03:00",
    "[03:00.0]",
    "03:00.0:",
    "0x03:0x00.0",
    "0000:03:00.0 ",
    "ath10k_pci",
    "ATH10K_PCI",
  ];
  for (const device of spellings) test(`'${device}'`, () => assert.equal(isAsked(PCI, { device }), true));

  for (const device of ["0x300", "300", "15000000.iommu"])
    test(`stream 0x300 as '${device}'`, () => assert.equal(isAsked(STREAM, { device }), true));

  for (const device of ["03:00.1", "0001:03:00.0", "0000:03:00.0x", "eth0", "", "0", "3"])
    test(`not '${device}'`, () => assert.equal(isAsked(PCI, { device }), false));
});

test("a time is found within a second of a finding", () => {
  assert.equal(isAsked(PCI, { at: momentOf("99.7") }), true);
  assert.equal(isAsked(PCI, { at: momentOf("102") }), false);
  assert.equal(isAsked(STREAM, { at: momentOf("1") }), false);
});

test("the request is printed in words", () => {
  assert.equal(askedText({}), undefined);
  assert.equal(askedText({ device: "03:00.0", at: momentOf("5") }), "of device 03:00.0 within 1 s of 5 s");
});
