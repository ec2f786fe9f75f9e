import assert from "node:assert/strict";
import { test } from "node:test";
import { explainTexts } from "./texts.ts";

/** One fault a line, each of another page. */
function flood(faults: number): string {
  return Array.from({ length: faults }, (_, at) => {
    const address = (0x1000_0000 + at * 4096).toString(16).padStart(16, "0");
    const time = (10 + at / 1000).toFixed(6).padStart(12);
    return `[${time}] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0x${address} flags=0x0000]`;
  }).join("\n");
}

test("a flood of faults is one finding: all are counted, the first is named, the addresses stand as first seen", () => {
  const faults = 25_000;
  const { findings } = explainTexts([{ file: "log", text: flood(faults) }]);
  assert.equal(findings.length, 1);
  const [finding] = findings;
  assert.equal(finding?.count, faults);
  assert.equal(finding?.iova, "0x10000000");
  assert.equal(finding?.firstTime, 10);
  assert.equal(finding?.lastTime, 34.999);
  assert.deepEqual(finding?.otherAddresses?.slice(0, 2), ["0x10001000", "0x10002000"]);
  assert.equal(finding?.otherAddresses?.length, 64);
  assert.equal(finding?.proof[0]?.line, 1);
});

test("messages beyond the limit of findings are reported, with their first lines and the effect on the answer (review of 2026-11-30)", () => {
  const faults = 4100;
  const text = Array.from({ length: faults }, (_, at) => {
    const device = `${(at >> 8).toString(16).padStart(2, "0")}:${((at >> 3) & 31).toString(16).padStart(2, "0")}.${at & 7}`;
    return `AMD-Vi: Event logged [IO_PAGE_FAULT device=${device} domain=0x000b address=0x10000000 flags=0x0000]`;
  }).join("\n");
  const { findings, lost } = explainTexts([{ file: "log", text }]);
  assert.equal(findings.length, 4096);
  assert.deepEqual(lost, [
    {
      what: "messages",
      count: 4,
      proof: [4097, 4098, 4099, 4100].map((line) => ({ file: "log", line })),
      effect:
        "They were read and are not explained: the input leads to more findings than are kept. Explain a part of it, or one device at a time.",
    },
  ]);
});

test("losses are summed over all their messages, and each finding states their effect on it (review of 2026-11-30)", () => {
  const suppressed = Array.from({ length: 100 }, (_, at) => `[${at + 1}.000000] dmar_fault: 10 callbacks suppressed`);
  const { findings, lost } = explainTexts([{ file: "log", text: [...suppressed, flood(1)].join("\n") }]);
  assert.deepEqual(
    lost.map(({ what, count, proof }) => [what, count, proof.length]),
    [["messages", 1000, 8]],
  );
  assert.match(findings[0]?.follows.map(({ text }) => text).join(" ") ?? "", /Faults or messages were lost/);
});
