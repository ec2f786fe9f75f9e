/** How a device is debugged, and what the options come to when they are left out. */
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";
import { checkKeys, type OptionTypes } from "../../units/keys.ts";
import { type CheckedLimits, checkedLimits, type DeviceLimits } from "../limits.ts";
import { type DmaAble, dmaAbleFrom, type MemoryRange } from "./dma-able.ts";
import { MISUSE_KINDS, type MisuseKind, type MisuseReport } from "./misuse.ts";

const DEFAULT_CAPACITY = 65536;
const MAX_CAPACITY = 2 ** 22;
const DEFAULT_STACK_FRAMES = 8;
const MAX_STACK_FRAMES = 32;
const DEFAULT_REPORTS_PER_KIND = 16;
const DEFAULT_CACHE_LINE_BYTES = 64;
const MAX_CACHE_LINE_BYTES = 4096;

/** Every field may be left out. */
export interface DebugOptions {
  /** The device's name in reports. Default "device". */
  readonly device?: string;
  /** Who uses the device: a label, or a function that is asked at each mapping, free and misuse. Default "". */
  readonly owner?: string | (() => string);
  /**
   * Takes the reports. Default: `DebuggedDevice.reports` collects them, and each is a warning on the console. When it throws, the wrong call is broken off: before it has
   * done anything for frees, syncs and memory that is not DMA-able; for overlaps and segments the mapping has been made already.
   */
  readonly onMisuse?: (report: MisuseReport) => void;
  /** Further reports of a kind are counted only, so that a hot misuse does not flood: 1 .. 2^31 − 1. Default 16. */
  readonly reportsPerKind?: number;
  /** Kinds that are counted only. Default: none. */
  readonly ignore?: readonly MisuseKind[];
  /**
   * Mappings that can be live at once, and pieces of memory that a device may write: 1 .. 2^22. With one more, the debug mode says so
   * once and switches itself off. Default 65536, which takes about 7 MB; `DebuggedDevice.memoryBytes` tells.
   */
  readonly capacity?: number;
  /** Lines that are kept of each call stack: 0 .. 32; 0 captures none, and is some twenty times as fast. Default 8. */
  readonly stackFrames?: number;
  /** The device's limits: segments of lists are held against them. Default: they are not. Without a field: its default there. */
  readonly limits?: DeviceLimits;
  /** Which memory devices may reach: ranges, or a function. Default: all. Not asked about `mapResource`. */
  readonly dmaAble?: DmaAble | readonly MemoryRange[];
  /** The CPU's cache line, in bytes: a power of two, 16 .. 4096. Default 64; POWER has 128. */
  readonly cacheLineBytes?: number;
  /**
   * Report results that are unmapped or synced before `failureOf` has seen them. Default false: where the result's type is narrowed
   * by `typeof`, the compiler has seen to it that it is checked, and nothing here can see that.
   */
  readonly checkResults?: boolean;
}

/** Options that have been looked at. */
export interface CheckedOptions {
  readonly device: string;
  readonly owner: string | (() => string);
  readonly onMisuse: ((report: MisuseReport) => void) | undefined;
  readonly reportsPerKind: number;
  readonly ignore: ReadonlySet<MisuseKind>;
  readonly capacity: number;
  readonly stackFrames: number;
  readonly limits: CheckedLimits | undefined;
  readonly dmaAble: DmaAble | undefined;
  readonly cacheLineBytes: number;
  readonly checkResults: boolean;
}

const OPTION_TYPES: OptionTypes<DebugOptions> = {
  device: "any",
  owner: "any",
  onMisuse: "any",
  reportsPerKind: "any",
  ignore: "object",
  capacity: "any",
  stackFrames: "any",
  limits: "object",
  dmaAble: "any",
  cacheLineBytes: "any",
  checkResults: "boolean",
};

/** @throws InvalidArgumentError for an option outside its range */
export function checkOptions(options: DebugOptions): CheckedOptions {
  checkKeys("the debug mode", options, OPTION_TYPES);
  const checked: CheckedOptions = {
    device: options.device ?? "device",
    owner: options.owner ?? "",
    onMisuse: options.onMisuse,
    reportsPerKind: options.reportsPerKind ?? DEFAULT_REPORTS_PER_KIND,
    ignore: new Set(options.ignore ?? []),
    capacity: options.capacity ?? DEFAULT_CAPACITY,
    stackFrames: options.stackFrames ?? DEFAULT_STACK_FRAMES,
    limits: options.limits && checkedLimits(options.limits),
    dmaAble: options.dmaAble === undefined ? undefined : dmaAbleFrom(options.dmaAble),
    cacheLineBytes: options.cacheLineBytes ?? DEFAULT_CACHE_LINE_BYTES,
    checkResults: options.checkResults ?? false,
  };
  checkInteger("reports per kind", checked.reportsPerKind, 1, 2 ** 31 - 1);
  checkInteger("debug capacity in records", checked.capacity, 1, MAX_CAPACITY);
  checkInteger("stack frames", checked.stackFrames, 0, MAX_STACK_FRAMES);
  checkInteger("cache line in bytes", checked.cacheLineBytes, 16, MAX_CACHE_LINE_BYTES);
  if (!Number.isInteger(Math.log2(checked.cacheLineBytes))) {
    throw new InvalidArgumentError("cache line in bytes", checked.cacheLineBytes, "a power of two from 16 to 4096");
  }
  checkTypes(checked);
  return checked;
}

function checkTypes({ device, owner, onMisuse, ignore }: CheckedOptions): void {
  if (typeof device !== "string") throw new InvalidArgumentError("device's name", device, "a string");
  if (typeof owner !== "string" && typeof owner !== "function") {
    throw new InvalidArgumentError("owner", owner, "a string or a function");
  }
  if (onMisuse !== undefined && typeof onMisuse !== "function") {
    throw new InvalidArgumentError("onMisuse", onMisuse, "a function");
  }
  for (const kind of ignore) {
    if (!MISUSE_KINDS.includes(kind)) {
      throw new InvalidArgumentError("kind to ignore", kind, `one of ${MISUSE_KINDS.join(", ")}`);
    }
  }
}
