/** Options of a device, besides its window and its limits. */
import type { Memory } from "../machine/contract.ts";
import type { PhysicalPages } from "../memory/physical-pages.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";

/** Options of a `DmaDevice` and a `DirectDevice`. */
export interface DmaDeviceOptions {
  /** True: elements of a scatterlist that are adjacent on the bus merge into one segment. Default true. */
  readonly merge?: boolean;
  /**
   * log2 of the CPU's page size in bytes, 12 .. 30; default 12. Whole CPU pages are aligned to a CPU page on the bus, even if IO pages are
   * smaller.
   */
  readonly cpuPageShift?: number;
  /** This thread's view of the machine's memory. Needed for coherent memory and bounce buffers. */
  readonly memory?: Memory;
  /**
   * Pages for coherent memory. After the death of a thread, `reclaim` of the table comes before that of these pages. Default: no coherent
   * memory.
   */
  readonly coherentPages?: PhysicalPages;
  /** Bounce buffers. Default: none. */
  readonly bounce?: BounceOptions;
}

/** Bounce buffers of a device: pages that replace memory which the device can't, or must not, reach. */
export interface BounceOptions {
  /**
   * Pages for bounce buffers. If buffers beyond the mask are bounced, these pages must lie below the mask. After the death of a thread,
   * `reclaim` of the table comes before that of these pages.
   */
  readonly pages: PhysicalPages;
  /**
   * The device is not trusted: pages that it can reach hold no other data. Buffers that do not cover whole IO pages are bounced, and no
   * direct window is used. Default false: only buffers beyond the device's mask are bounced.
   */
  readonly untrusted?: boolean;
}

const OPTION_TYPES: OptionTypes<DmaDeviceOptions> = {
  merge: "boolean",
  cpuPageShift: "any",
  memory: "object",
  coherentPages: "object",
  bounce: "object",
};
const BOUNCE_TYPES: OptionTypes<BounceOptions> = { pages: "object", untrusted: "boolean" };

/** Throws InvalidArgumentError for an unknown option or a wrong type. */
export function checkDeviceOptions(options: DmaDeviceOptions): void {
  checkKeys("a device", options, OPTION_TYPES);
  if (options.bounce !== undefined) checkKeys("bounce buffers", options.bounce, BOUNCE_TYPES);
}

/** The option `memory`. Throws InvalidArgumentError if it is missing but coherent memory or bounce buffers need it. */
export function memoryOf(options: DmaDeviceOptions): Memory | undefined {
  const { memory, coherentPages, bounce } = options;
  if (memory === undefined && (coherentPages !== undefined || bounce !== undefined)) {
    throw new InvalidArgumentError("option `memory`", memory, "the machine's, beside `coherentPages` or `bounce`");
  }
  return memory;
}
