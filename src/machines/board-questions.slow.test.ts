/** On every board: mappings at a given address, where bus addresses lead, who has them, and what a listener is told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DmaDevice } from "../dma/device.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import { got } from "../dma/set-up.model.ts";
import { listen } from "../table/listen.ts";
import type { Access } from "../units/numbers.ts";
import { BOARD_KINDS } from "./boards.ts";

const ADDRESS = 0x40000;

for (const kind of BOARD_KINDS) {
  for (const invalidate of ["strict", "lazy"] as const) {
    const options = { memoryBytes: 2 ** 22, entries: 256, threads: 1, table: { invalidate } };

    test(`${kind.name}, ${invalidate}: an address that was mapped can be chosen again, is in use meanwhile, and translates`, () => {
      const board = kind.create(options);
      const { table, machine } = board;
      const device = new DmaDevice(table);
      const pageBytes = 2 ** table.window.pageShift;
      const address = BigInt(ADDRESS + 24);
      const bytes = 2 * pageBytes;
      const probe = got(device.map(address, bytes, 3));
      assert.equal(device.unmap(probe), undefined);
      const mapping = got(device.mapAt(probe.iova, address, bytes, 3));
      assert.equal(mapping.iova, probe.iova);
      machine.memory.write(ADDRESS + 24, Uint8Array.of(1, 2, 3));
      const seen = new Uint8Array(3);
      assert.ok(machine.device(0).dmaRead(mapping.iova, seen));
      assert.deepEqual([...seen], [1, 2, 3]);
      const inside = mapping.iova + BigInt(pageBytes);
      assert.equal(device.mapAt(inside, address, 1, 1), "in-use");
      const iova = mapping.iova - 24n;
      assert.deepEqual(device.holderOf(inside, 1), { iova, bytes: 3 * pageBytes, state: "live", owner: table.thread });
      const found = { address: address + BigInt(pageBytes), bytes: pageBytes - 24, access: kind.grants[3] };
      assert.deepEqual(device.translate(inside), found);
      assert.deepEqual(
        [...table.mappings()].map((one) => [one.iova, one.bytes, one.access]),
        [[iova, 3 * pageBytes, kind.grants[3]]],
      );
      assert.equal(device.unmap(mapping), undefined);
      assert.deepEqual([device.translate(inside), [...table.mappings()]], [undefined, []]);
      assert.deepEqual(board.takeFaults(), []);
      board.close();
    });

    test(`${kind.name}, ${invalidate}: a shadow that a listener keeps is what the entries say`, () => {
      const board = kind.create(options);
      const { table } = board;
      const device = new DmaDevice(table);
      const pageBytes = 2 ** table.window.pageShift;
      const shadow = new Map<bigint, { readonly address: bigint; readonly access: Access }>();
      listen(table, {
        mapped: (iova, bytes, address, access) => {
          for (let at = 0n; at < bytes; at += BigInt(pageBytes)) {
            assert.ok(!shadow.has(iova + at));
            shadow.set(iova + at, { address: address + at, access: kind.grants[access] });
          }
        },
        unmapped: (iova, bytes) => {
          for (let at = 0n; at < bytes; at += BigInt(pageBytes)) shadow.delete(iova + at);
        },
      });
      const check = (pages: number): void => {
        assert.equal(shadow.size, pages);
        for (const [iova, { address, access }] of shadow) {
          assert.deepEqual(device.translate(iova), { address, bytes: pageBytes, access });
        }
      };
      for (let round = 0; round < 40; round++) {
        const mapping = got(device.map(BigInt(ADDRESS + 5), 3 * pageBytes, ((round % 3) + 1) as Access));
        const pieces = [0, 1, 4].map((page) => ({ address: BigInt(ADDRESS + page * pageBytes), bytes: pageBytes }));
        const list = ScatterList.from(pieces);
        assert.equal(device.mapSg(list, 1), undefined);
        check(7);
        assert.equal(device.unmap(mapping), undefined);
        check(3);
        assert.equal(device.unmapSg(list), undefined);
        check(0);
      }
      board.close();
    });
  }
}
