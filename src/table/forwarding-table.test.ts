import assert from "node:assert/strict";
import { test } from "node:test";
import { UNCONSTRAINED } from "../allocator/constraints.ts";
import type { DmaWindow } from "../units/numbers.ts";
import type { MappingTable } from "./contract.ts";
import { ForwardingTable } from "./forwarding-table.ts";

class Plain extends ForwardingTable {}

type Operations = Required<Omit<MappingTable, "window">>;
type Arguments = { readonly [Name in keyof Operations]: Parameters<Operations[Name]> };

const WINDOW: DmaWindow = { base: 0n, pageShift: 12, entries: 8 };
const FIRSTS = Int32Array.of(1, 5);
const COUNTS = Int32Array.of(2, 1);

/** Each operation of the contract; one that it gets does not compile until it stands here. */
const ARGUMENTS: Arguments = {
  allocate: [3, UNCONSTRAINED, 6],
  allocateAt: [4, 2],
  holderOf: [{ first: 1, end: 3 }],
  get: [2, { page: 0, access: 0 }],
  set: [1, 2, 77, 3],
  setPages: [1, Float64Array.of(77, 79), 2, 3],
  setCoherent: [1, 2, 78, 3],
  synchronize: [1, 2],
  publish: [],
  commit: [1, 2],
  abandon: [1, 2],
  abandonAll: [FIRSTS, COUNTS, 2],
  unmap: [1, 2],
  unmapAll: [FIRSTS, COUNTS, 2],
  checkUnmap: [1, 2],
  awaitInvalidation: [],
};

/** A table that has these operations, and answers with the place of each among all. */
function recording(names: readonly string[], calls: unknown[][]): MappingTable {
  const operation = (name: string, answer: number) => {
    return (...args: unknown[]): number => {
      calls.push([name, ...args]);
      return answer;
    };
  };
  const operations = names.map((name, i) => [name, operation(name, 100 + i)] as const);
  return { window: WINDOW, ...Object.fromEntries(operations) } as unknown as MappingTable;
}

test("every operation is handed on with its arguments, and its answer comes back", () => {
  const names = Object.keys(ARGUMENTS) as (keyof Operations)[];
  for (const [i, name] of names.entries()) {
    const calls: unknown[][] = [];
    const table = new Plain(recording(names, calls));
    const operation = table[name] as (...args: readonly unknown[]) => unknown;
    const answer = operation.apply(table, ARGUMENTS[name]);
    assert.deepEqual(calls, [[name, ...ARGUMENTS[name]]]);
    if (!["commit", "checkUnmap", "get"].includes(name)) assert.equal(answer, 100 + i, name);
  }
  assert.equal(new Plain(recording(names, [])).window, WINDOW);
});

test("an operation that the wrapped table lacks is named", () => {
  const table = new Plain(recording(["allocate"], []));
  const lacking = (method: string) => ({
    code: "not-supported",
    message: `the table has no method ${method}; an IommuTable has it`,
  });
  assert.throws(() => table.allocateAt(4, 2), lacking("allocateAt"));
  assert.throws(() => table.holderOf({ first: 1, end: 3 }), lacking("holderOf"));
  assert.throws(() => table.get(2, { page: 0, access: 0 }), lacking("get"));
});
