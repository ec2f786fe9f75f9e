/**
 * Event records of an Arm SMMUv3: what each code says, and where a record keeps its fields. Source: Arm SMMU architecture specification
 * version 3 (IHI 0070), chapter 7.3 "Event records".
 */
import type { Access, ReportedCause } from "../facts.ts";

interface EventCode {
  readonly name: string;
  readonly cause: ReportedCause;
  /** Word 2 of the record holds the input address, and word 1 the kind of access. */
  readonly hasAddress?: boolean;
}

const EVENTS: Readonly<Record<number, EventCode>> = {
  1: { name: "F_UUT", cause: "unknown", hasAddress: true },
  2: { name: "C_BAD_STREAMID", cause: "no-table" },
  3: { name: "F_STE_FETCH", cause: "table-error" },
  4: { name: "C_BAD_STE", cause: "table-error" },
  5: { name: "F_BAD_ATS_TREQ", cause: "unknown" },
  6: { name: "F_STREAM_DISABLED", cause: "no-table" },
  7: { name: "F_TRANSL_FORBIDDEN", cause: "unknown", hasAddress: true },
  8: { name: "C_BAD_SUBSTREAMID", cause: "no-table" },
  9: { name: "F_CD_FETCH", cause: "table-error" },
  10: { name: "C_BAD_CD", cause: "table-error" },
  11: { name: "F_WALK_EABT", cause: "table-error", hasAddress: true },
  16: { name: "F_TRANSLATION", cause: "absent", hasAddress: true },
  17: { name: "F_ADDR_SIZE", cause: "address-size", hasAddress: true },
  // The entry is there, its access flag is clear.
  18: { name: "F_ACCESS", cause: "permission", hasAddress: true },
  19: { name: "F_PERMISSION", cause: "permission", hasAddress: true },
  32: { name: "F_TLB_CONFLICT", cause: "table-error", hasAddress: true },
  33: { name: "F_CFG_CONFLICT", cause: "table-error" },
  36: { name: "E_PAGE_REQUEST", cause: "unknown", hasAddress: true },
  37: { name: "F_VMS_FETCH", cause: "table-error" },
};

/** A code's meaning; of an unknown code only that it is one. */
export function eventOf(code: number): EventCode {
  return EVENTS[code] ?? { name: "", cause: "unknown" };
}

/** The code of a name as the decoded form prints it. */
export function codeOf(name: string): number | undefined {
  const found = Object.entries(EVENTS).find(([, event]) => event.name === name);
  return found === undefined ? undefined : Number(found[0]);
}

/** True if the word can be the first of a record: its reserved bits 10:8 are clear, and its code is known. */
export function isFirstWord(word: bigint): boolean {
  return EVENTS[Number(word & 0xffn)] !== undefined && (word & 0x700n) === 0n;
}

const bits = (word: number, first: number, count: number): number => (word >>> first) & (2 ** count - 1);
/** Bits 63:32 and 31:0. */
const upper = (word: bigint): number => Number(word >> 32n);
const lower = (word: bigint): number => Number(word & 0xffff_ffffn);

/** Word 0: stream 63:32, substream 31:12 where bit 11 says that there is one. */
export function streamOf(word: bigint): { streamId: bigint; pasid?: bigint } {
  const streamId = word >> 32n;
  const low = lower(word);
  return bits(low, 11, 1) === 1 ? { streamId, pasid: BigInt(bits(low, 12, 20)) } : { streamId };
}

/** Word 1: bit 35 read, bit 34 instruction. */
export function accessOf(word: bigint): Access {
  const high = upper(word);
  if (bits(high, 3, 1) === 0) return "write";
  return bits(high, 2, 1) === 1 ? "execute" : "read";
}

const CLASSES: readonly string[] = ["context descriptor fetch", "table walk", "input address", "reserved"];

/** Word 1: bit 39 stage 2, bits 41:40 what was read when the fault came, bit 33 unprivileged, bit 31 stalled. */
export function detailsOf(word: bigint): Record<string, string | number> {
  const high = upper(word);
  return { stage: bits(high, 7, 1) + 1, class: CLASSES[bits(high, 8, 2)] ?? "", stalled: bits(lower(word), 31, 1) };
}
