/**
 * AMD's IOMMU (`AMD-Vi:`) under Linux. One event is one message, but its form changes: with the device in front, or as `device=`; in 4.12 to 4.17
 * as two lines. A burst may change its form when a rate limit is met.
 */
import type { Requester } from "../facts.ts";
import { PCI_DEVICE, pciName } from "../pci.ts";
import { type Family, type Field, given, HEX_ADDRESS, type Shape, TEXT, type Values } from "../shape.ts";
import { amdFactOf } from "./amd-events.ts";

/** Key of an event that a dump of the device's table entry may follow. */
const KEY = "amd-event";
const DEVICE: Field = { radix: "text", unit: "PCI device" };

const NAMES =
  "IO_PAGE_FAULT|ILLEGAL_DEV_TABLE_ENTRY|DEV_TAB_HARDWARE_ERROR|PAGE_TAB_HARDWARE_ERROR|COMMAND_HARDWARE_ERROR|ILLEGAL_COMMAND_ERROR|" +
  "IOTLB_INV_TIMEOUT|INVALID_DEVICE_REQUEST|INVALID_PPR_REQUEST|RMP_PAGE_FAULT|RMP_HARDWARE_ERROR|RMP_HW_ERROR";
const FRONT = String.raw`(?:(?<driver>[a-z][\w.-]{0,63})\s+(?<front>${PCI_DEVICE}):\s+|iommu\s+(?<iommu>ivhd\d+):\s+)?(?:AMD-Vi:\s+)?(?:Event\s+logged\s+\[\s*)?`;

const EVENT: Shape = {
  name: "amd-event",
  example: "nvme 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000b address=0xb6674000 flags=0x0000]",
  kernels: "all: device in front 4.18 on, segment 6.0 on, two lines 4.12 to 4.17",
  pattern: new RegExp(
    String.raw`${FRONT}\b(?<event>${NAMES})(?=,?\s+(?:device|vmg_tag|domain|pasid|address|gpa|spa|flags)=)(?:,?\s+device=(?<device>${PCI_DEVICE}|[x:.]+))?(?:,?\s+vmg_tag=(?<guest>0x[0-9a-f]+))?` +
      String.raw`(?:,?\s+domain=(?<domain>0x[0-9a-f]+))?(?:,?\s+pasid=(?<pasid>0x[0-9a-f]+))?(?:,?\s+(?:address|gpa|spa)=(?<address>0x[0-9a-fx]+))?` +
      String.raw`(?:,?\s+flags_rmp=(?<rmp>0x[0-9a-f]+))?(?:,?\s+flags=(?<flags>0x[0-9a-f]+))?(?:,?\s+tag=(?<tag>0x[0-9a-f]+))?\]?`,
    "i",
  ),
  fields: {
    driver: { radix: "text", unit: "driver" },
    front: DEVICE,
    iommu: { radix: "text", unit: "IOMMU" },
    event: { radix: "text", unit: "event" },
    device: DEVICE,
    guest: { radix: "hex", unit: "tag of a guest" },
    domain: { radix: "hex", unit: "domain" },
    pasid: { radix: "hex", unit: "PASID" },
    address: HEX_ADDRESS,
    rmp: { radix: "hex", unit: "flags of the reverse map" },
    flags: { radix: "hex", unit: "event flags" },
    tag: { radix: "hex", unit: "tag of a page request" },
  },
  repeats: "address",
  read(values, found, sink) {
    const requester: Requester = given({
      device: pciName(values.text("device")) ?? pciName(values.text("front")),
      driver: values.text("driver"),
      iommu: values.text("iommu"),
      domain: values.number("domain"),
      pasid: pasidOf(values),
    });
    const name = (values.text("event") ?? "").toUpperCase();
    const event = { name, flags: values.small("flags"), address: values.number("address") };
    sink.add(amdFactOf(event, requester, found), KEY);
  },
};

/** 0 is printed for requests without a PASID. */
function pasidOf(values: Values): bigint | undefined {
  const pasid = values.number("pasid");
  return pasid === 0n ? undefined : pasid;
}

/** The first half of a message in two lines holds nothing more. */
const FIRST_HALF: Shape = {
  name: "amd-first-half",
  example: "AMD-Vi: Event logged [",
  kernels: "4.12 to 4.17",
  pattern: /AMD-Vi:\s+Event\s+logged\s+\[(?=[ \t]*(?:\n|$))/,
  fields: {},
  read: () => undefined,
};

const DEVICE_ENTRY: Shape = {
  name: "amd-device-entry",
  example: "AMD-Vi: DTE[0]: 6190000000000003",
  kernels: "all: after ILLEGAL_DEV_TABLE_ENTRY",
  pattern: /DTE\[(?<word>[0-3])\]:\s+(?<value>(?:0x)?[0-9a-f]{1,16})\b/i,
  fields: {
    word: { radix: "decimal", unit: "word of 64 bits" },
    value: { radix: "hex", unit: "device table entry: bit 0 valid, bit 1 translation valid" },
  },
  read(values, found, sink) {
    const open = sink.open(KEY);
    if (open?.kind !== "fault") return;
    const value = values.number("value") ?? 0n;
    if (values.small("word") === 0) {
      open.values = { ...open.values, deviceEntry: value };
      const isIllegal = open.reason?.text === "ILLEGAL_DEV_TABLE_ENTRY";
      // The entry is there and has a table, so it is one of its other bits that the IOMMU refuses.
      if (isIllegal && (value & 3n) === 3n) open.cause = "table-error";
    }
    sink.extend(open, found);
  },
};

const CONTROL: Shape = {
  name: "amd-control",
  example: "AMD-Vi: Control Reg : 0x4001a0d",
  kernels: "6.x: after ILLEGAL_DEV_TABLE_ENTRY",
  pattern: /Control\s+Reg\s*:\s*(?<value>0x[0-9a-f]+)/,
  fields: { value: { radix: "hex", unit: "control register" } },
  read(_values, found, sink) {
    const open = sink.open(KEY);
    if (open !== undefined) sink.extend(open, found);
  },
};

const COMPLETION_WAIT: Shape = {
  name: "amd-completion-wait",
  example: "AMD-Vi: Completion-Wait loop timed out",
  kernels: "all: 2026 on with the IOMMU's device",
  pattern: new RegExp(
    String.raw`(?:AMD-Vi:\s+)?(?:IOMMU\s+(?<iommu>${PCI_DEVICE}):\s+)?Completion-Wait\s+loop\s+timed\s+out`,
    "i",
  ),
  fields: { iommu: { radix: "text", unit: "PCI device of the IOMMU" } },
  read(values, found, sink) {
    const iommu = pciName(values.text("iommu"));
    sink.add({ kind: "invalidation-timeout", ...found.base, silent: "iommu", ...given({ iommu }) });
  },
};

const LOG_OVERFLOW: Shape = {
  name: "amd-log-overflow",
  example: "AMD-Vi: IOMMU event log overflow",
  kernels: "all",
  pattern: /IOMMU\s+(?<log>event)\s+log\s+(?:restarting|overflow)/i,
  fields: { log: TEXT },
  read(_values, found, sink) {
    sink.add({ kind: "loss", what: "faults", ...found.base });
  },
};

export const AMD: Family = {
  name: "amd",
  about: "AMD's IOMMU: page faults, device table and command errors, invalidations that time out",
  hint: /AMD-Vi|_FAULT|_ENTRY|_ERROR|_TIMEOUT|_REQUEST|DTE\[|Completion-Wait|Control\s+Reg|IOMMU/i,
  shapes: [EVENT, FIRST_HALF, DEVICE_ENTRY, CONTROL, COMPLETION_WAIT, LOG_OVERFLOW],
};
