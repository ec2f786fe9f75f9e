/** Reports as text: what is wrong, what was found, what was expected, and where the mapping and the wrong call were made. */

import { hexadecimal } from "../../units/counts.ts";
import { append } from "../../units/lists.ts";
import type { Access } from "../../units/numbers.ts";
import type { KnownMapping, MappingDescription, MappingKind, MismatchMisuse, MisuseReport, Place } from "./misuse.ts";

const MADE_BY: Readonly<Record<MappingKind, string>> = {
  single: "map",
  scatterlist: "mapSg",
  resource: "mapResource",
  coherent: "allocateCoherent",
};

const DIRECTIONS: Readonly<Record<Access, string>> = { 1: "TO_DEVICE", 2: "FROM_DEVICE", 3: "BIDIRECTIONAL" };

/** Returns the lines of a report. The first is a sentence that says what is wrong; the other ones begin with two spaces. */
export function describeMisuse(report: MisuseReport): string[] {
  return [
    `${report.device}: ${report.call}: ${whatIsWrong(report)} [${report.kind}]`,
    ...circumstances(report).map((line) => `  ${line}`),
    ...placeLines("misused", report.misused),
  ];
}

function whatIsWrong(report: MisuseReport): string {
  switch (report.kind) {
    case "free-error-value":
      return `frees ${valueText(report.found)}, which is no mapping`;
    case "sync-error-value":
      return `syncs ${valueText(report.found)}, which is no mapping`;
    case "free-unmapped":
      return `frees ${mappingText(report.found)}, which is not mapped`;
    case "sync-unmapped":
      return `syncs ${mappingText(report.found)}, which is not mapped`;
    case "result-not-checked":
      return `uses a result that failureOf has not seen: ${mappingText(report.expected)}`;
    case "sync-out-of-range": {
      const { offset, bytes } = report.found;
      return `syncs ${bytes} bytes from byte ${offset} on of a mapping of ${report.expected.bytes} bytes`;
    }
    case "map-not-dma-able": {
      const which = report.element === undefined ? "" : `element ${report.element}, `;
      return `maps ${which}${report.bytes} bytes at ${hexadecimal(report.address)}, memory that devices can't reach`;
    }
    case "map-segment-too-long":
      return `segment ${report.segment} has ${report.bytes} bytes; the device takes ${report.maxSegmentBytes}`;
    case "map-segment-across-boundary": {
      const { segment, bytes, iova, boundaryMask } = report;
      const range = `${bytes} bytes at ${hexadecimal(iova)}`;
      return `segment ${segment}, ${range}, crosses a boundary of the device (mask ${hexadecimal(boundaryMask)})`;
    }
    case "map-overlapping-lines":
      return `the cache line at ${hexadecimal(report.cacheLine)} is mapped already, for a device to write`;
    case "map-too-many-overlaps": {
      const { cacheLine, overlaps, maxOverlaps } = report;
      return `the cache line at ${hexadecimal(cacheLine)} is mapped ${overlaps} times already, more than ${maxOverlaps}`;
    }
    case "removed-with-live-mappings":
      return `the device is removed with ${report.count} live mappings`;
    case "out-of-records":
      return `more than ${report.capacity} mappings are live: the debug mode is switched off`;
    default:
      return mismatchText(report);
  }
}

function mismatchText({ kind, found, expected }: MismatchMisuse): string {
  switch (kind) {
    case "free-wrong-size":
      return `frees ${found.bytes} bytes of a mapping of ${expected.bytes}`;
    case "free-wrong-kind":
      return `frees as a mapping by ${MADE_BY[found.kind]} what ${MADE_BY[expected.kind]} has made`;
    case "free-wrong-cpu-address":
      return `frees memory at ${addressText(found.address)}; the mapping's is at ${addressText(expected.address)}`;
    case "free-wrong-element-count":
      return `frees a list of ${found.elements} elements; ${expected.elements} were mapped`;
    case "free-wrong-direction":
      return `frees as ${accessText(found.access)} what was mapped ${accessText(expected.access)}`;
    case "sync-wrong-direction":
      return `syncs as ${accessText(found.access)} what was mapped ${accessText(expected.access)}`;
    case "sync-wrong-element-count":
      return `syncs a list of ${found.elements} elements; ${expected.elements} were mapped`;
    case "sync-for-cpu-to-device":
      return "syncs for the CPU what the device only reads";
    case "sync-for-device-from-device":
      return "syncs for the device what the device only writes";
  }
}

function circumstances(report: MisuseReport): string[] {
  const lines: string[] = [];
  if ("found" in report && isDescription(report.found)) lines.push(`found:    ${mappingText(report.found)}`);
  if ("expected" in report) lines.push(`expected: ${mappingText(report.expected)}`);
  if ("other" in report) append(lines, knownLines("other:   ", report.other));
  if ("example" in report) append(lines, knownLines("oldest:  ", report.example));
  if ("inside" in report && report.inside !== undefined) append(lines, knownLines("inside:  ", report.inside));
  if ("before" in report && report.before !== undefined) {
    append(lines, knownLines("before:  ", report.before));
    append(lines, placeLines("freed", report.before.freed, ""));
  }
  if ("mapped" in report) append(lines, placeLines("mapped", report.mapped, ""));
  return lines;
}

function isDescription(found: unknown): found is MappingDescription {
  return typeof found === "object" && found !== null && "kind" in found;
}

function knownLines(heading: string, { mapping, mapped }: KnownMapping): string[] {
  return [`${heading} ${mappingText(mapping)}`, ...placeLines("mapped", mapped, "")];
}

function placeLines(what: string, { owner, stack }: Place, indent = "  "): string[] {
  const by = owner === "" ? "" : ` by ${owner}`;
  const at = stack.length === 0 ? "" : " at";
  return [`${indent}${what}${by}${at}`, ...stack.map((frame) => `${indent}  ${frame}`)];
}

function mappingText({ kind, iova, bytes, access, elements, address }: MappingDescription): string {
  const list = kind === "scatterlist" ? `, ${elements} elements` : "";
  const memory = address === undefined ? "" : `, memory at ${addressText(address)}`;
  const direction = access === undefined ? "" : `, ${accessText(access)}`;
  return `${kind}, ${bytes} bytes at bus address ${hexadecimal(iova)}${memory}${list}${direction}`;
}

function accessText(access: Access | undefined): string {
  return access === undefined ? "undefined" : (DIRECTIONS[access] ?? `access ${String(access)}`);
}

function addressText(address: bigint | undefined): string {
  return address === undefined || address < 0n ? "no address" : hexadecimal(address);
}

/** A value that is not a mapping, as text. */
function valueText(value: unknown): string {
  return typeof value === "string" ? `"${value}"` : String(value);
}
