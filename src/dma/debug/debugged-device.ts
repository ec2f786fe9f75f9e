/**
 * The debug mode: wraps a device, forwards every call, and reports misuse. Results and errors of the wrapped device are passed on
 * unchanged; a report precedes them.
 *
 *     const device = debugged(new DmaDevice(table, limits), debug && { device: "nvme0", limits });
 *
 * With `false`, `debugged` returns the device itself, without a wrapper. docs/dma-debug.md lists all reports.
 */
import type { Failure } from "../../units/failure.ts";
import { type Access, DEVICE_READS_AND_WRITES } from "../../units/numbers.ts";
import type {
  BusHolder,
  CoherentMemory,
  DmaOperations,
  Mapping,
  MappingAttributes,
  MappingPart,
  Translation,
} from "../contract.ts";
import type { ScatterList } from "../scatter-list.ts";
import { Call } from "./call.ts";
import { describeList, describeMapping, describeResult, isMapping, MisuseChecks } from "./checks.ts";
import { MisuseCollector } from "./collector.ts";
import { LiveMappings, type MappedMemory, writtenElements, writtenPiece } from "./live-mappings.ts";
import type { DebuggedCall, MappingDescription, MisuseKind, MisuseReport } from "./misuse.ts";
import { checkOptions, type DebugOptions } from "./options.ts";
import { NONE } from "./records.ts";

/**
 * Wraps the device in the debug mode; with `false`, returns the device itself. Call it before the first mapping: earlier mappings are unknown
 * to the debug mode.
 * @throws InvalidArgumentError for an option outside its range
 *
 * @example
 * ```ts
 * import { DEVICE_READS, DmaDevice, orThrow } from "iova";
 * import { debugged } from "iova/debug";
 * import { LinearPlatform, SoftwareMachine } from "iova/platform";
 *
 * const machine = SoftwareMachine.create({ memoryBytes: 2 ** 20 });
 * const window = { base: 0x8000_0000n, pageShift: 12, entries: 1024 };
 * const { generic: table } = LinearPlatform.create(machine, { format: "powernv-tce", window });
 * const device = debugged(new DmaDevice(table), { device: "nic", onMisuse: ({ kind }) => console.log(kind) });
 *
 * const mapping = orThrow(device.map(0x1_0000n, 4096, DEVICE_READS));
 * device.unmap({ ...mapping, bytes: 100 });
 * device.deviceRemoved();
 * ```
 * ```text output
 * free-wrong-size
 * ```
 */
export function debugged<Device extends DmaOperations>(device: Device, options: false): Device;
export function debugged(device: DmaOperations, options?: DebugOptions): DebuggedDevice;
export function debugged(device: DmaOperations, options: DebugOptions | false): DmaOperations;
export function debugged(device: DmaOperations, options: DebugOptions | false = {}): DmaOperations {
  return options === false ? device : new DebuggedDevice(device, options);
}

/**
 * A device in the debug mode: it checks each call, reports misuse, and forwards the call. It belongs to one thread, as its device does. Free a
 * mapping through the object that made it.
 */
export class DebuggedDevice implements DmaOperations {
  readonly #device: DmaOperations;
  readonly #collector: MisuseCollector;
  /** Undefined once the debug mode has switched itself off. */
  #checks: MisuseChecks | undefined;

  /** @throws InvalidArgumentError for an option outside its range */
  constructor(device: DmaOperations, options: DebugOptions = {}) {
    const checked = checkOptions(options);
    this.#device = device;
    this.#collector = new MisuseCollector(checked);
    this.#checks = new MisuseChecks(new LiveMappings(checked), this.#collector, checked);
  }

  /** The first 256 reports, oldest first, if there is no `onMisuse`. */
  get reports(): readonly MisuseReport[] {
    return this.#collector.reports;
  }

  /** Misuses so far, by kind, also those beyond `reportsPerKind` and of kinds in `ignore`. */
  get counts(): Readonly<Record<MisuseKind, number>> {
    return this.#collector.counts;
  }

  /** True after the records have run out: calls are then forwarded unchecked. */
  get isSwitchedOff(): boolean {
    return this.#checks === undefined;
  }

  /** Number of live mappings; 0 if the debug mode is switched off. */
  get liveMappings(): number {
    return this.#checks?.live.records.live ?? 0;
  }

  /** Memory of the record columns in bytes. `capacity` sets it; the memory is released if the debug mode switches itself off. */
  get memoryBytes(): number {
    return this.#checks?.live.memoryBytes ?? 0;
  }

  /** Reports the mappings that are still live, which stay mapped. Call it when the device is removed. */
  deviceRemoved(): void {
    const call = this.#begin("deviceRemoved");
    if (call !== undefined) this.#checks?.removed(call);
  }

  map(address: bigint, bytes: number, access: Access, attributes?: MappingAttributes): Mapping | Failure {
    const call = this.#begin("map", attributes);
    if (call !== undefined && isPiece(address, bytes)) this.#checks?.memory(call, address, bytes, undefined);
    const result = this.#device.map(address, bytes, access, attributes);
    if (call === undefined || !isMapping(result)) return result;
    const made = { ...describeMapping("single", result), address };
    this.#remember(call, made, writtenPiece(address, bytes, access), attributes);
    return result;
  }

  mapAt(
    iova: bigint,
    address: bigint,
    bytes: number,
    access: Access,
    attributes?: MappingAttributes,
  ): Mapping | Failure {
    const call = this.#begin("mapAt", attributes);
    if (call !== undefined && isPiece(address, bytes)) this.#checks?.memory(call, address, bytes, undefined);
    const result = this.#device.mapAt(iova, address, bytes, access, attributes);
    if (call === undefined || !isMapping(result)) return result;
    const made = { ...describeMapping("single", result), address };
    this.#remember(call, made, writtenPiece(address, bytes, access), attributes);
    return result;
  }

  holderOf(iova: bigint, bytes: number): BusHolder | undefined {
    return this.#device.holderOf(iova, bytes);
  }

  translate(iova: bigint): Translation | undefined {
    return this.#device.translate(iova);
  }

  unmap(mapping: Mapping): Failure | undefined {
    return this.#free("unmap", "single", mapping, () => this.#device.unmap(mapping));
  }

  mapSg(list: ScatterList, access: Access, attributes?: MappingAttributes): Failure | undefined {
    const call = this.#begin("mapSg", attributes);
    if (call !== undefined) this.#checks?.elements(call, list);
    const failure = this.#device.mapSg(list, access, attributes);
    // A list without bytes has no bus address and can't be misused: it gets no record.
    if (call === undefined || failure !== undefined || list.segments === 0) return failure;
    this.#remember(call, describeList(list, access), writtenElements(list, access), attributes);
    this.#checks?.segments(call, list);
    return undefined;
  }

  unmapSg(list: ScatterList): Failure | undefined {
    const call = this.#begin("unmapSg");
    if (call === undefined || isEmptyMapped(list)) return this.#device.unmapSg(list);
    const record = this.#checks?.freeList(call, list) ?? NONE;
    const failure = this.#device.unmapSg(list);
    this.#forget(call, record);
    return failure;
  }

  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure {
    const call = this.#begin("mapResource");
    const result = this.#device.mapResource(address, bytes, access);
    if (call === undefined || !isMapping(result)) return result;
    this.#remember(call, { ...describeMapping("resource", result), address }, undefined);
    return result;
  }

  /** As `DmaOperations.unmapResource`; a wrong call is reported. */
  unmapResource(mapping: Mapping): Failure | undefined {
    return this.#free("unmapResource", "resource", mapping, () => this.#device.unmapResource(mapping));
  }

  allocateCoherent(bytes: number): CoherentMemory | Failure {
    const call = this.#begin("allocateCoherent");
    const result = this.#device.allocateCoherent(bytes);
    if (call === undefined || typeof result === "string") return result;
    const made = describeMapping("coherent", result);
    const memory = writtenPiece(BigInt(result.address), result.bytes, DEVICE_READS_AND_WRITES);
    this.#remember(call, made, memory);
    return result;
  }

  /** As `DmaOperations.freeCoherent`; a wrong call is reported. */
  freeCoherent(memory: CoherentMemory): Failure | undefined {
    return this.#free("freeCoherent", "coherent", memory, () => this.#device.freeCoherent(memory));
  }

  syncForCpu(mapping: Mapping, part?: MappingPart): void {
    this.#checkSync("syncForCpu", mapping, part);
    this.#device.syncForCpu(mapping, part);
  }

  syncForDevice(mapping: Mapping, part?: MappingPart): void {
    this.#checkSync("syncForDevice", mapping, part);
    this.#device.syncForDevice(mapping, part);
  }

  /** As `DmaOperations.syncSgForCpu`; a wrong call is reported. */
  syncSgForCpu(list: ScatterList): void {
    this.#checkSyncSg("syncSgForCpu", list);
    this.#device.syncSgForCpu(list);
  }

  /** As `DmaOperations.syncSgForDevice`; a wrong call is reported. */
  syncSgForDevice(list: ScatterList): void {
    this.#checkSyncSg("syncSgForDevice", list);
    this.#device.syncSgForDevice(list);
  }

  failureOf(result: Mapping | Failure): Failure | undefined {
    const records = this.#checks?.live.records;
    if (records !== undefined && isMapping(result)) {
      const record = records.find(describeResult(result), true);
      if (record !== NONE) records.setChecked(record);
    }
    return this.#device.failureOf(result);
  }

  /** Undefined if the debug mode is switched off. */
  #begin(name: DebuggedCall, attributes?: MappingAttributes): Call | undefined {
    if (this.#checks === undefined) return undefined;
    const method = DebuggedDevice.prototype[name] as (...args: never[]) => unknown;
    return new Call(name, attributes?.noWarning ?? false, this.#checks.live.places, method);
  }

  /** Records a new mapping. `memory`: the memory that the device may write; undefined if overlaps do not matter. */
  #remember(
    call: Call,
    made: MappingDescription,
    memory: MappedMemory | undefined,
    attributes?: MappingAttributes,
  ): void {
    const checks = this.#checks;
    // The handler may have made mappings itself and used up the records.
    if (checks === undefined) return;
    const { live } = checks;
    const shared = memory && live.shared(memory);
    const record = live.add(made, call.text);
    if (record === NONE || !(memory === undefined || live.addMemory(record, memory))) {
      this.#checks = undefined;
      checks.outOfRecords(call);
      return;
    }
    // A driver that syncs by itself (`skipSync`) may map a page twice.
    if (shared === undefined || call.silent || attributes?.skipSync === true) return;
    checks.overlaps(call, made, shared);
  }

  #free<Result>(
    name: "unmap" | "unmapResource" | "freeCoherent",
    kind: "single" | "resource" | "coherent",
    mapping: Mapping,
    free: () => Result,
  ): Result {
    const call = this.#begin(name);
    if (call === undefined) return free();
    if (!isMapping(mapping)) {
      this.#checks?.errorValue(call, "free-error-value", mapping);
      return free();
    }
    const record = this.#checks?.free(call, describeMapping(kind, mapping)) ?? NONE;
    const result = free();
    this.#forget(call, record);
    return result;
  }

  /**
   * Removes the record of a freed mapping. Also after a failure, since the mapping can't be freed again. Not called if the device threw:
   * then nothing was freed.
   */
  #forget(call: Call, record: number): void {
    if (record !== NONE) this.#checks?.live.remove(record, call.text);
  }

  #checkSync(name: "syncForCpu" | "syncForDevice", mapping: Mapping, part: MappingPart | undefined): void {
    const call = this.#begin(name);
    if (call === undefined) return;
    if (isMapping(mapping)) this.#checks?.sync(call, describeMapping("single", mapping), part);
    else this.#checks?.errorValue(call, "sync-error-value", mapping);
  }

  #checkSyncSg(name: "syncSgForCpu" | "syncSgForDevice", list: ScatterList): void {
    const call = this.#begin(name);
    if (call !== undefined && !isEmptyMapped(list)) this.#checks?.syncList(call, list);
  }
}

/** True for arguments that a device accepts; the device itself reports others. */
function isPiece(address: bigint, bytes: number): boolean {
  return typeof address === "bigint" && Number.isSafeInteger(bytes) && bytes > 0;
}

/** True for a mapped list without bytes. */
function isEmptyMapped(list: ScatterList): boolean {
  return list.segments === 0 && list.mapping.device !== undefined;
}
