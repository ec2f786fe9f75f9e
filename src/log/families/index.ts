/** All families of message shapes. Where two shapes match at one place of a text, the earlier family's counts. */
import type { Family } from "../shape.ts";
import { DMA_DEBUG } from "./dma-debug.ts";
import { DPDK } from "./dpdk.ts";
import { DRIVER_REFUSALS } from "./driver-refusals.ts";
import { DYNAMIC_DEBUG } from "./dynamic-debug.ts";
import { EVENTS } from "./events.ts";
import { HOST } from "./host.ts";
import { INTEL } from "./intel.ts";
import { LOCKUP } from "./lockup.ts";
import { ROCKCHIP } from "./rockchip.ts";
import { SMMU } from "./smmu.ts";
import { SMMU_V3 } from "./smmu-v3.ts";
import { SOC } from "./soc.ts";
import { SWIOTLB } from "./swiotlb.ts";
import { TEGRA } from "./tegra.ts";
import { VFIO } from "./vfio.ts";

export const FAMILIES: readonly Family[] = [
  INTEL,
  SMMU_V3,
  SMMU,
  ROCKCHIP,
  TEGRA,
  SOC,
  DMA_DEBUG,
  SWIOTLB,
  VFIO,
  DPDK,
  DRIVER_REFUSALS,
  DYNAMIC_DEBUG,
  LOCKUP,
  // What other families don't read.
  EVENTS,
  HOST,
];
