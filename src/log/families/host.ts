/**
 * What boot lines, `lspci` and files of /sys and /proc say about the machine: kernel, IOMMUs, reserved regions, memory, groups, BARs, drivers.
 * Nothing here is a finding; rules weigh findings by it.
 */
import type { HostFact } from "../facts.ts";
import { PCI_DEVICE, pciName } from "../pci.ts";
import type { Family, Field, Found, Shape, Sink, Values } from "../shape.ts";

const HEX: Field = { radix: "hex", unit: "physical address" };
const NAME: Field = { radix: "text", unit: "name" };
const DEVICE: Field = { radix: "text", unit: "PCI device" };

/** What a fact says, without the fields that every fact has. */
type About<Fact = HostFact> = Fact extends HostFact
  ? Omit<Fact, "kind" | "shape" | "lines" | "text" | "time" | "clock">
  : never;

/** A shape that makes one fact of its fields; no fact when a field that it needs is missing. */
function host(
  shape: Pick<Shape, "name" | "example" | "kernels" | "pattern" | "fields">,
  about: (values: Values) => About | undefined,
): Shape {
  return {
    ...shape,
    read(values: Values, found: Found, sink: Sink): void {
      const said = about(values);
      if (said !== undefined) sink.add({ kind: "host", ...found.base, ...said } as HostFact);
    },
  };
}

/** [first, last] as printed → [first, end). */
function range(values: Values): { first: bigint; end: bigint } | undefined {
  const first = values.number("first");
  const last = values.number("last");
  return first === undefined || last === undefined || last < first ? undefined : { first, end: last + 1n };
}

/** What boot parameters ask for; undefined when they leave it to the kernel. */
function modeOf(commandLine: string): "strict" | "lazy" | "passthrough" | undefined {
  if (/\biommu=pt\b|\biommu\.passthrough=1\b/.test(commandLine)) return "passthrough";
  if (/\biommu\.strict=1\b|\bintel_iommu=\S*strict|\bamd_iommu=\S*fullflush/.test(commandLine)) return "strict";
  return /\biommu\.strict=0\b/.test(commandLine) ? "lazy" : undefined;
}

const KERNEL: readonly Shape[] = [
  host(
    {
      name: "kernel-version",
      example: "Linux version 6.12.38+deb13-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-14 …) #1 SMP",
      kernels: "all",
      pattern: /Linux\s+version\s+(?<version>\d+\.\d+\S*)/,
      fields: { version: NAME },
    },
    (values) => ({ about: "kernel", version: values.text("version") ?? "" }),
  ),
  host(
    {
      name: "uname",
      example: "Linux host 5.15.0-91-generic #101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023 x86_64 GNU/Linux",
      kernels: "uname -a",
      pattern: /\bLinux\s+\S+\s+(?<version>\d+\.\d+\.\d+\S*)\s+#\d+/,
      fields: { version: NAME },
    },
    (values) => ({ about: "kernel", version: values.text("version") ?? "" }),
  ),
  host(
    {
      name: "tainted-version",
      example: "CPU: 0 PID: 11 Comm: kworker/u8:0 Not tainted 5.19.0-rc1+ #14",
      kernels: "warnings of all kernels",
      pattern: /\bComm:\s.*(?:Not\s+tainted|Tainted:(?:\s+[A-Z])+)\s+(?<version>\d+\.\d+\S*)/,
      fields: { version: NAME },
    },
    (values) => ({ about: "kernel", version: values.text("version") ?? "" }),
  ),
  {
    name: "command-line",
    example: "Command line: BOOT_IMAGE=/boot/vmlinuz-6.12 root=/dev/sda1 ro intel_iommu=on iommu=pt",
    kernels: "all",
    pattern: /[Cc]ommand\s+line:\s+(?<commandLine>[^\n]*)/,
    fields: { commandLine: { radix: "text", unit: "boot parameters" } },
    read(values, found, sink) {
      const commandLine = values.text("commandLine") ?? "";
      sink.add({ kind: "host", ...found.base, about: "command-line", commandLine });
      const mode = modeOf(commandLine);
      if (mode !== undefined) sink.add({ kind: "host", ...found.base, about: "invalidation", mode });
      if (/\belfcorehdr=/.test(commandLine)) sink.add({ kind: "host", ...found.base, about: "kexec" });
    },
  },
  host(
    {
      name: "userspace",
      example: "systemd[1]: Hostname set to <host1>.",
      kernels: "all: the first lines of user space",
      pattern: /\bsystemd\[1\]:|Run\s+\/\S*init\s+as\s+init\s+process|Freeing\s+unused\s+kernel/,
      fields: {},
    },
    () => ({ about: "userspace" }),
  ),
  host(
    {
      name: "kexec",
      example: "DMAR: Translation already enabled - trying to copy translation structures",
      kernels: "kdump, kexec",
      pattern:
        /DMAR:\s+Translation\s+already\s+enabled|Copied\s+DEV\s+table|translation\s+tables\s+from\s+previous\s+kernel/i,
      fields: {},
    },
    () => ({ about: "kexec" }),
  ),
  host(
    {
      name: "sched-clock",
      example: "sched_clock: Marking stable (1320014218, 66025262)->(1431244812, -45205332)",
      kernels: "4.9 on",
      pattern: /sched_clock:\s+Marking\s+stable\s+\(-?\d+,\s*-?\d+\)->\(-?\d+,\s*(?<offset>-?\d+)\)/,
      fields: { offset: { radix: "text", unit: "nanoseconds, with sign" } },
    },
    (values) => ({ about: "trace-clock", seconds: Number(values.text("offset") ?? 0) / 1e9 }),
  ),
];

const IOMMUS: readonly Shape[] = [
  host(
    {
      name: "intel-enabled",
      example: "DMAR: IOMMU enabled",
      kernels: "all",
      pattern:
        /DMAR:\s+(?:IOMMU\s+enabled|Intel\(R\)\s+Virtualization\s+Technology\s+for\s+Directed\s+I\/O|dmar\d+:\s+Using\s+Queued)/,
      fields: {},
    },
    () => ({ about: "iommu", iommu: "intel" }),
  ),
  host(
    {
      name: "amd-enabled",
      example: "AMD-Vi: Interrupt remapping enabled",
      kernels: "all",
      pattern:
        /AMD-Vi:\s+(?:Interrupt\s+remapping\s+enabled|Found\s+IOMMU|Enabling\s+IOMMU|Initialized\s+for|Virtual\s+APIC\s+enabled|Extended\s+features|X2APIC\s+enabled|Using\s+global\s+IVHD)/,
      fields: {},
    },
    () => ({ about: "iommu", iommu: "amd" }),
  ),
  host(
    {
      name: "smmu-v3-probe",
      example: "arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x00000fef)",
      kernels: "all",
      pattern: /arm-smmu-v3\s+\S+:\s+(?:ias\s+\d+-bit|option\s+mask|allocated\s+\d+\s+entries)/,
      fields: {},
    },
    () => ({ about: "iommu", iommu: "smmu-v3" }),
  ),
  host(
    {
      name: "smmu-probe",
      example: "arm-smmu 15000000.iommu: probing hardware configuration...",
      kernels: "all",
      pattern: /arm-smmu\s+\S+:\s+(?:probing\s+hardware|SMMUv[12]\s+with|stage\s+[12]\s+translation)/,
      fields: {},
    },
    () => ({ about: "iommu", iommu: "smmu" }),
  ),
  host(
    {
      name: "virtio-iommu-probe",
      example: "virtio_iommu virtio0: input address: 64 bits",
      kernels: "5.3 on",
      pattern: /virtio_iommu\s+\S+:\s+input\s+address/,
      fields: {},
    },
    () => ({ about: "iommu", iommu: "virtio" }),
  ),
  host(
    {
      name: "domain-type",
      example: "iommu: Default domain type: Passthrough",
      kernels: "5.3 on",
      pattern: /Default\s+domain\s+type:\s+(?<type>Passthrough)/i,
      fields: { type: NAME },
    },
    () => ({ about: "invalidation", mode: "passthrough" }),
  ),
  host(
    {
      name: "invalidation-policy",
      example: "iommu: DMA domain TLB invalidation policy: lazy mode",
      kernels: "5.14 on",
      pattern: /DMA\s+domain\s+TLB\s+invalidation\s+policy:\s+(?<mode>lazy|strict)/,
      fields: { mode: NAME },
    },
    (values) => ({ about: "invalidation", mode: values.text("mode") === "strict" ? "strict" : "lazy" }),
  ),
  host(
    {
      name: "amd-lazy",
      example: "AMD-Vi: Lazy IO/TLB flushing enabled",
      kernels: "until 5.13",
      pattern: /AMD-Vi:\s+(?:Lazy\s+IO\/TLB\s+flushing\s+enabled|IO\/TLB\s+flush\s+on\s+unmap\s+(?<strict>enabled))/,
      fields: { strict: NAME },
    },
    (values) => ({ about: "invalidation", mode: values.text("strict") === undefined ? "lazy" : "strict" }),
  ),
];

const REGIONS: readonly Shape[] = [
  host(
    {
      name: "rmrr",
      example: "DMAR: RMRR base: 0x000000ab000000 end: 0x000000af7fffff",
      kernels: "all",
      pattern: /RMRR\s+base:\s+(?<first>0x[0-9a-f]+)\s+end:\s+(?<last>0x[0-9a-f]+)/i,
      fields: { first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      return region && { about: "reserved", use: "RMRR", ...region };
    },
  ),
  host(
    {
      name: "identity-map",
      example: "DMAR: Setting identity map for device 0000:00:02.0 [0xab800000 - 0xaf9fffff]",
      kernels: "until 5.14",
      pattern: new RegExp(
        String.raw`identity\s+map\s+for\s+device\s+(?<device>${PCI_DEVICE})\s+\[(?:mem\s+)?(?<first>0x[0-9a-f]+)\s*-\s*(?<last>0x[0-9a-f]+)\]`,
        "i",
      ),
      fields: { device: DEVICE, first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      const device = pciName(values.text("device"));
      return region && { about: "reserved", use: "RMRR", ...region, ...(device === undefined ? {} : { device }) };
    },
  ),
  host(
    {
      name: "reserved-region",
      example: "0x00000000fee00000 0x00000000feefffff msi",
      kernels: "/sys/kernel/iommu_groups/*/reserved_regions",
      pattern:
        /(?<first>0x[0-9a-f]{8,16})\s+(?<last>0x[0-9a-f]{8,16})\s+(?<use>direct-relaxable|direct|reserved|msi)\b/,
      fields: { first: HEX, last: HEX, use: NAME },
    },
    (values) => {
      const region = range(values);
      return region && { about: "reserved", use: values.text("use") ?? "", ...region };
    },
  ),
  host(
    {
      name: "memory-map",
      example: "BIOS-e820: [mem 0x0000000000100000-0x0000000070ad4fff] usable",
      kernels: "all x86",
      pattern: /BIOS-e820:\s+\[mem\s+(?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)\]\s+(?<use>[^\n]+)/,
      fields: { first: HEX, last: HEX, use: NAME },
    },
    (values) => {
      const region = range(values);
      return region && { about: "ram", use: values.text("use") ?? "", ...region };
    },
  ),
  host(
    {
      name: "iomem",
      example: "00100000-70ad4fff : System RAM",
      kernels: "/proc/iomem",
      pattern: /(?<first>[0-9a-f]{8,16})-(?<last>[0-9a-f]{8,16})\s+:\s+(?<use>System\s+RAM)/,
      fields: { first: HEX, last: HEX, use: NAME },
    },
    (values) => {
      const region = range(values);
      return region && region.end > 0n ? { about: "ram", use: "usable", ...region } : undefined;
    },
  ),
  host(
    {
      name: "framebuffer",
      example: "efifb: framebuffer at 0x9c000000, using 3072k, total 3072k",
      kernels: "all",
      pattern:
        /framebuffer\s+at\s+(?<first>0x[0-9a-f]+),\s+(?:using|mapped\s+to\s+0x[0-9a-f]+,\s+using)\s+(?<size>\d+)k/i,
      fields: { first: HEX, size: { radix: "decimal", unit: "KiB" } },
    },
    (values) => {
      const first = values.number("first");
      const size = values.number("size");
      return first === undefined || size === undefined
        ? undefined
        : { about: "framebuffer", first, end: first + size * 1024n };
    },
  ),
  host(
    {
      name: "its",
      example: "ITS [mem 0x08080000-0x0809ffff]",
      kernels: "Arm with GICv3",
      pattern: /\bITS\s+\[mem\s+(?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)\]/,
      fields: { first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      return region && { about: "its", ...region };
    },
  ),
];

const DEVICES: readonly Shape[] = [
  host(
    {
      name: "group",
      example: "pci 0000:00:02.0: Adding to iommu group 0",
      kernels: "5.3 on",
      pattern: new RegExp(String.raw`(?<device>${PCI_DEVICE}):\s+Adding\s+to\s+iommu\s+group\s+(?<group>\d+)`, "i"),
      fields: { device: DEVICE, group: { radix: "decimal", unit: "group" } },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "group", device, group: values.small("group") ?? 0 };
    },
  ),
  host(
    {
      name: "group-link",
      example: "/sys/kernel/iommu_groups/12/devices/0000:01:00.0",
      kernels: "a listing of /sys/kernel/iommu_groups",
      pattern: new RegExp(String.raw`iommu_groups\/(?<group>\d+)\/devices\/(?<device>${PCI_DEVICE})`, "i"),
      fields: { device: DEVICE, group: { radix: "decimal", unit: "group" } },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "group", device, group: values.small("group") ?? 0 };
    },
  ),
  host(
    {
      name: "bar",
      example: "pci 0000:01:00.0: BAR 0 [mem 0xe0000000-0xefffffff 64bit pref]",
      kernels: "all: `reg 0x10: [mem …]` until 6.7",
      pattern: new RegExp(
        String.raw`pci\s+(?<device>${PCI_DEVICE}):\s+(?:reg\s+0x[0-9a-f]+|BAR\s+\d+):?\s+(?:assigned\s+)?\[mem\s+(?<first>0x[0-9a-f]+)-(?<last>0x[0-9a-f]+)`,
        "i",
      ),
      fields: { device: DEVICE, first: HEX, last: HEX },
    },
    (values) => {
      const region = range(values);
      const device = pciName(values.text("device"));
      return region === undefined || device === undefined ? undefined : { about: "bar", device, ...region };
    },
  ),
  host(
    {
      name: "pci-device",
      example: "pci 0000:01:00.0: [144d:a808] type 00 class 0x010802",
      kernels: "all",
      pattern: new RegExp(String.raw`pci\s+(?<device>${PCI_DEVICE}):\s+\[[0-9a-f]{4}:[0-9a-f]{4}\]\s+type`, "i"),
      fields: { device: DEVICE },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "device", device };
    },
  ),
  {
    name: "lspci-device",
    example:
      "01:00.0 Non-Volatile memory controller [0108]: Samsung Electronics Co Ltd NVMe SSD Controller SM981 [144d:a808]",
    kernels: "lspci, lspci -nnk",
    pattern:
      /(?:^|\n)\s*(?<device>(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s+(?<name>[A-Z][^\n:[\]]+(?:\[[0-9a-f]{4}\])?:\s[^\n]+)/,
    fields: { device: DEVICE, name: NAME },
    read(values, found, sink) {
      const device = pciName(values.text("device"));
      const name = values.text("name");
      if (device === undefined || name === undefined) return;
      sink.add({ kind: "host", ...found.base, about: "device", device, name }, "lspci");
    },
  },
  {
    name: "lspci-region",
    example: "Region 0: Memory at e0000000 (64-bit, prefetchable) [size=256M]",
    kernels: "lspci -v, lspci -vv",
    pattern:
      /(?:Region\s+\d+:\s+)?Memory\s+at\s+(?<first>[0-9a-f]{6,16})\s+\([^)\n]*\)[^\n]*\[size=(?<size>\d+)(?<unit>[KMGT]?)\]/,
    fields: { first: HEX, size: { radix: "decimal", unit: "unit" }, unit: NAME },
    read(values, found, sink) {
      const before = sink.open("lspci");
      const first = values.number("first");
      const size = values.number("size");
      if (before?.kind !== "host" || before.about !== "device" || first === undefined || size === undefined) return;
      sink.extend(before, found);
      const unit = 1024n ** BigInt("KMGT".indexOf(values.text("unit") || "?") + 1);
      sink.add({ kind: "host", ...found.base, about: "bar", device: before.device, first, end: first + size * unit });
    },
  },
  {
    name: "lspci-driver",
    example: "Kernel driver in use: nvme",
    kernels: "lspci -k",
    pattern: /Kernel\s+driver\s+in\s+use:\s+(?<driver>\S+)/,
    fields: { driver: NAME },
    read(values, found, sink) {
      const before = sink.open("lspci");
      if (before?.kind !== "host" || before.about !== "device") return;
      sink.extend(before, found);
      sink.add({
        kind: "host",
        ...found.base,
        about: "driver",
        device: before.device,
        driver: values.text("driver") ?? "",
      });
    },
  },
  host(
    {
      name: "driver-line",
      example: "nvme 0000:01:00.0: platform quirk: setting simple suspend",
      kernels: "all: the device's name stands after its driver's",
      pattern:
        /(?:^|\n)\s*(?<driver>(?!pci\b|pcieport\b|platform\b|iommu\b)[a-z][\w-]{1,30})\s+(?<device>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(?=[:\s])/,
      fields: { driver: NAME, device: DEVICE },
    },
    (values) => {
      const device = pciName(values.text("device"));
      return device === undefined ? undefined : { about: "driver", device, driver: values.text("driver") ?? "" };
    },
  ),
  host(
    {
      name: "name-of-device",
      example: "nvme nvme0: pci function 0000:01:00.0",
      kernels: "nvme; network drivers: `renamed from`, `eth0: … at`",
      pattern: new RegExp(
        String.raw`\bnvme\s+(?<name>nvme\d+):\s+pci\s+function\s+(?<device>${PCI_DEVICE})|(?<netDevice>[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])\s+(?<netName>\w+):\s+(?:renamed\s+from|NIC\s+Link|link\s+up)`,
        "i",
      ),
      fields: { name: NAME, device: DEVICE, netDevice: DEVICE, netName: NAME },
    },
    (values) => {
      const device = pciName(values.text("device") ?? values.text("netDevice"));
      const name = values.text("name") ?? values.text("netName");
      return device === undefined || name === undefined ? undefined : { about: "name", name, device };
    },
  ),
  {
    name: "register-dump",
    example: "host_regs: 00000050: 032db000 00000001 00000000 00000000",
    kernels: "drivers that dump registers as words",
    pattern:
      /(?:^|\n)(?<label>[\w .-]{0,40}?):?\s*(?:0x)?[0-9a-f]{1,8}:\s+(?<words>(?:(?:0x)?[0-9a-f]{8}(?:\s(?!\n)|(?=\n|$))){2,8})/,
    fields: { label: NAME, words: { radix: "text", unit: "words of 32 bits, hexadecimal" } },
    read(values, found, sink) {
      const words = (values.text("words") ?? "")
        .split(/\s+/)
        .map((word) => Number.parseInt(word.replace(/^0x/, ""), 16));
      sink.add({ kind: "host", ...found.base, about: "registers", words });
    },
  },
];

export const HOST: Family = {
  name: "host",
  about: "the machine: kernel, command line, IOMMUs, reserved regions, memory, groups, BARs, drivers",
  hint: /Linux|[Cc]ommand line|Comm:|systemd\[1\]|\binit\b|unused kernel|elfcorehdr|DMAR:|tables? from|Copied|sched_clock|AMD-Vi|smmu|virtio_iommu|iommu|RMRR|identity map|e820|System RAM|0x[0-9a-f]{8}|framebuffer|ITS|[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|Memory at|Kernel driver|[0-9a-f]{8} [0-9a-f]{8}/,
  shapes: [...KERNEL, ...IOMMUS, ...REGIONS, ...DEVICES],
};
