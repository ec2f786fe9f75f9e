/**
 * What makes an IOMMU of the software machine: registers as a platform programs them, brought down to windows and invalidations
 * of the translation unit. One file a model; models.ts lists them.
 */

import type { Registers } from "../../../machine/contract.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import type { SharedWords } from "../../../shared/memory.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { InvalidArgumentError, inWords } from "../../../units/errors.ts";
import type { StreamingCache } from "../streaming-cache.ts";
import type { TranslationUnit } from "../translation.ts";

/** What a model's registers are made of, in one thread. */
export interface IommuParts {
  readonly unit: TranslationUnit;
  readonly memory: PhysicalMemory;
  /** The machine's shared state; `at` is where the model's own words begin, zeros at first. */
  readonly state: SharedWords;
  readonly at: number;
  readonly faultsLost: () => number;
  /** Of a model that has one. */
  readonly streaming: StreamingCache | undefined;
}

export interface IommuModel {
  /** What `SoftwareMachineOptions.iommu` says. */
  readonly name: string;
  /** How many words of shared memory it needs for itself. */
  readonly words: number;
  /** Where in these words its streaming cache lies (STREAMING_CACHE_WORDS), if it has one. */
  readonly streamingCacheAt?: number;
  /** One thread's view. Once per machine and thread. */
  create(parts: IommuParts): Registers;
}

/** The error for an access to an unknown register. `namedBy`: the module that names the registers. */
export function unknownRegister(what: string, at: number, namedBy: string): InvalidArgumentError {
  return new InvalidArgumentError(what, inWords(hexadecimal(at)), `one that ${namedBy} names`);
}
