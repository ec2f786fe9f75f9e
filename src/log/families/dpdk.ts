/** DPDK, SPDK and what is built on them (Open vSwitch, VPP): maps for VFIO that the kernel refused, and the choice of IO addresses. */
import { type Family, given, type Shape, TEXT } from "../shape.ts";
import { ERROR_TEXT, errnoOf, refuse } from "./refusals.ts";
import { refuseAssignment } from "./vfio-assignment.ts";

const MAP: Shape = {
  name: "dpdk-map",
  example: "EAL:   cannot set up DMA remapping, error 22 (Invalid argument)",
  kernels: "DPDK (remapping), SPDK (mapping)",
  pattern: new RegExp(
    String.raw`cannot\s+set\s+up\s+DMA\s+(?<re>re)?mapping,\s+error\s+(?<errno>-?\d+)(?:\s+\((?:${ERROR_TEXT})\))?|DMA\s+remapping\s+failed,\s+error\s+(?<errno2>-?\d+)(?:\s+\((?:${ERROR_TEXT})\))?`,
    "i",
  ),
  fields: {
    re: TEXT,
    errno: { radix: "text", unit: "error number" },
    errno2: { radix: "text", unit: "error number" },
  },
  read(values, found, sink) {
    const isSpdk = values.text("errno") !== undefined && values.text("re") === undefined;
    const errno = errnoOf(values.text("errno") ?? values.text("errno2"));
    refuse({ by: isSpdk ? "spdk" : "dpdk", ...given({ errno }) }, found, sink);
  },
};

const REGION: Shape = {
  name: "dpdk-region",
  example: "EAL: Couldn't map new region for DMA",
  kernels: "DPDK 18.05 on: after the refusal",
  pattern: /EAL:\s+Couldn't\s+map\s+new\s+region\s+for\s+DMA/,
  fields: {},
  read(_values, found, sink) {
    refuse({ by: "dpdk" }, found, sink);
  },
};

const PHYSICAL: Shape = {
  name: "dpdk-iova-as-pa",
  example: "EAL: FATAL: Cannot use IOVA as 'PA' since physical addresses are not available",
  kernels: "DPDK 17.11 on; printed twice, once with FATAL",
  pattern:
    /EAL:\s+(?:FATAL:\s+)?Cannot\s+use\s+IOVA\s+as\s+'PA'\s+since\s+physical\s+addresses\s+are\s+not\s+available/,
  fields: {},
  read(_values, found, sink) {
    refuseAssignment("no-physical-addresses", undefined, found, sink);
  },
};

export const DPDK: Family = {
  name: "dpdk",
  about: "DPDK and SPDK: maps that were refused, and physical addresses that are not available",
  hint: /EAL:|DMA\s+(?:re)?mapping/,
  shapes: [MAP, REGION, PHYSICAL],
};
