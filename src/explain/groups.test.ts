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
