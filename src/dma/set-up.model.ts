/** What tests of transfers start from: a machine with dirty memory, a platform, pages to hand out, and an oracle for leaks. */
import assert from "node:assert/strict";
import type { DmaMaster, Memory } from "../machine/contract.ts";
import { SoftwareMachine } from "../machines/software/machine.ts";
import { PhysicalPages } from "../memory/physical-pages.ts";
import { LinearPlatform } from "../platforms/linear/platform.ts";
import type { EntryValue } from "../table/contract.ts";
import type { IommuTable } from "../table/iommu-table.ts";
import type { Failure } from "../units/failure.ts";
import type { DmaWindow } from "../units/numbers.ts";
import type { DmaDeviceOptions } from "./device-options.ts";

export const MEMORY_BYTES: number = 2 ** 22;
/** Below: the drivers' memory. From here on: pages to hand out. */
export const PAGES_AT: number = 2 ** 20;
const WINDOW_BASE = 0x80000000n;

export interface SetUpOptions {
  readonly format?: string;
  readonly pageShift?: number;
  readonly entries?: number;
  readonly base?: bigint;
  readonly lazy?: boolean;
  /** Bytes of physical pages. */
  readonly pagesBytes?: number;
}

export class SetUp {
  readonly machine: SoftwareMachine;
  readonly memory: Memory;
  readonly platform: LinearPlatform;
  readonly table: IommuTable;
  readonly pages: PhysicalPages;
  readonly nic: DmaMaster;
  readonly untrusted: DmaDeviceOptions;
  readonly withCoherent: DmaDeviceOptions;

  constructor(options: SetUpOptions = {}) {
    const { format = "powernv-tce", pageShift = 12, entries = 64, base = WINDOW_BASE, lazy = false } = options;
    this.machine = SoftwareMachine.create({ memoryBytes: MEMORY_BYTES, devices: ["nic"], threads: 2 });
    this.memory = this.machine.memory;
    const window = { base, pageShift, entries } as DmaWindow;
    const invalidate = lazy ? "lazy" : "strict";
    this.platform = LinearPlatform.create(this.machine, { format, window, table: { threads: 2, invalidate } });
    this.table = this.platform.generic;
    this.pages = PhysicalPages.create({ address: PAGES_AT, bytes: options.pagesBytes ?? 2 ** 20, threads: 2 });
    this.nic = this.machine.device("nic");
    this.untrusted = { memory: this.memory, bounce: { pages: this.pages, untrusted: true } };
    this.withCoherent = { memory: this.memory, coherentPages: this.pages };
    this.memory.write(0, DIRT);
  }

  /** The bytes of memory at a physical address. */
  at(address: number, bytes: number): Buffer {
    const into = Buffer.alloc(bytes);
    this.memory.read(address, into);
    return into;
  }

  /** What the device reads, or undefined where it is refused. */
  seen(iova: bigint, bytes: number): Buffer | undefined {
    const into = Buffer.alloc(bytes);
    return this.nic.dmaRead(iova, into) ? into : undefined;
  }

  /** No page is taken, no entry is taken or translates. */
  assertNothingLeft(): void {
    assert.equal(this.pages.takenPages, 0, "pages are still taken");
    this.table.allocator.drain();
    assert.equal(this.table.statistics().taken, 0, "entries are still taken");
    const value: EntryValue = { page: 0, access: 0 };
    for (let entry = 0; entry < this.table.window.entries; entry++) {
      this.platform.ops.get(entry, value);
      assert.equal(value.access, 0, `entry ${entry} still translates`);
    }
  }
}

export function setUp(options: SetUpOptions = {}): SetUp {
  return new SetUp(options);
}

/** Bytes that tell their own place, none of them 0. */
export function pattern(length: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => 1 + ((Math.imul(i + seed, 2654435761) >>> 24) % 255)));
}

/** The result of a call that has to succeed. */
export function got<Result>(result: Result | Failure): Exclude<Result, string> {
  assert.ok(typeof result !== "string", `failed: ${String(result)}`);
  return result as Exclude<Result, string>;
}

const DIRT: Buffer = pattern(PAGES_AT + 2 ** 20, 1);
