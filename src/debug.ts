/**
 * `iova/debug` is for drivers in development: `debugged` wraps a device, checks every call of the DMA API, and reports misuse with the
 * place of the wrong call and of the mapping. It is an entry of its own, so that only programs that debug load it. docs/dma-debug.md has all
 * kinds of misuse.
 *
 * ```ts
 * import type { DmaOperations } from "iova";
 * import { debugged, describeMisuse } from "iova/debug";
 *
 * export function inDebugMode(device: DmaOperations): DmaOperations {
 *   return debugged(device, { device: "nic", onMisuse: (report) => console.warn(describeMisuse(report).join("\n")) });
 * }
 * ```
 *
 * @module
 */
export { DebuggedDevice, debugged } from "./dma/debug/debugged-device.ts";
export { describeMisuse } from "./dma/debug/describe.ts";
export type { DmaAble, MemoryRange } from "./dma/debug/dma-able.ts";
export {
  type DebuggedCall,
  type ErrorValueMisuse,
  type FreedMapping,
  type KnownMapping,
  type MappingDescription,
  type MappingKind,
  MISUSE_KINDS,
  type MismatchMisuse,
  type MisuseKind,
  type MisuseReport,
  type NotDmaAbleMisuse,
  type OutOfRecordsMisuse,
  type OverlapCountMisuse,
  type OverlapMisuse,
  type Place,
  type RemovedMisuse,
  type SegmentMisuse,
  type SyncRangeMisuse,
  type UncheckedMisuse,
  type UnmappedMisuse,
} from "./dma/debug/misuse.ts";
export type { DebugOptions } from "./dma/debug/options.ts";
