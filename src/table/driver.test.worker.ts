/**
 * A driver that maps and unmaps pages of its own, and has its device read what it has mapped, until it is stopped or killed. Each
 * page begins with the driver's number, so a translation that leads elsewhere is seen at once.
 */
import { parentPort } from "node:worker_threads";
import { UNCONSTRAINED } from "../allocator/constraints.ts";
import { randomFrom } from "../allocator/random.model.ts";
import { Control } from "../allocator/stress/control.model.ts";
import type { OwnPart } from "../allocator/stress/crew.model.ts";
import type { Random } from "../allocator/stress/seed.model.ts";
import { ShadowMap } from "../allocator/stress/shadow-map.model.ts";
import { SoftwareMachine, type SoftwareMachineHandle } from "../machines/software/machine.ts";
import { LinearPlatform, type LinearPlatformHandle } from "../platforms/linear/platform.ts";
import type { SharedBuffer } from "../shared/memory.ts";
import { DEVICE_READS_AND_WRITES } from "../units/numbers.ts";
import { iovaOf } from "./iommu-table.ts";

/** What a driver is sent. */
export interface DriverPart extends OwnPart {
  readonly machine: SoftwareMachineHandle;
  readonly platform: LinearPlatformHandle;
  readonly control: SharedBuffer;
  readonly shadow: SharedBuffer;
}

/** What it answers when it was stopped. */
export interface Driven {
  readonly maps: number;
  readonly unmaps: number;
  /** Requests that found no space. */
  readonly refused: number;
  /** Unmaps whose invalidation failed. */
  readonly busy: number;
}

/** The pages [firstPageOf(place), + DRIVER_PAGES) are the driver's at this place. */
export const DRIVER_PAGES = 600;
export const firstPageOf = (place: number): number => 16 + place * DRIVER_PAGES;

/** Longest mapping, in pages. */
const LONGEST = 24;
/** Most mappings that one `unmapAll` takes. */
export const MOST_AT_ONCE = 4;

parentPort?.on("message", (part: DriverPart) => parentPort?.postMessage(drive(part)));

function drive(part: DriverPart): Driven {
  const machine = SoftwareMachine.attach(part.machine);
  const platform = LinearPlatform.attach(machine, part.platform);
  const control = new Control(part.control);
  control.begin(part.place, platform.generic.thread);
  const driver = new Driver(part, machine, platform);
  while (control.goOn(part.place)) driver.step();
  driver.finish();
  platform.generic.close();
  machine.close();
  return driver.done;
}

interface Mapping {
  readonly entry: number;
  readonly count: number;
  readonly page: number;
}

class Driver {
  readonly done: { -readonly [Name in keyof Driven]: Driven[Name] } = { maps: 0, unmaps: 0, refused: 0, busy: 0 };
  readonly #part: DriverPart;
  readonly #machine: SoftwareMachine;
  readonly #platform: LinearPlatform;
  readonly #shadow: ShadowMap;
  readonly #random: Random;
  /** By page: is it mapped? */
  readonly #isMapped: Uint8Array = new Uint8Array(DRIVER_PAGES);
  readonly #mappings: Mapping[] = [];
  readonly #seen: Uint8Array = new Uint8Array(4);

  constructor(part: DriverPart, machine: SoftwareMachine, platform: LinearPlatform) {
    this.#part = part;
    this.#machine = machine;
    this.#platform = platform;
    this.#shadow = new ShadowMap(part.shadow);
    this.#random = randomFrom(part.seed);
    const { pageShift } = platform.generic.window;
    const number = new Uint8Array(new Uint32Array([part.holder]).buffer);
    for (let i = 0; i < DRIVER_PAGES; i++) machine.memory.write((firstPageOf(part.place) + i) << pageShift, number);
  }

  step(): void {
    const random = this.#random;
    const dice = random(10);
    if (dice < 4 || this.#mappings.length === 0) this.#map();
    else if (dice < 6) this.#read(this.#mappings[random(this.#mappings.length)] as Mapping);
    else if (dice < 9 || this.#mappings.length < MOST_AT_ONCE) this.#unmap();
    else this.#unmapSome();
  }

  finish(): void {
    while (this.#mappings.length > 0) this.#unmap();
    const { allocator } = this.#platform.generic;
    while (allocator.drain() !== undefined || allocator.flushIotlb() !== undefined);
  }

  #map(): void {
    const { generic } = this.#platform;
    const count = 1 + this.#random(this.#random(3) === 0 ? LONGEST : 3);
    const page = this.#freePages(count);
    if (page < 0) {
      if (this.#mappings.length > 0) this.#unmap();
      return;
    }
    const entry = generic.allocate(count, UNCONSTRAINED, -1);
    if (entry < 0) {
      this.done.refused++;
      return;
    }
    this.#shadow.mark(entry, count, this.#part.holder);
    const failure = generic.set(entry, count, page, DEVICE_READS_AND_WRITES);
    if (failure !== undefined) throw new Error(`set: ${failure}`);
    generic.publish();
    if (this.#random(16) === 0) {
      this.#shadow.unmark(entry, count, this.#part.holder);
      generic.abandon(entry, count);
      return;
    }
    generic.commit(entry, count);
    const mapping = { entry, count, page };
    this.#mark(mapping, 1);
    this.#mappings.push(mapping);
    this.#read(mapping);
    this.done.maps++;
  }

  /** The device reads the number in each page. */
  #read({ entry, count, page }: Mapping): void {
    const { window } = this.#platform.generic;
    const device = this.#machine.device(0);
    for (let i = 0; i < count; i++) {
      const seen = this.#seen;
      const granted = device.dmaRead(iovaOf(window, entry + i), seen);
      const number = new DataView(seen.buffer).getUint32(0, true);
      if (granted && number === this.#part.holder) continue;
      const is = granted ? `reads a page of ${number}` : "is refused";
      throw new Error(
        `driver ${this.#part.holder}: the device ${is} at entry ${entry + i}, mapped to page ${page + i}`,
      );
    }
  }

  #unmap(): void {
    const mapping = this.#pick();
    const { entry, count } = mapping;
    this.#shadow.unmark(entry, count, this.#part.holder);
    if (this.#platform.generic.unmap(entry, count) !== undefined) this.done.busy++;
    this.#mark(mapping, 0);
    this.done.unmaps++;
  }

  #unmapSome(): void {
    const mappings = Array.from({ length: MOST_AT_ONCE }, () => this.#pick());
    for (const { entry, count } of mappings) this.#shadow.unmark(entry, count, this.#part.holder);
    const entries = Int32Array.from(mappings, ({ entry }) => entry);
    const counts = Int32Array.from(mappings, ({ count }) => count);
    if (this.#platform.generic.unmapAll(entries, counts, MOST_AT_ONCE) !== undefined) this.done.busy++;
    for (const mapping of mappings) this.#mark(mapping, 0);
    this.done.unmaps += MOST_AT_ONCE;
  }

  #pick(): Mapping {
    const mappings = this.#mappings;
    return mappings.splice(this.#random(mappings.length), 1)[0] as Mapping;
  }

  /** The first of `count` free pages in a row, from a random one on; -1: none. */
  #freePages(count: number): number {
    let run = 0;
    for (let i = this.#random(DRIVER_PAGES); i < DRIVER_PAGES; i++) {
      run = this.#isMapped[i] === 1 ? 0 : run + 1;
      if (run === count) return firstPageOf(this.#part.place) + i + 1 - count;
    }
    return -1;
  }

  #mark({ page, count }: Mapping, isMapped: 0 | 1): void {
    const at = page - firstPageOf(this.#part.place);
    this.#isMapped.fill(isMapped, at, at + count);
  }
}
