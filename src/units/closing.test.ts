/** Everything that has a `close`: a second one is harmless, and `using` ends it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PooledAllocator } from "../allocator/pooled-allocator.ts";
import { ModelOps } from "../dma/ops.model.ts";
import { boardNamed } from "../machines/boards.ts";
import { LdcHypervisor } from "../machines/hypervisors/ldc/hypervisor.ts";
import { PaprHypervisor } from "../machines/hypervisors/papr/hypervisor.ts";
import { Sun4vHypervisor } from "../machines/hypervisors/sun4v/hypervisor.ts";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { PhysicalPages } from "../memory/physical-pages.ts";
import { PinnedMemory } from "../pinned/pinned-memory.ts";
import type { PowernvPlatform } from "../platforms/powernv/platform.ts";
import type { PseriesPlatform } from "../platforms/pseries/platform.ts";
import { IommuTable } from "../table/iommu-table.ts";
import type { DmaWindow } from "./numbers.ts";

interface Closable extends Disposable {
  close(): void;
}

const MEMORY = { memoryBytes: 2 ** 20 };
const window: DmaWindow = { base: 0x10000n, pageShift: 12, entries: 64 };
const powernv = (): PowernvPlatform =>
  boardNamed("powernv").create({ memoryBytes: 2 ** 22 }).platform as PowernvPlatform;

const MAKERS: Readonly<Record<string, () => Closable>> = {
  PooledAllocator: () => PooledAllocator.create({ entries: 64 }),
  IommuTable: () => IommuTable.create(window, new ModelOps(64)),
  PhysicalPages: () => PhysicalPages.create({ address: 0, bytes: 4096 }),
  PinnedMemory: () => PinnedMemory.create({ memoryBytes: 4096 }),
  SoftwareMachine: () => SoftwareMachine.create(MEMORY),
  PaprHypervisor: () => PaprHypervisor.create(MEMORY),
  Sun4vHypervisor: () => Sun4vHypervisor.create({ memoryBytes: 2 ** 23 }),
  LdcHypervisor: () => LdcHypervisor.create(MEMORY),
  Phb: () => powernv().phb,
  PowernvTable: () => powernv().table,
  PowernvPlatform: () => powernv(),
  PseriesPlatform: () => boardNamed("pseries").create(MEMORY).platform as PseriesPlatform,
};

for (const [name, make] of Object.entries(MAKERS)) {
  test(`${name}: a second close does nothing`, () => {
    const one = make();
    one.close();
    one.close();
  });

  test(`${name}: using closes it, also when it has been closed before`, () => {
    let closes = 0;
    {
      using one = make();
      const close = one.close.bind(one);
      Object.defineProperty(one, "close", {
        value: () => {
          closes++;
          close();
        },
      });
      one.close();
    }
    assert.equal(closes, 2);
  });
}
