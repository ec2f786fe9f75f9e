/**
 * Statements of a kernel log, one object a fact. Facts say what the lines say and nothing more: what follows from them is the
 * business of `src/explain`. Each fact knows the lines that hold it.
 *
 * A message may come in several lines with other lines between (a second half, a dump of registers). The shape that reads a
 * later line completes the fact of an earlier one; a fact is handed on when no further line can belong to it.
 */

/** Reference to a line of an input. */
export interface LineRef {
  /** Name of the input, as given. */
  readonly file: string;
  /** Number of the line, from 1. */
  readonly line: number;
}

/**
 * Clock of a time: `uptime` counts from the boot; `wall` from 1970, or from the beginning of the year if the log has no year; `trace` is the
 * clock of a trace. Times of different clocks can't be compared.
 */
export type Clock = "uptime" | "wall" | "trace";

/** Direction of a device's access. */
export type Access = "read" | "write" | "execute";

/** Fields of every fact. */
export interface FactBase {
  /** Name of the shape that read the first line. */
  readonly shape: string;
  /** The lines that hold the fact, in the order of the input. Never empty. */
  readonly lines: LineRef[];
  /** The first line's message, without what stands before it (time stamp, host, quote marks). */
  readonly text: string;
  /** Seconds, as printed; absent when the line has no time. */
  readonly time?: number;
  readonly clock?: Clock;
}

/** The device that a message names as the source of an access. The driver at fault may be another device's. */
export interface Requester {
  /** PCI devices as `0000:02:00.0`; others as printed. */
  device?: string;
  driver?: string;
  /** A requester that is named and is no device: a client of a memory controller (`display0a`). */
  client?: string;
  /** The IOMMU that reports, as printed: `dmar2`, `arm-smmu-v3.0.auto`. */
  iommu?: string;
  streamId?: bigint;
  domain?: bigint;
  pasid?: bigint;
}

/**
 * The cause, in the IOMMU's own words:
 * - `absent`: no valid entry
 * - `absent-or-permission`: one of both, and the code does not tell which (VT-d reasons 5 and 6)
 * - `permission`: an entry that does not allow the access
 * - `no-table`: the requester has no table, or its device entry is empty
 * - `no-table-or-error`: a table above the pages is missing or malformed; the code and the text beside it do not agree on which
 * - `table-error`: an entry is malformed (reserved bits), or the IOMMU met an error while reading it
 * - `address-size`: the address is wider than the table
 * - `passed-through`: the device is not translated, the IOMMU refuses for another reason
 * - `interrupt-range`: a DMA into the address range of interrupts
 * - `unknown`: the line does not say
 */
export type ReportedCause =
  | "absent"
  | "absent-or-permission"
  | "permission"
  | "no-table"
  | "no-table-or-error"
  | "table-error"
  | "address-size"
  | "passed-through"
  | "interrupt-range"
  | "unknown";

/** An IOMMU refused an access. */
export interface FaultFact extends FactBase, Requester {
  readonly kind: "fault";
  /** `intel`, `amd`, `smmu`, `smmu-v3`, `rockchip`, …: the family of shapes that read it. */
  readonly family: string;
  cause: ReportedCause;
  iova?: bigint;
  /** 4096: the line names a page, not an address. */
  granule: 1 | 4096;
  access?: Access;
  /** Code in hexadecimal (`0x5`), text as printed. */
  reason?: { code: string; text: string };
  /** The hardware says that it lost further faults (overflow, MULTI). */
  overflow?: boolean;
  /**
   * The entry in a dump of the tables that was printed with the fault: `absent`, `present` (right access), `no-permission`, `reserved` bits,
   * `pass-through` (the device's entry is not translated).
   */
  dump?: "absent" | "present" | "no-permission" | "reserved" | "pass-through";
  /** Further values that a rule of one family looks at; names as in the shape. */
  values?: Record<string, string | number | bigint>;
}

/** Interrupt remapping refused an interrupt. No memory access. */
export interface InterruptFact extends FactBase, Requester {
  readonly kind: "interrupt";
  /** Index of the interrupt remapping entry, when the line has one. */
  index?: number;
  reason?: { code: string; text: string };
  /** The interrupt has the old format (`not-remapped`), or its entry is absent or forbids it (`blocked`). */
  verdict?: "blocked" | "not-remapped";
}

/** The IOMMU or a device did not answer an invalidation in time. */
export interface InvalidationTimeoutFact extends FactBase, Requester {
  readonly kind: "invalidation-timeout";
  /** The unit that did not answer, if the line names it. */
  silent?: "iommu" | "device";
  /** True if the device has disappeared (registers read as all ones, source id ffff). */
  gone?: boolean;
}

/** An entry was to be written that was not empty. */
export interface ConflictFact extends FactBase, Requester {
  readonly kind: "conflict";
  readonly iova: bigint;
  readonly oldEntry?: bigint;
  readonly newEntry?: bigint;
}

/** A map was refused: VFIO, iommufd, DPDK, SPDK, a VMM, or a driver of an IOMMU. */
export interface MapRefusedFact extends FactBase, Requester {
  readonly kind: "map-refused";
  /** `vfio`, `iommufd`, `dpdk`, `spdk`, `qemu`, `intel`, … */
  readonly by: string;
  /** As `ENOMEM`. */
  errno?: string;
  iova?: bigint;
  bytes?: bigint;
  /** The obstacle that the line names. */
  because?:
    | "memlock-limit"
    | "mapping-limit"
    | "overlap"
    | "cannot-pin"
    | "beyond-aperture"
    | "reserved-hole"
    | "misaligned"
    | "stale-mapping";
  /** The limit that was met: bytes of locked memory, bits of the aperture. */
  limit?: bigint;
}

/** A device could not be given to a guest or a user-space driver. */
export interface AssignmentRefusedFact extends FactBase, Requester {
  readonly kind: "assignment-refused";
  readonly because?: "group-not-viable" | "reserved-region" | "no-iommu" | "no-physical-addresses";
}

/** swiotlb had no bounce buffer for a request. */
export interface BounceRefusedFact extends FactBase, Requester {
  readonly kind: "bounce-refused";
  readonly bytes?: bigint;
  readonly totalSlots?: number;
  readonly usedSlots?: number;
}

/** No range of IO addresses was left for a request. */
export interface ExhaustedFact extends FactBase, Requester {
  readonly kind: "exhausted";
  readonly pages?: number;
  readonly table?: string;
}

/** DMA-API debug or a WARNING of the IOMMU code found a wrong use of the API. */
export interface MisuseFact extends FactBase, Requester {
  readonly kind: "misuse";
  because:
    | "direction"
    | "size"
    | "not-allocated"
    | "leak"
    | "overlap"
    | "bad-memory"
    | "unchecked-error"
    | "sync"
    | "segment"
    | "other";
  iova?: bigint;
  bytes?: bigint;
  /** Mappings concerned, when the line counts them. */
  count?: number;
}

/** EEH froze a device. */
export interface FrozenFact extends FactBase, Requester {
  readonly kind: "frozen";
  /** The log itself ties the freeze to DMA. */
  dma?: boolean;
  pe?: string;
}

/** Time was lost in the allocator or in invalidations (soft lock-up, hung task). */
export interface SlowFact extends FactBase, Requester {
  readonly kind: "slow";
  /** Function of the IOMMU code that the stack shows. */
  readonly where: string;
}

/** Something that the log would have said is missing. */
export interface LossFact extends FactBase {
  readonly kind: "loss";
  readonly what: "faults" | "messages" | "events";
  readonly count?: number;
}

/** Something happened to a device, or to the machine, that may be the cause or the consequence of a fault. */
export interface EventFact extends FactBase, Requester {
  readonly kind: "event";
  readonly event:
    | "reset"
    | "timeout"
    | "firmware-crash"
    | "driver-error"
    | "suspend"
    | "resume"
    | "link-down"
    | "link-up"
    | "aer"
    | "power"
    | "unbind"
    | "bind"
    | "removed"
    | "shutdown"
    | "translation-off"
    | "process-killed"
    | "guest-reset";
}

/** A map or unmap that the log itself records (dynamic debug of the IOMMU code). */
export interface MappingFact extends FactBase {
  readonly kind: "mapping";
  readonly action: "map" | "unmap";
  readonly iova: bigint;
  readonly bytes: bigint;
  readonly physical?: bigint;
  readonly device?: string;
}

/** Statements about the machine. Addresses: [first, end). */
export type HostFact = FactBase & { readonly kind: "host" } & (
    | { readonly about: "kernel"; readonly version: string }
    | { readonly about: "command-line"; readonly commandLine: string }
    /** `intel`, `amd`, `smmu-v3`, `smmu`, `virtio`, … */
    | { readonly about: "iommu"; readonly iommu: string }
    | { readonly about: "invalidation"; readonly mode: "strict" | "lazy" | "passthrough" }
    /** RMRR, IVMD, reserved regions of groups; `use` as printed (`RMRR`, `msi`, `direct`). */
    | {
        readonly about: "reserved";
        readonly first: bigint;
        readonly end: bigint;
        readonly use: string;
        readonly device?: string;
      }
    | { readonly about: "ram"; readonly first: bigint; readonly end: bigint; readonly use: string }
    | { readonly about: "group"; readonly group: number; readonly device: string }
    | { readonly about: "bar"; readonly device: string; readonly first: bigint; readonly end: bigint }
    /** A device of the machine, from `lspci` or its boot line. */
    | { readonly about: "device"; readonly device: string; readonly name?: string }
    /** `vfio-pci`, `nvme`, … drives the device. */
    | { readonly about: "driver"; readonly device: string; readonly driver: string }
    /** The device's mask for DMA (`dma_set_mask`): the number of address bits that its driver lets it use. */
    | { readonly about: "mask"; readonly device: string; readonly bits: number }
    | { readonly about: "framebuffer"; readonly first: bigint; readonly end: bigint }
    /** The MSI doorbell page of an Arm machine lies in it, 0x10000 behind its start. */
    | { readonly about: "its"; readonly first: bigint; readonly end: bigint }
    /** `nvme0`, `eth0`: a name that messages use in place of the device's. */
    | { readonly about: "name"; readonly device: string; readonly name: string }
    /** User space has begun: drivers of the boot have been probed. */
    | { readonly about: "userspace" }
    /** A kdump or kexec kernel: devices of the previous kernel may still run. */
    | { readonly about: "kexec" }
    /** Seconds to take from a time of the log to get one of the trace (`sched_clock: Marking stable`). */
    | { readonly about: "trace-clock"; readonly seconds: number }
    /** A device's registers as printed; words of 32 bits. */
    | { readonly about: "registers"; readonly device?: string; readonly words: readonly number[] }
  );

/** Subjects of which equal facts say nothing more, whenever they come: the first is enough. */
export const SAID_ONCE: ReadonlySet<HostFact["about"]> = new Set([
  "iommu",
  "reserved",
  "ram",
  "bar",
  "device",
  "driver",
  "framebuffer",
  "its",
  "name",
  "userspace",
]);

export type Fact =
  | FaultFact
  | InterruptFact
  | InvalidationTimeoutFact
  | ConflictFact
  | MapRefusedFact
  | AssignmentRefusedFact
  | BounceRefusedFact
  | ExhaustedFact
  | MisuseFact
  | FrozenFact
  | SlowFact
  | LossFact
  | EventFact
  | MappingFact
  | HostFact;
