/** The report of `iova stat`: a table of devices, and what one of them did in detail, on one screen. */

import type { DeviceStatistics, TimePart, TraceStatistics } from "../statistics/contract.ts";
import { counted } from "../units/counts.ts";
import { largest, smallest } from "../units/lists.ts";
import { chart, columnsOf } from "./chart.ts";
import { fitted, wrapped } from "./columns.ts";
import { compact, duration, percent, sizeText } from "./numbers.ts";
import type { Terminal } from "./terminal.ts";

const MOST_DEVICES = 6;
const LABEL_COLUMNS = 12;
const HEAD = [
  "device",
  "maps",
  "unmaps",
  "live",
  "failed",
  "mapped",
  "maps/s",
  "p50",
  "p99",
  "peak live",
  "least hole",
];
/** Columns that a narrow screen goes without. */
const LEAST_FIRST = [2, 8, 7];

export function printStatistics(statistics: TraceStatistics, terminal: Terminal): void {
  const { devices } = statistics;
  const [first] = devices;
  if (first === undefined) {
    terminal.out("No mapping: no line maps or unmaps, and no request failed.\n");
    return;
  }
  const { lines } = fitted([HEAD, ...devices.slice(0, MOST_DEVICES).map(rowOf)], terminal.width, LEAST_FIRST);
  const [head = "", ...rows] = lines;
  terminal.out(`\n${terminal.paint("bold", head)}\n${rows.join("\n")}\n`);
  if (devices.length > MOST_DEVICES)
    terminal.out(`${counted(devices.length - MOST_DEVICES, "further device")} (--json, --csv)\n`);
  terminal.out(`\n${terminal.paint("bold", first.device)}\n`);
  for (const [label, text] of detailsOf(first)) section(label, text, terminal);
  printCharts(first.overTime, terminal);
  terminal.out("\n");
  for (const limit of statistics.limits) {
    for (const line of wrapped(`note: ${limit}`, terminal.width, "  "))
      terminal.out(`${terminal.paint("dim", line)}\n`);
  }
}

function rowOf(device: DeviceStatistics): string[] {
  const { lifetimes, mapsPerSecond, hole } = device;
  return [
    device.device,
    compact(device.maps),
    compact(device.unmaps),
    compact(device.neverUnmapped),
    compact(device.failures),
    sizeText(device.bytes),
    mapsPerSecond === null ? "-" : compact(mapsPerSecond.mean),
    lifetimes === null ? "-" : duration(lifetimes.p50Microseconds),
    lifetimes === null ? "-" : duration(lifetimes.p99Microseconds),
    sizeText(device.live.peakBytes),
    hole === null ? "-" : sizeText(hole.leastBytes),
  ];
}

function detailsOf(device: DeviceStatistics): [label: string, text: string][] {
  const { maps, sizes, lifetimes, live, mapsPerSecond, hole, olderRanges, olderBytes } = device;
  const details: [string, string][] = [];
  if (maps > 0) {
    const classes = sizes.map((size) => `${sizeText(size.atMostBytes)} ${percent((size.maps / maps) * 100)}`);
    details.push(["sizes up to", classes.join(", ")]);
  }
  if (lifetimes !== null) {
    const { p50Microseconds, p90Microseconds, p99Microseconds, maxMicroseconds, known, knownShare } = lifetimes;
    details.push([
      "lifetimes",
      `p50 ${duration(p50Microseconds)}, p90 ${duration(p90Microseconds)}, p99 ${duration(p99Microseconds)}, max ` +
        `${duration(maxMicroseconds)}; known of ${counted(known, "mapping")} (${percent(knownShare * 100)})`,
    ]);
  }
  details.push([
    "live",
    `mean ${sizeText(live.meanBytes)} in ${meanText(live.meanMappings)} mappings, peak ${sizeText(live.peakBytes)} and ` +
      `${counted(live.peakMappings, "mapping")}`,
  ]);
  if (mapsPerSecond !== null) {
    const { mean, peak, peakWindowSeconds } = mapsPerSecond;
    details.push(["maps/s", `mean ${compact(mean)}, peak ${compact(peak)} over ${duration(peakWindowSeconds * 1e6)}`]);
  }
  if (hole !== null) {
    const { limitBytes, leastBytes, atEndBytes } = hole;
    details.push([
      "hole",
      `largest below ${sizeText(limitBytes)}: at least ${sizeText(leastBytes)}, ${sizeText(atEndBytes)} at the end`,
    ]);
  }
  if (olderRanges > 0) {
    details.push([
      "older",
      `${counted(olderRanges, "range")} (${sizeText(olderBytes)}) unmapped here, mapped before or lost`,
    ]);
  }
  return details;
}

/** With a digit behind the point where it says something: a mean of 1.6 mappings is neither 1 nor 2. */
function meanText(value: number): string {
  return value < 9.95 ? value.toFixed(1) : compact(value);
}

function section(label: string, text: string, terminal: Terminal): void {
  wrapped(text, terminal.width - LABEL_COLUMNS).forEach((line, row) => {
    const head = row === 0 ? terminal.paint("cyan", label.padEnd(LABEL_COLUMNS)) : " ".repeat(LABEL_COLUMNS);
    terminal.out(`${head}${line}\n`);
  });
}

function printCharts(parts: readonly TimePart[], terminal: Terminal): void {
  const width = terminal.width - LABEL_COLUMNS;
  const live = columnsOf(
    parts.map(({ liveBytes }) => liveBytes),
    width,
    Math.max,
  );
  printChart("live", live, 0, terminal);
  const holes = parts.flatMap(({ largestHoleBytes }) => (largestHoleBytes === null ? [] : [largestHoleBytes]));
  if (holes.length === 0) return;
  const least = columnsOf(holes, width, Math.min);
  printChart("hole", least, smallest(least), terminal);
}

/** The label in the upper row; the highest value and what an empty column means below it. */
function printChart(label: string, values: readonly number[], low: number, terminal: Terminal): void {
  const high = largest(values);
  const heads = [label, `<= ${sizeText(high)}`, high === low ? "" : `>= ${sizeText(low)}`];
  chart(values, low, high, terminal.isUtf8).forEach((line, row) => {
    const head = (heads[row] ?? "").padEnd(LABEL_COLUMNS);
    terminal.out(`${`${row === 0 ? terminal.paint("cyan", head) : head}${line}`.trimEnd()}\n`);
  });
}
