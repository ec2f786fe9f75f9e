import assert from "node:assert/strict";
import { test } from "node:test";
import type { Finding } from "../contract.ts";
import { Explainer } from "../explainer.ts";

const MAP = "iommu: map: iova 0xfff00000 pa 0x0000000080200000 size 0x4000";
const PIECE = "iommu: mapping: iova 0xfff00000 pa 0x0000000080200000 pgsize 0x1000 count 4";
const UNMAP = "iommu: unmapped: iova 0xfff00000 size 0x4000";
const FAULT = "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xfff01000 flags=0x0020]";

function explained(...texts: readonly (readonly string[])[]): Finding | undefined {
  const explainer = new Explainer();
  texts.forEach((lines, at) => {
    const input = explainer.input(`log-${at}.txt`);
    input.write(new TextEncoder().encode(`${lines.join("\n")}\n`));
    input.end();
  });
  return explainer.explain().findings.find(({ kind }) => kind === "dma-fault");
}

function verdictOf(finding: Finding | undefined): (string | undefined)[] {
  return [finding?.verdict, finding?.certainty];
}

test("a fault at an address that dynamic debug shows unmapped before is a use after unmap, by lines of the log", () => {
  const finding = explained([
    `[   10.000001] ${MAP}`,
    `[   10.000002] ${PIECE}`,
    `[   10.500001] ${UNMAP}`,
    `[   10.500900] ${FAULT}`,
  ]);
  assert.deepEqual(verdictOf(finding), ["use-after-unmap", "strong"]);
  const [candidate] = finding?.candidates ?? [];
  const proof = candidate?.because.flatMap((one) => one.proof.map(({ line }) => line)) ?? [];
  assert.deepEqual([...new Set(proof)].sort(), [1, 3, 4]);
});

test("a mapping that dynamic debug shows to be live at the time of the fault is no use after unmap", () => {
  const finding = explained([
    `[   10.000001] ${MAP}`,
    `[   10.400001] ${UNMAP}`,
    `[   10.450001] ${MAP}`,
    `[   10.500900] ${FAULT}`,
    `[   10.600001] ${UNMAP}`,
  ]);
  assert.notEqual(finding?.verdict, "use-after-unmap");
});

test("lines of another file, of which the boot may be another one, prove nothing", () => {
  const plain = verdictOf(explained([`[   10.500900] ${FAULT}`]));
  const other = explained([`[   10.000001] ${MAP}`, `[   10.500001] ${UNMAP}`], [`[   10.500900] ${FAULT}`]);
  assert.deepEqual(verdictOf(other), plain);
});

test("lines without a time prove nothing", () => {
  const plain = verdictOf(explained([FAULT]));
  assert.deepEqual(verdictOf(explained([MAP, UNMAP, FAULT])), plain);
});
