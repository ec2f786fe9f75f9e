/**
 * One trace, ready for questions: the lives of its mappings, whose they are, and how complete it is. Rows are in the order of time.
 */
import type { LineRef } from "../../log/facts.ts";
import { ADD_DEVICE, ATTACH_DEVICE, REMOVE_DEVICE, type Trace, UNKNOWN_DEVICE } from "../../trace/events.ts";
import { isTrial, type LifeHistory, type Lives, livesOf, NO_ROW } from "./lives.ts";
import { inOrderOfTime } from "./order.ts";
import { UNKNOWN_OWNER } from "./owners.ts";

/** Identity mappings of legacy regions are no driver's: a life without owner whose IO address is its physical address. */
const IDENTITY_PAGES = 16;

export class TraceAnalysis {
  readonly file: string;
  readonly trace: Trace;
  readonly history: LifeHistory;
  /** Lives that are no driver's: VFIO's trial, identity mappings of legacy regions. */
  readonly ignored: Uint8Array;
  /** Events were lost: overrun, `LOST` lines, lines that could not be read. */
  readonly isLossy: boolean;
  /** The owners that have lives. */
  readonly owners: ReadonlySet<number>;
  /** The highest end of the lives of each owner. */
  #tops: Map<number, number> | undefined;
  readonly #firstSeen = new Map<number, number>();
  readonly #added = new Map<number, number>();
  readonly #groupOf = new Map<number, number>();

  constructor(file: string, trace: Trace) {
    this.file = file;
    this.trace = inOrderOfTime(trace);
    this.history = livesOf(this.trace);
    this.isLossy = isLossy(trace);
    this.ignored = new Uint8Array(this.history.lives.length);
    for (let life = 0; life < this.ignored.length; life++) this.ignored[life] = this.#isIgnored(life) ? 1 : 0;
    this.owners = new Set(this.lives.owner.subarray(0, this.lives.length));
    this.#noteDevices();
  }

  get lives(): Lives {
    return this.history.lives;
  }

  /** True if the trace holds maps or unmaps. Without them it says nothing about an address. */
  get hasLives(): boolean {
    return this.lives.length > 0;
  }

  /** Seconds of the first and last event. */
  get span(): { first: number; last: number } {
    const { time, length } = this.trace.events;
    return length === 0
      ? { first: 0, last: 0 }
      : { first: (time[0] as number) / 1e9, last: (time[length - 1] as number) / 1e9 };
  }

  secondsOf(row: number): number {
    return (this.trace.events.time[row] as number) / 1e9;
  }

  lineOf(row: number): LineRef {
    return { file: this.file, line: this.trace.events.line[row] as number };
  }

  taskOf(row: number): string | undefined {
    return this.trace.tasks[this.trace.events.task[row] as number];
  }

  /** The number of a device's name, in full or without the segment; UNKNOWN_DEVICE when the trace never names it. */
  deviceNumber(name: string): number {
    const known = this.trace.devices.indexOf(name);
    if (known >= 0) return known;
    const bare = name.replace(/^0000:/, "");
    return this.trace.devices.findIndex((device) => device.replace(/^0000:/, "") === bare);
  }

  /** The device and those of its group, which share its table. */
  sharers(device: number): number[] {
    const group = this.#groupOf.get(device);
    if (group === undefined) return [device];
    return [...this.#groupOf].filter(([, other]) => other === group).map(([other]) => other);
  }

  /** Row that shows the device before anything was mapped for it: the trace holds all its mappings from there on. */
  completeFrom(device: number): number {
    const added = this.#added.get(device);
    if (added === undefined) return NO_ROW;
    const first = this.#firstSeen.get(device);
    return first === undefined || first >= added ? added : NO_ROW;
  }

  /** True if `device` is among the owner's devices. */
  isOf(life: number, devices: readonly number[]): boolean {
    const owner = this.lives.owner[life] as number;
    return devices.some((device) => this.history.owners.has(owner, device));
  }

  /** The page after the highest one that the devices' owners ever had mapped; 0: none. */
  topOf(devices: readonly number[]): number {
    this.#tops ??= topsOf(this.lives);
    let top = 0;
    for (const [owner, end] of this.#tops) {
      if (end > top && devices.some((device) => this.history.owners.has(owner, device))) top = end;
    }
    return top;
  }

  isOfUnknown(life: number): boolean {
    return this.history.owners.nameOf(this.lives.owner[life] as number) === undefined;
  }

  #isIgnored(life: number): boolean {
    const { lives } = this;
    const { events } = this.trace;
    if (isTrial(lives, life, events)) return true;
    const row = lives.mapRow[life] as number;
    if (row === NO_ROW || lives.owner[life] !== UNKNOWN_OWNER) return false;
    const isIdentity =
      events.iovaLow[row] === events.physicalLow[row] && events.iovaHigh[row] === events.physicalHigh[row];
    return isIdentity && (lives.end[life] as number) - (lives.first[life] as number) >= IDENTITY_PAGES;
  }

  #noteDevices(): void {
    const { events } = this.trace;
    for (let row = 0; row < events.length; row++) {
      const kind = events.kind[row] as number;
      const device = events.device[row] as number;
      if (device === UNKNOWN_DEVICE) continue;
      if (kind === ADD_DEVICE || kind === REMOVE_DEVICE) this.#groupOf.set(device, events.bytes[row] as number);
      if (kind === ADD_DEVICE || kind === ATTACH_DEVICE) {
        if (!this.#added.has(device)) this.#added.set(device, row);
      } else if (!this.#firstSeen.has(device)) this.#firstSeen.set(device, row);
    }
    const { lives } = this;
    for (let life = 0; life < lives.length; life++) {
      if (lives.mapRow[life] !== NO_ROW) continue;
      // Mapped before the trace began: the trace holds not all of this owner's mappings.
      const row = lives.unmapRow[life] as number;
      for (const [device, added] of this.#added) {
        if (row >= 0 && this.isOf(life, [device]) && added < row) this.#firstSeen.set(device, -1);
      }
    }
  }
}

function topsOf({ owner, end, length }: Lives): Map<number, number> {
  const tops = new Map<number, number>();
  for (let life = 0; life < length; life++) {
    const one = owner[life] as number;
    tops.set(one, Math.max(tops.get(one) ?? 0, end[life] as number));
  }
  return tops;
}

function isLossy({ entriesInBuffer, entriesWritten, lostEvents, classes }: Trace): boolean {
  return entriesWritten > entriesInBuffer || lostEvents > 0 || classes.lost.count > 0 || classes.malformed.count > 0;
}
