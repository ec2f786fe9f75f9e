/** Compares a call with the known mappings of the device and reports misuse. Changes no record except its "checked" mark. */
import { type Access, DEVICE_READS, DEVICE_READS_AND_WRITES, DEVICE_WRITES } from "../../units/numbers.ts";
import type { CoherentMemory, Mapping, MappingPart } from "../contract.ts";
import type { CheckedLimits } from "../limits.ts";
import type { ScatterList } from "../scatter-list.ts";
import type { Call } from "./call.ts";
import type { MisuseCollector } from "./collector.ts";
import type { DmaAble } from "./dma-able.ts";
import type { LiveMappings, SharedLines } from "./live-mappings.ts";
import type { DebuggedCall, MappingDescription, MismatchMisuse, Place, UnmappedMisuse } from "./misuse.ts";
import type { CheckedOptions } from "./options.ts";
import { NONE } from "./records.ts";
import { segmentCrosses } from "./segments.ts";

/** A new mapping is reported if its cache line has more live mappings than this: the largest count of Linux's tags. */
const MAX_OVERLAPS = 7;

export class MisuseChecks {
  readonly live: LiveMappings;
  readonly #collector: MisuseCollector;
  readonly #device: string;
  readonly #checkResults: boolean;
  readonly #limits: CheckedLimits | undefined;
  readonly #dmaAble: DmaAble | undefined;

  constructor(live: LiveMappings, collector: MisuseCollector, options: CheckedOptions) {
    this.live = live;
    this.#collector = collector;
    this.#device = options.device;
    this.#checkResults = options.checkResults;
    this.#limits = options.limits;
    this.#dmaAble = options.dmaAble;
  }

  /** Checks a free. Returns the record of the mapping at that address, or NONE. */
  free(call: Call, found: MappingDescription): number {
    const record = this.live.records.find(found);
    if (record === NONE) {
      this.#unmapped(call, "free-unmapped", found);
      return NONE;
    }
    const expected = this.live.records.describe(record);
    const mismatch = (kind: MismatchMisuse["kind"]) => this.#mismatch(call, kind, found, record);
    const sameKind = found.kind === expected.kind;
    const sameElements = found.elements === expected.elements;
    if (!sameKind) mismatch("free-wrong-kind");
    // A list with another number of elements has another size too: one report is enough.
    if (sameKind && !sameElements) mismatch("free-wrong-element-count");
    else if (found.bytes !== expected.bytes) mismatch("free-wrong-size");
    if (sameKind && found.kind === "coherent" && found.address !== expected.address) mismatch("free-wrong-cpu-address");
    if (found.access !== undefined && found.access !== expected.access) mismatch("free-wrong-direction");
    this.#checked(call, record);
    return record;
  }

  /** As `free`, for a list. */
  freeList(call: Call, list: ScatterList): number {
    const found = describeList(list, undefined);
    if (!this.#isStale(list, found)) return this.free(call, found);
    this.#unmapped(call, "free-unmapped", found);
    return NONE;
  }

  /** Checks a sync of one mapping: of `part` of it, or of all of it. */
  sync(call: Call, found: MappingDescription, part: MappingPart | undefined): void {
    const record = this.live.records.find(found);
    if (record === NONE) {
      this.#unmapped(call, "sync-unmapped", found);
      return;
    }
    const expected = this.live.records.describe(record);
    const { offset, bytes } = part ?? { offset: 0, bytes: found.bytes };
    // Also true if one of them is not a number.
    if (!(offset >= 0 && bytes >= 0 && offset + bytes <= expected.bytes)) {
      this.#collector.add("sync-out-of-range", () => ({
        kind: "sync-out-of-range",
        ...this.#misuse(call),
        found: { offset, bytes },
        expected,
        mapped: this.live.known(record).mapped,
      }));
    }
    // A mapping for both directions may be synced for one of them.
    if (found.access !== expected.access && expected.access !== DEVICE_READS_AND_WRITES) {
      this.#mismatch(call, "sync-wrong-direction", found, record);
    }
    this.#needlessSync(call, found, record, expected.access);
    this.#checked(call, record);
  }

  /** Checks a sync of a list. */
  syncList(call: Call, list: ScatterList): void {
    const found = describeList(list, undefined);
    const record = this.#isStale(list, found) ? NONE : this.live.records.find(found);
    if (record === NONE) {
      this.#unmapped(call, "sync-unmapped", found);
      return;
    }
    const expected = this.live.records.describe(record);
    if (found.elements !== expected.elements) this.#mismatch(call, "sync-wrong-element-count", found, record);
    this.#needlessSync(call, found, record, expected.access);
  }

  /** Reports a value that is not a mapping. */
  errorValue(call: Call, kind: "free-error-value" | "sync-error-value", found: unknown): void {
    this.#collector.add(kind, () => ({ kind, ...this.#misuse(call), found }));
  }

  /** Checks memory before it is mapped. `element`: its index in the list. */
  memory(call: Call, address: bigint, bytes: number, element: number | undefined): void {
    if (this.#dmaAble === undefined || call.silent || this.#dmaAble(address, bytes)) return;
    const report = { kind: "map-not-dma-able", address, bytes, element } as const;
    this.#collector.add("map-not-dma-able", () => ({ ...report, ...this.#misuse(call) }));
  }

  /** Checks the elements of a list before it is mapped. */
  elements(call: Call, list: ScatterList): void {
    if (this.#dmaAble === undefined) return;
    for (let i = 0; i < list.length; i++) {
      if (list.bytes[i] !== 0) this.memory(call, list.addresses[i]!, list.bytes[i]!, i);
    }
  }

  /** Checks the segments of a list after it was mapped. */
  segments(call: Call, list: ScatterList): void {
    const limits = this.#limits;
    if (limits === undefined || call.silent) return;
    for (let segment = 0; segment < list.segments; segment++) {
      const bytes = list.segmentBytes[segment]!;
      const add = (kind: "map-segment-too-long" | "map-segment-across-boundary") => {
        const iova = list.iovas[segment]!;
        this.#collector.add(kind, () => ({ kind, ...this.#misuse(call), segment, iova, bytes, ...limits }));
      };
      if (bytes > limits.maxSegmentBytes) add("map-segment-too-long");
      if (segmentCrosses(list, segment, limits.boundaryMask)) add("map-segment-across-boundary");
    }
  }

  /** Checks a mapping that shares cache lines with live mappings. */
  overlaps(call: Call, found: MappingDescription, shared: SharedLines): void {
    const common = (line: number, other: number) => ({
      ...this.#misuse(call),
      found,
      cacheLine: BigInt(line) * BigInt(this.live.cacheLineBytes),
      other: this.live.known(other),
    });
    this.#collector.add("map-overlapping-lines", () => ({
      kind: "map-overlapping-lines",
      ...common(shared.line, shared.other),
    }));
    const { overlaps, deepestLine } = shared;
    if (overlaps <= MAX_OVERLAPS) return;
    this.#collector.add("map-too-many-overlaps", () => ({
      kind: "map-too-many-overlaps",
      ...common(deepestLine, shared.deepestOther),
      overlaps,
      maxOverlaps: MAX_OVERLAPS,
    }));
  }

  /** Reports the live mappings of a device that is removed. */
  removed(call: Call): void {
    const count = this.live.records.live;
    if (count === 0) return;
    this.#collector.add("removed-with-live-mappings", () => ({
      kind: "removed-with-live-mappings",
      ...this.#misuse(call),
      count,
      example: this.live.known(this.live.records.oldest()),
    }));
  }

  outOfRecords(call: Call): void {
    const { capacity } = this.live.records;
    this.#collector.add("out-of-records", () => ({ kind: "out-of-records", ...this.#misuse(call), capacity }));
  }

  #unmapped(call: Call, kind: UnmappedMisuse["kind"], found: MappingDescription): void {
    this.#collector.add(kind, () => {
      const { records, places } = this.live;
      const inside = records.containing(found.iova);
      const last = records.lastFreed(found);
      return {
        kind,
        ...this.#misuse(call),
        found,
        inside: inside === NONE ? undefined : this.live.known(inside),
        before: last === NONE ? undefined : { ...this.live.known(last), freed: places.at(records.freedAt(last)) },
      };
    });
  }

  #mismatch(call: Call, kind: MismatchMisuse["kind"], found: MappingDescription, record: number): void {
    this.#collector.add(kind, () => {
      const { mapping: expected, mapped } = this.live.known(record);
      return { kind, ...this.#misuse(call), found, expected, mapped };
    });
  }

  /**
   * True if this list is not mapped, but another mapping uses its old address. A list that repeats a part of a mapped list is not stale: it
   * has other elements, but begins at the same memory.
   */
  #isStale(list: ScatterList, found: MappingDescription): boolean {
    const record = this.live.records.find(found);
    if (record === NONE || list.segments !== 0) return false;
    const { kind, address, elements } = this.live.records.describe(record);
    return kind !== found.kind || address !== found.address || elements === found.elements;
  }

  /** Reports a sync in a direction in which the device, or the CPU, writes nothing. */
  #needlessSync(call: Call, found: MappingDescription, record: number, access: Access | undefined): void {
    const forCpu = call.name === "syncForCpu" || call.name === "syncSgForCpu";
    if (forCpu && access === DEVICE_READS) this.#mismatch(call, "sync-for-cpu-to-device", found, record);
    if (!forCpu && access === DEVICE_WRITES) this.#mismatch(call, "sync-for-device-from-device", found, record);
  }

  /** Reports a mapping whose result was never passed to `failureOf`. The mapping counts as checked afterwards. Lists are not checked. */
  #checked(call: Call, record: number): void {
    const { records } = this.live;
    if (!this.#checkResults || records.isChecked(record)) return;
    const { mapping: expected, mapped } = this.live.known(record);
    if (expected.kind === "scatterlist") return;
    records.setChecked(record);
    const kind = "result-not-checked";
    this.#collector.add(kind, () => ({ kind, ...this.#misuse(call), expected, mapped }));
  }

  #misuse(call: Call): { readonly device: string; readonly call: DebuggedCall; readonly misused: Place } {
    return { device: this.#device, call: call.name, misused: call.place };
  }
}

/** True if a mapping call could have returned this value. A failure is a string or a negative number. */
export function isMapping(value: unknown): value is Mapping {
  return typeof value === "object" && value !== null && typeof (value as Partial<Mapping>).iova === "bigint";
}

/** Describes a mapping as a call received it. */
export function describeMapping(kind: "single" | "resource" | "coherent", mapping: Mapping): MappingDescription {
  const { iova, bytes, access } = mapping;
  const address = kind === "coherent" ? addressOf((mapping as CoherentMemory).address) : undefined;
  return { kind, iova, bytes, access, elements: 0, address };
}

/** Describes a mapping that a call returned. */
export function describeResult(result: Mapping | CoherentMemory): MappingDescription {
  return describeMapping("address" in result ? "coherent" : "single", result);
}

/** Describes a list as a call received it. */
export function describeList(list: ScatterList, access: Access | undefined): MappingDescription {
  let bytes = 0;
  for (let i = 0; i < list.length; i++) bytes += list.bytes[i]!;
  return {
    kind: "scatterlist",
    iova: list.iovas[0]!,
    bytes,
    access,
    elements: list.length,
    address: list.length === 0 ? undefined : list.addresses[0]!,
  };
}

/** A CPU address as a bigint. For an invalid address, a value that no mapping has. */
function addressOf(address: number): bigint {
  return Number.isSafeInteger(address) ? BigInt(address) : -1n;
}
