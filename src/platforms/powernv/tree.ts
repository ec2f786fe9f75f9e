/** Visits the levels of a TCE table: to free them, to find one, or to take over an existing table. */
import { swapBytes } from "../../formats/address.ts";
import { ENTRY_BYTES } from "../../formats/contract.ts";
import type { Memory } from "../../machine/contract.ts";

/** The part of a geometry that determines the tree of levels. */
export interface TreeShape {
  readonly rootAddress: number;
  readonly levels: number;
  readonly levelBits: number;
}

/**
 * Calls `visit` for every level below the first, with the address of its inner entry. Levels below a level are visited before it.
 */
export function forEachLevel(
  memory: Memory,
  { rootAddress, levels, levelBits }: TreeShape,
  visit: (level: number, inner: number) => void,
): void {
  if (levels === 1) return;
  for (let index = 0; index < 2 ** levelBits; index++) {
    const inner = rootAddress + index * ENTRY_BYTES;
    const level = levelOf(memory, inner);
    if (level === 0) continue;
    forEachLevel(memory, { rootAddress: level, levels: levels - 1, levelBits }, visit);
    visit(level, inner);
  }
}

/** The address in an inner entry; 0: no level. */
function levelOf(memory: Memory, inner: number): number {
  const low = swapBytes(memory.load32(inner + 4)) >>> 0;
  if ((low & 3) === 0) return 0;
  const high = swapBytes(memory.load32(inner)) >>> 0;
  return high * 2 ** 32 + ((low & 0xfffff000) >>> 0);
}
