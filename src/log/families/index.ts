/** All families of message shapes. Where two shapes match at one place of a text, the earlier family's counts: Xen quotes the words of Linux. */
import type { Family } from "../shape.ts";
import { AMD } from "./amd.ts";
import { DMA_DEBUG } from "./dma-debug.ts";
import { DPDK } from "./dpdk.ts";
import { DRIVER_REFUSALS } from "./driver-refusals.ts";
import { DYNAMIC_DEBUG } from "./dynamic-debug.ts";
import { EVENTS } from "./events.ts";
import { HOST } from "./host.ts";
import { INTEL } from "./intel.ts";
import { LOCKUP } from "./lockup.ts";
import { POWERPC } from "./powerpc.ts";
import { QEMU } from "./qemu.ts";
import { ROCKCHIP } from "./rockchip.ts";
import { SMMU } from "./smmu.ts";
import { SMMU_V3 } from "./smmu-v3.ts";
import { SOC } from "./soc.ts";
import { SPARC } from "./sparc.ts";
import { SUPPRESSED } from "./suppressed.ts";
import { SWIOTLB } from "./swiotlb.ts";
import { TEGRA } from "./tegra.ts";
import { VFIO } from "./vfio.ts";
import { VIRTIO } from "./virtio.ts";
import { XEN } from "./xen.ts";

export const FAMILIES: readonly Family[] = [
  XEN,
  INTEL,
  AMD,
  QEMU,
  VIRTIO,
  SMMU_V3,
  SMMU,
  ROCKCHIP,
  TEGRA,
  SOC,
  POWERPC,
  SPARC,
  SUPPRESSED,
  DMA_DEBUG,
  SWIOTLB,
  VFIO,
  DPDK,
  DRIVER_REFUSALS,
  DYNAMIC_DEBUG,
  LOCKUP,
  // Messages that no other family reads.
  EVENTS,
  HOST,
];
