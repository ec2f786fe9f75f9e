/** A thread that maps and unmaps at random, and keeps a shadow of the table in shared memory, until it is killed. */
import { parentPort } from "node:worker_threads";
import { randomFrom } from "../allocator/random.model.ts";
import { Crew, type CrewSeat } from "../crew/crew.ts";
import { DmaDevice } from "../dma/device.ts";
import { ScatterList } from "../dma/scatter-list.ts";
import { SoftwareMachine, type SoftwareMachineHandle } from "../machines/software/machine.ts";
import { LinearPlatform, type LinearPlatformHandle } from "../platforms/linear/platform.ts";
import { add, compareExchange, type SharedBuffer, store, wordsOf } from "../shared/memory.ts";
import type { Failure } from "../units/failure.ts";
import type { Access, DmaWindow } from "../units/numbers.ts";
import type { MappingListener } from "./listen.ts";
import { listen } from "./listen.ts";

export interface ListeningPart {
  readonly machine: SoftwareMachineHandle;
  readonly platform: LinearPlatformHandle;
  readonly shadow: SharedBuffer;
  readonly seat: CrewSeat;
  readonly seed: number;
}

/** Words of the shadow before those of the entries: how often a page was told as mapped twice; how much was told. */
export const TOLD_TWICE = 0;
export const TOLD_MAPPED = 1;
export const TOLD_UNMAPPED = 2;
export const ENTRIES_AT = 3;

/** A word for each entry: the page + 1 that it leads to, or 0. */
export function shadowIn(buffer: SharedBuffer, { base, pageShift }: DmaWindow): MappingListener {
  const words = wordsOf(buffer);
  const entryOf = (iova: bigint): number => ENTRIES_AT + Number((iova - base) >> BigInt(pageShift));
  return {
    mapped: (iova, bytes, address) => {
      const first = entryOf(iova);
      const page = Number(address >> BigInt(pageShift));
      add(words, TOLD_MAPPED, 1);
      for (let i = 0; i < bytes / 2 ** pageShift; i++) {
        if (compareExchange(words, first + i, 0, page + i + 1) !== 0) add(words, TOLD_TWICE, 1);
      }
    },
    unmapped: (iova, bytes) => {
      const first = entryOf(iova);
      add(words, TOLD_UNMAPPED, 1);
      for (let i = 0; i < bytes / 2 ** pageShift; i++) store(words, first + i, 0);
    },
  };
}

parentPort?.on("message", (part: ListeningPart) => play(part));

function play({ machine: handle, platform: platformHandle, shadow, seat, seed }: ListeningPart): void {
  const machine = SoftwareMachine.attach(handle, Crew.attach(seat));
  const platform = LinearPlatform.attach(machine, platformHandle);
  const table = platform.generic;
  listen(table, shadowIn(shadow, table.window));
  const device = new DmaDevice(table);
  const random = randomFrom(seed);
  const ends: (() => Failure | undefined)[] = [];
  parentPort?.postMessage("plays");
  for (;;) {
    const access = (1 + random(3)) as Access;
    const address = BigInt(random(200) * 4096);
    if (ends.length > 12 || (ends.length > 0 && random(2) === 0)) {
      const [end] = ends.splice(random(ends.length), 1);
      end?.();
    } else if (random(3) === 0) {
      const list = ScatterList.from([0, 2, 3].map((page) => ({ address: address + BigInt(page * 4096), bytes: 4096 })));
      if (device.mapSg(list, access) === undefined) ends.push(() => device.unmapSg(list));
    } else {
      const bytes = 1 + random(20000);
      const at = table.window.base + BigInt(random(table.window.entries - 8) * 4096);
      const mapping = random(2) === 0 ? device.map(address, bytes, access) : device.mapAt(at, address, bytes, access);
      if (typeof mapping !== "string") ends.push(() => device.unmap(mapping));
    }
  }
}
