/**
 * Statements about the machine: the machine itself (host-machine.ts), ranges of addresses (host-regions.ts), devices (host-devices.ts).
 * Nothing here is a finding; rules weigh findings by it.
 */
import type { Family } from "../shape.ts";
import { DEVICES } from "./host-devices.ts";
import { MACHINE } from "./host-machine.ts";
import { REGIONS } from "./host-regions.ts";

export const HOST: Family = {
  name: "host",
  about: "the machine: kernel, command line, IOMMUs, reserved regions, memory, groups, BARs, drivers",
  hint: /Linux|[Cc]ommand\s+line|Comm:|systemd\[1\]|\binit\b|unused\s+kernel|elfcorehdr|DMAR:|tables?\s+from|Copied|sched_clock|AMD-Vi|smmu|virtio_iommu|iommu|RMRR|identity\s+map|e820|System\s+RAM|0x[0-9a-f]{8}|framebuffer|ITS|[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|Memory\s+at|Kernel\s+driver|[0-9a-f]{8}\s[0-9a-f]{8}/,
  shapes: [...MACHINE, ...REGIONS, ...DEVICES],
};
