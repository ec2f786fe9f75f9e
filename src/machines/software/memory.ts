/** The memory that the software machine makes for itself: one region from address 0 on. */
import { PhysicalMemory } from "../../memory/physical-memory.ts";
import { createShared } from "../../shared/memory.ts";
import { checkInteger, InvalidArgumentError } from "../../units/errors.ts";

/** Largest memory: what engines give in one buffer. */
const MAX_MEMORY_BYTES = 2 ** 32;

/** Zeroed memory of `bytes` bytes: a multiple of 4096 up to 4 GiB. Throws RangeError if the engine can't allocate it. */
export function createMemory(bytes: number): PhysicalMemory {
  checkInteger("memory size in bytes", bytes, 4096, MAX_MEMORY_BYTES);
  if (bytes % 4096 !== 0) throw new InvalidArgumentError("memory size in bytes", bytes, "a multiple of 4096");
  return PhysicalMemory.of([{ address: 0, buffer: createShared(bytes) }]);
}
