/**
 * Statements of an input beside the things that are to be explained: about the machine, about events of devices, about what was lost.
 * Rules ask it; memory is bounded.
 */
import { type EventFact, type Fact, type HostFact, type LossFact, type Requester, SAID_ONCE } from "../log/facts.ts";
import { Events } from "./events.ts";
import { Losses } from "./losses.ts";
import type { TraceAnswer } from "./trace/answer.ts";

const MOST_HOST_FACTS = 16_384;
/** Without time stamps, lines that stand so near belong to one moment. */
const NEAR_LINES = 20;

/** A fact with the requester that it names. */
export type Located = Fact & Requester;

export class Evidence {
  readonly #events = new Events();
  readonly host: HostFact[] = [];
  readonly losses: Losses = new Losses();
  readonly #answers = new Map<Fact, TraceAnswer>();
  readonly #known = new Set<string>();

  add(fact: EventFact | HostFact | LossFact): void {
    switch (fact.kind) {
      case "event":
        this.#events.add(fact);
        break;
      case "host":
        this.#addHost(fact);
        break;
      case "loss":
        this.losses.add(fact);
        break;
    }
  }

  /** Something that is to be explained stands here: what the input says near it is kept. */
  keepNear(): void {
    this.#events.keepNear();
  }

  get events(): readonly EventFact[] {
    return this.#events.all;
  }

  /** Logs repeat what they say of the machine, and a log may hold many boots. */
  #addHost(fact: HostFact): void {
    const key = SAID_ONCE.has(fact.about) ? keyOf(fact) : undefined;
    if (this.host.length === MOST_HOST_FACTS || (key !== undefined && this.#known.has(key))) return;
    if (key !== undefined) this.#known.add(key);
    this.host.push(fact);
  }

  /** A trace says this about the fault. */
  answer(fault: Fact, answer: TraceAnswer): void {
    this.#answers.set(fault, answer);
  }

  /** Statements of a trace about the fault. */
  answerTo(fault: Fact): TraceAnswer | undefined {
    return this.#answers.get(fault);
  }

  /** The facts about one subject. */
  about<About extends HostFact["about"]>(about: About): Extract<HostFact, { about: About }>[] {
    return this.host.filter((fact): fact is Extract<HostFact, { about: About }> => fact.about === about);
  }

  /** True if the kernel's command line allows addresses above 4 GiB. */
  mapsHigh(): boolean {
    return this.about("command-line").some(({ commandLine }) =>
      /\biommu\.forcedac(?:=1|=y|=on)?(?!\S)/.test(commandLine),
    );
  }

  /** True if lines other than faults name the device. */
  isNamed(device: string): boolean {
    return [...this.host, ...this.events].some((fact) => "device" in fact && fact.device === device);
  }

  /** The drivers that lines name for a device, the first named first. */
  driversOf(device: string | undefined): string[] {
    return this.about("driver").flatMap((fact) => (fact.device === device ? [fact.driver] : []));
  }

  /** The widest mask for DMA that lines name for the device: a driver may begin with a narrow one. */
  maskOf(device: string | undefined): Extract<HostFact, { about: "mask" }> | undefined {
    const masks = this.about("mask").filter((fact) => fact.device === device);
    return masks.reduce<(typeof masks)[number] | undefined>(
      (widest, one) => (widest !== undefined && widest.bits >= one.bits ? widest : one),
      undefined,
    );
  }

  /** The fact that shows that user space (vfio-pci, UIO) or a guest drives the device. */
  handedOut(fact: Located): HostFact | Located | undefined {
    const driver = /^(?:vfio|uio|igb_uio|pci-stub)/;
    if (fact.driver !== undefined && driver.test(fact.driver)) return fact;
    return this.about("driver").find((one) => one.device === fact.device && driver.test(one.driver));
  }

  /** True if the two name the same device: by its name, by another name of it, or by a driver alone. */
  areOneDevice(event: EventFact, fact: Located): boolean {
    if (event.device !== undefined) {
      if (event.device === fact.device) return true;
      const alias = this.about("name").find(({ name }) => name === event.device);
      if (alias !== undefined) return alias.device === fact.device;
    }
    if (isPci(event.device) || event.driver === undefined || fact.device === undefined) return false;
    if (event.driver !== fact.driver && !this.driversOf(fact.device).includes(event.driver)) return false;
    // A driver of several devices does not tell which.
    return this.about("driver").every(({ driver, device }) => driver !== event.driver || device === fact.device);
  }

  /** Events of the fact's device, or of the whole machine, at most `seconds` before it; the latest first. */
  eventsBefore(fact: Located, seconds: number): EventFact[] {
    return this.events.filter((event) => isBefore(event, fact, seconds)).reverse();
  }

  /** Events at most `seconds` after the fact, the earliest first. */
  eventsAfter(fact: Located, seconds: number): EventFact[] {
    return this.events.filter((event) => isBefore(fact, event, seconds));
  }
}

/** `first` stands before `second`, by at most this number of seconds; without times that can be compared, by a few lines of one file. */
function isBefore(first: Fact, second: Fact, seconds: number): boolean {
  const [a, b] = [first.lines[0], second.lines[0]];
  if (first.time !== undefined && second.time !== undefined && first.clock === second.clock) {
    const between = second.time - first.time;
    if (between !== 0) return between > 0 && between <= seconds;
    return a?.file === b?.file && (a?.line ?? 0) < (b?.line ?? 0);
  }
  if (a === undefined || b === undefined || a.file !== b.file) return false;
  return a.line < b.line && b.line - a.line <= NEAR_LINES;
}

function isPci(device: string | undefined): boolean {
  return device !== undefined && /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(device);
}

/** Equal for facts that state the same. */
function keyOf({ lines: _lines, text: _text, time: _time, clock: _clock, shape: _shape, ...stated }: HostFact): string {
  return Object.values(stated).join(" ");
}
