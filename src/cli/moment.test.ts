import assert from "node:assert/strict";
import { test } from "node:test";
import { explainTexts } from "../explain/texts.ts";
import { isAsked } from "./asked.ts";
import { momentOf } from "./moment.ts";

test("a moment is seconds, or a time as a log prints it", () => {
  const texts = ["12.5", "200ms", "2m", "[   12.345678]", " [12.345678] "];
  assert.deepEqual(texts.map(momentOf), [
    { seconds: 12.5, text: "12.5 s" },
    { seconds: 0.2, text: "0.2 s" },
    { seconds: 120, text: "120 s" },
    { seconds: 12.345678, text: "[   12.345678]" },
    { seconds: 12.345678, text: "[12.345678]" },
  ]);
});

for (const time of [
  "Nov 30 12:00:01",
  "Nov  3 02:00:01.123456",
  "2026-11-30T12:00:01.376941Z",
  "2026-11-30 12:00:01",
  "[Mon Nov 30 12:00:01 2026]",
]) {
  test(`the time '${time}' finds what the log says at that time, and not a minute later`, () => {
    const host = time.startsWith("[") ? "" : "host kernel: ";
    const line = `${time} ${host}nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]`;
    const [finding] = explainTexts([{ file: "log", text: `${line}\n` }]).findings;
    assert.ok(finding !== undefined);
    assert.equal(isAsked(finding, { at: momentOf(time) }), true);
    assert.equal(isAsked(finding, { at: momentOf(time.replace(":00:01", ":01:01")) }), false);
  });
}

for (const text of [
  "noon",
  "",
  "12:00:01",
  "Nov 30",
  "-5",
  "0",
  "[12.345678] DMAR: fault",
  "Nov 30 12:00:01 and more",
]) {
  test(`'${text}' is no moment`, () => {
    assert.throws(() => momentOf(text), {
      message: `Found '${text}'; expected seconds, such as 12.345678, or a time as the log prints it, such as '[   12.345678]' or 'Nov 30 12:00:01'.`,
    });
  });
}
