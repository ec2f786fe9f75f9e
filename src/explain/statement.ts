/** Sentences with their proof. */
import type { Fact, LineRef } from "../log/facts.ts";
import { grouped } from "../units/counts.ts";
import type { Statement } from "./contract.ts";

/** Lines that a statement shows at most: more do not prove more. */
const MOST_LINES = 6;

/** A sentence that follows from the lines of `facts`. */
export function statement(text: string, ...facts: readonly { readonly lines: Fact["lines"] }[]): Statement {
  return { text, proof: facts.flatMap(({ lines }): readonly LineRef[] => lines).slice(0, MOST_LINES) };
}

/** An amount of memory with its unit: `512 KiB`, `1,000 bytes`. */
export function amount(bytes: number | bigint): string {
  const count = BigInt(bytes);
  for (const [unit, shift] of [
    ["GiB", 30n],
    ["MiB", 20n],
    ["KiB", 10n],
  ] as const) {
    if (count > 0n && count % (1n << shift) === 0n) return `${grouped(count >> shift)} ${unit}`;
  }
  return count === 1n ? "1 byte" : `${grouped(count)} bytes`;
}

/** An address as the answer writes it: `0xfffdf000`. */
export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
