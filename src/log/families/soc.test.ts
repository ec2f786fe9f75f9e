import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fact } from "../facts.ts";
import { factsOf, linesOf } from "../facts-of.model.ts";

/** The only fact of a text. */
function only(text: string): Fact | undefined {
  const facts = factsOf(text);
  assert.equal(facts.length, 1, text);
  return facts[0];
}

const fault = (family: string, shape: string, text: string, last = 1): object => {
  return {
    kind: "fault",
    family,
    shape,
    lines: linesOf(...[1, 2, 3, 4].slice(0, last)),
    text: text.split("\n")[0]?.trim(),
    granule: 1,
  };
};

test("MediaTek: the page is the hardware's, the low bits of old drivers are flags", () => {
  const newer =
    "mtk-iommu 14016000.iommu: fault type=0x5 iova=0xfec23000 pa=0x0 master=0x51000008(larb=0 port=2) layer=1 read";
  const common = { cause: "absent", granule: 4096, access: "read", reason: { code: "0x5", text: "" } };
  assert.deepEqual(only(`  ${newer}`), {
    ...fault("mediatek", "mediatek-fault", newer),
    ...common,
    iommu: "14016000.iommu",
    iova: 0xfec23000n,
    values: { larb: 0, port: 2 },
  });
  const older = "mtk-iommu 10205000.iommu: fault type=0x1 iova=0xfcff0003 pa=0x80000000 larb=2 port=1 layer=1 write";
  assert.deepEqual(only(older), {
    ...fault("mediatek", "mediatek-fault", older),
    ...common,
    cause: "unknown",
    access: "write",
    reason: { code: "0x1", text: "" },
    iommu: "10205000.iommu",
    iova: 0xfcff0000n,
    values: { larb: 2, port: 1 },
  });
});

test("Exynos: the fault and the entries after it are one fact; old and new words", () => {
  const newer = `exynos-sysmmu 14860000.sysmmu: 14830000.decon: [READ] PAGE FAULT occurred at 0x6715b3e0
exynos-sysmmu 14860000.sysmmu: Page table base: 0x2f7c0000
exynos-sysmmu 14860000.sysmmu: \tLv1 entry: 0x6dd1cc01
exynos-sysmmu 14860000.sysmmu: \t Lv2 entry: 0x0`;
  assert.deepEqual(only(newer), {
    ...fault("exynos", "exynos-fault", newer, 4),
    cause: "absent",
    iommu: "14860000.sysmmu",
    device: "14830000.decon",
    iova: 0x6715b3e0n,
    access: "read",
    dump: "absent",
  });
  const older =
    "exynos-sysmmu 13620000.sysmmu: AW ACCESS PROTECTION FAULT occurred at 0x20000000 by 13600000.rotator(Page table base: 0x6c4c0000)";
  assert.deepEqual(only(older), {
    ...fault("exynos", "exynos-fault", older),
    cause: "permission",
    iommu: "13620000.sysmmu",
    device: "13600000.rotator",
    iova: 0x20000000n,
    access: "write",
  });
});

test("sun50i, IPMMU, OMAP, RISC-V: one line a fault", () => {
  const sun50i = "sun50i-iommu 30f0000.iommu: Page fault for 0x00000000bff00000 (master 3, dir wr)";
  assert.deepEqual(only(sun50i), {
    ...fault("sun50i", "sun50i-fault", sun50i),
    cause: "absent-or-permission",
    iommu: "30f0000.iommu",
    iova: 0xbff00000n,
    streamId: 3n,
    access: "write",
  });
  const ipmmu = "ipmmu-vmsa febe0000.iommu: Unhandled fault: status 0x00000002 iova 0x7f800000";
  assert.deepEqual(only(ipmmu), {
    ...fault("ipmmu", "ipmmu-fault", ipmmu),
    cause: "permission",
    reason: { code: "0x2", text: "" },
    iommu: "febe0000.iommu",
    iova: 0x7f800000n,
  });
  const omap = "omap-iommu 58882000.mmu: 58882000.mmu: errs:0x00000002 da:0x9f000000 pgd:0xed808000 *pgd:px00000000";
  assert.deepEqual(only(omap), {
    ...fault("omap", "omap-fault", omap),
    cause: "absent",
    reason: { code: "0x2", text: "" },
    iommu: "58882000.mmu",
    iova: 0x9f000000n,
    dump: "absent",
  });
  const riscv = "riscv-iommu 0000:00:01.0: Fault 15 devid: 0x10 iotval: 80200000 iotval2: 0";
  assert.deepEqual(only(riscv), {
    ...fault("riscv", "riscv-fault", riscv),
    cause: "absent-or-permission",
    reason: { code: "0xf", text: "" },
    iommu: "0000:00:01.0",
    device: "0000:00:02.0",
    streamId: 0x10n,
    iova: 0x80200000n,
    access: "write",
  });
});

test("DART: the text of a code counts, a code without text is unknown", () => {
  const text = `    apple-dart 285810000.iommu: translation fault: status:0x800c0002 stream:0 code:0x2 (NO PGD FOR IOVA) at 0xfd68be00
        apple-dart 285820000.iommu: translation fault: status:0x900c0008 stream:12 code:0x8 (WRITE FAULT) at 0x9f9c0000
\`apple-dart 40d040000.iommu: translation fault: status:0x80000800 stream:0 code:0x800 ... at 0x10000b28200\``;
  const lines = text.split("\n");
  const one = (index: number, rest: object): object => ({
    ...fault("dart", "dart-fault", lines[index] ?? ""),
    lines: linesOf(index + 1),
    ...rest,
  });
  assert.deepEqual(factsOf(text), [
    one(0, {
      cause: "absent",
      reason: { code: "0x2", text: "NO PGD FOR IOVA" },
      iommu: "285810000.iommu",
      streamId: 0n,
      iova: 0xfd68be00n,
    }),
    one(1, {
      cause: "permission",
      reason: { code: "0x8", text: "WRITE FAULT" },
      iommu: "285820000.iommu",
      streamId: 12n,
      iova: 0x9f9c0000n,
      access: "write",
    }),
    one(2, {
      cause: "unknown",
      reason: { code: "0x800", text: "" },
      iommu: "40d040000.iommu",
      streamId: 0n,
      iova: 0x10000b28200n,
    }),
  ]);
});

test("Rockchip: the valid bits of the walk decide", () => {
  const walk = (
    access: string,
    valid: string,
  ): string => `rk_iommu fe043e00.iommu: Page fault at 0x00000000ff801000 of type ${access}
rk_iommu fe043e00.iommu: iova = 0x00000000ff801000: dte_index: 0x3fe pte_index: 0x1 page_offset: 0x0
rk_iommu fe043e00.iommu: mmu_dte_addr: 0x000000010189a000 dte@0x000000010189aff8: 0x1722101 ${valid}`;
  const expected = (text: string, access: string): object => ({
    ...fault("rockchip", "rockchip-fault", text, 3),
    iommu: "fe043e00.iommu",
    access,
    iova: 0xff801000n,
  });
  const present = walk(
    "read",
    "valid: 1 pte@0x0000000101722004: 0x2c01107 valid: 1 page@0x0000000102c01000 flags: 0x106",
  );
  assert.deepEqual(only(present), { ...expected(present, "read"), cause: "absent-or-permission", dump: "present" });
  const readOnly = walk(
    "write",
    "valid: 1 pte@0x0000000101722004: 0x2c01103 valid: 1 page@0x0000000102c01000 flags: 0x102",
  );
  assert.deepEqual(only(readOnly), { ...expected(readOnly, "write"), cause: "permission", dump: "no-permission" });
  const absent = walk("write", "valid: 1 pte@0x0000000101722004: 0 valid: 0 page@0x0000000000000000 flags: 0x0");
  assert.deepEqual(only(absent), { ...expected(absent, "write"), cause: "absent", dump: "absent" });
});

test("Rockchip: a bus error of the walk, and the fault that the 2D engine prints", () => {
  const bus = "rk_iommu ff903f00.iommu: BUS_ERROR occurred at 0x00000000ffe79000";
  assert.deepEqual(only(bus), {
    ...fault("rockchip", "rockchip-bus-error", bus),
    cause: "table-error",
    iommu: "ff903f00.iommu",
    iova: 0xffe79000n,
  });
  const rga = "rga: rga_iommu: IOMMU intr fault, IOVA[0xfff00000], STATUS[0x0]";
  assert.deepEqual(only(rga), {
    ...fault("rockchip", "rockchip-rga-fault", rga),
    cause: "unknown",
    driver: "rga",
    iova: 0xfff00000n,
    reason: { code: "0x0", text: "" },
  });
});

test("Tegra: two wordings of a fault are one fact, the same wording again is a second", () => {
  const wording = (text: string): string =>
    `tegra-mc 70019000.memory-controller: display0a: read @0xfe056b40: ${text} (SMMU translation error [--S])`;
  const [decode, page] = [wording("EMEM address decode error"), wording("Page fault")];
  const expected = {
    ...fault("tegra", "tegra-fault", decode),
    iommu: "70019000.memory-controller",
    client: "display0a",
    access: "read",
    iova: 0xfe056b40n,
    cause: "absent",
    values: { bits: "--S" },
  };
  assert.deepEqual(factsOf([decode, page, decode].join("\n")), [
    { ...expected, lines: linesOf(1, 2) },
    { ...expected, lines: linesOf(3) },
  ]);
});

test("an IOMMU that does not end the invalidation of its TLB", () => {
  const text = "arm-smmu 15000000.iommu: TLB sync timed out -- SMMU may be deadlocked";
  assert.deepEqual(only(text), {
    kind: "invalidation-timeout",
    shape: "tlb-timeout",
    lines: linesOf(1),
    text,
    iommu: "15000000.iommu",
    silent: "iommu",
  });
});
