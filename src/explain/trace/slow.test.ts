import assert from "node:assert/strict";
import { test } from "node:test";
import type { Finding } from "../contract.ts";
import { DEVICE, TraceText } from "./trace.model.ts";

const IOVA = 0xffff_0000;
const INVALIDATE = "qi_submit: iotlb_inv dmar0: 0x2100f2 0xffff0000 0x0 0x0";

interface Unmap {
  /** Microseconds from the unmap line to the invalidation, and to the dma event; undefined: no such line. */
  readonly invalidatedAfter?: number;
  readonly endedAfter: number;
  /** A line of the same CPU in between. */
  readonly between?: string;
}

function findingsOf(unmaps: readonly Unmap[], log: readonly string[] = []): readonly Finding[] {
  const trace = new TraceText().add(100, DEVICE);
  unmaps.forEach(({ invalidatedAfter, endedAfter, between }, at) => {
    const begin = 1_000_000 + at * 20_000;
    trace.dmaMap(begin, DEVICE, IOVA, 4096, "FROM_DEVICE");
    trace.unmap(begin + 100, IOVA, 4096, "init-1");
    if (invalidatedAfter !== undefined) trace.event(begin + 100 + invalidatedAfter, INVALIDATE, "init-1");
    if (between !== undefined) trace.event(begin + 101, between, "init-1");
    const fields = `dir=FROM_DEVICE dma_addr=${IOVA.toString(16)} size=4096 attrs=`;
    trace.event(begin + 100 + endedAfter, `dma_unmap_page: ${DEVICE} ${fields}`, "init-1");
  });
  return trace.findings({ log });
}

function many(count: number, unmap: Unmap): Unmap[] {
  return Array.from({ length: count }, () => unmap);
}

function said(findings: readonly Finding[]): string[] {
  return findings.map(
    ({ kind, verdict, certainty, device, count }) => `${kind} ${verdict} ${certainty} ${device} ${count}`,
  );
}

test("unmaps that wait for the IOMMU after the invalidation was handed over are slow by the invalidation", () => {
  const findings = findingsOf(many(20, { invalidatedAfter: 5, endedAfter: 2000 }));
  assert.deepEqual(said(findings), [`slow slow-invalidation strong ${DEVICE} 20`]);
  const [finding] = findings;
  assert.match(
    finding?.follows[0]?.text ?? "",
    /^20 of 20 unmaps of 0000:00:04\.0 took a millisecond or longer, in the middle 2\.0 ms,/,
  );
  assert.deepEqual(
    finding?.candidates.map(({ verdict, weight }) => `${verdict} ${weight}`),
    ["slow-invalidation strong", "lock-contention hint"],
  );
  assert.ok((finding?.proof.length ?? 0) > 0 && (finding?.record.length ?? 0) > 0);
});

test("without events of the invalidation only a log that says strict names it", () => {
  const unmaps = many(20, { endedAfter: 2000 });
  assert.deepEqual(said(findingsOf(unmaps)), [`slow undecided undecided ${DEVICE} 20`]);
  const strict = ["[    0.200000] iommu: DMA domain TLB invalidation policy: strict mode"];
  assert.deepEqual(said(findingsOf(unmaps, strict)), [`slow slow-invalidation strong ${DEVICE} 20`]);
});

test("time that passes before the invalidation is handed over may be a lock's", () => {
  const findings = findingsOf(many(20, { invalidatedAfter: 1990, endedAfter: 2000 }));
  assert.deepEqual(said(findings), [`slow undecided undecided ${DEVICE} 20`]);
});

test("single long times, short times and few unmaps are no finding", () => {
  const fast = many(20, { invalidatedAfter: 5, endedAfter: 40 });
  const slow: Unmap = { invalidatedAfter: 5, endedAfter: 3000 };
  assert.deepEqual(said(findingsOf(fast)), []);
  assert.deepEqual(said(findingsOf([...fast, ...many(9, slow)])), []);
  assert.deepEqual(said(findingsOf(many(7, slow))), []);
});

test("an unmap in which the CPU did something else is not measured", () => {
  const between = "add_device_to_group: IOMMU: groupID=9 device=0000:00:09.0";
  assert.deepEqual(said(findingsOf(many(20, { endedAfter: 2000, between }))), []);
});

test("invalidations of the interrupt remapping cache say nothing about an unmap", () => {
  const between = "qi_submit: iec_inv dmar0: 0x4 0x0 0x0 0x0";
  assert.deepEqual(said(findingsOf(many(20, { endedAfter: 2000, between }))), [
    `slow undecided undecided ${DEVICE} 20`,
  ]);
});
