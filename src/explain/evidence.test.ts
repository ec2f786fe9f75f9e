import assert from "node:assert/strict";
import { test } from "node:test";
import { Explainer } from "./explainer.ts";

const BAR = "pci 0000:00:1f.3: reg 0x10: [mem 0xdf340000-0xdf343fff 64bit]";
const RMRR = "DMAR: RMRR base: 0x000000ba000000 end: 0x000000bbffffff";
/** In the region. */
const FAULT =
  "DMAR: [DMA Read] Request device [00:02.0] fault addr ba001000 [fault reason 06] PTE Read access is not set";

function explained(messages: Iterable<string>) {
  const explainer = new Explainer();
  const input = explainer.input("log.txt");
  let at = 0;
  for (const message of messages) {
    input.write(new TextEncoder().encode(`[${(++at / 1e6).toFixed(6).padStart(12)}] ${message}\n`));
  }
  input.end();
  const [finding] = explainer.explain().findings;
  return [finding?.verdict, finding?.certainty];
}

function* boots(count: number): Generator<string> {
  for (let boot = 0; boot < count; boot++) yield `${BAR} ${boot}`;
}

test("repeated facts about the machine, in a log of many boots, leave room for later facts", () => {
  const expected = explained([BAR, RMRR, FAULT]);
  assert.deepEqual(expected[0], "handover");
  assert.deepEqual(explained([...boots(20_000), RMRR, FAULT]), expected);
});
