/** Permissions: a device has the requested access, and more only if the kind states it in `grants`. */

import type { EntryValue } from "../../../table/contract.ts";
import { hexadecimal } from "../../../units/counts.ts";
import type { Access, EntryAccess } from "../../../units/numbers.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import type { Rig } from "../rig.ts";

const ACCESSES: readonly Access[] = [1, 2, 3];
const BYTES = 48;

const asGranted: BoardCase = {
  behaviour: "permissions",
  name: "of each access the device may do what it asks for, and beyond that only what the kind grants",
  run(rig) {
    for (const access of ACCESSES) {
      const granted = rig.kind.grants[access];
      expect((granted & access) === access, () => `the kind grants ${granted} when ${access} is asked for`);
      const address = rig.address(access, 4);
      const mapping = rig.map(address, BYTES, access);
      expectGranted(rig, mapping.iova, address, granted, `mapped for access ${access}`);
      rig.unmap(mapping);
      rig.settle();
      if ((granted & 2) !== 0) rig.expectMarks(address, BYTES);
      else rig.expectUntouched(address, BYTES, `unmapped, once mapped for access ${access}`);
    }
  },
};

const refusedWriteInTheMiddle: BoardCase = {
  behaviour: "permissions",
  name: "a write into pages that the device may only read changes nothing, wherever it begins",
  needs: ["several pages"],
  run(rig) {
    if (rig.kind.grants[1] !== 1) return;
    const address = rig.address(1);
    const bytes = 3 * rig.pageBytes;
    const mapping = rig.map(address, bytes, 1);
    rig.expectReads(mapping.iova, address, bytes);
    for (const { offset } of rig.samples(address, bytes)) {
      rig.expectNoWrite(mapping.iova + BigInt(offset), address + offset, "not-permitted", `${offset} bytes in`);
    }
    rig.expectUntouched(address, bytes, "after refused writes");
    rig.unmap(mapping);
  },
};

const weaklyOrdered: BoardCase = {
  behaviour: "permissions",
  name: "an entry that is weakly ordered grants what it grants without",
  run(rig) {
    const { table } = rig.board;
    for (const access of ACCESSES) {
      const address = rig.address(0);
      rig.fill(address, BYTES);
      const entry = table.allocate(1);
      expect(entry >= 0, () => `an entry of an empty table can't be had: ${entry}`);
      const failure = table.set(entry, 1, rig.pageOf(address), (access | 4) as EntryAccess);
      expect(failure === undefined, () => `set with weak ordering: ${failure}`);
      table.publish();
      table.commit(entry, 1);
      const found = rig.get(entry);
      const granted = rig.kind.grants[access];
      expect(
        found.access === granted,
        () => `entry ${entry} reads back as access ${found.access}; expected ${granted}`,
      );
      const iova = rig.iova(entry) + BigInt(address % rig.pageBytes);
      expectGranted(rig, iova, address, granted, `set for access ${access}, weakly ordered`);
      table.unmap(entry, 1);
    }
  },
};

const exchanged: BoardCase = {
  behaviour: "permissions",
  name: "an exchange swaps page and access of one live entry, and gives the old ones: after an invalidation the device has the new page alone",
  needs: ["several pages"],
  run(rig) {
    const { kind } = rig;
    const { ops } = rig.board.table;
    const [before, after] = [rig.address(0), rig.address(2)];
    const mapping = rig.map(before, BYTES, 3);
    rig.fill(after, BYTES);
    const entry = rig.entryAt(mapping.iova);
    const old: EntryValue = { page: -1, access: 0 };
    for (const [from, to, access, wasAccess] of [
      [before, after, 1, 3],
      [after, before, 3, 1],
      [before, after, 3, 3],
    ] as const) {
      const failure = ops.exchange(entry, rig.pageOf(to), access, old) ?? ops.publish();
      expect(failure === undefined, () => `an exchange of entry ${entry}: ${failure}`);
      expectValue(
        old,
        rig.pageOf(from),
        kind.grants[wasAccess],
        `an exchange of entry ${entry} gives as the old value`,
      );
      expectValue(rig.get(entry), rig.pageOf(to), kind.grants[access], `after an exchange, entry ${entry} holds`);
    }
    const failure = ops.invalidate(entry, entry + 1);
    expect(failure === undefined, () => `an invalidation of entry ${entry}: ${failure}`);
    const iova = rig.iova(entry) + BigInt(after % rig.pageBytes);
    rig.expectReads(iova, after, BYTES);
    rig.writeMarks(iova, after, BYTES);
    rig.unmap(mapping);
    rig.settle();
    rig.expectMarks(after, BYTES);
    rig.expectUntouched(before, BYTES, "after its entry was exchanged");
  },
};

function expectValue(found: EntryValue, page: number, access: number, what: string): void {
  expect(
    found.page === page && found.access === access,
    () => `${what} page ${found.page}, access ${found.access}; expected page ${page}, access ${access}`,
  );
}

const otherAccessAfterwards: BoardCase = {
  behaviour: "permissions",
  name: "memory that is mapped again for reading only can't be written through what the IOTLB knew",
  needs: ["strict"],
  run(rig) {
    if (rig.kind.grants[1] !== 1) return;
    const address = rig.address(1);
    // Often enough to reuse every entry of a small table.
    for (let round = 0; round < 150; round++) {
      const mapping = rig.map(address, BYTES, round % 2 === 0 ? 3 : 1);
      if (round % 2 === 0) rig.expectReads(mapping.iova, address, BYTES);
      else rig.expectNoWrite(mapping.iova, address, "not-permitted", `mapped again at ${hexadecimal(mapping.iova)}`);
      rig.unmap(mapping);
    }
  },
};

function expectGranted(rig: Rig, iova: bigint, address: number, granted: Access, when: string): void {
  if ((granted & 1) !== 0) rig.expectReads(iova, address, BYTES);
  else rig.expectNoRead(iova, address, "not-permitted", when, BYTES);
  if ((granted & 2) !== 0) rig.writeMarks(iova, address, BYTES);
  else rig.expectNoWrite(iova, address, "not-permitted", when, BYTES);
}

export const PERMISSIONS: readonly BoardCase[] = [
  asGranted,
  refusedWriteInTheMiddle,
  weaklyOrdered,
  exchanged,
  otherAccessAfterwards,
];
