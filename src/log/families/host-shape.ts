/** Helpers of the shapes about the machine: each makes one fact of its fields. */
import type { HostFact } from "../facts.ts";
import type { Field, Found, Shape, Sink, Values } from "../shape.ts";

export const HEX: Field = { radix: "hex", unit: "physical address" };
export const NAME: Field = { radix: "text", unit: "name" };
export const PCI: Field = { radix: "text", unit: "PCI device" };

/** A fact without the fields that all facts have. */
type About<Fact = HostFact> = Fact extends HostFact
  ? Omit<Fact, "kind" | "shape" | "lines" | "text" | "time" | "clock">
  : never;

/** A shape that makes one fact of its fields; no fact when a field that it needs is missing. */
export function host(
  shape: Pick<Shape, "name" | "example" | "kernels" | "pattern" | "fields">,
  about: (values: Values) => About | undefined,
): Shape {
  return {
    ...shape,
    read(values: Values, found: Found, sink: Sink): void {
      const said = about(values);
      if (said !== undefined) sink.add({ kind: "host", ...found.base, ...said } as HostFact);
    },
  };
}

/** [first, last] as printed → [first, end). */
export function range(values: Values): { first: bigint; end: bigint } | undefined {
  const first = values.number("first");
  const last = values.number("last");
  return first === undefined || last === undefined || last < first ? undefined : { first, end: last + 1n };
}
