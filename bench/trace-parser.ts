/**
 * How fast is the trace parser? Against a reader that matches one regular expression per line, in one interleaved run over
 * a real trace, and against reading the packed columns again. `node build/bench/trace-parser.js [TRACE] [ROUNDS]`.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Trace } from "../src/trace/events.ts";
import { parseTrace } from "../src/trace/parser.ts";

const HEAD = /^.{16}.*\[(\d+)\] \S+ +(\d+\.\d+): (\w+): (.*)$/;
const MAP_FIELDS = /^IOMMU: iova=0x([0-9a-f]+) - 0x[0-9a-f]+ paddr=0x([0-9a-f]+) size=(\d+)$/;
const UNMAP_FIELDS = /^IOMMU: iova=0x([0-9a-f]+) - 0x[0-9a-f]+ size=(\d+) unmapped_size=(\d+)$/;
const DMA_FIELDS = /^(\S+) dir=(\w+) (?:dma_addr=([0-9a-f]+) size=(\d+)(?: phys_addr=([0-9a-f]+))?)?/;
const LIST = /(\w+)=\{([^}]*)\}/g;

/** The rival: lines by split, one match for the head, one for the fields, numbers into arrays. The same data come out. */
function regexByLine(bytes: Uint8Array): number {
  const columns: number[][] = [[], [], [], [], [], []];
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

function nanosecondsPerEvent(events: number, work: () => unknown): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / events;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] as number;

const file = process.argv[2] ?? "traces/nvme-io-612.txt.gz";
const rounds = Number(process.argv[3] ?? 30);
const raw = readFileSync(file);
const bytes = raw[0] === 0x1f ? gunzipSync(raw) : raw;
const trace = parseTrace(bytes);
const events = trace.events.length;
const nanoseconds = { regex: [] as number[], parser: [] as number[], columns: [] as number[] };
for (let round = 0; round < rounds; round++) {
  nanoseconds.regex.push(nanosecondsPerEvent(events, () => regexByLine(bytes)));
  nanoseconds.parser.push(nanosecondsPerEvent(events, () => parseTrace(bytes)));
  nanoseconds.columns.push(nanosecondsPerEvent(events, () => readColumns(trace)));
}
const [regex, parser, columns] = [median(nanoseconds.regex), median(nanoseconds.parser), median(nanoseconds.columns)];
console.log(`${file}: ${events} events, ${bytes.length} bytes, ${rounds} interleaved rounds, medians`);
console.log(`regex by line  ${regex.toFixed(0)} ns/event`);
console.log(`parser         ${parser.toFixed(0)} ns/event  ${(regex / parser).toFixed(1)} x  (target 4 x)`);
console.log(`columns again  ${columns.toFixed(1)} ns/event  ${(regex / columns).toFixed(0)} x  (target 40 x)`);
