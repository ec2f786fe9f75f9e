/** What the tests of the shapes share: a text in, the facts that it states out. */
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
