/**
 * Stacks of a trace: ftrace prints `<stack trace>` as an entry of its own, behind the event on the same CPU, and the functions
 * below it; perf prints the functions right below the event. Equal stacks are kept once.
 */
import { MOST_NAMES, NO_STACK, type TraceEvents } from "./events.ts";

/** Functions kept of one stack: callers of the DMA API stand within the first dozen. */
const MOST_FRAMES = 32;
const MOST_CPUS = 65_536;

export class StackReader {
  readonly stacks: string[][] = [];
  readonly #events: TraceEvents;
  readonly #numbers = new Map<string, number>();
  readonly #lastOfCpu = new Map<number, number>();
  /** Row that the next functions belong to; -1: none. */
  #row = -1;
  #frames: string[] = [];

  constructor(events: TraceEvents) {
    this.#events = events;
  }

  /** Functions that follow belong to an event. */
  get isOpen(): boolean {
    return this.#row >= 0;
  }

  /** Row `row` is an event on `cpu`: functions may follow it. */
  event(row: number, cpu: number): void {
    if (this.#frames.length > 0) this.end();
    if (this.#lastOfCpu.size < MOST_CPUS || this.#lastOfCpu.has(cpu)) this.#lastOfCpu.set(cpu, row);
    this.#row = row;
  }

  /** The line `<stack trace>` of a CPU: the stack of that CPU's last event follows. */
  begin(cpu: number): void {
    this.end();
    this.#row = this.#lastOfCpu.get(cpu) ?? -1;
  }

  /** One function of the stack, as the line gives it: ` => iommu_unmap+0x10`, `ffffffff81234567 iommu_unmap+0x10`. */
  frame(text: string): void {
    const name = /^(?:=>\s*|[0-9a-f]+\s+)?([^\s+]+)/.exec(text)?.[1];
    if (name !== undefined && this.#frames.length < MOST_FRAMES) this.#frames.push(name);
  }

  /** The stack is complete. */
  end(): void {
    if (this.#frames.length > 0 && this.#row >= 0) this.#events.stack[this.#row] = this.#number();
    this.#row = -1;
    this.#frames = [];
  }

  #number(): number {
    const key = this.#frames.join("\n");
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    if (this.stacks.length >= MOST_NAMES) return NO_STACK;
    this.stacks.push(this.#frames);
    this.#numbers.set(key, this.stacks.length - 1);
    return this.stacks.length - 1;
  }
}
