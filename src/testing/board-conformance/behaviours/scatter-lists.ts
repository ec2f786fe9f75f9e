/**
 * Scatterlists: the device sees the elements' bytes in order, in segments within the device's limits; adjacent elements merge if allowed; a
 * refused list leaves nothing mapped.
 */

import type { DmaDevice } from "../../../dma/device.ts";
import { ScatterList } from "../../../dma/scatter-list.ts";
import { hexadecimal } from "../../../units/counts.ts";
import { FreeError } from "../../../units/errors.ts";
import { expect } from "../../expect.ts";
import type { BoardCase } from "../case.ts";
import { content, expectDone, marks, type Rig } from "../rig.ts";
import { deviceLimits } from "../setting.ts";

const LONGEST_SEGMENT = 65536;
const NO_BOUNDARY = 2n ** 32n - 1n;

interface Element {
  readonly address: number;
  readonly bytes: number;
}

const scattered: BoardCase = {
  behaviour: "scatterlists",
  name: "the device reads and writes the bytes of scattered elements in their order, empty ones skipped",
  run(rig) {
    const unit = unitOf(rig);
    const elements = [
      { address: rig.address(3), bytes: unit },
      { address: rig.address(1, 123), bytes: 700 },
      { address: rig.address(2), bytes: 0 },
      { address: rig.address(5), bytes: unit },
      { address: rig.address(0, 8), bytes: unit - 8 },
      { address: rig.address(4, 64), bytes: 1 },
    ];
    const list = listOf(rig, elements);
    const device = rig.device(rig.other.table);
    expectDone(device.mapSg(list, 3), "mapSg");
    expectSegments(rig, list, elements);
    expectStream(rig, list, elements);
    unmapAndLook(rig, device, list, elements);
  },
};

const neighboursMerge: BoardCase = {
  behaviour: "scatterlists",
  name: "whole pages one after another merge into as few segments as the limits allow, or into none with merging off",
  needs: ["several pages"],
  run(rig) {
    const elements = [4, 1, 3, 0].map((index) => ({ address: rig.address(index), bytes: rig.pageBytes }));
    const list = listOf(rig, elements);
    const device = rig.device(rig.other.table);
    expectDone(device.mapSg(list, 3), "mapSg");
    expectSegments(rig, list, elements);
    expectStream(rig, list, elements);
    const { maxSegmentBytes, boundaryBytes, gaps } = limitsOf(rig);
    const longest = Math.floor(maxSegmentBytes / rig.pageBytes);
    // A page larger than the longest segment becomes several segments, and with gaps no two elements are adjacent.
    if (rig.setting.merge && longest >= 1 && gaps === 0 && boundaryBytes === undefined) {
      const least = Math.ceil(elements.length / longest);
      expect(list.segments === least, () => `4 pages come out in ${list.segments} segments; expected ${least}`);
    }
    if (!rig.setting.merge && longest >= 1) {
      expect(list.segments === 4, () => `without merging, 4 pages come out in ${list.segments} segments`);
    }
    unmapAndLook(rig, device, list, elements);
  },
};

const piecesOfPagesStayApart: BoardCase = {
  behaviour: "scatterlists",
  name: "elements that do not end or begin with a page are not merged",
  run(rig) {
    const elements = [0, 1, 2].map((index) => ({ address: rig.address(index, 16), bytes: 200 }));
    const list = listOf(rig, elements);
    const device = rig.device(rig.other.table);
    expectDone(device.mapSg(list, 1), "mapSg");
    expect(list.segments === 3, () => `3 pieces of pages come out in ${list.segments} segments`);
    expectSegments(rig, list, elements);
    expectStream(rig, list, elements);
    expectDone(device.unmapSg(list), "unmapSg");
  },
};

const longElements: BoardCase = {
  behaviour: "scatterlists",
  name: "an element longer than the longest segment comes out in several, none longer, and is read as one piece",
  run(rig) {
    const { maxSegmentBytes, boundaryBytes } = limitsOf(rig);
    const bytes = Math.min(2 * maxSegmentBytes + 100, rig.severalPages ? 4 * rig.pageBytes : 4 * LONGEST_SEGMENT);
    if (boundaryBytes !== undefined && bytes > boundaryBytes) return expectRefusedByBoundary(rig, bytes);
    const elements = [{ address: rig.address(0), bytes }];
    const list = listOf(rig, elements, Math.ceil(bytes / maxSegmentBytes) + 2);
    const device = rig.device(rig.other.table);
    expectDone(device.mapSg(list, 3), `mapSg of ${bytes} bytes in one element`);
    expectSegments(rig, list, elements);
    expectStream(rig, list, elements);
    unmapAndLook(rig, device, list, elements);
    return undefined;
  },
};

const beyondBoundary: BoardCase = {
  behaviour: "scatterlists",
  name: "an element longer than the boundary is refused by that name, and leaves nothing",
  run(rig) {
    const { boundaryBytes } = limitsOf(rig);
    // If the device has no boundary, it gets one that the element crosses.
    expectRefusedByBoundary(rig, (boundaryBytes ?? 2 * unitOf(rig)) + 8);
  },
};

const randomLists: BoardCase = {
  behaviour: "scatterlists",
  name: "random lists keep the device's limits, and the device reads their bytes in order",
  run(rig) {
    let state = 20261125;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return Math.floor((state / 2 ** 31) * below);
    };
    const device = rig.device(rig.other.table);
    for (let round = 0; round < 6; round++) {
      const elements = Array.from({ length: 1 + random(6) }, (_, index) => randomElement(rig, index, random));
      const list = listOf(rig, elements, 64);
      expectDone(device.mapSg(list, 3), `mapSg of random list ${round}`);
      expectSegments(rig, list, elements);
      expectStream(rig, list, elements);
      expectDone(device.unmapSg(list), `unmapSg of random list ${round}`);
    }
  },
};

const unmappedAsGiven: BoardCase = {
  behaviour: "scatterlists",
  name: "a list that was changed since mapSg, or is not mapped, is not unmapped; as it was given, it is gone whole",
  run(rig) {
    const elements = [2, 0].map((index) => ({ address: rig.address(index), bytes: 300 }));
    const list = listOf(rig, elements);
    const device = rig.device(rig.other.table);
    expectFreeError(() => device.unmapSg(list), "not-allocated", "unmapSg of a list that is not mapped");
    expectDone(device.mapSg(list, 3), "mapSg");
    const before = rig.entries();
    list.bytes[1] = 299;
    expectFreeError(() => device.unmapSg(list), "wrong-length", "unmapSg of a changed list");
    rig.expectEntries(before, "after an unmapSg that was refused");
    list.bytes[1] = 300;
    expectStream(rig, list, elements);
    const [first] = list.iovas as unknown as [bigint];
    expectDone(device.unmapSg(list), "unmapSg");
    rig.expectEntries(new Map(), "after unmapSg");
    rig.settle();
    rig.expectNoRead(first, rig.address(2), "not-mapped", "after unmapSg");
  },
};

/** Bytes of an element: a page, or less if a page is as large as memory. */
function unitOf(rig: Rig): number {
  return rig.severalPages ? rig.pageBytes : 4096;
}

interface Limits {
  readonly maxSegmentBytes: number;
  /** Undefined: only the default boundary of 4 GiB. */
  readonly boundaryBytes: number | undefined;
  /** Most bytes of alignment between two elements. */
  readonly gaps: number;
}

function limitsOf(rig: Rig): Limits {
  const { maxSegmentBytes, boundaryMask, alignment } = deviceLimits(rig.setting, rig.board.table.window);
  return {
    maxSegmentBytes: maxSegmentBytes ?? LONGEST_SEGMENT,
    boundaryBytes: boundaryMask === undefined ? undefined : Number(boundaryMask) + 1,
    gaps: alignment ?? 0,
  };
}

function listOf(rig: Rig, elements: readonly Element[], segments = 256): ScatterList {
  const { maxSegmentBytes } = limitsOf(rig);
  const pieces = elements.reduce((sum, { bytes }) => sum + Math.ceil(bytes / maxSegmentBytes) + 1, 0);
  const list = new ScatterList(elements.length, Math.max(segments, pieces));
  for (const { address, bytes } of elements) {
    if (bytes > 0) rig.fill(address, bytes);
    list.addNumber(address, bytes);
  }
  return list;
}

/** Expects segments with the elements' bytes and within the limits. */
function expectSegments(rig: Rig, list: ScatterList, elements: readonly Element[]): void {
  const { maxSegmentBytes, boundaryBytes } = limitsOf(rig);
  const boundary = boundaryBytes === undefined ? NO_BOUNDARY + 1n : BigInt(boundaryBytes);
  let sum = 0;
  for (let i = 0; i < list.segments; i++) {
    const iova = list.iovas[i] as bigint;
    const bytes = list.segmentBytes[i] as number;
    const what = (): string => `segment ${i}, ${bytes} bytes at ${hexadecimal(iova)},`;
    expect(bytes > 0 && bytes <= maxSegmentBytes, () => `${what()} is longer than ${maxSegmentBytes}`);
    const crosses = iova / boundary !== (iova + BigInt(bytes - 1)) / boundary;
    expect(!crosses, () => `${what()} crosses a multiple of ${hexadecimal(boundary)}`);
    sum += bytes;
  }
  const wanted = elements.reduce((total, { bytes }) => total + bytes, 0);
  expect(sum === wanted, () => `the segments hold ${sum} bytes; the elements have ${wanted}`);
}

/** Expects the device to read the samples of each element in the segments. */
function expectStream(rig: Rig, list: ScatterList, elements: readonly Element[]): void {
  forEachPiece(rig, list, elements, (iova, address, bytes) => rig.expectRead(iova, content(address, bytes)));
}

function unmapAndLook(rig: Rig, device: DmaDevice, list: ScatterList, elements: readonly Element[]): void {
  forEachPiece(rig, list, elements, (iova, address, bytes) => rig.write(iova, marks(address, bytes)));
  expectDone(device.unmapSg(list), "unmapSg");
  expect(list.segments === 0, () => `after unmapSg the list has ${list.segments} segments`);
  rig.settle();
  for (const { address, bytes } of elements) if (bytes > 0) rig.expectMarks(address, bytes);
}

/** Calls `visit` with the samples of all elements, split at the ends of segments. */
function forEachPiece(
  rig: Rig,
  list: ScatterList,
  elements: readonly Element[],
  visit: (iova: bigint, address: number, bytes: number) => void,
): void {
  let before = 0;
  for (const { address, bytes } of elements) {
    if (bytes === 0) continue;
    for (const sample of rig.samples(address, bytes)) {
      for (let done = 0; done < sample.bytes; ) {
        const at = placeIn(list, before + sample.offset + done);
        const length = Math.min(sample.bytes - done, at.left);
        visit(at.iova, address + sample.offset + done, length);
        done += length;
      }
    }
    before += bytes;
  }
}

/** The bus address of byte `offset` of all segments, and the rest of its segment in bytes. */
function placeIn(list: ScatterList, offset: number): { readonly iova: bigint; readonly left: number } {
  let before = 0;
  for (let i = 0; i < list.segments; i++) {
    const bytes = list.segmentBytes[i] as number;
    if (offset < before + bytes) {
      return { iova: (list.iovas[i] as bigint) + BigInt(offset - before), left: before + bytes - offset };
    }
    before += bytes;
  }
  return expect(false, () => `byte ${offset} of the list lies in none of its ${list.segments} segments`) as never;
}

function expectRefusedByBoundary(rig: Rig, bytes: number): void {
  const boundaryMask = BigInt(limitsOf(rig).boundaryBytes ?? 2 * unitOf(rig)) - 1n;
  const device = rig.plainDevice(rig.other.table, { boundaryMask });
  const list = new ScatterList(2, Math.ceil(bytes / LONGEST_SEGMENT) + 3);
  list.addNumber(rig.address(0), 8);
  list.addNumber(rig.address(0), bytes);
  const failure = device.mapSg(list, 3);
  expect(
    failure === "longer-than-boundary",
    () => `mapSg of ${bytes} bytes across ${hexadecimal(boundaryMask)}: ${failure}`,
  );
  expect(list.segments === 0, () => `a refused list has ${list.segments} segments`);
  rig.expectEntries(new Map(), "after a refused mapSg");
}

function randomElement(rig: Rig, index: number, random: (below: number) => number): Element {
  const unit = unitOf(rig);
  const boundary = limitsOf(rig).boundaryBytes ?? Number.POSITIVE_INFINITY;
  const kind = random(3);
  if (kind === 0) return { address: rig.address(index), bytes: unit };
  const offset = random(unit - 64);
  return { address: rig.address(index, offset), bytes: Math.min(1 + random(unit - offset), boundary / 4) };
}

function expectFreeError(use: () => unknown, code: string, what: string): void {
  try {
    use();
  } catch (error) {
    expect(error instanceof FreeError && error.code === code, () => `${what}: ${error}; expected a FreeError ${code}`);
    return;
  }
  expect(false, () => `${what} is taken`);
}

export const SCATTER_LISTS: readonly BoardCase[] = [
  scattered,
  neighboursMerge,
  piecesOfPagesStayApart,
  longElements,
  beyondBoundary,
  randomLists,
  unmappedAsGiven,
];
