/**
 * The conformance suite on a board whose memory the program brings along: two adjacent regions in buffers of their own, a hole, and a region
 * above 4 GiB, in which the table lies. All of memory below the hole is the caller's.
 */
import { test } from "node:test";
import type { Board, BoardKind, BoardOptions } from "../../machines/board.ts";
import { boardOf, onMachine } from "../../machines/board-of.ts";
import { boardNamed } from "../../machines/boards.ts";
import { SoftwareMachine, type SoftwareMachineHandle } from "../../machines/software/machine.ts";
import { PhysicalMemory } from "../../memory/physical-memory.ts";
import { LinearPlatform, type LinearPlatformHandle } from "../../platforms/linear/platform.ts";
import type { DmaWindow } from "../../units/numbers.ts";
import { PLAIN } from "./setting.ts";
import { boardConformance } from "./suite.ts";

const HIGH_ADDRESS = 2 ** 33;
const TABLE_BYTES = 65536;

const LINEAR = boardNamed("linear-tce");
const BROUGHT: BoardKind = {
  ...LINEAR,
  name: "brought-memory",
  create: ({ memoryBytes, devices, threads = 32, entries = 128, pageShift = 12, table = {} }: BoardOptions) => {
    const half = memoryBytes / 2;
    const memory = PhysicalMemory.of([
      { address: 0, buffer: new SharedArrayBuffer(half) },
      { address: half, buffer: new SharedArrayBuffer(half) },
      { address: HIGH_ADDRESS, buffer: new SharedArrayBuffer(TABLE_BYTES) },
    ]);
    const machine = SoftwareMachine.create({ memory, threads, ...(devices === undefined ? {} : { devices }) });
    const window: DmaWindow = { base: 2n ** 34n, pageShift, entries };
    const options = { format: LINEAR.format, window, table, tableAddress: HIGH_ADDRESS };
    return viewOf(machine, LinearPlatform.create(machine, options), memoryBytes);
  },
  attach: (handle, crew) => {
    const machine = SoftwareMachine.attach(handle.machine as SoftwareMachineHandle, crew);
    const [low, high] = machine.memory.regions.all;
    const usable = (high?.end ?? 0) - (low?.address ?? 0);
    return onMachine(machine, () =>
      viewOf(machine, LinearPlatform.attach(machine, handle.platform as LinearPlatformHandle), usable),
    );
  },
};

function viewOf(machine: SoftwareMachine, platform: LinearPlatform, firstAddress: number): Board {
  const statistics = () => ({ invalidations: machine.statistics().invalidations, hypercalls: 0 });
  return boardOf({ kind: BROUGHT, machine, platform, firstAddress, statistics });
}

for (const setting of [
  { ...PLAIN, pageShift: 12, levels: 1 },
  { ...PLAIN, pageShift: 16, levels: 1, pools: 2, threads: 2, invalidate: "lazy", limits: "boundary" },
  { ...PLAIN, pageShift: 21, levels: 1, pools: 16, cache: "fifo", reserved: "some", entries: 2048 },
] as const) {
  for (const { name, run } of boardConformance(BROUGHT, setting)) test(name, run);
}
