import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Fact } from "../facts.ts";
import { factsOf, linesOf } from "../facts-of.model.ts";

const FAULT = { shape: "amd-event", kind: "fault", family: "amd", granule: 1 } as const;

function only(text: string): Fact {
  const facts = factsOf(text);
  assert.equal(facts.length, 1, JSON.stringify(facts.map(({ shape }) => shape)));
  return facts[0] as Fact;
}

describe("page faults of AMD's IOMMU", () => {
  it("reads the device in front of the message, with its driver", () => {
    const text =
      "[   40.182570] ath10k_pci 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000d address=0xcff49550 flags=0x0070]";
    assert.deepEqual(factsOf(text), [
      {
        ...FAULT,
        lines: linesOf(1),
        text: text.slice(15),
        time: 40.18257,
        clock: "uptime",
        cause: "permission",
        access: "write",
        device: "0000:01:00.0",
        driver: "ath10k_pci",
        domain: 0xdn,
        iova: 0xcff49550n,
        reason: { code: "0x70", text: "IO_PAGE_FAULT" },
        values: { flags: 0x70 },
      },
    ]);
  });

  it("reads device= with and without a segment, and domain 0", () => {
    for (const device of ["0a:00.0", "0000:0a:00.0"]) {
      const text = `AMD-Vi: Event logged [IO_PAGE_FAULT device=${device} domain=0x0000 address=0x000000000637c000 flags=0x0000]`;
      assert.deepEqual(factsOf(text), [
        {
          ...FAULT,
          lines: linesOf(1),
          text,
          cause: "absent",
          access: "read",
          device: "0000:0a:00.0",
          domain: 0n,
          iova: 0x637c000n,
          reason: { code: "0x0", text: "IO_PAGE_FAULT" },
          values: { flags: 0 },
        },
      ]);
    }
  });

  it("reads the form of Raven's kernels without AMD-Vi:, and a line that names no device", () => {
    const raven = only(
      "amdgpu 0000:05:00.0: Event logged [IO_PAGE_FAULT domain=0x0001 address=0x10b4c0000 flags=0x0020]",
    );
    assert.ok(raven.kind === "fault");
    assert.deepEqual([raven.device, raven.driver, raven.access], ["0000:05:00.0", "amdgpu", "write"]);
    const bare = only("AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x001a address=0xfffc8000 flags=0x0050]");
    assert.ok(bare.kind === "fault");
    assert.deepEqual(["device" in bare, bare.cause, bare.access], [false, "permission", "read"]);
  });

  it("reads the two halves of 4.12, in order and out of order, as one fault", () => {
    const halves = [
      "[   10.000002] AMD-Vi: Event logged [",
      "[   10.000001] IO_PAGE_FAULT device=05:00.0 domain=0x0012 address=0x00000000ff6101b0 flags=0x0070]",
    ];
    for (const text of [halves.join("\n"), halves.toReversed().join("\n")]) {
      const fact = only(text);
      assert.ok(fact.kind === "fault");
      assert.deepEqual([fact.device, fact.iova, fact.domain], ["0000:05:00.0", 0xff6101b0n, 0x12n]);
    }
  });
});

describe("page faults of AMD's IOMMU as pasted, and their flags", () => {
  it("reads messages that a mail program wrapped, before and inside the brackets", () => {
    const text = [
      "    [14768.593293] myhost kernel: amdgpu 0000:04:00.0: AMD-Vi: Event logged",
      "[IO_PAGE_FAULT domain=0x0000 address=0x10b4c0000 flags=0x0070]",
      "    [14768.593405] myhost kernel: AMD-Vi: Event logged [IO_PAGE_FAULT",
      "device=04:00.0 domain=0x0000 address=0x10b4a01e0 flags=0x0070]",
    ].join("\n");
    const facts = factsOf(text);
    assert.deepEqual(
      facts.map((fact) => fact.kind === "fault" && [fact.device, fact.iova, fact.cause, fact.lines.length]),
      [
        ["0000:04:00.0", 0x10b4c0000n, "permission", 2],
        ["0000:04:00.0", 0x10b4a01e0n, "permission", 2],
      ],
    );
  });

  it("decodes the flags", () => {
    const cause = (flags: string): unknown => {
      const fact = only(
        `AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x001d address=0x1000 flags=${flags}]`,
      );
      return fact.kind === "fault" ? [fact.cause, fact.access] : fact.kind;
    };
    assert.deepEqual(["0x0000", "0x0020", "0x0050", "0x0070", "0x0090", "0x0100", "0x0030", "0x0008"].map(cause), [
      ["absent", "read"],
      ["absent", "write"],
      ["permission", "read"],
      ["permission", "write"],
      ["table-error", "read"],
      ["absent", "read"],
      ["unknown", "write"],
      "interrupt",
    ]);
  });

  it("reads a request with flag 8 as an interrupt, for any address", () => {
    const text = "AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x0000 address=0xfdf8000080 flags=0x0008]";
    assert.deepEqual(factsOf(text), [
      {
        shape: "amd-event",
        kind: "interrupt",
        lines: linesOf(1),
        text,
        device: "0000:0a:00.0",
        domain: 0n,
        reason: { code: "0x8", text: "IO_PAGE_FAULT" },
        verdict: "blocked",
      },
    ]);
  });
});

describe("other events of AMD's IOMMU", () => {
  const illegal =
    "iommu ivhd0: AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=0000:02:00.0 pasid=0x00000 address=0x131400000 flags=0x0180]";

  it("reads a device table entry that is there and refused as malformed, by its dump", () => {
    const dump = ["AMD-Vi: DTE[0]: 6190000000000003", "AMD-Vi: DTE[1]: 00001001049e000b", "AMD-Vi: Control Reg : 0x4d"];
    assert.deepEqual(factsOf([illegal, ...dump].join("\n")), [
      {
        ...FAULT,
        lines: linesOf(1, 2, 3, 4),
        text: illegal,
        cause: "table-error",
        access: "read",
        device: "0000:02:00.0",
        iommu: "ivhd0",
        iova: 0x131400000n,
        reason: { code: "0x180", text: "ILLEGAL_DEV_TABLE_ENTRY" },
        values: { flags: 0x180, deviceEntry: 0x6190000000000003n },
      },
    ]);
  });

  it("reads a device table entry that is empty, or not shown, as a missing table", () => {
    for (const text of [illegal, `${illegal}\nAMD-Vi: DTE[0]: 0000000000000001`]) {
      const fact = only(text);
      assert.equal(fact.kind === "fault" && fact.cause, "no-table");
    }
  });

  it("reads a write to the range of interrupts", () => {
    const fact = only(
      "AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0000:04:00.0 pasid=0x00000 address=0xfffffffdf8000000 flags=0x0a00]",
    );
    assert.deepEqual(fact.kind === "fault" && [fact.cause, fact.access, fact.iova], [
      "interrupt-range",
      "write",
      0xfffffffdf8000000n,
    ]);
  });

  it("reads errors of hardware and of commands without an IO address: theirs is the host's", () => {
    const bodies = [
      "DEV_TAB_HARDWARE_ERROR device=02:00.0 pasid=0x00000 address=0x131400000 flags=0x0080",
      "PAGE_TAB_HARDWARE_ERROR device=02:00.0 domain=0x0001 address=0x131400000 flags=0x0080",
      "COMMAND_HARDWARE_ERROR address=0x131400000 flags=0x0080",
      "ILLEGAL_COMMAND_ERROR address=0x131400000",
      "RMP_HW_ERROR vmg_tag=0x0001, spa=0x131400000, flags=0x0080",
    ];
    for (const body of bodies) {
      const fact = only(`AMD-Vi: Event logged [${body}]`);
      assert.deepEqual(fact.kind === "fault" && [fact.cause, fact.iova, fact.reason?.text], [
        "table-error",
        undefined,
        body.split(" ")[0],
      ]);
    }
  });

  it("reads page requests and the reverse map with their addresses", () => {
    const page = only(
      "AMD-Vi: Event logged [INVALID_PPR_REQUEST device=0000:04:00.0 pasid=0x00012 address=0x7f0000 flags=0x0010 tag=0x003]",
    );
    assert.deepEqual(page.kind === "fault" && [page.cause, page.iova, page.pasid], ["unknown", 0x7f0000n, 0x12n]);
    const map = only(
      "AMD-Vi: Event logged [RMP_PAGE_FAULT device=0000:04:00.0, vmg_tag=0x0000, gpa=0x7f0000, flags_rmp=0x0000, flags=0x0020]",
    );
    assert.deepEqual(map.kind === "fault" && [map.cause, map.iova, map.access], ["unknown", 0x7f0000n, "write"]);
  });
});

describe("invalidations and losses of AMD's IOMMU", () => {
  it("reads a device that does not answer: the address is the command's", () => {
    const text = "AMD-Vi: Event logged [IOTLB_INV_TIMEOUT device=01:00.0 address=0x216d8e620]";
    assert.deepEqual(factsOf(text), [
      {
        shape: "amd-event",
        kind: "invalidation-timeout",
        lines: linesOf(1),
        text,
        device: "0000:01:00.0",
        silent: "device",
      },
    ]);
  });

  it("reads an IOMMU that does not finish its commands, with its device where the line has it", () => {
    const facts = factsOf("AMD-Vi: Completion-Wait loop timed out\nIOMMU 0000:00:00.2: Completion-Wait loop timed out");
    const fact = { shape: "amd-completion-wait", kind: "invalidation-timeout", silent: "iommu" };
    assert.deepEqual(facts, [
      { ...fact, lines: linesOf(1), text: "AMD-Vi: Completion-Wait loop timed out" },
      {
        ...fact,
        lines: linesOf(2),
        text: "IOMMU 0000:00:00.2: Completion-Wait loop timed out",
        iommu: "0000:00:00.2",
      },
    ]);
  });

  it("reads an event log that overflowed as lost faults", () => {
    for (const text of ["AMD-Vi: IOMMU event log overflow", "AMD-Vi: IOMMU Event log restarting"]) {
      assert.deepEqual(factsOf(text), [
        { shape: "amd-log-overflow", kind: "loss", what: "faults", lines: linesOf(1), text },
      ]);
    }
  });

  it("does not read source code that prints such a message", () => {
    const text = [
      'pr_err("AMD-Vi: Event logged [IO_PAGE_FAULT device=%02x:%02x.%x domain=0x%04x address=0x%llx flags=0x%04x]\\n",',
      '+\t\tdev_err(dev, "AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x%04x address=0x%llx flags=0x%04x]\\n",',
    ].join("\n");
    assert.deepEqual(factsOf(text), []);
  });

  it("does not take the name of a trace event on a command line for a fault", () => {
    const text = "Command line: trace_event=iommu:io_page_fault trace_buf_size=1M trace_clock=global";
    assert.deepEqual(
      factsOf(text).filter(({ kind }) => kind === "fault"),
      [],
    );
  });
});
