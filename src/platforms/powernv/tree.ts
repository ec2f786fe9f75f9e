/** The levels of a TCE table, visited: for who frees them, looks for one among them, or takes over a table that others left. */
import { swapBytes } from "../../formats/address.ts";
import { ENTRY_BYTES } from "../../formats/contract.ts";
import type { Memory } from "../../machine/contract.ts";

/** What of a geometry says how levels hang together. */
export interface TreeShape {
  readonly rootAddress: number;
  readonly levels: number;
  readonly levelBits: number;
}

/**
 * Calls `visit` for every level below the first, those below a level before the level itself, with the address of the inner entry
 * that leads to it.
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

/** The address that an inner entry holds; 0: none. */
function levelOf(memory: Memory, inner: number): number {
  const low = swapBytes(memory.load32(inner + 4)) >>> 0;
  if ((low & 3) === 0) return 0;
  const high = swapBytes(memory.load32(inner)) >>> 0;
  return high * 2 ** 32 + ((low & 0xfffff000) >>> 0);
}
