/** Helpers of the shapes' tests: text in, facts out. */
import type { Fact, LineRef } from "./facts.ts";
import { LogReader, type LogSummary } from "./reader.ts";

/** All facts of a text, in the order in which the reader hands them on. */
export function factsOf(text: string): Fact[] {
  const facts: Fact[] = [];
  const reader = new LogReader("-", (fact) => facts.push(fact));
  reader.write(new TextEncoder().encode(text));
  reader.finish();
  return facts;
}

/** Ways to feed a text to a reader; all give the same facts. */
export interface Way {
  /** The reader never sees how the next line begins. */
  readonly byLine?: boolean;
  /** False: each line is read as if it came for the first time. */
  readonly remembers?: boolean;
}

/** The result of reading a text. */
export function readBy(
  text: string,
  { byLine = false, remembers = true }: Way,
): { facts: Fact[]; summary: LogSummary } {
  const facts: Fact[] = [];
  const reader = new LogReader("-", (fact) => facts.push(fact), remembers);
  const encoder = new TextEncoder();
  const pieces = byLine ? (text.match(/[^\n]*\n|[^\n]+$/g) ?? []) : [text];
  for (const piece of pieces) reader.write(encoder.encode(piece));
  return { facts, summary: reader.finish() };
}

/** Lines of the text that `factsOf` reads. */
export function linesOf(...numbers: readonly number[]): LineRef[] {
  return numbers.map((line) => ({ file: "-", line }));
}

/** Lines of a text that look like messages of an IOMMU and are not read. */
export function unreadOf(text: string): LogSummary["unread"] {
  const reader = new LogReader("-", () => undefined);
  reader.write(new TextEncoder().encode(text));
  return reader.finish().unread;
}
