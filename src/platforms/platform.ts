/**
 * The interface of every platform: the generic table that it encloses, its windows, its faults, and a reset. A platform may have further
 * fields. Platforms with one table extend `TablePlatform` and override the members that differ.
 */
import type { DeviceWindow } from "../dma/device-window.ts";
import type { Fault, Machine } from "../machine/contract.ts";
import type { IommuTable } from "../table/iommu-table.ts";
import type { Failure } from "../units/failure.ts";

/** Numbers of resources in use, by name: `{ streamingContexts: 3 }`. */
export type Resources = Readonly<Record<string, number>>;

/** One thread's view of a platform. Each class has `create(machine, options)` and `attach(machine, handle)`. */
export interface Platform {
  /** The generic table with this thread's ops. A DmaDevice maps in it. */
  readonly generic: IommuTable;
  /** Structured-cloneable: post it to another thread, and call the class's `attach` there. */
  readonly handle: object;
  /** Windows of the devices, for `createDevice`. */
  readonly windows: readonly DeviceWindow[];
  /** Numbers of platform-specific resources in use, summed over all threads. Each is 0 when nothing is mapped. */
  readonly resources: Resources;
  /** Takes the faults that the machine has recorded, oldest first. */
  takeFaults(): readonly Fault[];
  /**
   * Invalidates all translations, and resets devices that a fault has frozen. Live mappings stay and work. After a failure ("platform-busy":
   * a DMA did not end in time) any thread can repeat the call.
   */
  reset(): Failure | undefined;
  /** Closes this thread's views. Mappings stay. A second call does nothing. */
  close(): void;
  /** Calls `close`, at the end of a `using` block. */
  [Symbol.dispose](): void;
}

/**
 * Base class of platforms with one window, that of the generic table, and without platform-specific resources. Subclasses override what
 * differs.
 */
export abstract class TablePlatform implements Platform {
  readonly generic: IommuTable;
  abstract readonly handle: object;
  readonly #machine: Machine;

  /** `machine`: source of the faults. `generic`: the generic table, with this thread's ops. */
  constructor(machine: Machine, generic: IommuTable) {
    this.generic = generic;
    this.#machine = machine;
  }

  get windows(): readonly DeviceWindow[] {
    return [{ kind: "translated", table: this.generic }];
  }

  get resources(): Resources {
    return {};
  }

  takeFaults(): readonly Fault[] {
    return this.#machine.faults();
  }

  reset(): Failure | undefined {
    return this.generic.allocator.invalidateAll();
  }

  close(): void {
    this.generic.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
