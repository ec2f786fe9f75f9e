/** What a device is made with beside its window and its limits. */
import type { Memory } from "../machine/contract.ts";
import type { PhysicalPages } from "../memory/physical-pages.ts";
import { InvalidArgumentError } from "../units/errors.ts";
import { checkKeys, type OptionTypes } from "../units/keys.ts";

export interface DmaDeviceOptions {
  /** May neighbours in a scatterlist come out as one segment? Default true. */
  readonly merge?: boolean;
  /**
   * log2 of the CPU's page size in bytes, 12 .. 30; default 12. Whole CPU pages are aligned to a CPU page on the bus, also
   * where IO pages are smaller.
   */
  readonly cpuPageShift?: number;
  /** The machine's memory, as this thread sees it. For coherent memory and bounce buffers, which need one of the next two. */
  readonly memory?: Memory;
  /**
   * Where coherent memory comes from. After the death of a thread the table's `reclaim` comes before that of these pages.
   * Default: there is none.
   */
  readonly coherentPages?: PhysicalPages;
  /** Bounce buffers. Default: none. */
  readonly bounce?: BounceOptions;
}

export interface BounceOptions {
  /**
   * Where bounce buffers come from. Where buffers beyond the mask are bounced: memory below the mask. After the death of a
   * thread the table's `reclaim` comes before that of these pages.
   */
  readonly pages: PhysicalPages;
  /**
   * The device is not trusted: it gets only pages that hold nothing else. Buffers that do not cover whole IO pages are bounced,
   * and no direct window is used. Default false: only buffers out of the device's reach are bounced.
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

/** Throws InvalidArgumentError for what is no option, or of another type. */
export function checkDeviceOptions(options: DmaDeviceOptions): void {
  checkKeys("a device", options, OPTION_TYPES);
  if (options.bounce !== undefined) checkKeys("bounce buffers", options.bounce, BOUNCE_TYPES);
}

/** The memory of the options, which those for coherent memory and bounce buffers need. Throws InvalidArgumentError. */
export function memoryOf(options: DmaDeviceOptions): Memory | undefined {
  const { memory, coherentPages, bounce } = options;
  if (memory === undefined && (coherentPages !== undefined || bounce !== undefined)) {
    throw new InvalidArgumentError("option `memory`", memory, "the machine's, beside `coherentPages` or `bounce`");
  }
  return memory;
}
