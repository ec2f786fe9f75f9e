/** The guest's memory in a direct window, whose bus addresses are base + physical address. */
import { hexadecimal } from "../../units/counts.ts";
import { InvalidArgumentError, IovaError, inWords } from "../../units/errors.ts";
import type { Failure } from "../../units/failure.ts";
import { DEVICE_READS_AND_WRITES, type DmaWindow } from "../../units/numbers.ts";
import type { PseriesOps } from "./ops.ts";

/** A range of the guest's memory. Both fields are multiples of 4096. */
export interface MemoryRange {
  /** Physical address of the first byte. */
  readonly address: number;
  /** Length in bytes. */
  readonly bytes: number;
}

/** Entries of a direct window. */
interface Run {
  readonly first: number;
  readonly count: number;
}

/** Maps memory in a new window. After a failure the caller must remove the window, because entries may be left. */
export function mapDirectly(
  ops: PseriesOps,
  { pageShift }: DmaWindow,
  ranges: readonly MemoryRange[],
): Failure | undefined {
  const runs = ranges.map((range) => pagesIn(range, pageShift));
  const failure = mapRuns(ops, runs);
  if (failure !== undefined) emptyRuns(ops, runs);
  return failure;
}

/**
 * Maps memory in a window that is in use. Does not change entries that are mapped already. On failure the other entries are emptied again.
 * Throws IovaError "still-reachable" if the hypervisor refuses to empty them.
 */
export function addDirectly(ops: PseriesOps, { pageShift }: DmaWindow, range: MemoryRange): Failure | undefined {
  const runs = emptyRunsIn(ops, pagesIn(range, pageShift));
  if (typeof runs === "string") return runs;
  const failure = mapRuns(ops, runs);
  if (failure === undefined) return undefined;
  const refused = emptyRuns(ops, runs);
  if (refused === undefined) return failure;
  const { address, bytes } = range;
  throw new IovaError(
    "still-reachable",
    `memory [${hexadecimal(address)}, ${hexadecimal(address + bytes)}) can't be added: ${failure}; and the hypervisor refuses to ` +
      `take back what was mapped of it: ${refused}. Devices may reach a part of it until removeMemory of the range succeeds`,
  );
}

/** Completes an interrupted `addDirectly`: maps the empty entries of the range. Can be repeated after a failure. */
export function completeDirectly(ops: PseriesOps, { pageShift }: DmaWindow, range: MemoryRange): Failure | undefined {
  const runs = emptyRunsIn(ops, pagesIn(range, pageShift));
  return typeof runs === "string" ? runs : mapRuns(ops, runs);
}

/** Empties the entries of a range. After a failure devices may still reach a part of it; the call can be repeated. */
export function removeDirectly(ops: PseriesOps, { pageShift }: DmaWindow, range: MemoryRange): Failure | undefined {
  return emptyRuns(ops, [pagesIn(range, pageShift)]);
}

function mapRuns(ops: PseriesOps, runs: readonly Run[]): Failure | undefined {
  let failure: Failure | undefined;
  for (const { first, count } of runs) failure ??= ops.set(first, count, first, DEVICE_READS_AND_WRITES);
  // Also after a failure, so that no gathered entries remain.
  return ops.publish() ?? failure;
}

function emptyRuns(ops: PseriesOps, runs: readonly Run[]): Failure | undefined {
  for (const { first, count } of runs) ops.clear(first, count);
  return ops.publish();
}

/** Finds the runs of empty entries, with one H_GET_TCE per entry. */
function emptyRunsIn(ops: PseriesOps, { first, count }: Run): readonly Run[] | Failure {
  const runs: Run[] = [];
  let from = first;
  for (let entry = first; entry < first + count; entry++) {
    const isEmpty = ops.isEmpty(entry);
    if (typeof isEmpty === "string") return isEmpty;
    if (isEmpty) continue;
    if (entry > from) runs.push({ first: from, count: entry - from });
    from = entry + 1;
  }
  if (from < first + count) runs.push({ first: from, count: first + count - from });
  return runs;
}

function pagesIn({ address, bytes }: MemoryRange, pageShift: number): Run {
  return { first: address / 2 ** pageShift, count: bytes / 2 ** pageShift };
}

/** Throws InvalidArgumentError unless there is at least one range, and all consist of whole pages of 4 KiB. */
export function checkMemory(ranges: readonly MemoryRange[]): readonly MemoryRange[] {
  for (const { address, bytes } of ranges) {
    const isRange = Number.isSafeInteger(address + bytes) && address >= 0 && bytes > 0;
    if (!isRange || address % 4096 !== 0 || bytes % 4096 !== 0) {
      throw new InvalidArgumentError(
        "range of memory",
        inWords(`${bytes} bytes at ${address}`),
        "whole pages of 4096 bytes",
      );
    }
  }
  if (ranges.length === 0) throw new InvalidArgumentError("ranges of memory", 0, "at least one");
  return ranges;
}
