/**
 * The hypervisor of a logical domain channel between two domains, each with its own memory, which they share by cookies. As a DmaMachine it
 * is the machine of end 0, whose devices are users at end 1: they copy memory that end 0 exports, as a device does DMA.
 *
 *     const channel = LdcHypervisor.create({ memoryBytes: 2 ** 24, otherMemoryBytes: 2 ** 20 });
 *     channel.ends[1].hypercall(LDC_COPY, args);
 *     worker.postMessage(channel.handle);  // there: LdcHypervisor.attach(handle)
 */

import type { Crew } from "../../../crew/crew.ts";
import type { DmaMachine, DmaMaster, Fault, Hypercall, Registers } from "../../../machine/contract.ts";
import type { PhysicalMemory } from "../../../memory/physical-memory.ts";
import { SIZE_CODES } from "../../../platforms/ldc/cookies.ts";
import { LINK_UP } from "../../../platforms/ldc/services.ts";
import { createShared, poke, type SharedBuffer, wordsOf } from "../../../shared/memory.ts";
import { checkHandle } from "../../../table/handle.ts";
import { FormatError } from "../../../units/errors.ts";
import { checkKeys } from "../../../units/keys.ts";
import { SoftwareMachine, type SoftwareMachineHandle, type SoftwareMachineOptions } from "../../software/machine.ts";
import { CallInjection } from "../injection.ts";
import { LdcEnd } from "./end.ts";
import { HEADER, LAYOUT_VERSION, type Layout, layoutOf, MAGIC, readLayout } from "./layout.ts";
import { MapIn } from "./map-in.ts";

/** Options of `LdcHypervisor.create`. */
export interface LdcHypervisorOptions
  extends Pick<SoftwareMachineOptions, "threads" | "faultRecords" | "busyMilliseconds"> {
  /** Memory of end 0's domain in bytes: a multiple of 8192, up to 4 GiB. */
  readonly memoryBytes: number;
  /** Memory of end 1's domain in bytes: a multiple of 4096. Default 65,536. */
  readonly otherMemoryBytes?: number;
  /** Names of users at end 1. Default: one user, "device0". */
  readonly devices?: readonly string[];
}

/** Handle of an LDC hypervisor, structured-cloneable: post it to another thread and call `LdcHypervisor.attach` there. */
export interface LdcHypervisorHandle {
  /** @internal */
  readonly machines: readonly [SoftwareMachineHandle, SoftwareMachineHandle];
  /** @internal */
  readonly state: SharedBuffer;
}

/**
 * The hypervisor of a logical domain channel between two domains, each with its own memory (UltraSPARC Virtual Machine Specification,
 * "Logical Domain Channel services"). As a DmaMachine it is the machine of end 0. Its devices are users at end 1, which copy memory that end
 * 0 exports. `LdcPlatform` has an example.
 *
 * One object is one thread's view: post `handle`, and `attach` in each other thread.
 */
export class LdcHypervisor implements DmaMachine {
  /** Handle for other threads. */
  readonly handle: LdcHypervisorHandle;
  /**
   * The two ends of the channel: the exporting guest, and the importing one.
   *
   * @internal
   */
  readonly ends: readonly [LdcEnd, LdcEnd];
  /**
   * Fault injection for calls of both ends. Counts of copies are in bytes.
   *
   * @internal
   */
  readonly injection: CallInjection;
  /** The calls of end 0's domain. */
  readonly hypercall: Hypercall;
  readonly #machines: readonly [SoftwareMachine, SoftwareMachine];
  #open = true;

  private constructor(machines: readonly [SoftwareMachine, SoftwareMachine], buffer: SharedBuffer, layout: Layout) {
    const state = wordsOf(buffer);
    const [first, second] = machines;
    const thread = first.thread;
    this.handle = { machines: [first.handle, second.handle], state: buffer };
    this.injection = new CallInjection(state, 0);
    this.#machines = machines;
    const mapIns = [
      new MapIn({ state, layout, end: 0, thread, exported: second.memory }),
      new MapIn({ state, layout, end: 1, thread, exported: first.memory }),
    ] as const;
    for (const mapIn of mapIns) first.attachment.onReclaim("hypervisor", (dead) => mapIn.forget(dead));
    const parts = { state, layout, injection: this.injection, isOpen: () => this.#open };
    this.ends = [
      new LdcEnd({ ...parts, end: 0, machine: first, other: second, mapIn: mapIns[0], otherMapIn: mapIns[1] }),
      new LdcEnd({ ...parts, end: 1, machine: second, other: first, mapIn: mapIns[1], otherMapIn: mapIns[0] }),
    ];
    this.hypercall = this.ends[0].hypercall;
  }

  /** Creates both domains and attaches this thread. The link is down. Throws InvalidArgumentError for options out of range. */
  static create(options: LdcHypervisorOptions): LdcHypervisor {
    checkKeys("an LDC hypervisor", options, {
      memoryBytes: "any",
      otherMemoryBytes: "any",
      devices: "object",
      threads: "any",
      faultRecords: "any",
      busyMilliseconds: "any",
    });
    const { memoryBytes, otherMemoryBytes = 65536, devices, faultRecords } = options;
    const { busyMilliseconds = 1000, threads = 32 } = options;
    // Without an IOTLB: the hypervisor reads an entry for each copy. One window for each page size.
    const common = {
      iommu: "none",
      windows: SIZE_CODES,
      iotlb: { entries: 0 },
      threads,
      busyMilliseconds,
      ...(faultRecords === undefined ? {} : { faultRecords }),
    };
    const first = SoftwareMachine.create({ ...common, memoryBytes, ...(devices === undefined ? {} : { devices }) });
    const second = SoftwareMachine.create({ ...common, memoryBytes: otherMemoryBytes, crew: first.crew });
    const layout = layoutOf(threads, busyMilliseconds);
    const buffer = createShared(layout.words * 4);
    const state = wordsOf(buffer);
    poke(state, HEADER.magic, MAGIC);
    poke(state, HEADER.version, LAYOUT_VERSION);
    poke(state, HEADER.threads, threads);
    poke(state, HEADER.busyMilliseconds, busyMilliseconds);
    return new LdcHypervisor([first, second], buffer, layout);
  }

  /**
   * Attaches the calling thread. `crew`: this thread's view of the machine's crew; default: the thread joins the crew. Throws FormatError
   * for a foreign handle, and IovaError "no-thread-slot" if all numbers of the crew are taken.
   */
  static attach(handle: LdcHypervisorHandle, crew?: Crew): LdcHypervisor {
    checkHandle("an LDC hypervisor", handle, { state: "shared", machines: "list" });
    const { length } = handle.machines;
    if (length !== 2)
      throw new FormatError(`the handle is not that of an LDC hypervisor: it has ${length} machines; expected 2`);
    const layout = readLayout(wordsOf(handle.state), handle.state.byteLength / 4);
    const first = SoftwareMachine.attach(handle.machines[0], crew);
    const second = SoftwareMachine.attach(handle.machines[1], first.crew);
    return new LdcHypervisor([first, second], handle.state, layout);
  }

  /** End 0's memory. */
  get memory(): PhysicalMemory {
    return this.#machines[0].memory;
  }
  /** Registers of end 0: the domain has none, so every access throws InvalidArgumentError. */
  get registers(): Registers {
    return this.#machines[0].registers;
  }
  get crew(): Crew {
    return this.#machines[0].crew;
  }
  /** This thread's number in the crew. */
  get thread(): number {
    return this.#machines[0].thread;
  }
  /** Takes the refused copies of end 0's memory, oldest first. */
  faults(): readonly Fault[] {
    return this.#machines[0].faults();
  }

  /**
   * The user at end 1 with this name or number. It copies by cookies through the hypervisor. Its addresses and lengths need not be multiples
   * of 8: it has a buffer for the rest. While the link is not up, its copies return false. Throws InvalidArgumentError for an unknown user.
   */
  device(which: string | number): DmaMaster {
    const device = this.#machines[0].device(which);
    const isUp = (): boolean => this.ends[1].link === LINK_UP;
    return {
      name: device.name,
      dmaRead: (cookie, into) => isUp() && device.dmaRead(cookie, into),
      dmaWrite: (cookie, from) => isUp() && device.dmaWrite(cookie, from),
    };
  }

  /** Closes this thread's views of both domains. A second call does nothing, because the number may belong to another thread by then. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const machine of this.#machines) machine.close();
  }

  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }
}
