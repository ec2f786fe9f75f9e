/**
 * `iova/debug`: the debug mode of a device's DMA, which reports misuse and where it happened. A separate entry, so that programs load it
 * only to debug. docs/dma-debug.md lists all reports.
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
