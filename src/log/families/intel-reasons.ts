/**
 * Fault reasons of VT-d, and their meanings for the entry. Source: VT-d specification, "Fault Conditions" (7.1 interrupt remapping, 7.2 DMA
 * remapping) and the texts that Linux prints beside the codes.
 */
import type { Access, ReportedCause } from "../facts.ts";

/** First reason of interrupt remapping; those of DMA in scalable mode begin at 0x30. */
const FIRST_INTERRUPT_REASON = 0x20;
const FIRST_SCALABLE_REASON = 0x30;
/** "Blocked a compatibility format interrupt request". */
const COMPATIBILITY_FORMAT = 0x25;

/** True if the reason is one of interrupt remapping, not of DMA. */
export function isInterruptReason(reason: number): boolean {
  return reason >= FIRST_INTERRUPT_REASON && reason < FIRST_SCALABLE_REASON;
}

export function interruptVerdictOf(reason: number): "blocked" | "not-remapped" {
  return reason === COMPATIBILITY_FORMAT ? "not-remapped" : "blocked";
}

/** Legacy mode. 5 and 6 are printed for an entry that is absent, and for one that is present and does not allow the access. */
const LEGACY: Readonly<Record<number, ReportedCause>> = {
  1: "no-table",
  2: "no-table",
  3: "no-table",
  4: "address-size",
  5: "absent-or-permission",
  6: "absent-or-permission",
  7: "table-error",
  8: "table-error",
  9: "table-error",
  10: "table-error",
  11: "table-error",
  12: "table-error",
  13: "passed-through",
};

/** Scalable mode: 0x3x root entry, 0x4x context entry, 0x5x PASID entry, 0x7x paging entry, 0x8x the address itself. */
const SCALABLE: Readonly<Record<number, ReportedCause>> = {
  48: "table-error", // root table address invalid
  49: "no-table", // legacy translation, request with PASID
  56: "table-error", // access to the root entry failed
  57: "no-table", // root entry not present
  58: "table-error", // root entry: reserved bits
  64: "table-error",
  65: "no-table", // context entry not present
  66: "table-error",
  67: "no-table", // context entry invalid, as reason 3
  69: "no-table", // PASID not enabled
  70: "no-table", // PASID beyond the directory
  80: "table-error",
  81: "no-table", // PASID directory entry not present
  82: "table-error",
  88: "table-error",
  89: "no-table", // PASID table entry not present
  90: "table-error",
  91: "table-error", // PASID table entry invalid
  92: "permission", // execute requests not enabled
  93: "permission", // supervisor requests not enabled
  112: "table-error",
  113: "absent", // first-level entry: present bit clear
  114: "table-error", // first-level entry: reserved bits
  115: "table-error",
  120: "table-error",
  121: "absent-or-permission", // second-level entry: read or write bit clear
  122: "table-error", // second-level entry: reserved bits
  123: "table-error",
  128: "address-size", // not canonical
  129: "permission", // user privilege on a supervisor page
  130: "permission", // no execute
  131: "address-size",
  132: "address-size",
  133: "permission", // write to a first-level page without write
  134: "permission",
  135: "interrupt-range",
};

/**
 * @param text - what the kernel printed beside the code, when it is known. Kernels look it up in a table of their own, and some tables are wrong
 *     in places: where the text clearly says another thing than the code, neither is relied on.
 */
export function causeOf(reason: number, text = ""): ReportedCause {
  const ofCode = LEGACY[reason] ?? SCALABLE[reason] ?? "unknown";
  const ofText = causeOfText(text);
  if (ofText === undefined || ofText === ofCode) return ofCode;
  return isOfTable(ofText) && isOfTable(ofCode) ? "no-table-or-error" : "unknown";
}

/** The cause that a text names without doubt; undefined: the text has several meanings. */
function causeOfText(text: string): ReportedCause | undefined {
  if (/present bit in (?:the )?(?:root|context|directory|pasid)/i.test(text)) return "no-table";
  if (/present bit in (?:the )?first-level/i.test(text)) return "absent";
  return /non-?zero reserved field|error attempting to access/i.test(text) ? "table-error" : undefined;
}

function isOfTable(cause: ReportedCause): boolean {
  return cause === "no-table" || cause === "table-error";
}

/** The access that a reason names by itself. */
export function accessOf(reason: number): Access | undefined {
  if (reason === 5 || reason === 0x85) return "write";
  return reason === 6 || reason === 0x86 ? "read" : undefined;
}
