/** Limits of a recording's numbers, and assumptions, in sentences. */
import type { TraceAnalysis } from "../explain/trace/analysis.ts";
import type { DeviceStatistics } from "./contract.ts";

export function limitsOf(analysis: TraceAnalysis, devices: readonly DeviceStatistics[]): string[] {
  const sentences: string[] = [];
  if (analysis.isLossy) {
    sentences.push(
      "Events were lost: counts and live numbers are lower bounds, and holes are upper bounds; a mapping whose unmap was lost counts as never unmapped.",
    );
  }
  const late = devices.some(({ maps, olderRanges }) => maps > 0 || olderRanges > 0) && !beginsEarly(analysis, devices);
  if (late) {
    sentences.push(
      "The recording does not show all devices from their first mapping on: what was mapped before is counted only if it is unmapped here, as live from the beginning.",
    );
  }
  if (analysis.history.ambiguousUnmaps > 0) {
    sentences.push(
      analysis.history.ambiguousUnmaps === 1
        ? "1 unmap line fits mappings of several devices: which one it ends is a guess."
        : `${analysis.history.ambiguousUnmaps} unmap lines fit mappings of several devices: which one each ends is a guess.`,
    );
  }
  if (devices.some(({ device, maps }) => device === "unknown" && maps > 0)) {
    sentences.push(
      "Maps without a device (unknown) may be of several address spaces; their hole is that of all of them together.",
    );
  }
  if (analysis.trace.clockCounts) {
    sentences.push("The trace's clock counts without a unit: there are no lifetimes and no rates.");
  }
  if (devices.some(({ hole }) => hole !== null)) {
    sentences.push(
      "The trace does not name a device's mask: holes are those below the smallest power of two above all its addresses.",
    );
  }
  return sentences;
}

function beginsEarly(analysis: TraceAnalysis, devices: readonly DeviceStatistics[]): boolean {
  return devices.every(({ device, olderRanges }) => {
    if (olderRanges > 0) return false;
    return device.split(", ").every((name) => analysis.completeFrom(analysis.deviceNumber(name)) >= 0);
  });
}
