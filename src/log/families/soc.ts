/**
 * IOMMUs of systems on a chip, one line a fault: MediaTek, Samsung Exynos, Allwinner sun50i, Apple DART, Renesas IPMMU, TI OMAP, RISC-V.
 * Rockchip and Tegra, whose faults come in several lines, have files of their own.
 */
import type { Access, FaultFact, ReportedCause } from "../facts.ts";
import { nameOfRequesterId, pciName } from "../pci.ts";
import {
  type Family,
  type Found,
  given,
  HEX_ADDRESS,
  type Shape,
  SPEAKER,
  SPEAKER_FIELD,
  TEXT,
  type Values,
} from "../shape.ts";
import { EXYNOS_SHAPES } from "./exynos.ts";

function fault(family: string, cause: ReportedCause, values: Values, found: Found): FaultFact {
  return { kind: "fault", family, ...found.base, ...given({ iommu: values.text("iommu") }), cause, granule: 1 };
}

const MEDIATEK: Shape = {
  name: "mediatek-fault",
  example:
    "mtk-iommu 14016000.iommu: fault type=0x5 iova=0xfec23000 pa=0x0 master=0x51000008(larb=0 port=2) layer=1 read",
  kernels:
    "all; `master=` since 5.18. Old drivers leave flags in bits 11:0 of the address; only the page is the hardware's",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?fault\s+type=(?<type>0x[0-9a-f]+)\s+iova=(?<iova>0x[0-9a-f]+)\s+pa=(?<pa>0x[0-9a-f]+)\s+(?:master=0x[0-9a-f]+\s*\()?` +
      String.raw`larb=(?<larb>\d+)\s+port=(?<port>\d+)\)?\s+layer=\d+\s+(?<access>read|write)`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    type: {
      radix: "hex",
      unit: "interrupt status: bit 0 translation fault, 1 several entries match, 2 physical address 0",
    },
    iova: HEX_ADDRESS,
    pa: { radix: "hex", unit: "physical address" },
    larb: { radix: "decimal", unit: "local arbiter" },
    port: { radix: "decimal", unit: "port of the arbiter" },
    access: TEXT,
  },
  read(values, found, sink) {
    const type = values.small("type") ?? 0;
    const isAbsent = (type & 1) === 1 && values.number("pa") === 0n;
    const fact = fault("mediatek", isAbsent ? "absent" : "unknown", values, found);
    const iova = values.number("iova");
    if (iova !== undefined) fact.iova = iova & ~0xfffn;
    fact.granule = 4096;
    fact.access = values.text("access") as Access;
    fact.reason = { code: `0x${type.toString(16)}`, text: "" };
    fact.values = { larb: values.small("larb") ?? 0, port: values.small("port") ?? 0 };
    sink.add(fact);
  },
};

const SUN50I: Shape = {
  name: "sun50i-fault",
  example: "sun50i-iommu 30f0000.iommu: Page fault for 0x00000000bff00000 (master 0, dir rd)",
  kernels: "Linux 5.8 on: the same words for an entry that is absent and one that forbids the access",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?Page\s+fault\s+for\s+(?<iova>0x[0-9a-f]+)\s+\(master\s+(?<master>\d+),\s+dir\s+(?<access>rd|wr)\)`,
  ),
  fields: { iommu: SPEAKER_FIELD, iova: HEX_ADDRESS, master: { radix: "decimal", unit: "stream id" }, access: TEXT },
  read(values, found, sink) {
    const fact = fault("sun50i", "absent-or-permission", values, found);
    fact.access = values.text("access") === "wr" ? "write" : "read";
    Object.assign(fact, given({ iova: values.number("iova"), streamId: values.number("master") }));
    sink.add(fact);
  },
};

/** Texts of the codes; the codes themselves differ from chip to chip. */
function dartCauseOf(text: string): ReportedCause {
  if (/NO TTBR/i.test(text)) return "no-table";
  if (/NO P(?:GD|MD|TE)/i.test(text)) return "absent";
  return /(?:WRITE|READ) FAULT/i.test(text) ? "permission" : "unknown";
}

const DART: Shape = {
  name: "dart-fault",
  example:
    "apple-dart 285810000.iommu: translation fault: status:0x800c0002 stream:0 code:0x2 (NO PGD FOR IOVA) at 0xfd68be00",
  kernels: "Linux 5.15 on",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?translation\s+fault:\s+status:(?<status>0x[0-9a-f]+)\s+stream:(?<stream>\d+)\s+code:(?<code>0x[0-9a-f]+)\s+(?:(?:\((?<text>[^)]{0,60})\)|\S{1,20})\s+)?at\s+(?<iova>0x[0-9a-f]+)`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    status: { radix: "hex", unit: "error status register" },
    stream: { radix: "decimal", unit: "stream id" },
    code: { radix: "hex", unit: "error code, by chip" },
    text: TEXT,
    iova: HEX_ADDRESS,
  },
  read(values, found, sink) {
    const text = values.text("text") ?? "";
    const fact = fault("dart", dartCauseOf(text), values, found);
    const access = /(?<access>WRITE|READ) FAULT/i.exec(text)?.groups?.["access"];
    fact.reason = { code: `0x${(values.small("code") ?? 0).toString(16)}`, text };
    Object.assign(
      fact,
      given({ iova: values.number("iova"), streamId: values.number("stream"), access: access?.toLowerCase() }),
    );
    sink.add(fact);
  },
};

const IPMMU: Shape = {
  name: "ipmmu-fault",
  example: "ipmmu-vmsa febe0000.iommu: Unhandled fault: status 0x00000001 iova 0x7f800000",
  kernels: "all",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?Unhandled\s+fault:\s+status\s+(?<status>0x[0-9a-f]+)\s+iova\s+(?<iova>0x[0-9a-f]+)`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    status: { radix: "hex", unit: "IMSTR: bit 0 translation fault, 1 permission fault" },
    iova: HEX_ADDRESS,
  },
  read(values, found, sink) {
    const status = values.small("status") ?? 0;
    const cause = status & 1 ? "absent" : status & 2 ? "permission" : "unknown";
    const fact = fault("ipmmu", cause, values, found);
    fact.reason = { code: `0x${status.toString(16)}`, text: "" };
    Object.assign(fact, given({ iova: values.number("iova") }));
    sink.add(fact);
  },
};

const OMAP: Shape = {
  name: "omap-fault",
  example: "omap-iommu 58882000.mmu: 58882000.mmu: errs:0x00000002 da:0x9f000000 pgd:0xed808000 *pgd:px00000000",
  kernels: "all; the `p` in place of `0` is the kernel's",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?errs:(?<errs>0x[0-9a-f]+)\s+da:(?<iova>0x[0-9a-f]+)\s+pgd:\S{1,20}\s+\*pgd:[p0]x(?<pgd>[0-9a-f]+)(?:\s+pte:\S{1,20}\s+\*pte:0x(?<pte>[0-9a-f]+))?`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    errs: { radix: "hex", unit: "interrupt status: bit 1 translation fault" },
    iova: HEX_ADDRESS,
    pgd: { radix: "hex", unit: "entry of the first level" },
    pte: { radix: "hex", unit: "entry of the second level" },
  },
  read(values, found, sink) {
    const errors = values.small("errs") ?? 0;
    const fact = fault("omap", (errors & 2) === 2 ? "absent" : "unknown", values, found);
    const entry = values.number("pte") ?? values.number("pgd");
    fact.reason = { code: `0x${errors.toString(16)}`, text: "" };
    Object.assign(fact, given({ iova: values.number("iova") }));
    fact.dump = entry === 0n ? "absent" : "present";
    sink.add(fact);
  },
};

/** RISC-V IOMMU specification 1.0, table 11: causes of faults. */
function riscvCauseOf(cause: number): { cause: ReportedCause; access?: Access } {
  const access = ([1, 12, 20].includes(cause) && "execute") || ([5, 13, 21].includes(cause) && "read");
  if ([1, 5, 7].includes(cause)) return { cause: "permission", access: access || "write" };
  if ([12, 13, 15, 20, 21, 23].includes(cause)) return { cause: "absent-or-permission", access: access || "write" };
  if (cause === 258 || cause === 266) return { cause: "no-table" };
  return { cause: cause === 257 || cause === 259 || (cause >= 265 && cause <= 269) ? "table-error" : "unknown" };
}

const RISCV: Shape = {
  name: "riscv-fault",
  example: "riscv-iommu 3010000.iommu: Fault 13 devid: 0x8 iotval: 80200000 iotval2: 0",
  kernels: "Linux 6.13 on",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?Fault\s+(?<cause>\d+)\s+devid:\s+(?<id>0x[0-9a-f]+)\s+iotval:\s+(?<iova>[0-9a-f]+)\s+iotval2:\s+[0-9a-f]+`,
  ),
  fields: {
    iommu: SPEAKER_FIELD,
    cause: { radix: "decimal", unit: "cause" },
    id: { radix: "hex", unit: "device id: of PCI the requester id" },
    iova: HEX_ADDRESS,
  },
  read(values, found, sink) {
    const cause = values.small("cause") ?? 0;
    const { cause: reported, access } = riscvCauseOf(cause);
    const fact = fault("riscv", reported, values, found);
    fact.reason = { code: `0x${cause.toString(16)}`, text: "" };
    const id = values.small("id") ?? 0;
    fact.streamId = BigInt(id);
    // The IOMMU is a PCI device, so its requesters are, too.
    if (pciName(values.text("iommu")) !== undefined) fact.device = nameOfRequesterId(id & 0xffff);
    Object.assign(fact, given({ access, iova: values.number("iova") }));
    sink.add(fact);
  },
};

const TLB_TIMEOUT: Shape = {
  name: "tlb-timeout",
  example: "arm-smmu 15000000.iommu: TLB sync timed out -- SMMU may be deadlocked",
  kernels: "Arm SMMU, MediaTek, IPMMU, sun50i",
  pattern: new RegExp(
    String.raw`(?:${SPEAKER}\s+)?(?:Partial\s+)?(?:TLB\s+(?:sync|flush|Flush)|PTW\s+cache\s+invalidation)\s+timed\s+out`,
  ),
  fields: { iommu: SPEAKER_FIELD },
  read(values, found, sink) {
    sink.add({
      kind: "invalidation-timeout",
      ...found.base,
      ...given({ iommu: values.text("iommu") }),
      silent: "iommu",
    });
  },
};

export const SOC: Family = {
  name: "soc",
  about: "IOMMUs of systems on a chip: MediaTek, Exynos, sun50i, DART, IPMMU, OMAP, RISC-V",
  hint: /fault\s+type=|Page\s+fault|sysmmu|FAULT|translation\s+fault|Unhandled\s+fault|errs:0x|devid:|timed\s+out|occurred\s+at/,
  shapes: [MEDIATEK, ...EXYNOS_SHAPES, SUN50I, DART, IPMMU, OMAP, RISCV, TLB_TIMEOUT],
};
