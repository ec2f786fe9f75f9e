/** Options of the debug mode, and their defaults. */
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

/** Options of `debugged`. All fields are optional. */
export interface DebugOptions {
  /** The device's name in reports. Default "device". */
  readonly device?: string;
  /** Who uses the device: a label, or a function that is called at each mapping, free and misuse. Default "". */
  readonly owner?: string | (() => string);
  /**
   * Receives the reports. Default: `DebuggedDevice.reports` collects them, and each is printed as a warning on the console. If it throws,
   * the wrong call ends with that error. Frees, syncs and mappings of memory that is not DMA-able have done nothing then; for overlaps and
   * segments the mapping exists already.
   */
  readonly onMisuse?: (report: MisuseReport) => void;
  /** Reports of one kind, 1 .. 2^31 − 1; further ones are only counted. Default 16. */
  readonly reportsPerKind?: number;
  /** Kinds that are only counted. Default: none. */
  readonly ignore?: readonly MisuseKind[];
  /**
   * Most live mappings, and most pieces of memory that a device may write: 1 .. 2^22. If this is exceeded, the debug mode reports it once
   * and switches itself off. Default 65536, which takes about 7 MB (`DebuggedDevice.memoryBytes`).
   */
  readonly capacity?: number;
  /** Frames of each call stack: 0 .. 32. Default 8. 0 captures no stacks, and is about twenty times as fast. */
  readonly stackFrames?: number;
  /**
   * The device's limits, against which segments of lists are checked. Default: no check. A field that is left out has its default of
   * `DeviceLimits`.
   */
  readonly limits?: DeviceLimits;
  /** Which memory devices may reach: ranges, or a function. Default: all memory. Does not apply to `mapResource`. */
  readonly dmaAble?: DmaAble | readonly MemoryRange[];
  /** The CPU's cache line, in bytes: a power of two, 16 .. 4096. Default 64; POWER has 128. */
  readonly cacheLineBytes?: number;
  /**
   * Reports results that are unmapped or synced without a call of `failureOf`. Default false: a program that narrows the result by `typeof`
   * checks it too, which the debug mode can't see.
   */
  readonly checkResults?: boolean;
}

/** Options after the check. */
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
