/** Speed of reading a trace: by our parser, by one regular expression per line, and from the packed columns. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import type { Trace } from "../../src/trace/events.ts";
import { parseTrace } from "../../src/trace/parser.ts";
import { type BenchCase, type Cell, NANOSECONDS, type Work } from "../cell.ts";
import { FNV_BASIS, fold, measureSlices, warmUp } from "../measure.ts";
import type { Scale } from "../scale.ts";

/** Rows. */
export const BY_REGEX = "a regular expression per line";
export const PARSER = "parser";
export const COLUMNS = "packed columns, read again";

/** The trace that is shipped; this file is build/bench/cases/traces.js. */
const FILE = fileURLToPath(new URL("../../../traces/nvme-io-612.txt.gz", import.meta.url));

export const traces: BenchCase = {
  name: "traces",
  about: "Reading traces/nvme-io-612.txt.gz from memory, unpacked: the time of one event.",
  metrics: [NANOSECONDS],
  operation: "event",
  cells(scale: Scale, seed: number): readonly Cell[] {
    return [BY_REGEX, PARSER, COLUMNS].map((row) => ({
      case: "traces",
      row,
      at: "nvme-io-612",
      threads: 1,
      work: {
        subject: "nothing" as const,
        entries: 0,
        pools: 0,
        arena: 0,
        fillPercent: 0,
        slices: scale.quick ? 1 : 60,
        operations: 1,
        seed,
        variant: row,
      },
    }));
  },
  async play(work: Work) {
    const bytes = gunzipSync(readFileSync(FILE));
    const trace = parseTrace(bytes);
    const read = readerOf(work.variant ?? "", bytes, trace);
    warmUp(work.slices, read);
    let hash = FNV_BASIS;
    const slices = measureSlices(work.slices, () => {
      hash = fold(hash, read());
    });
    return { slices, operations: trace.events.length, hash };
  },
};

/** Reads the whole trace once; returns a number that depends on all of it. */
function readerOf(variant: string, bytes: Uint8Array, trace: Trace): () => number {
  if (variant === BY_REGEX) return () => regexByLine(bytes);
  if (variant === PARSER) return () => parseTrace(bytes).events.length;
  return () => readColumns(trace);
}

const HEAD = /^.{16}.*\[(\d+)\] \S+ +(\d+\.\d+): (\w+): (.*)$/;
const MAP_FIELDS = /^IOMMU: iova=0x([0-9a-f]+) - 0x[0-9a-f]+ paddr=0x([0-9a-f]+) size=(\d+)$/;
const UNMAP_FIELDS = /^IOMMU: iova=0x([0-9a-f]+) - 0x[0-9a-f]+ size=(\d+) unmapped_size=(\d+)$/;
const DMA_FIELDS = /^(\S+) dir=(\w+) (?:dma_addr=([0-9a-f]+) size=(\d+)(?: phys_addr=([0-9a-f]+))?)?/;
const LIST = /(\w+)=\{([^}]*)\}/g;

/** The rival: lines by split, one match for the head, one for the fields, numbers into arrays. Its result is the same. */
function regexByLine(bytes: Uint8Array): number {
  const columns: number[][] = [[], [], [], [], []];
  const lists: number[] = [];
  for (const line of Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1").split("\n")) {
    const head = HEAD.exec(line);
    if (head === null) continue;
    const fields = head[4] as string;
    const pattern = head[3] === "map" ? MAP_FIELDS : head[3] === "unmap" ? UNMAP_FIELDS : DMA_FIELDS;
    const match = pattern.exec(fields);
    if (match === null) continue;
    columns[0]?.push(Number(head[1]));
    columns[1]?.push(Number(head[2]));
    const dma = pattern === DMA_FIELDS;
    columns[2]?.push(Number.parseInt(match[dma ? 3 : 1] ?? "0", 16));
    columns[3]?.push(Number.parseInt(match[dma ? 5 : 2] ?? "0", 16));
    columns[4]?.push(Number(match[dma ? 4 : 3] ?? 0));
    if (fields.includes("{")) {
      for (const list of fields.matchAll(LIST)) {
        for (const number of (list[2] as string).split(",")) lists.push(Number(number));
      }
    }
  }
  return lists.length + (columns[0]?.length ?? 0);
}

function readColumns(trace: Trace): number {
  const { events } = trace;
  let sum = 0;
  for (let row = 0; row < events.length; row++) {
    sum += (events.iovaLow[row] as number) + (events.bytes[row] as number) + (events.kind[row] as number);
    sum += (events.time[row] as number) + (events.cpu[row] as number);
  }
  return sum;
}
