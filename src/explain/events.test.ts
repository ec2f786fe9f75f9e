import assert from "node:assert/strict";
import { test } from "node:test";
import { Explainer } from "./explainer.ts";

const LINK = (seconds: number): string => `[${seconds.toFixed(6)}] e1000e 0000:00:1f.6 eno1: NIC Link is Down\n`;
const RESET = "[   99.900000] nvme 0000:01:00.0: resetting controller\n";
const FAULT =
  "[  100.000000] nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]\n";

/** Summary and clues of the only finding. */
function explained(text: string) {
  const explainer = new Explainer();
  const input = explainer.input("log.txt");
  input.write(new TextEncoder().encode(text));
  input.end();
  const { findings } = explainer.explain();
  assert.equal(findings.length, 1);
  return findings[0];
}

function links(count: number, first: number): string {
  return Array.from({ length: count }, (_, at) => LINK(first + at / 100)).join("");
}

test("a reset just before a fault is named, however many events stand before and after", () => {
  const expected = explained(`${RESET}${FAULT}`);
  const found = explained(`${links(5000, 1)}${RESET}${FAULT}${links(20_000, 101)}`);
  assert.match(JSON.stringify(expected), /reset/);
  assert.deepEqual(
    JSON.parse(JSON.stringify(found).replaceAll(/"line":\d+/g, '"line":0')),
    JSON.parse(JSON.stringify(expected).replaceAll(/"line":\d+/g, '"line":0')),
  );
});
