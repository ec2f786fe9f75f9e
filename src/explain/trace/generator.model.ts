/** Traces with one planted fault among the traffic of several devices, at each level of evidence; each knows its truth. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Finding } from "../contract.ts";
import { DEVICE, type Direction, TraceText } from "./trace.model.ts";

const FAULTS = [
  "use-after-unmap",
  "permission",
  "past-end",
  "before-start",
  "truncated-address",
  "not-mapped",
  "wrong-device",
  "mapped-but-faulted",
] as const;
type Planted = (typeof FAULTS)[number];
/** Where the fault stands, and what is missing: the relation of the clocks, the beginning (`lost`, `late`), a part in the middle (`gap`). */
const LEVELS = ["event", "log", "log without clock", "lost", "late", "gap", "two recordings"] as const;

export interface Generated {
  readonly planted: Planted;
  readonly level: (typeof LEVELS)[number];
  readonly findings: readonly Finding[];
}

const PAGE = 4096;
const OTHERS = ["0000:00:05.0", "0000:00:06.0"];
/** Slots of four pages below 4 GiB: the first are the faulty device's traffic, too; the planted mapping may stand among the others'. */
const OWN_SLOTS = 64;
const SLOTS = 128;
/** Mappings whose neighbours matter stand clear of the traffic, so that the truth is one. */
const BASE = 0x8_4000_0000;
const FOREIGN = 0x10_4000_0000;
/** A device that has the planted address for itself, or gets it. */
const OTHER = "0000:00:07.0";

export function generate(seed: number): Generated {
  const random = randomOf(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const planted = pick(FAULTS);
  const level = pick(LEVELS);
  const trace = new TraceText();
  if (level !== "late") trace.add(100, DEVICE);
  for (const other of OTHERS) trace.add(200, other);
  for (const device of [DEVICE, ...OTHERS]) traffic(trace, device, random);
  const isAmongOthers = random() < 0.5 && (planted === "use-after-unmap" || planted === "permission");
  const pages = 1 + Math.floor(random() * (isAmongOthers ? 4 : 16));
  const iova = isAmongOthers
    ? slotAddress(OWN_SLOTS + Math.floor(random() * (SLOTS - OWN_SLOTS)))
    : BASE + Math.floor(random() * 4096) * PAGE * 32 + 0x123_0000;
  const faultAt = 3_000_000;
  const mapAt = 1_000_000 + Math.floor(random() * 1_000_000);
  const direction: Direction = planted === "permission" ? "TO_DEVICE" : pick(["FROM_DEVICE", "BIDIRECTIONAL"] as const);
  trace.dmaMap(mapAt, DEVICE, iova, pages * PAGE, direction);
  if (isAmongOthers) {
    // Another device has the same address for itself, from before the fault to the end.
    const since = mapAt + Math.floor(random() * (faultAt - mapAt));
    trace.dmaMap(since, OTHER, iova, pages * PAGE, pick(["FROM_DEVICE", "TO_DEVICE"] as const));
  }
  const inside = iova + Math.floor(random() * pages) * PAGE + 4 * Math.floor(random() * 1000);
  if (planted === "use-after-unmap") {
    const gap = 1 + Math.floor(10 ** (random() * 6));
    trace.dmaUnmap(faultAt - gap, DEVICE, iova, pages * PAGE, direction);
    // Another device gets the address after the fault.
    if (!isAmongOthers && random() < 0.5) trace.dmaMap(faultAt + 500_000, OTHER, iova, pages * PAGE, "FROM_DEVICE");
  }
  if (planted === "wrong-device") trace.dmaMap(mapAt, OTHER, FOREIGN, pages * PAGE, "FROM_DEVICE");
  const address = {
    "use-after-unmap": inside,
    permission: inside,
    "mapped-but-faulted": inside,
    "wrong-device": FOREIGN + (inside - iova),
    "past-end": iova + pages * PAGE,
    "before-start": iova - 4 * (1 + Math.floor(random() * 1000)),
    "truncated-address": inside % 2 ** 32,
    "not-mapped": 0x20_dead_0000 + Math.floor(random() * 1000) * PAGE,
  }[planted];
  if (level === "log" || level === "log without clock") trace.logged(faultAt, address, "write");
  else trace.fault(faultAt, address, "write");
  if (level === "gap") trace.raw(faultAt - 500_000, "CPU:0 [LOST 120 EVENTS]");
  if (level === "two recordings") trace.raw(2_500_000, "# entries-in-buffer/entries-written: 100/100   #P:2");
  const header = level === "lost" ? { header: "# entries-in-buffer/entries-written: 300/9000   #P:2" } : {};
  return { planted, level, findings: trace.findings({ ...header, clock: level !== "log without clock" }) };
}

function slotAddress(slot: number): number {
  return 0xffff_0000 - slot * 4 * PAGE;
}

/** A device maps and unmaps below 4 GiB, where all devices get the same addresses. */
function traffic(trace: TraceText, device: string, random: () => number): void {
  const slots = device === DEVICE ? OWN_SLOTS : SLOTS;
  const count = Math.floor(random() * (device === DEVICE ? 40 : 120));
  for (let i = 0; i < count; i++) {
    const at = 500_000 + Math.floor(random() * 4_000_000);
    const iova = slotAddress(Math.floor(random() * slots));
    trace.dmaMap(at, device, iova, 2 * PAGE, "FROM_DEVICE");
    trace.dmaUnmap(at + 50 + Math.floor(random() * 50_000), device, iova, 2 * PAGE, "FROM_DEVICE");
  }
}

/** A trace in which a device is removed; some of its mappings may stay, and others' go on. */
export function generateExit(seed: number): { readonly left: number; readonly findings: readonly Finding[] } {
  const random = randomOf(seed);
  const trace = new TraceText().add(100, DEVICE).add(200, OTHERS[0] as string);
  for (const device of [DEVICE, ...OTHERS]) traffic(trace, device, random);
  const count = 1 + Math.floor(random() * 20);
  const left = random() < 0.5 ? 0 : 1 + Math.floor(random() * count);
  for (let at = 0; at < count; at++) {
    const iova = BASE + at * 16 * PAGE;
    trace.dmaMap(1_000_000 + at * 10, DEVICE, iova, PAGE, "FROM_DEVICE");
    if (at >= left) trace.dmaUnmap(4_700_000 + at * 10, DEVICE, iova, PAGE, "FROM_DEVICE");
  }
  trace.remove(5_000_000, DEVICE).add(12_000_000, "0000:00:09.0");
  return { left, findings: trace.findings() };
}

/** Errors in the statements about the leak. */
export function exitObjection({ left, findings }: ReturnType<typeof generateExit>): string | undefined {
  const said = findings.map(({ kind, verdict, device, count }) => `${kind} ${verdict} ${device} ${count}`).join(", ");
  const wanted = left === 0 ? "" : `leak at-exit ${DEVICE} ${left}`;
  return said === wanted ? undefined : `${left} left: ${said}`;
}

/** Linear congruential, of 31 bits. */
function randomOf(seed: number): () => number {
  let state = (seed * 2_654_435_761) % 2 ** 31;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return state / 2 ** 31;
  };
}

/** The device uses an address that was mapped for another device. */
const ALSO_TRUE: Readonly<Partial<Record<Planted, string>>> = { "wrong-device": "not-mapped" };

/** The error in the answer: a verdict other than the truth that is not "undecided". Undefined: no error. */
function objection({ planted, level, findings }: Generated): string | undefined {
  const faults = findings.filter(({ kind }) => kind === "dma-fault");
  if (faults.length !== 1) return `${faults.length} faults, one was planted`;
  const { verdict, certainty } = faults[0] as Finding;
  const isTrue = verdict === planted || certainty === "undecided" || ALSO_TRUE[planted] === verdict;
  if (!isTrue) return `${planted} (${level}): ${verdict} ${certainty}`;
  return findings.some(({ kind }) => kind !== "dma-fault") ? "finds what was not planted" : undefined;
}

/** The test of `traces` traces, the first of seed `firstSeed`. */
export function testVerdicts(firstSeed: number, traces: number): void {
  test(`${traces} traces with a planted fault get no wrong verdict, and most get the true one`, (t) => {
    t.diagnostic(`seeds ${firstSeed} to ${firstSeed + traces - 1}`);
    const objections: string[] = [];
    let decided = 0;
    for (let seed = firstSeed; seed < firstSeed + traces; seed++) {
      const generated = generate(seed);
      const wrong = objection(generated);
      if (wrong !== undefined) objections.push(`seed ${seed}: ${wrong}`);
      if (generated.findings.some(({ certainty }) => certainty !== "undecided")) decided++;
    }
    assert.deepEqual(objections, []);
    assert.ok(decided > traces / 2, `${decided} decided`);
  });
}
