import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { factsOf, linesOf } from "./facts-of.model.ts";

/** The text, cut as a terminal of this width cuts it. */
function cut(text: string, columns: number): string {
  return text.replace(new RegExp(`.{${columns}}(?=.)`, "g"), "$&\n");
}

const ADDRESS = 0xfffd0000n;
const MESSAGES = [
  "DMAR: [DMA Read] Request device [02:00.0] fault addr fffd0000 [fault reason 06] PTE Read access is not set",
  "DMAR: [DMA Write NO_PASID] Request device [02:00.0] fault addr 0xfffd0000 [fault reason 0x05] PTE Write access is not set",
  "dmar: DMAR:[DMA Read] Request device [02:00.0] fault addr fffd0000",
  "nvme 0000:02:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xfffd0000 flags=0x0000]",
  "AMD-Vi: Event logged [IO_PAGE_FAULT device=02:00.0 domain=0x000b address=0x00000000fffd0000 flags=0x0020]",
  "arm-smmu 15000000.iommu: Unhandled context fault: fsr=0x402, iova=0xfffd0000, fsynr=0x130000, cbfrsynra=0x300, cb=4",
  "rk_iommu fdfe0800.iommu: Page fault at 0xfffd0000 of type write",
  "exynos-sysmmu 14860000.sysmmu: 14830000.decon: [READ] PAGE FAULT occurred at 0xfffd0000",
  "apple-dart 285810000.iommu: translation fault: status:0x800c0002 stream:0 code:0x2 (NO PGD FOR IOVA) at 0xfffd0000",
  "tegra-mc 70019000.memory-controller: display0a: read @0xfffd0000: Page fault (SMMU translation error [--S])",
  "virtio_iommu virtio0: page fault from EP 32 at 0xfffd0000 [W]",
];
const PREFIXES = ["", "[   12.345670] ", "> [   12.345670] "];

/** Addresses of the faults of a text; undefined: a fault without one. */
function addressesOf(text: string): (bigint | undefined)[] {
  return factsOf(text).flatMap((fact) => (fact.kind === "fault" ? [fact.iova] : []));
}

describe("lines that were cut at the edge of a terminal, at any width (review of 2026-11-30)", () => {
  for (const message of MESSAGES) {
    test(`no truncated address is reported as complete, and most are complete: ${message.slice(0, 50)}`, () => {
      let [whole, all] = [0, 0];
      for (const prefix of PREFIXES) {
        for (let columns = 40; columns <= 120; columns++) {
          const log = cut(
            `[   12.000000] usb 1-1: new high-speed USB device number 4 using xhci_hcd, and more words\n${prefix}${message}\n`,
            columns,
          );
          const text = prefix.startsWith(">") ? log.replace(/^(?!>)/gm, "> ") : log;
          const addresses = addressesOf(text);
          for (const address of addresses)
            assert.ok(address === undefined || address === ADDRESS, `${address?.toString(16)}\n${text}`);
          whole += addresses.filter((address) => address === ADDRESS).length;
          all++;
        }
      }
      assert.ok(whole >= 0.9 * all, `${whole} of ${all}`);
    });
  }
});

describe("a number at the end of a line", () => {
  const fault = "[   12.345670] dmar: DMAR:[DMA Read] Request device [02:00.0] fault addr fffd0000";
  const short = fault.replace(/000$/, "");

  test("goes on when the next line is nothing but digits", () => {
    assert.deepEqual(addressesOf(`${short}\n000`), [ADDRESS]);
  });

  test("is unknown when the next line begins with digits and has words", () => {
    assert.deepEqual(addressesOf(`${fault}\n2 more lines`), [undefined]);
  });

  test("is whole when another line is longer, or the next line is no rest of a number", () => {
    const longer = `[   12.000000] DMAR: ${"x".repeat(100)}`;
    const nexts = [
      "a few lines later",
      "e1000e 0000:00:19.0: text",
      "00:02.0 VGA compatible controller: Intel",
      "DMAR:[fault reason 06] words",
    ];
    assert.deepEqual(addressesOf(`${longer}\n${fault}\n2 more lines`), [ADDRESS]);
    for (const next of nexts) assert.deepEqual(addressesOf(`${fault}\n${next}`), [ADDRESS], next);
  });

  test("is unknown before the mark of a pager or of a person that the line goes on", () => {
    for (const mark of [">", "…", "..."])
      assert.deepEqual(
        addressesOf(`exynos-sysmmu a.sysmmu: [READ] PAGE FAULT occurred at 0x6715b${mark}`),
        [undefined],
        mark,
      );
    assert.deepEqual(addressesOf("exynos-sysmmu a.sysmmu: [READ] PAGE FAULT occurred at 0x6715b3e0 ..."), [
      0x6715b3e0n,
    ]);
  });

  test("of VT-d is unknown when it names no page: the record of the hardware has pages only", () => {
    assert.deepEqual(addressesOf(short), [undefined]);
  });

  test("counts pages only when it is whole", () => {
    const failed = "lpfc 0002:01:00.0: iommu_alloc failed, tbl 00000000f3d8a91c vaddr 000000009a2d8b0c npages 1";
    const pages = (text: string): unknown[] => factsOf(text).map((fact) => "pages" in fact && fact.pages);
    assert.deepEqual(pages(failed), [1]);
    assert.deepEqual(pages(`${failed}\n6`), [16]);
    assert.deepEqual(pages(`${failed}\n6 and text`), [false]);
  });
});

test("a message of two cut lines has the lines and the time of both, and the next message has its own", () => {
  const message = `[   12.345670] ${MESSAGES[5]}`;
  const facts = factsOf(`${cut(message, 70)}\n${message.replace("12.345670", "12.345680")}`);
  assert.deepEqual(
    facts.map(({ lines, time }) => ({ lines, time })),
    [
      { lines: linesOf(1, 2), time: 12.34567 },
      { lines: linesOf(3), time: 12.34568 },
    ],
  );
});

test("a quoted line of 80 columns before a line with fewer quote marks was not cut (found by generated logs, 2026-11-30)", () => {
  const line = "[   89.002510] DMA: Out of SW-IOMMU space for 323584 bytes at device 0000:25:03.5";
  const text = line.replace("[   89", "[  89");
  assert.equal(text.length, 80);
  const devices = factsOf(`>> ${text}\n> Ben wrote:`).map((fact) => "device" in fact && fact.device);
  assert.deepEqual(devices, ["0000:25:03.5"]);
});

test("the last number of a message that a bracket closes is put together at a terminal's edge (generated log 5305)", () => {
  const text = [
    "AMD-Vi: Event logged [",
    "IO_PAGE_FAULT device=4d:05.1 domain=0x04a3 address=0x0000000049929000 flags=0x00",
    "70]",
  ].join("\n");
  const [fact] = factsOf(text);
  assert.deepEqual(fact?.kind === "fault" ? [fact.reason?.code, fact.access] : fact, ["0x70", "write"]);
});
