/**
 * A device for tests of the debug mode: the whole of DmaOperations, done simply. Every mapping gets pages of its own, in the order
 * of the calls; nothing is merged, bounced or copied.
 */
import { FreeError } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import type { Access } from "../../units/numbers.ts";
import type { BusHolder, CoherentMemory, DmaOperations, Mapping, MappingPart, Translation } from "../contract.ts";
import type { ScatterList } from "../scatter-list.ts";

const PAGE = 4096n;

export interface ModelDeviceOptions {
  /** Takes every free and sync, right or wrong, as hardware would. Default: wrong ones throw FreeError. */
  readonly lenient?: boolean;
  /** Bus addresses are physical ones: the same memory, mapped twice, has the same address. */
  readonly direct?: boolean;
  /** Does not tell lists that they are mapped, so that they can be changed. */
  readonly unlocked?: boolean;
}

export class ModelDevice implements DmaOperations {
  /** Names of the calls, in order. */
  readonly calls: string[] = [];
  /** The next mapping fails so. */
  nextFailure: Failure | undefined;
  readonly #options: ModelDeviceOptions;
  /** What is mapped, by bus address: as often as the address is in use. */
  readonly #live = new Map<bigint, { readonly kind: string; readonly bytes: number }[]>();
  #next = 0x1000_0000n;
  #nextMemory = 0x4000_0000;

  constructor(options: ModelDeviceOptions = {}) {
    this.#options = options;
  }

  /** Mappings that are live; a list counts as one for each segment. */
  get live(): number {
    return [...this.#live.values()].reduce((sum, mappings) => sum + mappings.length, 0);
  }

  map(address: bigint, bytes: number, access: Access): Mapping | Failure {
    this.calls.push("map");
    return this.#map("single", address, bytes, access);
  }
  mapAt(iova: bigint, _address: bigint, bytes: number, access: Access): Mapping | Failure {
    this.calls.push("mapAt");
    if (this.nextFailure !== undefined) return this.#failure();
    this.#live.set(iova, [...(this.#live.get(iova) ?? []), { kind: "single", bytes }]);
    return { iova, bytes, access };
  }
  holderOf(iova: bigint, bytes: number): BusHolder | undefined {
    return this.#live.has(iova) ? { iova, bytes, state: "live", owner: 0 } : undefined;
  }
  translate(iova: bigint): Translation | undefined {
    return this.#live.has(iova) ? { address: iova, bytes: 1, access: 3 } : undefined;
  }
  unmap(mapping: Mapping): Failure | undefined {
    this.calls.push("unmap");
    return this.#unmap("single", mapping.iova, mapping.bytes);
  }
  mapResource(address: bigint, bytes: number, access: Access): Mapping | Failure {
    this.calls.push("mapResource");
    return this.#map("resource", address, bytes, access);
  }
  unmapResource(mapping: Mapping): Failure | undefined {
    this.calls.push("unmapResource");
    return this.#unmap("resource", mapping.iova, mapping.bytes);
  }
  allocateCoherent(bytes: number): CoherentMemory | Failure {
    this.calls.push("allocateCoherent");
    const address = this.#nextMemory;
    this.#nextMemory += Math.ceil(bytes / 4096) * 4096;
    const mapping = this.#map("coherent", BigInt(address), bytes, 3);
    return typeof mapping === "string" ? mapping : { ...mapping, address };
  }
  freeCoherent(memory: CoherentMemory): Failure | undefined {
    this.calls.push("freeCoherent");
    return this.#unmap("coherent", memory.iova, memory.bytes);
  }

  mapSg(list: ScatterList, access: Access): Failure | undefined {
    this.calls.push("mapSg");
    const { mapping } = list;
    if (this.nextFailure !== undefined) return this.#failure();
    for (let i = 0; i < list.length; i++) {
      const bytes = list.bytes[i]!;
      if (bytes === 0) continue;
      const segment = this.#map("scatterlist", list.addresses[i]!, bytes, access);
      list.iovas[mapping.segments] = (segment as Mapping).iova;
      list.segmentBytes[mapping.segments++] = bytes;
    }
    if (this.#options.unlocked !== true) mapping.device = this;
    return undefined;
  }
  unmapSg(list: ScatterList): Failure | undefined {
    this.calls.push("unmapSg");
    const { mapping } = list;
    if (mapping.segments === 0 && mapping.device === undefined && this.#options.lenient !== true) {
      throw new FreeError("not-allocated", "the list is not mapped");
    }
    for (let i = 0; i < mapping.segments; i++) this.#unmap("scatterlist", list.iovas[i]!, list.segmentBytes[i]!);
    mapping.segments = 0;
    mapping.device = undefined;
    return undefined;
  }

  syncForCpu(mapping: Mapping, part?: MappingPart): void {
    this.#sync("syncForCpu", mapping, part);
  }
  syncForDevice(mapping: Mapping, part?: MappingPart): void {
    this.#sync("syncForDevice", mapping, part);
  }
  syncSgForCpu(_list: ScatterList): void {
    this.calls.push("syncSgForCpu");
  }
  syncSgForDevice(_list: ScatterList): void {
    this.calls.push("syncSgForDevice");
  }

  failureOf(result: Mapping | Failure): Failure | undefined {
    return typeof result === "string" ? result : undefined;
  }

  #map(kind: string, address: bigint, bytes: number, access: Access): Mapping | Failure {
    if (this.nextFailure !== undefined) return this.#failure();
    const iova = this.#options.direct === true ? address : this.#next + (address % PAGE);
    this.#next += ((address % PAGE) + BigInt(bytes) + PAGE - 1n) & -PAGE;
    this.#live.set(iova, [...(this.#live.get(iova) ?? []), { kind, bytes }]);
    return { iova, bytes, access };
  }

  #unmap(kind: string, iova: bigint, bytes: number): undefined {
    const mappings = this.#live.get(iova) ?? [];
    const found = mappings.findIndex((mapping) => mapping.kind === kind && mapping.bytes === bytes);
    if (found < 0 && this.#options.lenient !== true) {
      throw new FreeError("not-allocated", `${kind} of ${bytes} bytes at ${iova} is not mapped`);
    }
    mappings.splice(Math.max(0, found), 1);
    if (mappings.length === 0) this.#live.delete(iova);
    return undefined;
  }

  #sync(name: string, mapping: Mapping, part: MappingPart | undefined): void {
    this.calls.push(name);
    if (this.#options.lenient === true) return;
    const mapped = this.#live.get(mapping.iova)?.[0];
    const end = part === undefined ? mapping.bytes : part.offset + part.bytes;
    if (mapped === undefined || end > mapped.bytes) throw new FreeError("not-allocated", "sync of an unmapped range");
  }

  #failure(): Failure {
    const failure = this.nextFailure as Failure;
    this.nextFailure = undefined;
    return failure;
  }
}
