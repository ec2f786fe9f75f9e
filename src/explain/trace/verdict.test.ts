import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Finding } from "../contract.ts";
import { DEVICE, TraceText } from "./trace.model.ts";

const IOVA = 0x5_1234_0000;
const OTHER = "0000:00:05.0";

function only(findings: readonly Finding[]): Finding {
  assert.equal(findings.length, 1, JSON.stringify(findings.map(({ kind, verdict }) => [kind, verdict])));
  return findings[0] as Finding;
}

const said = ({ verdict, certainty }: Finding): string => `${verdict} ${certainty}`;

/** VFIO takes the device, and maps 64 KiB. */
const vfio = (): TraceText => new TraceText().attach(1_000_000).map(1_100_000, IOVA, 65_536);

describe("a fault that the trace shows", () => {
  test("after the unmap is use after unmap, with the microseconds", () => {
    const finding = only(
      vfio()
        .unmap(1_200_000, IOVA, 65_536)
        .fault(1_200_040, IOVA + 0x8100, "write")
        .findings(),
    );
    assert.equal(said(finding), "use-after-unmap certain");
    assert.deepEqual(finding.mapping, {
      iova: "0x512340000",
      bytes: 65_536,
      access: "unknown",
      mappedAt: 1.1,
      unmappedAt: 1.2,
      by: "node-174",
      afterUnmapMicroseconds: 40,
    });
  });

  test("names the mapping that has the address now", () => {
    const trace = vfio().unmap(1_200_000, IOVA, 65_536).fault(1_250_000, IOVA, "read").map(1_300_000, IOVA, 4096);
    const finding = only(trace.unmap(1_400_000, IOVA, 4096).findings());
    assert.equal(said(finding), "use-after-unmap certain");
    assert.equal(finding.mapping?.reusedBy, "0000:00:04.0, mapped at 1.300000 s");
  });

  test("is undecided when the page was mapped again right before the report", () => {
    const trace = vfio().unmap(1_200_000, IOVA, 65_536).map(1_201_000, IOVA, 65_536).fault(1_202_000, IOVA, "read");
    assert.equal(said(only(trace.findings())), "undecided undecided");
  });

  test("in a part that was unmapped is use after unmap; in the part that is left it is not", () => {
    const trace = (): TraceText => vfio().unmap(1_200_000, IOVA, 32_768);
    assert.equal(
      said(
        only(
          trace()
            .fault(1_300_000, IOVA + 0x1000, "write")
            .findings(),
        ),
      ),
      "use-after-unmap certain",
    );
    assert.equal(
      said(
        only(
          trace()
            .fault(1_300_000, IOVA + 0x9000, "write")
            .findings(),
        ),
      ),
      "permission strong",
    );
  });

  test("in a mapping of the other direction is a permission", () => {
    const trace = new TraceText().add(500_000, DEVICE).dmaMap(1_000_000, DEVICE, 0xffff_0000, 4096, "TO_DEVICE");
    assert.equal(said(only(trace.fault(2_000_000, 0xffff_0010, "write").findings())), "permission certain");
  });

  test("in a mapping that allows it is no mistake of the mapping", () => {
    const trace = new TraceText().add(500_000, DEVICE).dmaMap(1_000_000, DEVICE, 0xffff_0000, 4096, "FROM_DEVICE");
    assert.equal(said(only(trace.fault(2_000_000, 0xffff_0010, "write").findings())), "mapped-but-faulted strong");
  });
});

describe("a fault where the device has no mapping", () => {
  test("right after a mapping is past its end, right before one is before its start", () => {
    assert.equal(
      said(
        only(
          vfio()
            .fault(1_300_000, IOVA + 65_536, "write")
            .findings(),
        ),
      ),
      "past-end strong",
    );
    assert.equal(
      said(
        only(
          vfio()
            .fault(1_300_000, IOVA - 64, "read")
            .findings(),
        ),
      ),
      "before-start strong",
    );
  });

  test("at the lower 32 bits of a mapping's address is truncated", () => {
    assert.equal(said(only(vfio().fault(1_300_000, 0x1234_8000, "write").findings())), "truncated-address strong");
  });

  test("at an address that the device never had is not mapped: certain only with the recording from the beginning", () => {
    assert.equal(said(only(vfio().fault(1_300_000, 0x2_dead_0000, "write").findings())), "not-mapped certain");
    const late = new TraceText().dmaMap(1_000_000, DEVICE, 0xffff_0000, 4096, "BIDIRECTIONAL");
    assert.equal(said(only(late.fault(1_300_000, 0x2_dead_0000, "write").findings())), "undecided undecided");
  });
});

describe("a fault among other traffic", () => {
  test("is not explained by another device's mapping at the same address", () => {
    const trace = new TraceText().add(1, DEVICE).add(2, OTHER);
    trace
      .dmaMap(1_000_000, DEVICE, 0xffff_0000, 4096, "FROM_DEVICE")
      .dmaUnmap(1_100_000, DEVICE, 0xffff_0000, 4096, "FROM_DEVICE");
    trace.dmaMap(1_050_000, OTHER, 0xffff_0000, 4096, "FROM_DEVICE").fault(1_200_000, 0xffff_0000, "write");
    const finding = only(trace.findings());
    assert.equal(said(finding), "use-after-unmap certain");
    assert.equal(finding.mapping?.afterUnmapMicroseconds, 100_000);
  });

  test("at another device's mapping, where nothing else explains it, points to that device", () => {
    const trace = new TraceText().add(1, DEVICE).add(2, OTHER).dmaMap(900_000, DEVICE, 0xfff0_0000, 4096, "TO_DEVICE");
    trace.dmaMap(1_050_000, OTHER, 0xffff_0000, 4096, "FROM_DEVICE").fault(1_200_000, 0xffff_0000, "write");
    assert.equal(said(only(trace.findings())), "wrong-device strong");
  });

  test("is never certain when events were lost", () => {
    const trace = vfio().unmap(1_200_000, IOVA, 65_536).fault(1_300_000, IOVA, "write");
    const finding = only(trace.findings({ header: "# entries-in-buffer/entries-written: 4/400   #P:2" }));
    assert.equal(said(finding), "use-after-unmap strong");
  });
});

describe("a fault that only the log shows", () => {
  test("is placed by the boot line that relates the clocks", () => {
    const finding = only(vfio().unmap(1_200_000, IOVA, 65_536).logged(1_300_000, IOVA, "write").findings());
    assert.equal(said(finding), "use-after-unmap strong");
    assert.equal(finding.mapping?.afterUnmapMicroseconds, 100_000);
  });

  test("is undecided when nothing relates the clocks", () => {
    const trace = vfio().unmap(1_200_000, IOVA, 65_536).logged(1_300_000, IOVA, "write");
    assert.equal(said(only(trace.findings({ clock: false }))), "undecided undecided");
  });

  test("is undecided when it stands before the recording", () => {
    assert.equal(said(only(vfio().logged(700_000, IOVA, "write").findings())), "undecided undecided");
  });

  test("is one finding with the event of the trace", () => {
    const trace = vfio().unmap(1_200_000, IOVA, 65_536).fault(1_300_000, IOVA, "write");
    trace.event(
      1_300_050,
      `console: vfio-pci ${DEVICE}: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0012 address=0x512340000 flags=0x0020]`,
    );
    assert.equal(only(trace.findings()).count, 1);
  });
});

describe("two devices in one trace", () => {
  test("an unmap whose device has nothing at that address does not end the other's mapping (review of 2026-11-30: it never returned)", () => {
    const trace = new TraceText()
      .add(1, DEVICE)
      .add(2, OTHER)
      .dmaMap(1_000_000, DEVICE, 0xffff_0000, 8192, "TO_DEVICE");
    trace.dmaUnmap(1_100_000, OTHER, 0xffff_0000, 8192, "TO_DEVICE").fault(1_300_000, 0xffff_0000, "write");
    assert.equal(said(only(trace.findings())), "permission certain");
  });
});
