import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { explainTexts } from "./texts.ts";

function recordOf(...lines: readonly string[]): readonly string[] {
  return explainTexts([{ file: "log", text: `${lines.join("\n")}\n` }]).findings.flatMap(({ record }) => record);
}

function parametersOf(...lines: readonly string[]): string | undefined {
  return recordOf(...lines)
    .find((command) => command.startsWith("boot with:"))
    ?.split(" ")
    .slice(2)
    .join(" ")
    .split("   #")[0];
}

const LINUX = (version: string) => `[    0.000000] Linux version ${version} (builder@host)`;
const DECIMAL =
  "DMAR: [DMA Write] Request device [02:00.0] fault addr ffffe000 [fault reason 05] PTE Write access is not set";
const TWO_LINES =
  "dmar: DMAR:[DMA Read] Request device [02:00.0] fault addr a0c58000\nDMAR:[fault reason 06] PTE Read access is not set";
const HEXADECIMAL =
  "DMAR: [DMA Write NO_PASID] Request device [02:00.0] fault addr 0xffffe000 [fault reason 0x05] PTE Write access is not set";
const AMD = "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]";

describe("boot parameters fit the kernel", () => {
  const OLD = "trace_event=iommu:*,printk:console trace_buf_size=64M";
  const NEW = "trace_event=iommu:*,dma:*,printk:console trace_buf_size=64M";
  const cases: readonly (readonly [what: string, lines: readonly string[], parameters: string])[] = [
    ["a decimal reason is of Linux 5.13 or older", [DECIMAL], `${OLD} intel_iommu=strict`],
    ["so is a message in two lines", [TWO_LINES], `${OLD} intel_iommu=strict`],
    ["a kernel that the log names counts more", [LINUX("6.12.1"), HEXADECIMAL], `${NEW} iommu.strict=1`],
    ["6.1 has no events of the DMA API", [LINUX("6.1.0"), HEXADECIMAL], `${OLD} iommu.strict=1`],
    ["5.10 has its IOMMU's own parameter", [LINUX("5.10.0"), AMD], `${OLD} amd_iommu=fullflush`],
    ["of an unknown kernel both names are set", [AMD], `${NEW} iommu.strict=1 amd_iommu=fullflush`],
  ];
  for (const [what, lines, parameters] of cases) {
    test(what, () => assert.equal(parametersOf(...lines), parameters));
  }
});

describe("the recording of a running machine", () => {
  test("enables events that the kernel has, at the place that the kernel has, and puts all settings back", () => {
    const [command] = recordOf(TWO_LINES);
    assert.equal(
      command?.split("   # ")[0],
      "cd /sys/kernel/debug/tracing; echo 65536 > buffer_size_kb; " +
        "echo 'stacktrace if iova <= 0xa0c58000 && iova > 0xa0a58000' > events/iommu/unmap/trigger; " +
        "echo 1 > events/iommu/enable; echo 1 > events/printk/console/enable; sleep 60; cat trace > /tmp/trace.txt; dmesg > /tmp/dmesg.txt; " +
        "echo 0 > events/enable; echo '!stacktrace' > events/iommu/unmap/trigger; echo 1408 > buffer_size_kb",
    );
    assert.match(recordOf(HEXADECIMAL)[0] ?? "", /cd \/sys\/kernel\/tracing; .*events\/dma\/enable/);
  });

  test("comes after the boot parameters when the fault was in the first seconds", () => {
    assert.match(recordOf(`[    3.500000] ${DECIMAL}`)[0] ?? "", /^boot with: /);
    assert.match(recordOf(`[  350.000000] ${DECIMAL}`)[0] ?? "", /^cd /);
  });
});

test("for a fault reported by Xen the commands are Xen's", () => {
  const record = recordOf(
    "(XEN) [VT-D]DMAR:[DMA Write] Request device [0000:65:00.0] fault addr 1200000000",
    "(XEN) [VT-D]DMAR: reason 05 - PTE Write access is not set",
  );
  assert.deepEqual(
    record.map((command) => command.split("   # ")[0]),
    ["xl debug-keys o; xl dmesg"],
  );
});

test("a malformed entry of AMD's tables is not looked for in VT-d's folders", () => {
  const record = recordOf(
    "AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=02:00.0 pasid=0x00000 address=0x131400000 flags=0x0180]",
    "AMD-Vi: DTE[0]: 6190000000000003",
    "AMD-Vi: DTE[1]: 00001001049e000b",
  );
  assert.notDeepEqual(record, []);
  assert.ok(
    record.every((command) => !command.includes("iommu/intel")),
    record.join("\n"),
  );
});
