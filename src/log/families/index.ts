/** All families of message shapes. Where two shapes match at one place of a text, the earlier family's counts. */
import type { Family } from "../shape.ts";
import { DMA_DEBUG } from "./dma-debug.ts";
import { EVENTS } from "./events.ts";
import { HOST } from "./host.ts";
import { INTEL } from "./intel.ts";
import { ROCKCHIP } from "./rockchip.ts";
import { SMMU } from "./smmu.ts";
import { SMMU_V3 } from "./smmu-v3.ts";
import { SOC } from "./soc.ts";
import { TEGRA } from "./tegra.ts";

export const FAMILIES: readonly Family[] = [
  INTEL,
  SMMU_V3,
  SMMU,
  ROCKCHIP,
  TEGRA,
  SOC,
  DMA_DEBUG,
  // What other families don't read.
  EVENTS,
  HOST,
];
