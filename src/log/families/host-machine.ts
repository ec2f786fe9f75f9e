/** Boot lines about the machine as a whole: its kernel, the command line, the beginning of user space, its IOMMUs and their mode. */
import type { Shape } from "../shape.ts";
import { host, NAME } from "./host-shape.ts";

/** The mode that boot parameters request; undefined when they leave it to the kernel. */
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
      pattern: /Linux\s+version\s+(?<version>\d{1,3}\.\d{1,3}\S{0,100})/,
      fields: { version: NAME },
    },
    (values) => ({ about: "kernel", version: values.text("version") ?? "" }),
  ),
  host(
    {
      name: "uname",
      example: "Linux host 5.15.0-91-generic #101-Ubuntu SMP Tue Nov 14 13:30:08 UTC 2023 x86_64 GNU/Linux",
      kernels: "uname -a",
      pattern: /\bLinux\s+\S+\s+(?<version>\d{1,3}\.\d{1,3}\.\d{1,4}\S{0,100})\s+#\d+/,
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

export const MACHINE: readonly Shape[] = [...KERNEL, ...IOMMUS];
