/**
 * Events of an AMD IOMMU, and their meanings. Source: AMD I/O Virtualization Technology (IOMMU) Specification, 2.5 "IOMMU Event Reporting"; the numbers are
 * the flags as Linux and Xen print them (bits 27:16 of the event's second word).
 */
import type { Access, Fact, ReportedCause, Requester } from "../facts.ts";
import { type Found, given } from "../shape.ts";

/** The request was for an interrupt, not for memory. */
const INTERRUPT = 0x008;
/** The entry is present. */
const PRESENT = 0x010;
/** The access was a write. */
const WRITE = 0x020;
/** The entry does not allow the access. */
const NO_PERMISSION = 0x040;
/** A reserved bit was set, or a level has a value that is not allowed. */
const RESERVED = 0x080;

/** Type of an invalid device request, in bits 11:9 of its flags. */
const requestType = (flags: number): number => (flags >> 9) & 7;
const READ_OF_INTERRUPT_RANGE = 0;
const WRITE_TO_SYSTEM_RANGE = 3;
const WRITE_TO_INTERRUPT_RANGE = 5;
const WRITE_TO_RESERVED_INTERRUPT = 6;

/** Events whose address is the one that the device used. That of others is the host's: of a command, a table or a page of memory. */
const WITH_IO_ADDRESS: ReadonlySet<string> = new Set([
  "IO_PAGE_FAULT",
  "ILLEGAL_DEV_TABLE_ENTRY",
  "INVALID_DEVICE_REQUEST",
  "INVALID_PPR_REQUEST",
  "RMP_PAGE_FAULT",
]);

export interface AmdEvent {
  /** As Linux prints it: `IO_PAGE_FAULT`. */
  readonly name: string;
  readonly flags: number | undefined;
  readonly address: bigint | undefined;
}

/** The statement of an event. */
export function amdFactOf({ name, flags, address }: AmdEvent, requester: Requester, found: Found): Fact {
  const base = { ...found.base, ...requester };
  if (name === "IOTLB_INV_TIMEOUT") return { kind: "invalidation-timeout", ...base, silent: "device" };
  const reason = { code: `0x${(flags ?? 0).toString(16)}`, text: name };
  if (name === "IO_PAGE_FAULT" && flags !== undefined && (flags & INTERRUPT) !== 0)
    return { kind: "interrupt", ...base, reason, verdict: "blocked" };
  return {
    kind: "fault",
    family: "amd",
    ...base,
    cause: causeOf(name, flags),
    granule: 1,
    reason,
    ...given({
      iova: WITH_IO_ADDRESS.has(name) ? address : undefined,
      access: accessOf(name, flags),
      values: flags === undefined ? undefined : { flags },
    }),
  };
}

/** The cause that an event states, by its name and flags. */
function causeOf(event: string, flags: number | undefined): ReportedCause {
  switch (event) {
    case "IO_PAGE_FAULT":
      return flags === undefined ? "unknown" : pageFaultCause(flags);
    case "ILLEGAL_DEV_TABLE_ENTRY":
      return "no-table";
    case "INVALID_DEVICE_REQUEST":
      return flags === undefined ? "unknown" : invalidRequestCause(flags);
    case "INVALID_PPR_REQUEST":
    case "RMP_PAGE_FAULT":
      return "unknown";
    default:
      return "table-error";
  }
}

function pageFaultCause(flags: number): ReportedCause {
  if ((flags & PRESENT) === 0) return "absent";
  if ((flags & RESERVED) !== 0) return "table-error";
  return (flags & NO_PERMISSION) === 0 ? "unknown" : "permission";
}

function invalidRequestCause(flags: number): ReportedCause {
  const type = requestType(flags);
  const isInterrupt =
    type === READ_OF_INTERRUPT_RANGE || type === WRITE_TO_INTERRUPT_RANGE || type === WRITE_TO_RESERVED_INTERRUPT;
  return isInterrupt ? "interrupt-range" : "unknown";
}

/** Read or write; hardware may set the write bit wrongly when the entry is absent. */
function accessOf(event: string, flags: number | undefined): Access | undefined {
  if (flags === undefined) return undefined;
  if (event === "IO_PAGE_FAULT" || event === "ILLEGAL_DEV_TABLE_ENTRY" || event === "RMP_PAGE_FAULT")
    return (flags & WRITE) === 0 ? "read" : "write";
  const type = requestType(flags);
  const isWrite =
    type === WRITE_TO_SYSTEM_RANGE || type === WRITE_TO_INTERRUPT_RANGE || type === WRITE_TO_RESERVED_INTERRUPT;
  return event === "INVALID_DEVICE_REQUEST" && isWrite ? "write" : undefined;
}
