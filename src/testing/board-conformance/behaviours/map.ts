/** Map and unmap: what is mapped the device reaches at its place, what is unmapped it does not, and neighbours stay as they are. */

import type { Mapping } from "../../../dma/contract.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { expect } from "../../expect.ts";
import type { Bench } from "../bench.ts";
import type { BoardCase } from "../case.ts";

const whereverItLies: BoardCase = {
  behaviour: "map",
  name: "what is mapped the device reads and writes, at every offset in the page",
  run(bench) {
    const last = bench.severalPages ? bench.pageBytes - 40 : 3000;
    for (const [offset, bytes] of [
      [0, 1],
      [0, 64],
      [1, 100],
      [last, 40],
    ] as const) {
      const address = bench.address(1, offset);
      const mapping = bench.map(address, bytes);
      const kept = mapping.iova % BigInt(bench.pageBytes) === BigInt(address % bench.pageBytes);
      expect(
        kept,
        () =>
          `memory at ${hexadecimal(address)} is mapped at ${hexadecimal(mapping.iova)}: the offset in the page is lost`,
      );
      bench.expectReads(mapping.iova, address, bytes);
      bench.writeMarks(mapping.iova, address, bytes);
      bench.unmap(mapping);
      bench.settle();
      bench.expectMarks(address, bytes);
    }
  },
};

const overPages: BoardCase = {
  behaviour: "map",
  name: "a mapping over several pages is one piece for the device, and ends where it should",
  needs: ["several pages"],
  run(bench) {
    for (const [offset, pages] of [
      [0, 2],
      [bench.pageBytes - 100, 3],
      [0, 6],
    ] as const) {
      const address = bench.address(1, offset);
      const bytes = (pages - 1) * bench.pageBytes;
      const mapping = bench.map(address, bytes);
      bench.expectReads(mapping.iova, address, bytes);
      bench.writeMarks(mapping.iova, address, bytes);
      bench.unmap(mapping);
      bench.settle();
      bench.expectMarks(address, bytes);
    }
  },
};

const entriesReadBack: BoardCase = {
  behaviour: "map",
  name: "the entries of a mapping read back as its pages and what its access grants, and no others are set",
  run(bench) {
    for (const access of [1, 2, 3] as const) {
      const address = bench.address(2, 50);
      const bytes = bench.severalPages ? 3 * bench.pageBytes : 500;
      const mapping = bench.map(address, bytes, access);
      const pages = Math.ceil(((address % bench.pageBytes) + bytes) / bench.pageBytes);
      const first = bench.entryAt(mapping.iova);
      const wanted = new Map(
        Array.from({ length: pages }, (_, i) => {
          const value = { page: bench.pageOf(address) + i, access: bench.kind.grants[access] };
          return [first + i, value] as const;
        }),
      );
      bench.expectEntries(wanted, `with ${pages} entries from ${first} on mapped for access ${access}`);
      bench.unmap(mapping);
    }
  },
};

const sameMemoryTwice: BoardCase = {
  behaviour: "map",
  name: "the same memory mapped twice has two addresses, and one of them stays when the other is unmapped",
  run(bench) {
    const address = bench.address(1, 7);
    const one = bench.map(address, 60);
    const two = bench.map(address, 60);
    expect(one.iova !== two.iova, () => `both mappings are at ${hexadecimal(one.iova)}`);
    bench.expectReads(one.iova, address, 60);
    bench.unmap(one);
    bench.expectReads(two.iova, address, 60);
    bench.unmap(two);
  },
};

const unreachableAfterwards: BoardCase = {
  behaviour: "unmap",
  name: "once it is unmapped, and in lazy mode flushed, the device reaches nothing of it",
  run(bench) {
    const address = bench.address(1);
    const pages = bench.severalPages ? 4 : 1;
    const mapping = bench.map(address, bench.severalPages ? pages * bench.pageBytes : 4096);
    // The IOTLB learns every entry.
    for (let page = 0; page < pages; page++) readFirst(bench, mapping, address, page);
    bench.unmap(mapping);
    bench.settle();
    for (let page = 0; page < pages; page++) {
      const at = page * bench.pageBytes;
      const when = `after unmap, at page ${page} of ${pages}`;
      bench.expectNoRead(mapping.iova + BigInt(at), address + at, "not-mapped", when);
      bench.expectNoWrite(mapping.iova + BigInt(at), address + at, "not-mapped", when);
    }
  },
};

const entriesEmptyAtOnce: BoardCase = {
  behaviour: "unmap",
  name: "the entries of what is unmapped are empty when unmap returns, in lazy mode too",
  run(bench) {
    for (const pages of bench.severalPages ? [1, 2, 5] : [1]) {
      const bytes = bench.severalPages ? pages * bench.pageBytes : 4096;
      const mapping = bench.map(bench.address(0), bytes);
      bench.unmap(mapping);
      bench.expectEntries(new Map(), `after unmap of ${pages} entries from ${bench.entryAt(mapping.iova)} on`);
    }
  },
};

const neighboursStay: BoardCase = {
  behaviour: "unmap",
  name: "what is unmapped in the middle leaves its neighbours as they are",
  run(bench) {
    const bytes = bench.severalPages ? 2 * bench.pageBytes : 4096;
    const mapped = (slot: number): Mapped => {
      const address = bench.address(slot);
      return { address, mapping: bench.map(address, bytes) };
    };
    const [low, middle, high] = [mapped(0), mapped(2), mapped(4)];
    const before = bench.entries();
    const pages = bench.severalPages ? 2 : 1;
    bench.unmap(middle.mapping);
    bench.settle();
    for (let i = 0; i < pages; i++) before.delete(bench.entryAt(middle.mapping.iova) + i);
    bench.expectEntries(before, "after unmap of the middle one of three mappings");
    bench.expectReads(low.mapping.iova, low.address, bytes);
    bench.expectReads(high.mapping.iova, high.address, bytes);
    bench.unmap(high.mapping);
    bench.unmap(low.mapping);
  },
};

interface Mapped {
  readonly address: number;
  readonly mapping: Mapping;
}

function readFirst(bench: Bench, mapping: Mapping, address: number, page: number): void {
  bench.expectReads(mapping.iova + BigInt(page * bench.pageBytes), address + page * bench.pageBytes, 32);
}

export const MAP: readonly BoardCase[] = [whereverItLies, overPages, entriesReadBack, sameMemoryTwice];
export const UNMAP: readonly BoardCase[] = [unreachableAfterwards, entriesEmptyAtOnce, neighboursStay];
