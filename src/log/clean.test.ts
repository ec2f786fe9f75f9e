import assert from "node:assert/strict";
import { test } from "node:test";
import { cleanLine } from "./clean.ts";

test("quoted-printable: `=3D` and a blank at the line's end are decoded, a number behind `=` is kept", () => {
  assert.equal(cleanLine("iova=3D0x1000, fsynr=3D0x11,=20").text, "iova=0x1000, fsynr=0x11,");
  assert.equal(
    cleanLine("swiotlb: coherent allocation failed size=2097152").text,
    "swiotlb: coherent allocation failed size=2097152",
  );
  assert.equal(cleanLine("[size=2048 bytes]").text, "[size=2048 bytes]");
});

test("colours that lost their ESC go, `[mem 0x1000]` and `[mapped as page]` stay", () => {
  assert.equal(cleanLine("[31mDMAR: fault[0m").text, "DMAR: fault");
  assert.equal(cleanLine("[1;31mDMAR: fault[0m").text, "DMAR: fault");
  assert.equal(cleanLine("[mem 0x1000-0x1fff] [mapped as page]").text, "[mem 0x1000-0x1fff] [mapped as page]");
});
