/** Sentences with their proof. */
import type { Fact, LineRef } from "../log/facts.ts";
import type { Statement } from "./contract.ts";

/** Lines that a statement shows at most: more do not prove more. */
const MOST_LINES = 6;

/** A sentence that follows from the lines of `facts`. */
export function statement(text: string, ...facts: readonly { readonly lines: Fact["lines"] }[]): Statement {
  return { text, proof: facts.flatMap(({ lines }): readonly LineRef[] => lines).slice(0, MOST_LINES) };
}

/** An address as the answer writes it: `0xfffdf000`. */
export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
