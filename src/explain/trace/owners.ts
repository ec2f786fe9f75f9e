/**
 * Which devices a mapping belongs to. An `iommu:map` line names none (most kernels), so it is found out: by the line's `dev=`; by the dma event
 * that follows; or by the task that attached a device to a domain and then maps for it (VFIO, iommufd, a driver's probe).
 */
import { ATTACH_DEVICE, type Trace, UNKNOWN_DEVICE, UNKNOWN_TASK } from "../../trace/events.ts";

/** The owner of mappings that no line ties to a device. */
export const UNKNOWN_OWNER = 0;

/** Devices that share one table, as far as the trace shows. */
interface Owner {
  readonly devices: Set<number>;
  /** A user-space task made the mappings, for all devices that it attached. */
  readonly isTask: boolean;
}

export class Owners {
  readonly #trace: Trace;
  readonly #owners: Owner[] = [{ devices: new Set(), isTask: false }];
  readonly #ofDevice = new Map<number, number>();
  readonly #ofTask = new Map<number, number>();
  /** Tasks that made the mapping with which VFIO tries a new domain. */
  readonly #vfioTasks = new Set<number>();

  constructor(trace: Trace) {
    this.#trace = trace;
  }

  ofDevice(device: number): number {
    if (device === UNKNOWN_DEVICE) return UNKNOWN_OWNER;
    const known = this.#ofDevice.get(device);
    if (known !== undefined) return known;
    this.#owners.push({ devices: new Set([device]), isTask: false });
    this.#ofDevice.set(device, this.#owners.length - 1);
    return this.#owners.length - 1;
  }

  /** The owner of what the task of `row` maps; UNKNOWN_OWNER when the task has attached no device, or several for unrelated uses. */
  ofTask(row: number): number {
    const { events } = this.#trace;
    const task = events.task[row] as number;
    if (task === UNKNOWN_TASK || events.context[row] !== 0) return UNKNOWN_OWNER;
    const owner = this.#ofTask.get(task);
    if (owner === undefined) return UNKNOWN_OWNER;
    const devices = this.#owners[owner]?.devices.size ?? 0;
    return devices === 1 || this.#vfioTasks.has(task) ? owner : UNKNOWN_OWNER;
  }

  /** An `attach_device_to_domain` line. */
  attach(row: number): void {
    const { events } = this.#trace;
    if (events.kind[row] !== ATTACH_DEVICE) return;
    const task = events.task[row] as number;
    const device = events.device[row] as number;
    this.#takeFromOthers(device, task);
    const owner = this.#ofTask.get(task);
    if (owner !== undefined) this.#owners[owner]?.devices.add(device);
    else {
      this.#owners.push({ devices: new Set([device]), isTask: true });
      this.#ofTask.set(task, this.#owners.length - 1);
    }
  }

  /** The device goes to another domain: what its former task maps from now on is not the device's. Earlier lives keep their owner. */
  #takeFromOthers(device: number, task: number): void {
    for (const [other, owner] of this.#ofTask) {
      if (other === task || this.#vfioTasks.has(other) || !this.has(owner, device)) continue;
      const devices = new Set(this.#owners[owner]?.devices);
      devices.delete(device);
      if (devices.size === 0) this.#ofTask.delete(other);
      else this.#ofTask.set(other, this.#owners.push({ devices, isTask: true }) - 1);
    }
  }

  /** The task of `row` is a user of VFIO. */
  usesVfio(row: number): void {
    this.#vfioTasks.add(this.#trace.events.task[row] as number);
  }

  has(owner: number, device: number): boolean {
    return this.#owners[owner]?.devices.has(device) ?? false;
  }

  isTask(owner: number): boolean {
    return this.#owners[owner]?.isTask ?? false;
  }

  /** The names of the owner's devices, for people. */
  nameOf(owner: number): string | undefined {
    const names = [...(this.#owners[owner]?.devices ?? [])].map((device) => this.#trace.devices[device] ?? "");
    return names.length === 0 ? undefined : names.join(", ");
  }
}
