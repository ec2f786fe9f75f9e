/** Map and unmap: the device reaches mapped memory at its address, and not after unmap; other mappings do not change. */

import type { Mapping } from "../../../dma/contract.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import type { Rig } from "../rig.ts";

const whereverItLies: BoardCase = {
  behaviour: "map",
  name: "what is mapped the device reads and writes, at every offset in the page",
  run(rig) {
    const last = rig.severalPages ? rig.pageBytes - 40 : 3000;
    for (const [offset, bytes] of [
      [0, 1],
      [0, 64],
      [1, 100],
      [last, 40],
    ] as const) {
      const address = rig.address(1, offset);
      const mapping = rig.map(address, bytes);
      const kept = mapping.iova % BigInt(rig.pageBytes) === BigInt(address % rig.pageBytes);
      expect(
        kept,
        () =>
          `memory at ${hexadecimal(address)} is mapped at ${hexadecimal(mapping.iova)}: the offset in the page is lost`,
      );
      rig.expectReads(mapping.iova, address, bytes);
      rig.writeMarks(mapping.iova, address, bytes);
      rig.unmap(mapping);
      rig.settle();
      rig.expectMarks(address, bytes);
    }
  },
};

const overPages: BoardCase = {
  behaviour: "map",
  name: "a mapping over several pages is one piece for the device, and ends where it should",
  needs: ["several pages"],
  run(rig) {
    for (const [offset, pages] of [
      [0, 2],
      [rig.pageBytes - 100, 3],
      [0, 6],
    ] as const) {
      const address = rig.address(1, offset);
      const bytes = (pages - 1) * rig.pageBytes;
      const mapping = rig.map(address, bytes);
      rig.expectReads(mapping.iova, address, bytes);
      rig.writeMarks(mapping.iova, address, bytes);
      rig.unmap(mapping);
      rig.settle();
      rig.expectMarks(address, bytes);
    }
  },
};

const entriesReadBack: BoardCase = {
  behaviour: "map",
  name: "the entries of a mapping read back as its pages and what its access grants, and no others are set",
  run(rig) {
    for (const access of [1, 2, 3] as const) {
      const address = rig.address(2, 50);
      const bytes = rig.severalPages ? 3 * rig.pageBytes : 500;
      const mapping = rig.map(address, bytes, access);
      const pages = Math.ceil(((address % rig.pageBytes) + bytes) / rig.pageBytes);
      const first = rig.entryAt(mapping.iova);
      const wanted = new Map(
        Array.from({ length: pages }, (_, i) => {
          const value = { page: rig.pageOf(address) + i, access: rig.kind.grants[access] };
          return [first + i, value] as const;
        }),
      );
      rig.expectEntries(wanted, `with ${pages} entries from ${first} on mapped for access ${access}`);
      rig.unmap(mapping);
    }
  },
};

const sameMemoryTwice: BoardCase = {
  behaviour: "map",
  name: "the same memory mapped twice has two addresses, and one of them stays when the other is unmapped",
  run(rig) {
    const address = rig.address(1, 7);
    const one = rig.map(address, 60);
    const two = rig.map(address, 60);
    expect(one.iova !== two.iova, () => `both mappings are at ${hexadecimal(one.iova)}`);
    rig.expectReads(one.iova, address, 60);
    rig.unmap(one);
    rig.expectReads(two.iova, address, 60);
    rig.unmap(two);
  },
};

const unreachableAfterwards: BoardCase = {
  behaviour: "unmap",
  name: "once it is unmapped, and in lazy mode flushed, the device reaches nothing of it",
  run(rig) {
    const address = rig.address(1);
    const pages = rig.severalPages ? 4 : 1;
    const mapping = rig.map(address, rig.severalPages ? pages * rig.pageBytes : 4096);
    // Loads every entry into the IOTLB.
    for (let page = 0; page < pages; page++) readFirst(rig, mapping, address, page);
    rig.unmap(mapping);
    rig.settle();
    for (let page = 0; page < pages; page++) {
      const at = page * rig.pageBytes;
      const when = `after unmap, at page ${page} of ${pages}`;
      rig.expectNoRead(mapping.iova + BigInt(at), address + at, "not-mapped", when);
      rig.expectNoWrite(mapping.iova + BigInt(at), address + at, "not-mapped", when);
    }
  },
};

const entriesEmptyAtOnce: BoardCase = {
  behaviour: "unmap",
  name: "the entries of what is unmapped are empty when unmap returns, in lazy mode too",
  run(rig) {
    for (const pages of rig.severalPages ? [1, 2, 5] : [1]) {
      const bytes = rig.severalPages ? pages * rig.pageBytes : 4096;
      const mapping = rig.map(rig.address(0), bytes);
      rig.unmap(mapping);
      rig.expectEntries(new Map(), `after unmap of ${pages} entries from ${rig.entryAt(mapping.iova)} on`);
    }
  },
};

const neighboursStay: BoardCase = {
  behaviour: "unmap",
  name: "what is unmapped in the middle leaves its neighbours as they are",
  run(rig) {
    const bytes = rig.severalPages ? 2 * rig.pageBytes : 4096;
    const mapped = (index: number): Mapped => {
      const address = rig.address(index);
      return { address, mapping: rig.map(address, bytes) };
    };
    const [low, middle, high] = [mapped(0), mapped(2), mapped(4)];
    const before = rig.entries();
    const pages = rig.severalPages ? 2 : 1;
    rig.unmap(middle.mapping);
    rig.settle();
    for (let i = 0; i < pages; i++) before.delete(rig.entryAt(middle.mapping.iova) + i);
    rig.expectEntries(before, "after unmap of the middle one of three mappings");
    rig.expectReads(low.mapping.iova, low.address, bytes);
    rig.expectReads(high.mapping.iova, high.address, bytes);
    rig.unmap(high.mapping);
    rig.unmap(low.mapping);
  },
};

interface Mapped {
  readonly address: number;
  readonly mapping: Mapping;
}

function readFirst(rig: Rig, mapping: Mapping, address: number, page: number): void {
  rig.expectReads(mapping.iova + BigInt(page * rig.pageBytes), address + page * rig.pageBytes, 32);
}

export const MAP: readonly BoardCase[] = [whereverItLies, overPages, entriesReadBack, sameMemoryTwice];
export const UNMAP: readonly BoardCase[] = [unreachableAfterwards, entriesEmptyAtOnce, neighboursStay];
